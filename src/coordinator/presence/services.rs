//! What services need to know of hosts: whether they live, by their own word alone, and take anything new.

use std::time::Duration;

use tokio::time::Instant;

use super::Presence;
use super::host::hear;
use crate::protocol::HostId;
use crate::protocol::api::HostMode;
use crate::queue::ServiceHost;
use crate::support::clock::Timestamp;

/// What a sync said of its host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Synced {
    /// It was silent before.
    pub back: bool,
    /// It is another as to what it may be given.
    pub news: bool,
}

/// How long a host may be silent before its services run elsewhere.
#[derive(Debug, Clone, Copy)]
pub struct Silence {
    /// One that syncs.
    pub syncing: Duration,
    /// One of the original.
    pub original: Duration,
}

impl Presence {
    /// Takes note that a host syncs its services. Nothing if it is not known; otherwise whether that says something
    /// new of it.
    pub fn synced(&self, id: &HostId, leaving: bool, now: Timestamp) -> Option<Synced> {
        let mut hosts = self.hosts();
        let host = hosts.get_mut(id)?;
        let back = hear(id, host, now);
        host.spoke = Some(Instant::now());
        let first = !std::mem::replace(&mut host.syncs, true);
        let turned = std::mem::replace(&mut host.leaving, leaving) != leaving;
        Some(Synced {
            back,
            news: first || turned,
        })
    }

    /// Returns every host as services are placed by. Nobody was silent before `since`: until then none could be heard.
    pub fn for_services(&self, since: Instant, silence: Silence) -> Vec<ServiceHost> {
        let now = Instant::now();
        let hosts = self.hosts();
        let mut all: Vec<ServiceHost> = hosts
            .iter()
            .map(|(id, host)| {
                let heard = host.spoke.map_or(since, |spoke| spoke.max(since));
                let patience = if host.syncs || host.spoke.is_none() {
                    silence.syncing
                } else {
                    silence.original
                };
                ServiceHost {
                    id: id.clone(),
                    capabilities: host.entry.host.capabilities.clone(),
                    alive: now.duration_since(heard) < patience,
                    takes_new: host.entry.mode == HostMode::Active
                        && !host.leaving
                        && host.blocked.is_none(),
                    syncs: host.syncs,
                    leaving: host.leaving,
                    heard_out: host.syncs && now.duration_since(since) >= silence.syncing,
                }
            })
            .collect();
        all.sort_by(|one, other| one.id.cmp(&other.id));
        all
    }

    /// Returns how long ago the host last said anything; nothing if it is not known or did not since the start.
    pub fn silent(&self, id: &HostId) -> Option<Duration> {
        let hosts = self.hosts();
        hosts.get(id)?.spoke.map(|spoke| spoke.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::super::News;
    use super::super::tests::entry;
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn services_count_on_what_a_host_says_itself() {
        let presence = Presence::default();
        let silence = Silence {
            syncing: Duration::from_secs(25),
            original: Duration::from_secs(30),
        };
        let (id, at) = (HostId::new("a").unwrap(), Timestamp::from_millis(5));
        let advance = |secs| tokio::time::advance(Duration::from_secs(secs));
        let alive = |since| presence.for_services(since, silence)[0].alive;
        let begun = Instant::now();
        presence.remember(vec![entry("a", "d")]);
        advance(24).await;
        assert!(alive(begun), "it could not be heard before the start");
        advance(1).await;
        assert!(!alive(begun));
        assert!(alive(Instant::now()), "nor while nobody listened");
        let synced = presence.synced(&id, false, at).unwrap();
        assert!(synced.back && synced.news);
        presence.waits(&id, true, at);
        advance(20).await;
        presence.waits(&id, false, at);
        assert!(alive(begun));
        advance(5).await;
        assert!(!alive(begun), "a request that waits is no sign of life");
        let leaves = presence.synced(&id, true, at).unwrap();
        assert!(leaves.news);
        let host = &presence.for_services(begun, silence)[0];
        assert!(host.alive && host.syncs && !host.takes_new);
        assert!(host.leaving && host.heard_out);
        let anew = &presence.for_services(Instant::now(), silence)[0];
        assert!(
            !anew.heard_out,
            "it may not have had the time to say anything"
        );
        // One of the original may be silent for longer.
        let old = Presence::default();
        old.registered(entry("old", "d"), News::default(), at);
        advance(29).await;
        assert!(old.for_services(begun, silence)[0].alive);
        advance(1).await;
        assert!(!old.for_services(begun, silence)[0].alive);
    }
}
