//! Calls of services through gateways: the next gateway is asked when one cannot be reached, and, where asking twice
//! does no harm, when one has no good answer.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Method, Response, StatusCode, Url};

use super::choice::{Choice, RETURN_AFTER};
use super::error::Tried;
use super::{CONNECT_TIMEOUT, parse_url};
use crate::support::chain::chain;
use crate::support::secret::Secret;

/// Where a gateway is looked for if nobody says anything else.
pub const DEFAULT_GATEWAY: &str = "http://127.0.0.1:8790";

/// A call that got no answer. Nothing else is an error: whatever a service or a gateway answers is an answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// There is no gateway to ask. Trying again does not help.
    #[error("no gateway is named")]
    None,
    /// An address is none. Trying again does not help.
    #[error("`{text}` is not the address of a gateway: {why}")]
    Url {
        /// The address, without user and password.
        text: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// What is called is not `SERVICE/PATH`. Trying again does not help.
    #[error("`{text}` is not of the form SERVICE/PATH: {why}")]
    Target {
        /// What was given.
        text: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The key cannot stand in a header. Trying again does not help.
    #[error("the key is not one line of visible ASCII characters")]
    Key,
    /// The system gives no HTTP client. Trying again does not help.
    #[error("prepare the HTTP client")]
    Build(#[source] reqwest::Error),
    /// None of the gateways answered, or one broke off and asking another might do twice what should be done once.
    #[error("no gateway answered: {}", listed(tries))]
    NoAnswer {
        /// Each that was tried, in order.
        tries: Vec<Tried>,
        /// Something was sent, so it may have been done.
        sent: bool,
    },
}

fn listed(tries: &[Tried]) -> String {
    let tries: Vec<String> = tries.iter().map(ToString::to_string).collect();
    tries.join("; ")
}

/// What is asked of a service.
#[derive(Debug, Clone)]
pub struct Call {
    /// The method.
    pub method: Method,
    /// The service's name or id, then path and query: `api/users?page=2`.
    pub target: String,
    /// Headers besides those that every request has.
    pub headers: HeaderMap,
    /// The body.
    pub body: Option<Bytes>,
}

impl Call {
    /// Reads something from a service.
    pub fn get(target: impl Into<String>) -> Self {
        Self {
            method: Method::GET,
            target: target.into(),
            headers: HeaderMap::new(),
            body: None,
        }
    }

    /// Tells whether asking twice does no harm: by its method, or because it has an idempotency key.
    fn may_be_repeated(&self) -> bool {
        let keys = ["idempotency-key", "x-idempotency-key"];
        matches!(self.method, Method::GET | Method::HEAD | Method::OPTIONS)
            || keys.iter().any(|key| self.headers.contains_key(*key))
    }
}

/// Calls services through one of several gateways. Stays with the one that last answered.
#[derive(Debug)]
pub struct GatewayClient {
    urls: Vec<Url>,
    http: reqwest::Client,
    key: Option<HeaderValue>,
    choice: Choice,
}

impl GatewayClient {
    /// Makes a client of the gateways in a list with commas. Nothing is contacted yet. A key is shown as
    /// `x-api-key`, so that `authorization` is free for the service.
    ///
    /// # Errors
    /// When an address or the key cannot be used.
    pub fn new(list: &str, key: Option<&Secret>) -> Result<Self, CallError> {
        let mut urls: Vec<Url> = Vec::new();
        for text in list
            .split(',')
            .map(str::trim)
            .filter(|text| !text.is_empty())
        {
            let url = parse_url(text)
                .and_then(|url| match url.scheme() {
                    "unix" => Err("it must begin with http:// or https://"),
                    _ => Ok(url),
                })
                .map_err(|why| CallError::Url {
                    text: text.rsplit('@').next().unwrap_or_default().to_owned(),
                    why,
                })?;
            if !urls.contains(&url) {
                urls.push(url);
            }
        }
        if urls.is_empty() {
            return Err(CallError::None);
        }
        crate::support::tls::use_ring();
        let http = reqwest::Client::builder()
            .user_agent(concat!("skyclaw/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .map_err(|error| CallError::Build(error.without_url()))?;
        let key = key
            .map(|key| {
                let mut value = HeaderValue::from_str(key.expose()).map_err(|_| CallError::Key)?;
                value.set_sensitive(true);
                Ok(value)
            })
            .transpose()?;
        Ok(Self {
            choice: Choice::new(RETURN_AFTER),
            urls,
            http,
            key,
        })
    }

    /// Sends the call and returns the answer as soon as its head is there. `within` limits that.
    ///
    /// # Errors
    /// When no gateway answers. An answer with an error's status is no error.
    pub async fn send(&self, call: &Call, within: Option<Duration>) -> Result<Response, CallError> {
        let rest = checked(&call.target)?;
        let mut tries = Vec::new();
        let mut poor = None;
        for index in self.choice.order(self.urls.len()) {
            let Some(base) = self.urls.get(index) else {
                continue;
            };
            let shown = base.as_str().trim_end_matches('/');
            let sending = self
                .request(call, &format!("{shown}/v1/gateway/{rest}"))
                .send();
            let sent = match within {
                None => sending
                    .await
                    .map_err(|error| (error.is_connect(), cause(error))),
                Some(limit) => match tokio::time::timeout(limit, sending).await {
                    Ok(sent) => sent.map_err(|error| (error.is_connect(), cause(error))),
                    Err(_) => {
                        let limit = crate::support::span::human(limit);
                        Err((false, format!("no answer within {limit}")))
                    }
                },
            };
            match sent {
                Ok(response) if call.may_be_repeated() && is_poor(response.status()) => {
                    poor.get_or_insert(response);
                }
                Ok(response) => {
                    self.choice.worked(index);
                    return Ok(response);
                }
                Err((unreached, cause)) => {
                    let url = shown.to_owned();
                    tries.push(Tried { url, cause });
                    if !unreached && !call.may_be_repeated() {
                        return Err(CallError::NoAnswer { tries, sent: true });
                    }
                }
            }
        }
        // Who answered says more than who did not.
        poor.ok_or(CallError::NoAnswer { tries, sent: false })
    }

    fn request(&self, call: &Call, url: &str) -> reqwest::RequestBuilder {
        let mut request = self
            .http
            .request(call.method.clone(), url)
            .headers(call.headers.clone());
        if let Some(key) = &self.key {
            request = request.header("x-api-key", key);
        }
        match &call.body {
            Some(body) => request.body(body.clone()),
            None => request,
        }
    }
}

/// The gateway, or what is behind it, is in trouble; another gateway may not be.
fn is_poor(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE
    )
}

/// Returns what comes behind `/v1/gateway/`.
fn checked(target: &str) -> Result<&str, CallError> {
    let wrong = |why| {
        Err(CallError::Target {
            text: target.split('?').next().unwrap_or_default().to_owned(),
            why,
        })
    };
    let rest = target.trim_start_matches('/');
    let path = rest.split(['?', '#']).next().unwrap_or_default();
    if path.split('/').next().unwrap_or_default().is_empty() {
        return wrong("the service is missing");
    }
    // An address drops `..` without asking, and another service would be called.
    let climbs = |part: &str| {
        let part = part.to_ascii_lowercase().replace("%2e", ".");
        part == ".." || part == "."
    };
    if path.split(['/', '\\']).any(climbs) {
        return wrong("the path must hold no . and no ..");
    }
    Ok(rest)
}

fn cause(error: reqwest::Error) -> String {
    let text = chain(&error.without_url());
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_called_stays_below_its_service() {
        for (target, rest) in [
            ("api/users?page=2", "api/users?page=2"),
            ("/api", "api"),
            ("my api/x", "my api/x"),
            ("api/a..b/...", "api/a..b/..."),
            ("api?x=../y", "api?x=../y"),
        ] {
            assert_eq!(checked(target).unwrap(), rest);
        }
        for bad in [
            "",
            "/",
            "?x",
            "api/../x",
            "api/%2E%2e/x",
            "..",
            "api/./x",
            "api/..\\x",
        ] {
            assert!(checked(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn gateways_are_named_with_commas_and_without_secrets() {
        let client = GatewayClient::new(" http://a:1/ ,http://b:2/x,http://a:1", None).unwrap();
        let urls: Vec<&str> = client.urls.iter().map(Url::as_str).collect();
        assert_eq!(urls, ["http://a:1/", "http://b:2/x"]);
        for bad in ["unix:/x", "a:1", "http://u:geheim@h"] {
            let error = GatewayClient::new(bad, None).unwrap_err().to_string();
            assert!(!error.contains("geheim"), "{error}");
        }
        let none = GatewayClient::new(" , ", None).unwrap_err();
        assert!(matches!(none, CallError::None));
    }
}
