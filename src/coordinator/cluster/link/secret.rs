//! What the members of a cluster know in common. Proofs are made with it; it is never sent, logged or shown.

use std::fmt;
use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::coordinator::Tokens;
use crate::support::ids;
use crate::support::secret::Secret;

/// Keeps keys of the cluster apart from whatever else the same text may be used for.
const DERIVE: &[u8] = b"skyclaw cluster key 1";
const NAME: &[u8] = b"name";

/// Returns the code of `parts`. Each part goes in with its length, so that no two lists are the same bytes.
#[allow(clippy::expect_used, reason = "the function takes keys of any length")]
pub fn code(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length is taken");
    for part in parts {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// One secret, as proofs are made with it.
pub struct Key {
    /// Names it without telling it: two members find the one that both know.
    pub id: String,
    bytes: Zeroizing<[u8; 32]>,
}

impl Key {
    fn of(secret: &str) -> Self {
        let bytes = Zeroizing::new(code(secret.as_bytes(), &[DERIVE]));
        let name = code(bytes.as_slice(), &[NAME]);
        Self {
            id: ids::hex(name.first_chunk::<8>().unwrap_or(&[0; 8])),
            bytes,
        }
    }

    /// Gives it to what makes codes with it.
    pub fn expose(&self) -> &[u8] {
        self.bytes.as_slice()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// All secrets that a member accepts: one, or two while it is changed. Clones share them.
///
/// Without any the cluster is as open as a coordinator without a token: whoever reaches the port may be a member.
#[derive(Clone, Debug)]
pub struct Secrets {
    keys: Arc<[Key]>,
    open: bool,
}

impl Secrets {
    /// Returns those of the comma list `explicit`; if it names none, those that follow from the shared `tokens`.
    pub fn of(explicit: Option<&Secret>, tokens: &Tokens) -> Self {
        let named: Vec<Key> = explicit
            .iter()
            .flat_map(|list| list.expose().split(','))
            .map(str::trim)
            .filter(|secret| !secret.is_empty())
            .map(Key::of)
            .collect();
        let keys = if named.is_empty() {
            tokens
                .each()
                .map(|token| Key::of(token.expose()))
                .collect::<Vec<Key>>()
        } else {
            named
        };
        let open = keys.is_empty();
        Self {
            keys: if open { vec![Key::of("")] } else { keys }.into(),
            open,
        }
    }

    /// Tells whether there is no secret at all.
    pub const fn is_open(&self) -> bool {
        self.open
    }

    /// Returns the names of all, the preferred one first.
    pub fn ids(&self) -> Vec<String> {
        self.keys.iter().map(|key| key.id.clone()).collect()
    }

    /// Returns the preferred one of those that are among `ids`. A name is no secret.
    pub fn shared(&self, ids: &[String]) -> Option<&Key> {
        self.keys.iter().find(|key| ids.contains(&key.id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(explicit: &str, tokens: &str) -> Secrets {
        let explicit = Secret::new(explicit.to_owned());
        Secrets::of(Some(&explicit), &Tokens::parse(tokens))
    }

    #[test]
    fn a_named_secret_goes_before_tokens_and_none_is_open() {
        assert_eq!(of("a", "t").ids(), of("a", "").ids());
        assert_eq!(of(" , ", "t").ids(), of("", "t").ids());
        assert_ne!(of("a", "").ids(), of("b", "").ids());
        assert!(of("", "").is_open());
        assert!(!of("", "t").is_open());
        let (old, both) = (of("", "old"), of("", "new,old"));
        assert_eq!(both.ids().len(), 2);
        let shared = both.shared(&old.ids()).expect("one that both know");
        assert!(old.ids().contains(&shared.id));
        assert!(of("", "").shared(&old.ids()).is_none());
    }

    #[test]
    fn nothing_shows_it() {
        let secrets = of("correct-horse", "");
        let shown = format!("{secrets:?}");
        assert!(!shown.contains("horse"), "{shown}");
        let key = secrets.shared(&secrets.ids()).unwrap();
        assert!(!shown.contains(&ids::hex(key.expose())), "{shown}");
        let bytes = format!("{:?}", key.expose());
        assert!(!shown.contains(&bytes), "{shown}");
    }

    #[test]
    fn parts_do_not_run_together() {
        assert_ne!(code(b"k", &[b"ab", b"c"]), code(b"k", &[b"a", b"bc"]));
    }
}
