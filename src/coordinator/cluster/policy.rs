//! What the leader does by itself: looks after the others, and gives votes to those who have caught up.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::members::{CHANGE_WITHIN, Members};
use super::{Hello, LinkError, address, members, promotion};
use crate::queue;
use crate::queue::cluster::{Member, MemberId, Role, Status};
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
    let mut looked = 0;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            // A voter has gone, a learner has come: no need to wait for the tick.
            changed = roles_changed(&mut status) => if !changed { return },
        }
        let now = members.status();
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

/// Asks every other member how it is, and corrects what the log says of it.
async fn look(members: &Arc<Members>) {
    let status = members.status();
    members.lookout.keep(&status);
    let others = status.members.iter().filter(|(id, _)| **id != status.id);
    let looks = others.map(|(id, (member, _))| async move {
        let answer = match address::parse(&member.url) {
            Ok(url) => members.hello(&url).await,
            Err(error) => Err(LinkError::Address {
                url: member.url.clone(),
                why: error.to_string(),
            }),
        };
        members
            .lookout
            .looked(*id, &member.name, &answer, SystemClock.now());
        (*id, member, answer)
    });
    for (id, member, answer) in futures_util::future::join_all(looks).await {
        if let Ok(hello) = answer {
            correct(members, id, member, &hello).await;
        }
    }
    if let Some((me, _)) = status.members.get(&status.id) {
        let version = env!("CARGO_PKG_VERSION");
        if members::version_of(me).as_deref() != Some(version)
            && let Ok(url) = address::parse(&me.url)
        {
            let now = members.member_at(&url);
            write(members, status.id, me, now).await;
        }
    }
}

/// A member that was updated speaks another protocol than the log says. What may be written follows from the log.
async fn correct(members: &Members, id: MemberId, known: &Member, hello: &Hello) {
    if hello.who.member != id || hello.who.protocol == known.protocol {
        return;
    }
    let now = Member {
        protocol: hello.who.protocol,
        ..known.clone()
    };
    write(members, id, known, now).await;
}

async fn write(members: &Members, id: MemberId, before: &Member, now: Member) {
    let _changing = members.changing.lock().await;
    let (from, to) = (before.protocol, now.protocol);
    match timeout(CHANGE_WITHIN, members.cluster.add(id, now)).await {
        Ok(Ok(())) => {
            tracing::info!(member = %id, name = before.name, from, to, "a coordinator runs another version");
        }
        Ok(Err(error)) => tracing::debug!(member = %id, %error, "another version is not noted yet"),
        Err(_) => tracing::debug!(member = %id, "another version is not noted yet"),
    }
}
