//! The validated words of a fleet file: host names, addresses, architectures.
//!
//! Nothing that reaches a remote command line or a terminal may carry a control character, and
//! nothing may begin with `-`, where some program down the road would take it for an option.

use std::fmt;
use std::net::Ipv6Addr;

use serde::Serialize;

/// The name of a host in the fleet file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct HostName(String);

impl HostName {
    /// Takes `text` if it is a name: `[A-Za-z0-9._-]+`, not starting with `-`.
    ///
    /// # Errors
    /// When it is not.
    pub fn new(text: &str) -> Result<Self, Invalid> {
        word(text).map(Self)
    }

    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Where a host is: a DNS name, an IP address, or an alias of the user's SSH configuration.
///
/// An IPv6 address is kept without brackets.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Address(String);

impl Address {
    /// Takes `text` if it is an address; IPv6 may be bare or in brackets, and may have a zone.
    ///
    /// # Errors
    /// When it is not.
    pub fn new(text: &str) -> Result<Self, Invalid> {
        let inner = text
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        let literal = inner.unwrap_or(text);
        let (digits, zone) = match literal.split_once('%') {
            Some((digits, zone)) => (digits, Some(zone)),
            None => (literal, None),
        };
        if digits.parse::<Ipv6Addr>().is_ok() && zone.is_none_or(|zone| word(zone).is_ok()) {
            return Ok(Self(literal.to_owned()));
        }
        if inner.is_some() {
            return Err(Invalid("only an IPv6 address goes in brackets"));
        }
        if text.contains('@') {
            return Err(Invalid("the user goes in `user`, not in the address"));
        }
        if let Some((_, port)) = text.rsplit_once(':')
            && port.parse::<u16>().is_ok()
        {
            return Err(Invalid("the port goes in `port`, not in the address"));
        }
        word(text).map(Self)
    }

    /// Returns the address as text, IPv6 without brackets.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Why a word was refused; reads on after "…: ".
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub(super) &'static str);

/// Takes `text` if it is one plain word: letters, digits, `.`, `_`, `-`, not starting with `-`.
pub(super) fn word(text: &str) -> Result<String, Invalid> {
    if text.is_empty() {
        return Err(Invalid("must not be empty"));
    }
    if text.starts_with('-') {
        return Err(Invalid("must not begin with `-`"));
    }
    if !text
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    {
        return Err(Invalid("must be letters, digits, `.`, `_` and `-` only"));
    }
    Ok(text.to_owned())
}

/// Tells whether `text` can be the name of an environment variable.
pub(super) fn is_variable(text: &str) -> bool {
    !text.starts_with(|first: char| first.is_ascii_digit())
        && !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Returns the candidate that `text` was most likely meant to be, if one is near.
pub fn nearest<'c>(text: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    nearest_few(text, candidates, 1).into_iter().next()
}

/// Returns up to `most` candidates near `text`, the nearest first.
pub fn nearest_few<'c>(
    text: &str,
    candidates: impl IntoIterator<Item = &'c str>,
    most: usize,
) -> Vec<&'c str> {
    let lower = text.to_ascii_lowercase();
    // A third of the letters may be wrong, and always one: `usr` is `user`, but `abc` is not `xyz`.
    let allowed = (lower.chars().count() / 3).max(1);
    let mut near: Vec<(usize, &str)> = candidates
        .into_iter()
        .map(|candidate| {
            let other = candidate.to_ascii_lowercase();
            let distance = strsim::osa_distance(&lower, &other);
            // `node` was cut short; it does not matter how much of `node0001` is missing.
            let begins = lower.len() >= 3 && other.starts_with(&lower);
            let distance = if begins {
                distance.min(allowed)
            } else {
                distance
            };
            (distance, candidate)
        })
        .filter(|(distance, _)| *distance <= allowed)
        .collect();
    near.sort_by_key(|(distance, _)| *distance);
    near.into_iter()
        .take(most)
        .map(|(_, candidate)| candidate)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain_words() {
        for good in ["a", "web-1", "A.b_c", "1", "_x"] {
            assert_eq!(HostName::new(good).unwrap().as_str(), good);
        }
        for bad in [
            "",
            "-a",
            "a b",
            "a/b",
            "ü",
            "a\n",
            "a\u{1b}[m",
            "web*",
            "@g",
        ] {
            assert!(HostName::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn addresses_keep_ipv6_without_brackets() {
        let good = [
            ("10.0.0.1", "10.0.0.1"),
            ("db.example.org", "db.example.org"),
            ("[::1]", "::1"),
            ("fe80::1%eth0", "fe80::1%eth0"),
            ("2001:db8::5", "2001:db8::5"),
        ];
        for (text, kept) in good {
            assert_eq!(Address::new(text).unwrap().as_str(), kept);
        }
        let bad = [
            ("", "must not be empty"),
            ("-oProxyCommand=x", "must not begin with `-`"),
            (
                "eric@10.0.0.1",
                "the user goes in `user`, not in the address",
            ),
            ("10.0.0.1:22", "the port goes in `port`, not in the address"),
            ("[db1]", "only an IPv6 address goes in brackets"),
            (
                "fe80::1%-x",
                "must be letters, digits, `.`, `_` and `-` only",
            ),
        ];
        for (text, why) in bad {
            assert_eq!(Address::new(text).unwrap_err().to_string(), why, "{text}");
        }
    }

    #[test]
    fn near_misses_are_few_and_near() {
        assert_eq!(nearest("usr", ["name", "user", "host"]), Some("user"));
        assert_eq!(nearest("sshkey", ["ssh_key", "host_key"]), Some("ssh_key"));
        assert_eq!(nearest("zzz", ["name", "user"]), None);
        assert_eq!(
            nearest_few("web", ["web1", "db1", "web2"], 3),
            ["web1", "web2"]
        );
        assert_eq!(nearest("node", ["node0001", "n"]), Some("node0001"));
    }
}
