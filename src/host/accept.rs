//! Whose jobs the owner of this host accepts, and of which kinds.
//!
//! A submitter's name is what the coordinator says it is. With one shared token anybody may claim any
//! name there, so this is a courtesy between people who trust each other, not a lock.

use wildmatch::WildMatch;

/// The owner's list. Empty accepts everybody.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accept(Vec<Rule>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    submitter: String,
    /// Empty means every kind.
    kinds: Vec<String>,
}

impl Accept {
    /// Reads `alice=shell|openclaw-run,ci-*,*=picoclaw-task`: a submitter, with `*` and `?` for any
    /// characters, and after `=` the kinds of job accepted from it.
    ///
    /// # Errors
    /// When a rule names nobody or a kind that does not exist.
    pub fn parse(text: &str) -> Result<Self, String> {
        let known = crate::protocol::api::JobKind::WORDS;
        let mut rules = Vec::new();
        for part in text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
        {
            let (submitter, kinds) = part.split_once('=').unwrap_or((part, ""));
            let kinds: Vec<String> = kinds
                .split('|')
                .map(|kind| kind.trim().to_owned())
                .filter(|kind| !kind.is_empty())
                .collect();
            if submitter.trim().is_empty() {
                return Err(format!("`{part}` names no submitter: write NAME=KIND|KIND"));
            }
            if let Some(kind) = kinds.iter().find(|kind| !known.contains(&kind.as_str())) {
                return Err(format!(
                    "`{kind}` is no kind of job: use {}",
                    known.join(", ")
                ));
            }
            rules.push(Rule {
                submitter: submitter.trim().to_owned(),
                kinds,
            });
        }
        Ok(Self(rules))
    }

    /// Tells whether a job of this kind is accepted from `submitter`. Who has no name fits only `*`.
    pub(super) fn takes(&self, submitter: Option<&str>, kind: &str) -> bool {
        self.0.is_empty()
            || self.0.iter().any(|rule| {
                WildMatch::new(&rule.submitter).matches(submitter.unwrap_or_default())
                    && (rule.kinds.is_empty() || rule.kinds.iter().any(|known| known == kind))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_names_a_submitter_and_its_kinds() {
        let accept = Accept::parse("alice=shell|openclaw-run, ci-*,*=picoclaw-task").unwrap();
        assert!(accept.takes(Some("alice"), "shell"));
        assert!(!accept.takes(Some("alice"), "automaton-run"));
        assert!(accept.takes(Some("ci-7"), "automaton-run"));
        assert!(accept.takes(Some("public:x"), "picoclaw-task"));
        assert!(accept.takes(None, "picoclaw-task"));
        assert!(!accept.takes(None, "shell"));
        assert!(!accept.takes(Some("mallory"), "shell"));
        assert!(Accept::default().takes(None, "shell"));
        for wrong in ["=shell", "alice=shel"] {
            assert!(Accept::parse(wrong).is_err(), "{wrong}");
        }
    }
}
