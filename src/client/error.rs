//! What can go wrong between a client and its coordinators.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::file::Fault;
use crate::protocol::api::Code;

/// A request that brought no result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// None of the coordinators could be reached. Trying again later helps.
    #[error("no coordinator could be reached{}", listed(tries))]
    NoCoordinator {
        /// Each that was tried, in order.
        tries: Vec<Tried>,
    },
    /// A coordinator said no. [`Error::retry_helps`] tells whether to ask again.
    #[error("{text} ({url} answered {status})")]
    Refused {
        /// Which one.
        url: String,
        /// The HTTP status.
        status: u16,
        /// What is wrong, for programs.
        code: Code,
        /// What is wrong, for people.
        text: String,
        /// When to ask again.
        retry_after: Option<Duration>,
    },
    /// A coordinator gave an answer that is not of the form the route has: it is none, or much newer.
    #[error("{url} gave an answer that is not understood")]
    Answer {
        /// Which one.
        url: String,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// The file that is to say where the coordinator is cannot be used. Trying again later helps.
    #[error("the coordinator's file {} {why}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: Fault,
    },
    /// The request has no JSON form. Trying again does not help.
    #[error("the request cannot be written as JSON")]
    Request(#[source] serde_json::Error),
    /// The token cannot stand in a header. Trying again does not help.
    #[error("the token is not one line of visible ASCII characters")]
    Token,
    /// The address is none that [`super::parse_url`] makes. Trying again does not help.
    #[error("`{url}` is not the address of a coordinator")]
    Address {
        /// The address, without user and password.
        url: String,
    },
    /// The system gives no HTTP client. Trying again does not help.
    #[error("prepare the HTTP client")]
    Build(#[source] reqwest::Error),
}

/// A coordinator that gave no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    /// Which one.
    pub url: String,
    /// Why.
    pub cause: String,
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.url, self.cause)
    }
}

fn listed(tries: &[Tried]) -> String {
    tries
        .iter()
        .enumerate()
        .map(|(index, tried)| format!("{} {tried}", if index == 0 { ":" } else { ";" }))
        .collect()
}

impl Error {
    /// Returns what a coordinator that answered said, for programs.
    pub const fn code(&self) -> Option<Code> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            Self::NoCoordinator { .. }
            | Self::Answer { .. }
            | Self::File { .. }
            | Self::Request(_)
            | Self::Token
            | Self::Address { .. }
            | Self::Build(_) => None,
        }
    }

    /// Returns the HTTP status of a coordinator that said no.
    pub const fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            Self::NoCoordinator { .. }
            | Self::Answer { .. }
            | Self::File { .. }
            | Self::Request(_)
            | Self::Token
            | Self::Address { .. }
            | Self::Build(_) => None,
        }
    }

    /// Tells whether the same request may bring something else later.
    pub const fn retry_helps(&self) -> bool {
        match self {
            Self::NoCoordinator { .. } | Self::File { .. } => true,
            Self::Refused { status, .. } => *status >= 500 || *status == 429,
            Self::Answer { .. }
            | Self::Request(_)
            | Self::Token
            | Self::Address { .. }
            | Self::Build(_) => false,
        }
    }

    /// Returns what the user can do about it.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::NoCoordinator { .. } => vec![
                "start one with `skyclaw fleet up` or `skyclaw coordinator`, or name yours with --coordinator URL or \
                 SKYCLAW_COORDINATOR_URLS"
                    .to_owned(),
            ],
            Self::Refused {
                code: Code::Unauthorized,
                ..
            } => vec![
                "give the coordinator's token with SKYCLAW_TOKEN, SKYCLAW_TOKEN_FILE or --token-file FILE"
                    .to_owned(),
            ],
            Self::Refused {
                retry_after: Some(after),
                ..
            } => vec![format!("try again in {}", crate::support::span::human(*after))],
            Self::File { path, why } => match why {
                Fault::Missing => vec![
                    "the controller puts it there when `skyclaw fleet up` reaches this machine".to_owned(),
                ],
                Fault::Loose(_) => vec![format!("chmod 600 {}", path.display())],
                Fault::Unreadable(_) | Fault::NoFile | Fault::Foreign(_) | Fault::Text(_) => {
                    Vec::new()
                }
            },
            Self::Refused { .. }
            | Self::Answer { .. }
            | Self::Request(_)
            | Self::Token
            | Self::Address { .. }
            | Self::Build(_) => Vec::new(),
        }
    }
}

