//! Blanks secrets in text that leaves the program: logs, errors, plans.
//!
//! Two nets: values that are known to be secret, and the shape `NAME_KEY=value` for those that are not.

use std::borrow::Cow;

use crate::support::secret::Secret;

/// Values shorter than this are not searched for: blanking every `a` would hide the message, not the secret.
const SHORTEST: usize = 6;

/// Blanks the values it knows.
#[derive(Clone, Debug, Default)]
pub struct Masker {
    known: Vec<Secret>,
}

impl Masker {
    /// Returns a masker that knows `secrets`.
    pub fn new(secrets: impl IntoIterator<Item = Secret>) -> Self {
        let mut known: Vec<Secret> = secrets
            .into_iter()
            .filter(|secret| secret.expose().len() >= SHORTEST)
            .collect();
        // Longest first, so that a secret that contains another is blanked whole.
        known.sort_by_key(|secret| std::cmp::Reverse(secret.expose().len()));
        Self { known }
    }

    /// Returns `text` with every known value and every secret-looking assignment blanked.
    pub fn mask<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut text = Cow::Borrowed(text);
        for secret in &self.known {
            if text.contains(secret.expose()) {
                text = Cow::Owned(text.replace(secret.expose(), "***"));
            }
        }
        match mask_assignments(&text) {
            Some(masked) => Cow::Owned(masked),
            None => text,
        }
    }
}

/// Tells whether a variable of this name holds a secret by its looks.
pub fn is_secret_name(name: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    ["_KEY", "_TOKEN", "_SECRET", "_PASSWORD", "_PASSPHRASE"]
        .iter()
        .any(|ending| upper.ends_with(ending))
}

fn mask_assignments(text: &str) -> Option<String> {
    let mut out = String::new();
    let mut copied = 0;
    for (equals, _) in text.match_indices('=') {
        if equals < copied {
            continue;
        }
        let (before, after) = (text.get(copied..equals)?, text.get(equals + 1..)?);
        let name_start = before
            .rfind(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
            .map_or(0, |at| {
                at + before[at..].chars().next().map_or(1, char::len_utf8)
            });
        if !before.get(name_start..).is_some_and(is_secret_name) {
            continue;
        }
        let value_len = after.find(char::is_whitespace).unwrap_or(after.len());
        if value_len == 0 {
            continue;
        }
        out.push_str(before);
        out.push_str("=***");
        copied = equals + 1 + value_len;
    }
    if copied == 0 {
        return None;
    }
    out.push_str(text.get(copied..)?);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_known_values_and_assignments() {
        let masker = Masker::new([Secret::new("sk-12345".into()), Secret::new("no".into())]);
        assert_eq!(masker.mask("key sk-12345 no"), "key *** no");
        assert_eq!(
            masker.mask("env ANTHROPIC_API_KEY=abc PATH=/bin X_TOKEN='q r' é=1"),
            "env ANTHROPIC_API_KEY=*** PATH=/bin X_TOKEN=*** r' é=1"
        );
        assert!(matches!(masker.mask("nothing=here"), Cow::Borrowed(_)));
    }
}
