//! Blanks the secrets of a service in what it prints, before anybody keeps or reads that.

use std::borrow::Cow;

use crate::support::secret::Secret;

/// Shorter values are not looked for: their bytes are everywhere.
const SHORTEST: usize = 6;
/// What stands in their place.
const BLANK: &[u8] = b"***";

/// One stream of a service's output. A secret is found also where it comes in pieces.
pub(super) struct Blank {
    secrets: Vec<Secret>,
    /// The bytes that secrets begin with.
    first: [bool; 256],
    /// The end of what was printed, if a secret begins so.
    held: Vec<u8>,
}

impl Blank {
    /// Returns a stream in which these are blanked.
    pub(super) fn new(secrets: impl IntoIterator<Item = Secret>) -> Self {
        let mut secrets: Vec<Secret> = secrets
            .into_iter()
            .filter(|secret| secret.expose().len() >= SHORTEST)
            .collect();
        // Longest first, so that a secret that contains another is blanked whole.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.expose().len()));
        let mut first = [false; 256];
        for secret in &secrets {
            let byte = secret.expose().bytes().next().map(usize::from);
            if let Some(begins) = byte.and_then(|byte| first.get_mut(byte)) {
                *begins = true;
            }
        }
        Self {
            secrets,
            first,
            held: Vec::new(),
        }
    }

    /// Returns what may be read of `bytes` and of what was held back before them.
    pub(super) fn pass<'b>(&mut self, bytes: &'b [u8]) -> Cow<'b, [u8]> {
        if self.secrets.is_empty() {
            return Cow::Borrowed(bytes);
        }
        Cow::Owned(self.blanked(bytes, false))
    }

    /// Returns what was held back: nothing follows.
    pub(super) fn rest(&mut self) -> Vec<u8> {
        self.blanked(&[], true)
    }

    fn blanked(&mut self, bytes: &[u8], last: bool) -> Vec<u8> {
        let mut text = std::mem::take(&mut self.held);
        text.extend_from_slice(bytes);
        let mut out = Vec::with_capacity(text.len());
        let mut left = text.as_slice();
        while !left.is_empty() {
            let begins = |byte: &u8| self.first.get(usize::from(*byte)) == Some(&true);
            let plain = left.iter().position(begins).unwrap_or(left.len());
            let (before, rest) = left.split_at(plain);
            out.extend_from_slice(before);
            let values = || self.secrets.iter().map(|secret| secret.expose().as_bytes());
            let may_be = |value: &[u8]| value.len() > rest.len() && value.starts_with(rest);
            if !last && !rest.is_empty() && values().any(may_be) {
                self.held = rest.to_vec();
                break;
            }
            left = match values().find(|value| rest.starts_with(value)) {
                Some(value) => {
                    out.extend_from_slice(BLANK);
                    rest.get(value.len()..).unwrap_or_default()
                }
                None => {
                    out.extend(rest.first());
                    rest.get(1..).unwrap_or_default()
                }
            };
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blank(secrets: &[&str]) -> Blank {
        let secrets = secrets.iter().map(|text| Secret::new((*text).to_owned()));
        Blank::new(secrets.collect::<Vec<_>>())
    }

    fn printed(secrets: &[&str], pieces: &[&str]) -> String {
        let mut stream = blank(secrets);
        let mut all = Vec::new();
        for piece in pieces {
            all.extend_from_slice(&stream.pass(piece.as_bytes()));
        }
        all.extend(stream.rest());
        String::from_utf8(all).unwrap()
    }

    #[test]
    fn secrets_are_blanked_however_they_come() {
        let secrets = ["s3cret-1", "s3cret-1-longer", "short"];
        let text = "a s3cret-1 b s3cret-1-longer c s3cre short s3s3cret-1";
        let shown = "a *** b *** c s3cre short s3***";
        assert_eq!(printed(&secrets, &[text]), shown);
        for at in 1..text.len() {
            let (front, back) = text.split_at(at);
            assert_eq!(printed(&secrets, &[front, back]), shown, "{at}");
        }
        let bytes: Vec<String> = text.chars().map(String::from).collect();
        let bytes: Vec<&str> = bytes.iter().map(String::as_str).collect();
        assert_eq!(printed(&secrets, &bytes), shown);
    }

    #[test]
    fn only_what_may_be_a_secret_waits() {
        let mut stream = blank(&["s3cret-1"]);
        assert_eq!(&*stream.pass(b"one\ntwo s3c"), b"one\ntwo ");
        assert_eq!(&*stream.pass(b"an\n"), b"s3can\n");
        assert!(stream.rest().is_empty());
        // Without secrets nothing is copied.
        assert!(matches!(blank(&["no"]).pass(b"x"), Cow::Borrowed(b"x")));
    }
}
