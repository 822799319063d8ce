//! What the leader does by itself: looks after the others, and gives votes to those who have caught up.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::members::{CHANGE_WITHIN, Members};
use super::{address, join, lookout, members, promotion, twin};
use crate::queue;
use crate::queue::cluster::{Member, Role, Status};
use crate::support::clock::{Clock, SystemClock};

/// How often it is looked whether somebody has caught up.
const TICK: Duration = Duration::from_secs(1);
/// Every so many ticks all members are asked how they are.
const LOOK_EACH: u32 = 5;

/// Works for as long as this coordinator runs; while another leads, it only waits.
pub async fn run(members: Arc<Members>) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut status = members.cluster.watch();
    let (mut looked, mut ticked) = (0, 0);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            // A voter has gone, a learner has come: no need to wait for the tick.
            changed = roles_changed(&mut status) => if !changed { return },
        }
        let now = members.status();
        if ticked % LOOK_EACH == 0 {
            announce(&members, &now).await;
        }
        ticked = ticked.wrapping_add(1);
        if now.role != Role::Leader {
            members.lookout.clear();
            looked = 0;
            continue;
        }
        members.lookout.log_ends(now.last_log, Instant::now());
        promote(&members, &now).await;
        if looked == 0 {
            look(&members).await;
        }
        looked = (looked + 1) % LOOK_EACH;
    }
}

/// Waits until the members, or who leads, are others. Tells whether there is anything left to wait for.
async fn roles_changed(status: &mut tokio::sync::watch::Receiver<Status>) -> bool {
    let of = |status: &Status| (status.role, status.members.clone());
    let before = of(&status.borrow_and_update());
    status.wait_for(|now| of(now) != before).await.is_ok()
}

/// Gives a vote to the learner that comes next, if it is there.
async fn promote(members: &Members, status: &Status) {
    for id in promotion::candidates(status) {
        let Some((member, _)) = status.members.get(&id) else {
            continue;
        };
        // A voter that is away counts in the majority and answers nothing.
        if !members.is_there(id, member).await {
            continue;
        }
        let _changing = members.changing.lock().await;
        if promotion::voters(&members.status()) >= promotion::MOST_VOTERS {
            return;
        }
        match timeout(CHANGE_WITHIN, members.cluster.promote(id)).await {
            Ok(Ok(())) => {
                let voters = members.voters();
                tracing::info!(member = %id, name = member.name, voters, "a coordinator has caught up and votes from now on");
                return;
            }
            Ok(Err(queue::Error::Behind { entries, .. })) => {
                tracing::debug!(member = %id, entries, "a learner is still behind");
            }
            Ok(Err(error)) => {
                tracing::warn!(member = %id, %error, "a learner could not be given a vote yet");
                return;
            }
            Err(_) => {
                tracing::warn!(member = %id, "no majority has answered in time about a learner's vote");
                return;
            }
        }
    }
}

/// Asks every other member how it is.
async fn look(members: &Members) {
    let status = members.status();
    members.lookout.keep(&status);
    let others = status.members.iter().filter(|(id, _)| **id != status.id);
    let looks = others.map(|(id, (member, _))| async move {
        let answer = match address::parse(&member.url) {
            Ok(url) => members.hello(&url).await.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        let now = SystemClock.now();
        let answer =
            answer.and_then(
                |hello| match lookout::stranger(*id, status.cluster, &hello) {
                    Some(why) => Err(why),
                    None => Ok(hello),
                },
            );
        members.lookout.looked(*id, &member.name, &answer, now);
    });
    futures_util::future::join_all(looks).await;
}

/// Sees to it that the cluster knows this member as it is now: started again, it may be another version, or be reached
/// elsewhere. What may be written in the log follows from the versions.
async fn announce(members: &Members, status: &Status) {
    let Some((known, _)) = status.members.get(&status.id) else {
        return;
    };
    let Some(url) = members.url() else {
        return;
    };
    let now = members.member_at(&url);
    if now
        == (Member {
            other: now.other.clone(),
            ..known.clone()
        })
        && members::version_of(known) == members::version_of(&now)
    {
        return;
    }
    // Whoever is reached elsewhere than before may be a copy of the one that is reached there.
    if known.url != now.url && twin::is_at(members, &known.url).await {
        return;
    }
    let now = Member {
        other: known.other.clone().into_iter().chain(now.other).collect(),
        ..now
    };
    let (from, to) = (known.protocol, now.protocol);
    let told = if status.role == Role::Leader {
        let _changing = members.changing.lock().await;
        members
            .changed(members.cluster.add(status.id, now))
            .await
            .map_err(|refused| refused.text.to_string())
    } else {
        match members.leader() {
            Ok((_, leader)) => {
                let told = join::ask(members, &leader).await;
                told.map(drop).map_err(|error| error.to_string())
            }
            Err(_) => return,
        }
    };
    match told {
        Ok(()) => tracing::info!(
            url = address::shown(&url),
            from,
            to,
            "the cluster knows this coordinator as it is now"
        ),
        Err(error) => tracing::warn!(
            error,
            "the cluster does not know this coordinator as it is now"
        ),
    }
}