/// The body of an answer that is no success, as anybody may write it: the original knows no code.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Body {
    error: Option<String>,
    code: Option<Code>,
}

/// Returns the refusal in an answer with this status and body.
pub(super) fn refusal(
    url: String,
    status: u16,
    body: &[u8],
    retry_after: Option<Duration>,
) -> Error {
    let body: Body = serde_json::from_slice(body).unwrap_or_default();
    let text = match body.error {
        Some(text) if !text.trim().is_empty() => text,
        Some(_) | None => reqwest::StatusCode::from_u16(status)
            .ok()
            .and_then(|status| status.canonical_reason())
            .unwrap_or("refused")
            .to_ascii_lowercase(),
    };
    Error::Refused {
        url,
        status,
        code: body.code.unwrap_or_else(|| code_of(status, &text)),
        text,
        retry_after,
    }
}

/// What the original means, from its status and its text: it says 500 where 404 or 409 is meant.
fn code_of(status: u16, text: &str) -> Code {
    match (status, text) {
        (404 | 500, text) if text.starts_with("unknown host") => Code::UnknownHost,
        (404 | 500, text) if text.starts_with("unknown job") || text == "job not found" => {
            Code::UnknownJob
        }
        (404 | 500, text) if text.starts_with("unknown service") || text == "service not found" => {
            Code::UnknownService
        }
        (500, text) if text.ends_with("is not leased") || text.contains(" is assigned to ") => {
            Code::LeaseLost
        }
        (409, text) if text.starts_with("idempotency key reuse") => Code::KeyReuse,
        (400, _) => Code::BadRequest,
        (401, _) => Code::Unauthorized,
        (403, _) => Code::Forbidden,
        (404, _) => Code::NotFound,
        (405, _) => Code::MethodNotAllowed,
        (409, _) => Code::Conflict,
        (413, _) => Code::TooLarge,
        (422, _) => Code::Unprocessable,
        (429, _) => Code::TooMany,
        (502..=504, _) => Code::Unavailable,
        (_, _) => Code::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_of_either_form_are_read() {
        let code = |status, body: &str| {
            let error = refusal("http://h".into(), status, body.as_bytes(), None);
            (error.code().unwrap(), error.to_string())
        };
        let (with_code, text) = code(409, r#"{"error":"gone","code":"lease_lost"}"#);
        assert_eq!(with_code, Code::LeaseLost);
        assert_eq!(text, "gone (http://h answered 409)");
        let old = code(500, r#"{"error":"unknown host: lab-1"}"#);
        assert_eq!(old.0, Code::UnknownHost);
        let lost = code(500, r#"{"error":"job job_1 is not leased"}"#);
        assert_eq!(lost.0, Code::LeaseLost);
        assert_eq!(
            code(502, "<html>"),
            (
                Code::Unavailable,
                "bad gateway (http://h answered 502)".into()
            )
        );
        let newer = code(409, r#"{"error":"x","code":"not_invented_yet"}"#);
        assert_eq!(newer.0, Code::Internal, "an unknown word is no failure");
    }

    #[test]
    fn every_coordinator_is_named_with_its_cause() {
        let error = Error::NoCoordinator {
            tries: vec![
                Tried {
                    url: "http://a".into(),
                    cause: "connection refused".into(),
                },
                Tried {
                    url: "http://b".into(),
                    cause: "no answer within 10s".into(),
                },
            ],
        };
        assert_eq!(
            error.to_string(),
            "no coordinator could be reached: http://a: connection refused; http://b: no answer within 10s"
        );
    }
}
