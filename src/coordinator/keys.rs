//! Keys of the public API: what each may ask for, and how fast.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::HeaderMap;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::time::Instant;

use super::auth::bearer;
use crate::protocol::Invalid;
use crate::support::ids;
use crate::support::secret::Secret;

/// What the names of those who submit through the public API begin with.
pub const PUBLIC: &str = "public:";

/// How many requests a key may make at once, and how many more it earns per second.
const BURST: f64 = 50.0;
const PER_SECOND: f64 = 10.0;

/// One key and what it may do.
pub struct ApiKey {
    secret: Secret,
    /// What people call its owner.
    pub label: String,
    /// What its jobs may ask of a host: sorted, unique.
    pub capabilities: Vec<String>,
    /// Whether it may run `shell` jobs.
    pub shell: bool,
    /// Whether it may set the environment and directory of its jobs.
    pub env: bool,
    /// What stands in `submittedBy` of its jobs, and tells them from those of other keys.
    pub submitter: String,
    /// The start of the key's digest: names the key in the queue without telling it.
    pub digest: String,
    budget: Mutex<(Instant, f64)>,
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKey")
            .field("label", &self.label)
            .finish_non_exhaustive()
    }
}

impl ApiKey {
    fn parse(entry: &str) -> Result<Self, Invalid> {
        let mut parts = entry.split(':').map(str::trim);
        let key = parts.next().unwrap_or_default();
        if key.is_empty() {
            return Err(Invalid::new("public API key", "an entry has no key"));
        }
        let label = parts.next().filter(|label| !label.is_empty());
        let listed = parts.next().unwrap_or_default();
        let (mut shell, mut env) = (false, false);
        for word in parts {
            match word {
                "shell" => shell = true,
                "env" => env = true,
                "" => {}
                _ => {
                    // The text is not shown: a key with a colon in it would be.
                    return Err(Invalid::new(
                        "public API key",
                        "after key:label:capabilities only `shell` and `env` may follow",
                    ));
                }
            }
        }
        let mut capabilities: Vec<String> = listed
            .split('|')
            .map(str::trim)
            .filter(|word| !word.is_empty())
            .map(ToOwned::to_owned)
            .collect();
        if capabilities.is_empty() {
            capabilities.push("openclaw".to_owned());
        }
        capabilities.sort();
        capabilities.dedup();
        let digest = Sha256::digest(key.as_bytes());
        let label = label.unwrap_or("anonymous").to_owned();
        Ok(Self {
            secret: Secret::new(key.to_owned()),
            submitter: format!("{PUBLIC}{label}"),
            label,
            capabilities,
            shell,
            env,
            digest: ids::hex(digest.get(..8).unwrap_or_default()),
            budget: Mutex::new((Instant::now(), BURST)),
        })
    }

    /// Takes one request from the key's budget. Returns how long to wait if it is used up.
    ///
    /// # Errors
    /// The time until the next request is allowed.
    pub fn spend(&self) -> Result<(), Duration> {
        let now = Instant::now();
        let mut budget = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, left) = *budget;
        let left = (left + now.duration_since(since).as_secs_f64() * PER_SECOND).min(BURST);
        if left < 1.0 {
            *budget = (now, left);
            return Err(Duration::from_secs_f64((1.0 - left) / PER_SECOND));
        }
        *budget = (now, left - 1.0);
        Ok(())
    }
}

/// All keys.
#[derive(Debug, Clone, Default)]
pub struct Keys(Vec<Arc<ApiKey>>);

impl Keys {
    /// Reads a comma list of `key:label:cap|cap[:shell][:env]`.
    ///
    /// # Errors
    /// When an entry is malformed.
    pub fn parse(list: &str) -> Result<Self, Invalid> {
        let mut keys = list
            .split(',')
            .map(str::trim)
            .filter(|entry| !entry.is_empty())
            .map(ApiKey::parse)
            .collect::<Result<Vec<_>, _>>()?;
        let labels: Vec<String> = keys.iter().map(|key| key.label.clone()).collect();
        for key in &mut keys {
            // Owners that share a label must still not see each other's jobs.
            if labels.iter().filter(|label| **label == key.label).count() > 1 {
                key.submitter = format!("{PUBLIC}{}#{}", key.label, key.digest);
            }
        }
        Ok(Self(keys.into_iter().map(Arc::new).collect()))
    }

    /// Tells whether the public API is off.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the key that the headers show: the bearer first, then `x-api-key`.
    pub fn find(&self, headers: &HeaderMap) -> Option<&Arc<ApiKey>> {
        let shown = bearer(headers)
            .or_else(|| headers.get("x-api-key").map(|v| v.as_bytes().trim_ascii()))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_as_the_original_reads_them() {
        let keys = Keys::parse("k1:site:shell|openclaw:shell, k2 ,k3::gpu|gpu:env:shell").unwrap();
        let [one, two, three] = keys.0.as_slice() else {
            panic!("three keys")
        };
        assert_eq!(one.capabilities, ["openclaw", "shell"]);
        assert!(one.shell && !one.env);
        assert_eq!((two.label.as_str(), two.shell), ("anonymous", false));
        assert_eq!(two.capabilities, ["openclaw"]);
        assert!(three.env && three.shell);
        assert_eq!(three.capabilities, ["gpu"]);
        assert!(Keys::parse(":x").is_err() && Keys::parse("k:l:c:root").is_err());
        assert!(!format!("{keys:?}").contains("k1"));
        let mut headers = HeaderMap::new();
        headers.insert("x-api-key", "k2".parse().unwrap());
        assert_eq!(keys.find(&headers).unwrap().label, "anonymous");
        headers.insert("authorization", "Bearer k9".parse().unwrap());
        assert!(keys.find(&headers).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn fifty_at_once_then_ten_a_second() {
        let key = ApiKey::parse("k").unwrap();
        assert_eq!((0..60).filter(|_| key.spend().is_ok()).count(), 50);
        let wait = key.spend().unwrap_err();
        assert!(wait <= Duration::from_millis(100));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!((0..60).filter(|_| key.spend().is_ok()).count(), 10);
    }
}
