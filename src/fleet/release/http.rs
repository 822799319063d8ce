//! The HTTP client for releases: what it sends to whom, how long it waits, how it tells failures apart.

use std::ops::ControlFlow;
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderValue};
use reqwest::{Client, Response, StatusCode, Url, redirect};

use super::error::Error;
use crate::support::secret::Secret;
use crate::support::tls::use_ring;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// No byte for this long means that nothing more will come.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
const MAX_REDIRECTS: usize = 5;
/// One try and two more.
const TRIES: u32 = 3;

/// Asks for release descriptions and files.
pub(super) struct Http {
    client: Client,
    api: Url,
    authorization: Option<HeaderValue>,
    retry_pause: Duration,
}

impl Http {
    pub(super) fn new(
        api: Url,
        token: Option<&Secret>,
        retry_pause: Duration,
    ) -> Result<Self, Error> {
        use_ring();
        let client = Client::builder()
            .user_agent(concat!("skyclaw/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(IDLE_TIMEOUT)
            .redirect(redirect::Policy::custom(follow))
            .build()
            .map_err(|error| Error::Client(error.without_url()))?;
        let authorization = token
            .filter(|token| !token.expose().is_empty())
            .and_then(|token| HeaderValue::try_from(format!("Bearer {}", token.expose())).ok())
            .map(|mut value| {
                value.set_sensitive(true);
                value
            });
        Ok(Self {
            client,
            api,
            authorization,
            retry_pause,
        })
    }

    /// Starts to count tries.
    pub(super) fn tries(&self) -> Tries {
        Tries {
            made: 0,
            pause: self.retry_pause,
        }
    }

    /// Asks for `url` and reads the answer into memory, up to `limit` bytes.
    pub(super) async fn read(
        &self,
        url: &Url,
        accept: &'static str,
        limit: u64,
    ) -> Result<Vec<u8>, Error> {
        let mut tries = self.tries();
        loop {
            let read = match self.ask(url, accept).await {
                Ok(response) => read_all(response, url, limit).await,
                Err(error) => Err(error),
            };
            if let ControlFlow::Break(done) = tries.after(read).await {
                return done;
            }
        }
    }

    /// Asks for `url` once. An answer that is no success is an error.
    pub(super) async fn ask(&self, url: &Url, accept: &'static str) -> Result<Response, Error> {
        let mut request = self.client.get(url.clone()).header(ACCEPT, accept);
        if let Some(value) = self
            .authorization
            .as_ref()
            .filter(|_| may_have_token(&self.api, url))
        {
            request = request.header(AUTHORIZATION, value);
        }
        let response = request.send().await.map_err(|error| Error::Unreachable {
            url: shown(url),
            source: error.without_url(),
        })?;
        match response.status() {
            status if status.is_success() => Ok(response),
            status => Err(failure(url, status, response).await),
        }
    }
}

/// Counts the tries of one request.
pub(super) struct Tries {
    made: u32,
    pause: Duration,
}

impl Tries {
    /// Decides what follows on a try: its result is final, or there is a pause before the next one.
    pub(super) async fn after<T>(
        &mut self,
        result: Result<T, Error>,
    ) -> ControlFlow<Result<T, Error>> {
        self.made += 1;
        match result {
            Err(error) if error.retry_helps() && self.made < TRIES => {
                tracing::debug!(%error, attempt = self.made, "release server failed, trying again");
                tokio::time::sleep(self.pause * self.made).await;
                ControlFlow::Continue(())
            }
            done => ControlFlow::Break(done),
        }
    }
}

/// Follows a few redirects, but never from an encrypted connection to an open one.
/// The client itself drops the token as soon as host, port or scheme changes.
fn follow(attempt: redirect::Attempt<'_>) -> redirect::Action {
    let was_secure = attempt
        .previous()
        .last()
        .is_some_and(|url| url.scheme() == "https");
    if was_secure && attempt.url().scheme() != "https" {
        return attempt.error("redirected from https to an open connection");
    }
    if attempt.previous().len() > MAX_REDIRECTS {
        return attempt.error("too many redirects");
    }
    attempt.follow()
}

/// The token goes to the release API only, and in the open only within this machine.
fn may_have_token(api: &Url, url: &Url) -> bool {
    let inside = |url: &Url| match url.host_str() {
        Some(host) => host == "localhost" || host == "[::1]" || host.starts_with("127."),
        None => false,
    };
    url.origin() == api.origin() && (url.scheme() == "https" || inside(url))
}

async fn failure(url: &Url, status: StatusCode, response: Response) -> Error {
    let used_up = response
        .headers()
        .get("x-ratelimit-remaining")
        .is_some_and(|left| left == "0");
    let refused = matches!(
        status,
        StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS
    );
    let url = shown(url);
    if refused && (used_up || says_rate_limit(response).await) {
        return Error::RateLimited { url };
    }
    let hint = match status {
        StatusCode::NOT_FOUND => return Error::NotFound { url },
        StatusCode::TOO_MANY_REQUESTS => return Error::RateLimited { url },
        StatusCode::UNAUTHORIZED => "check GITHUB_TOKEN, it may have expired",
        StatusCode::FORBIDDEN => "check that GITHUB_TOKEN may read this repository",
        status if status.is_server_error() => "the server has a problem; try again later",
        _ => "check the address",
    };
    Error::Status {
        url,
        status: status.as_u16(),
        hint,
    }
}

/// A secondary limit shows only in the text of the answer.
async fn says_rate_limit(mut response: Response) -> bool {
    let start = response.chunk().await.ok().flatten().unwrap_or_default();
    String::from_utf8_lossy(&start)
        .to_ascii_lowercase()
        .contains("rate limit")
}

/// Returns the address without what may be secret in it: user, password and query.
pub(super) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url.to_string()
}

/// Reads an address that is to be the start of others.
pub(super) fn base(text: &str) -> Result<Url, Error> {
    // What failed may hold a password, so only what follows it is shown.
    let shown = text.rsplit('@').next().unwrap_or_default();
    let fail = || Error::Address(shown.to_owned());
    let url = Url::parse(text).map_err(|_| fail())?;
    let http = matches!(url.scheme(), "http" | "https") && url.has_host();
    http.then_some(url).ok_or_else(fail)
}

async fn read_all(mut response: Response, url: &Url, limit: u64) -> Result<Vec<u8>, Error> {
    let mut body = Vec::new();
    loop {
        let received = body.len() as u64;
        let chunk = response.chunk().await.map_err(|error| Error::Cut {
            url: shown(url),
            received,
            source: Some(error.without_url()),
        })?;
        let Some(chunk) = chunk else {
            return Ok(body);
        };
        if received + chunk.len() as u64 > limit {
            return Err(Error::TooLarge {
                what: shown(url),
                limit,
            });
        }
        body.extend_from_slice(&chunk);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn the_token_goes_to_the_api_alone() {
        let cases = [
            (
                "https://api.github.com",
                "https://api.github.com/repos/a/b",
                true,
            ),
            ("https://api.github.com", "https://github.com/a", false),
            (
                "https://api.github.com",
                "https://api.github.com:8443/a",
                false,
            ),
            ("https://api.github.com", "http://api.github.com/a", false),
            ("http://10.0.0.1/api", "http://10.0.0.1/api/x", false),
            ("http://127.0.0.1:80", "http://127.0.0.1/x", true),
            ("http://127.0.0.1:1", "http://127.0.0.1:2/x", false),
        ];
        for (api, asked, may) in cases {
            assert_eq!(may_have_token(&url(api), &url(asked)), may, "{asked}");
        }
    }

    #[test]
    fn addresses_are_shown_without_secrets() {
        assert_eq!(shown(&url("https://u:pw@h/a?sig=1#f")), "https://h/a");
        for bad in ["", "h/a", "ftp://h", "u:pw@h"] {
            let error = base(bad).unwrap_err().to_string();
            assert!(!error.contains("pw"), "{error}");
        }
    }
}
