//! What an answer, or none, says about asking again: here, elsewhere, in a moment, or not at all.

use std::time::Duration;

use super::address::Reach;
use super::error::Error;
use crate::support::chain::chain;

/// A coordinator that is back within this time, by its own word, is waited for.
const SOON: Duration = Duration::from_secs(2);

/// Why one coordinator gave no answer.
#[derive(Debug)]
pub(super) enum NoAnswer {
    /// The connection ended under the request; a fresh one may hold.
    Broken(String),
    /// It took the request, and said nothing.
    Silent(String),
    Other(String),
}

/// Tells whether the answer is no answer to what was asked, so that another coordinator may have one.
pub(super) fn is_failure(refused: &Error, reach: &Reach) -> bool {
    refused.status().is_some_and(|status| {
        // Where we were told to go and are not let in, the mistake is not the caller's.
        status >= 500 || (reach.learned && matches!(status, 401 | 403))
    })
}

/// Returns how long a coordinator asks to be left alone, if it will be able to answer in a moment: it is choosing a
/// leader, or busy. One whose disk is full does not say so.
pub(super) fn soon(error: &Error) -> Option<Duration> {
    match error {
        Error::Refused {
            status: 503,
            retry_after: Some(after),
            ..
        } => (*after <= SOON).then_some(*after),
        Error::Refused { .. }
        | Error::NoCoordinator { .. }
        | Error::Answer { .. }
        | Error::File { .. }
        | Error::Request(_)
        | Error::Token
        | Error::Address { .. }
        | Error::Build(_) => None,
    }
}

/// Says in a few words why there was no answer; the address stands beside it anyway.
pub(super) fn cause(error: reqwest::Error) -> NoAnswer {
    let error = error.without_url();
    if error.is_timeout() {
        return NoAnswer::Other("no connection within 4s".to_owned());
    }
    let mut source: Option<&dyn std::error::Error> = Some(&error);
    while let Some(inner) = source {
        if let Some(io) = inner.downcast_ref::<std::io::Error>()
            && error.is_connect()
        {
            return NoAnswer::Other(plain(&io.to_string()));
        }
        source = inner.source();
    }
    let text = plain(&chain(&error));
    if error.is_connect() {
        NoAnswer::Other(text)
    } else {
        NoAnswer::Broken(text)
    }
}

/// Drops the number that the system adds to its errors.
fn plain(text: &str) -> String {
    let text = text.split(" (os error").next().unwrap_or(text);
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => String::new(),
    }
}
