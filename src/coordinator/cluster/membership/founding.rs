//! Who founds the cluster among coordinators that all wait to be taken in. Pure.
//!
//! Deployments of the original list each other, so none of them is the first one by its settings. Each
//! follows the lists of those it reaches until they lead to nobody new: its *circle*. It does nothing
//! while somebody of its circle cannot be reached, because that one may have jobs. When all are there and
//! all wait, the one with the lowest number founds, and only after everybody of its circle has promised
//! it not to found and not to promise that to another ([`Promise`]), and waits for it from then on. Two circles that share
//! anybody therefore never have two founders, not even when the lists are not the same.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::Url;
use tokio::time::{Duration, Instant};

use crate::queue::cluster::{ClusterId, MemberId};

/// How many addresses are followed; more is a mistake or an attack.
pub const MOST: usize = 64;

/// What is found at an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sighting {
    /// Nobody, or nobody who can be believed; and why.
    Silent(String),
    /// This coordinator itself.
    Oneself,
    /// One that waits as this one does, and the addresses that it was told.
    Waiting {
        /// Who.
        member: MemberId,
        /// Whom it waits for.
        peers: Vec<Url>,
    },
    /// One that serves, alone or as part of a cluster.
    Serving {
        /// Who.
        member: MemberId,
        /// Its cluster; nothing while it is alone.
        cluster: Option<ClusterId>,
    },
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Ask to be taken in at one of these, the first one first.
    Join(Vec<Url>),
    /// Ask all of these for their promise, in this order, then found. Oneself is among them, without an address.
    Found(BTreeMap<MemberId, Option<Url>>),
    /// Look again later.
    Wait(Why),
}

/// Why there is nothing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// There is nobody to ask.
    Nobody,
    /// These addresses say nothing that helps.
    Silent(Vec<(Url, String)>),
    /// Somebody of the circle lists addresses that this one may not follow.
    NotListed(Vec<Url>),
    /// This one founds, with a lower number.
    Other(MemberId, Url),
}

/// Returns the addresses of the circle, as far as it is known. `follow`: the lists of others count too.
pub fn circle(mine: &[Url], seen: &BTreeMap<Url, Sighting>, follow: bool) -> Vec<Url> {
    let mut all: Vec<Url> = Vec::new();
    let mut next: Vec<Url> = mine.to_vec();
    while !next.is_empty() {
        let mut further = Vec::new();
        for url in next {
            if all.contains(&url) || all.len() >= MOST {
                continue;
            }
            if follow && let Some(Sighting::Waiting { peers, .. }) = seen.get(&url) {
                further.extend(peers.iter().cloned());
            }
            all.push(url);
        }
        next = further;
    }
    all
}

/// Decides what `me` does, told the addresses `mine`, after it looked at all of its circle.
pub fn decide(me: MemberId, mine: &[Url], seen: &BTreeMap<Url, Sighting>, follow: bool) -> Next {
    if mine.is_empty() {
        return Next::Wait(Why::Nobody);
    }
    let circle = circle(mine, seen, follow);
    let serving: Vec<Url> = circle
        .iter()
        .filter(|url| matches!(seen.get(*url), Some(Sighting::Serving { .. })))
        .cloned()
        .collect();
    if !serving.is_empty() {
        return Next::Join(serving);
    }
    let mut silent = Vec::new();
    let mut waiting = BTreeMap::from([(me, None)]);
    let mut unlisted = Vec::new();
    for url in &circle {
        match seen.get(url) {
            Some(Sighting::Waiting { member, peers }) => {
                if *member != me {
                    waiting.entry(*member).or_insert_with(|| Some(url.clone()));
                }
                unlisted.extend(peers.iter().filter(|peer| !circle.contains(peer)).cloned());
            }
            Some(Sighting::Oneself) => {}
            Some(Sighting::Silent(why)) => silent.push((url.clone(), why.clone())),
            Some(Sighting::Serving { .. }) => {}
            None => silent.push((url.clone(), "it was not asked yet".to_owned())),
        }
    }
    if !silent.is_empty() {
        return Next::Wait(Why::Silent(silent));
    }
    if !unlisted.is_empty() {
        unlisted.sort();
        unlisted.dedup();
        return Next::Wait(Why::NotListed(unlisted));
    }
    match waiting.first_key_value() {
        Some((first, Some(url))) => Next::Wait(Why::Other(*first, url.clone())),
        Some((_, None)) | None => Next::Found(waiting),
    }
}

/// Returns the clusters that the addresses of a circle belong to, if they are more than one: a
/// mistake that somebody should hear of.
pub fn different(seen: &BTreeMap<Url, Sighting>) -> Option<Vec<Url>> {
    let mut owners: BTreeSet<String> = BTreeSet::new();
    let mut urls = Vec::new();
    for (url, sighting) in seen {
        if let Sighting::Serving { member, cluster } = sighting {
            let owner = match cluster {
                Some(cluster) => cluster.to_string(),
                None => member.to_string(),
            };
            owners.insert(owner);
            urls.push(url.clone());
        }
    }
    (owners.len() > 1).then_some(urls)
}

/// How long a promise binds.
pub const PROMISED_FOR: Duration = Duration::from_secs(20);
/// How long a founder may take from its first question to the founding: well below [`PROMISED_FOR`].
pub const FOUND_WITHIN: Duration = Duration::from_secs(10);

/// Whom a waiting coordinator has promised to let found.
#[derive(Debug, Clone, Copy, Default)]
pub struct Promise(Option<(MemberId, Instant)>);

impl Promise {
    /// Promises it to `founder`, or says who has the promise.
    ///
    /// # Errors
    /// With the one who has it.
    pub fn give(&mut self, founder: MemberId, now: Instant) -> Result<(), MemberId> {
        match self.0 {
            Some((other, until)) if other != founder && now < until => Err(other),
            _ => {
                self.0 = Some((founder, now + PROMISED_FOR));
                Ok(())
            }
        }
    }

    /// Takes the promise back if `founder` has it.
    pub fn release(&mut self, founder: MemberId) {
        if self.0.is_some_and(|(holder, _)| holder == founder) {
            self.0 = None;
        }
    }
}

#[cfg(test)]
#[path = "founding_tests.rs"]
mod tests;
