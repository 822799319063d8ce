//! Who may call which service: API keys, if there are any.

use std::fmt;

use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, HeaderName, HeaderValue};
use subtle::ConstantTimeEq;

use super::table::Service;
use crate::protocol::Invalid;
use crate::support::secret::Secret;

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// One key and what it opens.
#[derive(Clone)]
pub struct Key {
    secret: Secret,
    /// What people call its owner.
    pub label: String,
    /// Names or ids of services; all if there are none.
    services: Vec<String>,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("label", &self.label)
            .finish_non_exhaustive()
    }
}

impl Key {
    fn parse(entry: &str) -> Result<Self, Invalid> {
        // Nothing of an entry is shown: a key with a colon in it would be.
        let wrong = |why: &str| Invalid::new("gateway key", why.to_owned());
        let mut parts = entry.split(':').map(str::trim);
        let key = parts.next().unwrap_or_default();
        if key.is_empty() {
            return Err(wrong("an entry has no key"));
        }
        if HeaderValue::from_str(key).is_err() || key.contains(char::is_whitespace) {
            return Err(wrong("a key is visible ASCII characters without spaces"));
        }
        let label = parts.next().filter(|label| !label.is_empty());
        let services: Vec<String> = parts
            .next()
            .unwrap_or_default()
            .split('|')
            .map(str::trim)
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect();
        if parts.next().is_some() {
            return Err(wrong("an entry is key:label:service|service"));
        }
        let all = services.iter().any(|name| name == "*");
        Ok(Self {
            secret: Secret::new(key.to_owned()),
            label: label.unwrap_or("anonymous").to_owned(),
            services: if all { Vec::new() } else { services },
        })
    }

    /// Tells whether it opens this service, called by this name.
    pub fn opens(&self, asked: &str, service: Option<&Service>) -> bool {
        self.services.is_empty()
            || self.services.iter().any(|name| {
                service.map_or(name == asked, |service| {
                    *name == service.id || *name == service.name
                })
            })
    }
}

/// All keys; without any everybody may call everything.
#[derive(Debug, Clone, Default)]
pub struct Keys(Vec<Key>);

impl Keys {
    /// Reads entries `key:label:service|service`, separated by commas or line ends. Lines that begin with `#` are
    /// passed over.
    ///
    /// # Errors
    /// When an entry is malformed.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        text.lines()
            .map(str::trim)
            .filter(|line| !line.starts_with('#'))
            .flat_map(|line| line.split(','))
            .map(str::trim)
            .filter(|entry| !entry.is_empty())
            .map(Key::parse)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Tells whether nobody needs a key.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes the key out of a request's headers, so that no backend sees it: the bearer, else `x-api-key`. A header
    /// that holds something else stays, for it is meant for the service.
    pub fn take(&self, headers: &mut HeaderMap) -> Option<&Key> {
        if self.is_empty() {
            return None;
        }
        // Every line is looked at, or a second one would carry the key on.
        let mut lines = headers.get_all(AUTHORIZATION).iter();
        let bearer = lines.find_map(|line| self.find(bearer(line.as_bytes())?));
        let mut lines = headers.get_all(X_API_KEY).iter();
        let plain = lines.find_map(|line| self.find(line.as_bytes().trim_ascii()));
        if bearer.is_some() {
            headers.remove(AUTHORIZATION);
        }
        if plain.is_some() {
            headers.remove(X_API_KEY);
        }
        bearer.or(plain)
    }

    fn find(&self, shown: &[u8]) -> Option<&Key> {
        let mut found = None;
        for key in &self.0 {
            // All are compared, so that the time does not tell which one came near.
            if bool::from(key.secret.expose().as_bytes().ct_eq(shown)) {
                found = Some(key);
            }
        }
        found
    }
}

/// Returns what follows `Bearer ` in any case.
pub(super) fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked(7)?;
    scheme
        .eq_ignore_ascii_case(b"bearer ")
        .then(|| rest.trim_ascii())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::table::Table;
    use super::super::table::tests::record;
    use super::*;

    fn keys() -> Keys {
        Keys::parse("k1:ann:api|svc_2, k2:bob\n# k4:no\nk3::*|x\n\n").unwrap()
    }

    fn shown(pairs: &[(&'static str, &'static str)]) -> (Option<String>, Vec<String>) {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, HeaderValue::from_static(value));
        }
        let keys = keys();
        let label = keys.take(&mut headers).map(|key| key.label.clone());
        (label, headers.keys().map(ToString::to_string).collect())
    }

    #[test]
    fn a_key_is_taken_out_and_what_is_none_stays() {
        let is = |label: &str| Some(label.to_owned());
        let none: Vec<String> = Vec::new();
        assert_eq!(
            shown(&[("authorization", "bearer  k1 ")]),
            (is("ann"), none.clone())
        );
        assert_eq!(shown(&[("x-api-key", "k2")]), (is("bob"), none.clone()));
        let both = [("authorization", "Bearer k1"), ("x-api-key", "k3")];
        assert_eq!(shown(&both), (is("ann"), none), "no key goes on");
        let theirs = [("authorization", "Bearer theirs"), ("x-api-key", "k3")];
        assert_eq!(
            shown(&theirs),
            (is("anonymous"), vec!["authorization".to_owned()])
        );
        for (name, value) in [
            ("authorization", "Bearer k"),
            ("authorization", "k1"),
            ("authorization", "Basic k1"),
            ("x-api-key", "k11"),
            ("x-api-key", ""),
            ("x-api-key", "k4"),
        ] {
            assert_eq!(
                shown(&[(name, value)]),
                (None, vec![name.to_owned()]),
                "{value}"
            );
        }
    }

    #[test]
    fn a_key_opens_what_it_names_by_name_or_id() {
        let list = [
            record("svc_1", "api", &[("a", "running", "http://a:1")]),
            record("svc_2", "other", &[]),
            record("svc_3", "third", &[]),
        ];
        let table = Table::after(&Table::default(), &list);
        let keys = keys();
        let opens =
            |at: usize, asked: &str| keys.0[at].opens(asked, table.find(asked).map(Arc::as_ref));
        for (asked, ann) in [
            ("api", true),
            ("svc_1", true),
            ("other", true),
            ("svc_2", true),
            ("third", false),
            ("svc_3", false),
            ("unknown", false),
        ] {
            assert_eq!(opens(0, asked), ann, "{asked}");
            assert!(opens(1, asked) && opens(2, asked), "all");
        }
    }

    #[test]
    fn what_is_malformed_is_refused_without_showing_it() {
        for bad in [":x", "geheim:a:b:c", "geh eim:a"] {
            let error = Keys::parse(bad).unwrap_err().to_string();
            assert!(!error.contains("geh"), "{error}");
        }
        assert!(Keys::parse(" ,\n,").unwrap().is_empty());
    }
}
