//! The shared token: who may use the private routes, and how fast somebody may guess.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::http::HeaderMap;
use subtle::ConstantTimeEq;
use tokio::time::Instant;

use crate::support::secret::Secret;

/// How many wrong tokens an address may show in [`WINDOW`] before it hears 429.
const WRONG_AT_MOST: u32 = 5;
const WINDOW: Duration = Duration::from_secs(1);
/// How many addresses are remembered; beyond that the old ones go.
const ADDRESSES: usize = 4096;

/// The tokens that are accepted: usually one, two while it is changed.
#[derive(Debug, Clone, Default)]
pub struct Tokens(Vec<Secret>);

impl Tokens {
    /// Returns the tokens in a comma list. Empty entries do not count.
    pub fn parse(list: &str) -> Self {
        Self(
            list.split(',')
                .map(str::trim)
                .filter(|token| !token.is_empty())
                .map(|token| Secret::new(token.to_owned()))
                .collect(),
        )
    }

    /// Tells whether everybody is let in.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns each.
    pub(super) fn each(&self) -> impl Iterator<Item = &Secret> {
        self.0.iter()
    }

    /// Tells whether the headers show one of the tokens, or none is needed.
    pub fn accept(&self, headers: &HeaderMap) -> bool {
        if self.0.is_empty() {
            return true;
        }
        shows(headers, &self.0)
    }
}

/// Tells whether the headers show one of `tokens`. Takes as long for a wrong one as for a right one; an
/// empty one is no token.
pub fn shows(headers: &HeaderMap, tokens: &[Secret]) -> bool {
    let shown = headers
        .get("x-skyclaw-token")
        .map(|value| value.as_bytes().trim_ascii())
        .or_else(|| bearer(headers));
    let Some(shown) = shown.filter(|shown| !shown.is_empty()) else {
        return false;
    };
    let mut good = subtle::Choice::from(0);
    for token in tokens {
        good |= token.expose().as_bytes().ct_eq(shown);
    }
    good.into()
}

/// Returns what stands after `Bearer` in the authorization header.
pub fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get("authorization")?.as_bytes();
    let (scheme, rest) = value.split_at_checked(7)?;
    scheme
        .eq_ignore_ascii_case(b"bearer ")
        .then(|| rest.trim_ascii())
}

/// Counts wrong tokens per address.
///
/// Right ones always pass: behind a tunnel every host has the same address, and one with an old
/// token must not lock the others out.
#[derive(Debug, Default)]
pub struct Guesses(Mutex<HashMap<IpAddr, (Instant, u32)>>);

impl Guesses {
    /// Notes a wrong token. Tells whether the address has guessed too often lately.
    pub fn wrong(&self, address: IpAddr) -> bool {
        let now = Instant::now();
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= ADDRESSES && !seen.contains_key(&address) {
            seen.retain(|_, (since, _)| now.duration_since(*since) < WINDOW);
            if seen.len() >= ADDRESSES {
                // So many at once are one attacker; nobody is remembered at the expense of memory.
                seen.clear();
            }
        }
        let entry = seen.entry(address).or_insert((now, 0));
        if now.duration_since(entry.0) >= WINDOW {
            *entry = (now, 0);
        }
        entry.1 = entry.1.saturating_add(1);
        entry.1 > WRONG_AT_MOST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        headers
    }

    #[test]
    fn either_token_in_either_header_is_accepted() {
        let tokens = Tokens::parse(" new-one , old-one,");
        for good in [
            headers("x-skyclaw-token", "new-one"),
            headers("x-skyclaw-token", "old-one"),
            headers("authorization", "Bearer new-one"),
            headers("authorization", "bearer old-one"),
        ] {
            assert!(tokens.accept(&good));
        }
        for bad in [
            headers("x-skyclaw-token", "new-on"),
            headers("x-skyclaw-token", "new-one,old-one"),
            headers("authorization", "Basic new-one"),
            headers("authorization", "Bearer"),
            HeaderMap::new(),
        ] {
            assert!(!tokens.accept(&bad));
        }
        assert!(Tokens::parse(" , ").accept(&HeaderMap::new()));
        assert!(!format!("{tokens:?}").contains("one"));
        let nothing = [Secret::new(String::new())];
        for empty in [HeaderMap::new(), headers("x-skyclaw-token", " ")] {
            assert!(!shows(&empty, &nothing), "an empty token opens nothing");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_sixth_wrong_one_in_a_second_is_too_many() {
        let guesses = Guesses::default();
        let (one, other) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        assert_eq!((0..5).filter(|_| guesses.wrong(one)).count(), 0);
        assert!(guesses.wrong(one));
        assert!(!guesses.wrong(other));
        tokio::time::advance(WINDOW).await;
        assert!(!guesses.wrong(one));
    }
}
