//! The coordinators that a client knows: those it was told to ask, and behind them those that these told it of.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use reqwest::Url;

use super::address::{Reach, careful_client};
use super::choice::Choice;
use super::error::Error;

/// How many are learned of at most.
const MOST: usize = 16;

/// All of them, shared by all clones of a client.
#[derive(Debug)]
pub(super) struct Members {
    known: Mutex<Vec<Arc<Reach>>>,
    choice: Choice,
    /// What connects to those that were learned of.
    careful: OnceLock<reqwest::Client>,
}

impl Members {
    /// Returns those at these addresses, in the order in which they are tried.
    pub(super) fn of(urls: &[Url], return_after: Duration) -> Result<Self, Error> {
        let known = Reach::all(urls)?.into_iter().map(Arc::new).collect();
        Ok(Self {
            known: Mutex::new(known),
            choice: Choice::new(return_after),
            careful: OnceLock::new(),
        })
    }

    /// Returns all in the order in which to ask now.
    pub(super) fn in_order(&self) -> Vec<Arc<Reach>> {
        let known = self.known();
        let order = self.choice.order(known.len());
        order
            .into_iter()
            .filter_map(|index| known.get(index).cloned())
            .collect()
    }

    /// Returns the one that last answered, or is asked first.
    pub(super) fn current(&self) -> Option<Arc<Reach>> {
        self.known().get(self.choice.current()).cloned()
    }

    /// Tells whether there is another one to ask.
    pub(super) fn are_several(&self) -> bool {
        self.known().len() > 1
    }

    /// Takes note that this one answered.
    pub(super) fn worked(&self, reach: &Arc<Reach>) {
        let known = self.known();
        if let Some(index) = known.iter().position(|one| Arc::ptr_eq(one, reach)) {
            self.choice.worked(index);
        }
    }

    /// Takes note that this one does not answer: the next one is asked first.
    pub(super) fn doubt(&self, reach: &Arc<Reach>) {
        let known = self.known();
        let index = known.iter().position(|one| Arc::ptr_eq(one, reach));
        if let Some(index) = index.filter(|index| *index == self.choice.current()) {
            self.choice.worked((index + 1) % known.len());
        }
    }

    /// Takes these for the ones that were learned of. Those that are known keep their connections.
    pub(super) fn learn(&self, urls: &[Url]) -> Result<(), Error> {
        let tcp = match self.careful.get() {
            Some(tcp) => tcp,
            None => {
                let made = careful_client()?;
                self.careful.get_or_init(|| made)
            }
        };
        let mut known = self.known();
        let current = known.get(self.choice.current()).cloned();
        let mut next: Vec<Arc<Reach>> = known.iter().filter(|one| !one.learned).cloned().collect();
        let told = next.len();
        for url in urls {
            if next.iter().any(|one| one.url == *url) || next.len() - told >= MOST {
                continue;
            }
            let old = known.iter().find(|one| one.url == *url);
            next.push(match old {
                Some(old) => Arc::clone(old),
                None => Arc::new(Reach::learned(url, tcp)?),
            });
        }
        let index = current.and_then(|it| next.iter().position(|one| Arc::ptr_eq(one, &it)));
        match index {
            Some(index) => self.choice.renumbered(index),
            None => self.choice.worked(0),
        }
        *known = next;
        Ok(())
    }

    fn known(&self) -> MutexGuard<'_, Vec<Arc<Reach>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::address::parse_url;

    fn urls(names: &[&str]) -> Vec<Url> {
        let url = |name: &&str| parse_url(&format!("http://{name}:1")).unwrap();
        names.iter().map(url).collect()
    }

    fn members(names: &[&str]) -> Members {
        crate::support::tls::use_ring();
        Members::of(&urls(names), Duration::from_secs(300)).unwrap()
    }

    fn order(members: &Members) -> Vec<String> {
        let reaches = members.in_order();
        let name = |reach: &Arc<Reach>| reach.url.host_str().unwrap().to_owned();
        reaches.iter().map(name).collect()
    }

    #[test]
    fn learned_ones_come_behind_and_the_one_that_works_stays() {
        let members = members(&["a", "b"]);
        members.learn(&urls(&["c", "b", "d", "c"])).unwrap();
        assert_eq!(order(&members), ["a", "b", "c", "d"]);
        let c = members.in_order()[2].clone();
        members.worked(&c);
        members.learn(&urls(&["e", "c"])).unwrap();
        assert_eq!(order(&members), ["c", "a", "b", "e"]);
        assert!(Arc::ptr_eq(&members.in_order()[0], &c), "its connections");
        members.doubt(&c);
        assert_eq!(order(&members), ["a", "b", "e", "c"]);
        members.doubt(&c);
        assert_eq!(order(&members)[0], "a", "it is not asked first any more");
        members.worked(&c);
        members.learn(&[]).unwrap();
        assert_eq!(order(&members), ["a", "b"]);
        members.worked(&c);
        assert_eq!(order(&members), ["a", "b"], "it is gone");
    }

    #[test]
    fn no_more_are_learned_of_than_are_needed() {
        let members = members(&["a"]);
        let many: Vec<String> = (0..100).map(|n| format!("m{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        members.learn(&urls(&many)).unwrap();
        assert_eq!(order(&members).len(), 1 + MOST);
    }
}
