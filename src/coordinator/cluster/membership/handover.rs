//! A leader that is about to go hands over to another member first, so that nobody has to miss it.
//!
//! Whoever is asked to stand wins at once in a cluster of three, because the old leader votes for it. In a larger one the others
//! still hold to the leader that they heard of a moment ago. Who stands for election holds to nobody, so there the others are
//! asked to as well, once: one of them wins, or the next one to stand does.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep, timeout};

use super::address;
use super::asks::{self, About, Nothing};
use super::members::Members;
use crate::coordinator::cluster::LinkError;
use crate::queue::cluster::{Member, MemberId, Role, Status};

/// How long it may take in all. After that the others have to find out by themselves.
const WITHIN: Duration = Duration::from_secs(1);
/// How long one may take to hear that it is asked to stand.
const ASK_WITHIN: Duration = Duration::from_millis(300);
/// How long an election may take before somebody is asked again: to ask sooner would be to spoil it.
const ELECTION: Duration = Duration::from_millis(400);
/// How long the last writes may take to reach the heir: one that lacks any of them cannot win.
const QUIET_WITHIN: Duration = Duration::from_millis(300);
/// From one look to the next.
const LOOK: Duration = Duration::from_millis(20);
/// So many voters are a majority with the two that take part in any case.
const FEW: usize = 3;

impl Members {
    /// Has another member lead. Tells whether one does; if not, all is as before.
    pub async fn hand_over(&self) -> bool {
        let status = self.status();
        if status.role != Role::Leader {
            return false;
        }
        let is_there = |id| self.lookout.of(id).is_none_or(|look| look.reachable);
        let heirs = heirs(&status, is_there);
        if heirs.is_empty() {
            return false;
        }
        let began = Instant::now();
        self.cluster.step_back(true);
        let led = timeout(WITHIN, self.succeeded(&heirs)).await;
        let led = led.unwrap_or(false);
        // One that follows is as it should be, and may lead again later.
        self.cluster.step_back(false);
        if led {
            let millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            tracing::info!(millis, "another member leads now");
        } else {
            tracing::debug!("nobody else leads yet");
        }
        led
    }

    async fn succeeded(&self, heirs: &[(MemberId, Member)]) -> bool {
        let Some(((best, _), others)) = heirs.split_first() else {
            return false;
        };
        let me = self.status().id;
        let mut watch = self.cluster.watch();
        let _ = timeout(QUIET_WITHIN, self.quiet(*best)).await;
        if self.voters() > FEW {
            join_all(others.iter().map(|other| self.asked_to_stand(me, other))).await;
        }
        loop {
            let mut heard = false;
            for heir in heirs {
                heard = self.asked_to_stand(me, heir).await;
                if heard {
                    break;
                }
            }
            if !heard {
                // Nobody is there, or they do not know the question.
                return false;
            }
            let another = watch.wait_for(|status| status.leader.is_some_and(|id| id != me));
            if let Ok(found) = timeout(ELECTION, another).await {
                return found.is_ok();
            }
        }
    }

    /// Waits until nothing is written any more and `heir` has all of it.
    async fn quiet(&self, heir: MemberId) {
        let mut before = None;
        loop {
            let status = self.status();
            let last = Some(status.last_log).filter(|_| status.lag.get(&heir) == Some(&0));
            if last.is_some() && last == before {
                return;
            }
            before = last;
            sleep(LOOK).await;
        }
    }

    async fn asked_to_stand(&self, me: MemberId, (id, heir): &(MemberId, Member)) -> bool {
        let at = self.links.moved().place(*id, &heir.url);
        let Ok(url) = address::parse(&at) else {
            return false;
        };
        let about = About { member: me };
        let links = &self.links;
        let asked: Result<Nothing, LinkError> =
            links.ask(&url, asks::STAND, &about, ASK_WITHIN).await;
        if let Err(error) = &asked {
            tracing::debug!(member = heir.name, %error, "did not hear that it should lead");
        }
        asked.is_ok()
    }
}

/// Returns who may lead instead, the best first: who is there, and lacks the least of the log.
fn heirs(status: &Status, is_there: impl Fn(MemberId) -> bool) -> Vec<(MemberId, Member)> {
    let mut heirs: Vec<_> = status
        .members
        .iter()
        .filter(|(id, (_, votes))| *votes && **id != status.id && is_there(**id))
        .map(|(id, (member, _))| (*id, member.clone()))
        .collect();
    heirs.sort_by_key(|(id, _)| status.lag.get(id).copied().unwrap_or(u64::MAX));
    heirs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_lacks_least_is_asked_first_and_who_cannot_lead_never() {
        let id = MemberId::from;
        let mut status = Status {
            id: id(1),
            cluster: None,
            role: Role::Leader,
            term: 1,
            leader: Some(id(1)),
            members: [].into(),
            last_log: 9,
            applied: 9,
            lag: [(id(2), 7), (id(3), 0), (id(4), 0), (id(5), 0)].into(),
        };
        for (number, votes) in [(1, true), (2, true), (3, true), (4, false), (5, true)] {
            let member = Member {
                name: format!("m{number}"),
                ..Member::default()
            };
            status.members.insert(id(number), (member, votes));
        }
        let heirs = heirs(&status, |one| one != id(5));
        let names: Vec<_> = heirs
            .iter()
            .map(|(_, member)| member.name.as_str())
            .collect();
        assert_eq!(names, ["m3", "m2"]);
    }
}
