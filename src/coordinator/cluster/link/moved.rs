//! Members that are not where the log says: where they were found instead, until the log says something else.
//!
//! Whoever is found at a wrong address is not believed: each connection to a member is proved to lead to it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::queue::cluster::MemberId;

/// Where members were found.
#[derive(Debug, Default)]
pub struct Moved(Mutex<BTreeMap<MemberId, Found>>);

#[derive(Debug)]
struct Found {
    /// What the log said then.
    instead_of: String,
    at: String,
}

impl Moved {
    fn all(&self) -> MutexGuard<'_, BTreeMap<MemberId, Found>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note that `member`, which should be at `known`, was found at `at`. Tells whether that is news.
    pub fn note(&self, member: MemberId, known: &str, at: &str) -> bool {
        let mut all = self.all();
        if known == at {
            return all.remove(&member).is_some();
        }
        let found = Found {
            instead_of: known.to_owned(),
            at: at.to_owned(),
        };
        let before = all.insert(member, found);
        before.is_none_or(|before| before.at != at)
    }

    /// Returns where `member` is, which should be at `known`.
    pub fn place(&self, member: MemberId, known: &str) -> String {
        let all = self.all();
        let found = all.get(&member).filter(|found| found.instead_of == known);
        found.map_or(known, |found| &found.at).to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_where_it_was_found_until_the_log_says_otherwise() {
        let (moved, id) = (Moved::default(), MemberId::from(1));
        assert_eq!(moved.place(id, "http://old:1"), "http://old:1");
        assert!(moved.note(id, "http://old:1", "http://new:1"));
        assert!(!moved.note(id, "http://old:1", "http://new:1"));
        assert_eq!(moved.place(id, "http://old:1"), "http://new:1");
        assert_eq!(moved.place(id, "http://newer:1"), "http://newer:1");
        assert_eq!(
            moved.place(MemberId::from(2), "http://old:1"),
            "http://old:1"
        );
        assert!(moved.note(id, "http://old:1", "http://old:1"));
        assert_eq!(moved.place(id, "http://old:1"), "http://old:1");
    }
}
