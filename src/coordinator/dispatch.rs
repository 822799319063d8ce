//! Hands work that became ready to hosts that wait for it: one claim for those who may take it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::Room;
use super::waiting::{Picked, Ready};
use crate::protocol::HostId;
use crate::queue::{ClaimRequest, Claimed};

/// How many hosts are tried in one claim at most: the queue serves others in between.
const AT_ONCE: usize = 256;

/// Hands out work as long as the coordinator runs.
pub async fn run(room: Arc<Room>) {
    loop {
        let agenda = room.waiting.agenda().await;
        for number in agenda.missed {
            let picked = room.waiting.pick_one(number, |host| room.may_work(host));
            if let Some(picked) = picked {
                claim(&room, vec![picked]).await;
            }
        }
        if agenda.all {
            everybody(&room).await;
        } else {
            ready(&room, agenda.jobs).await;
        }
    }
}

async fn everybody(room: &Arc<Room>) {
    let mut tried = HashSet::new();
    loop {
        let picked = room
            .waiting
            .pick(None, &tried, AT_ONCE, |host| room.may_work(host));
        if picked.is_empty() {
            return;
        }
        tried.extend(picked.iter().map(|one| one.number));
        claim(room, picked).await;
    }
}

async fn ready(room: &Arc<Room>, mut jobs: Vec<Ready>) {
    let mut tried = HashSet::new();
    let mut most = 1;
    loop {
        // A host that asked just now may have taken it already.
        jobs.retain(|ready| match room.leases.get(ready.job) {
            None => true,
            Some(held) => Some(held.token) == ready.old,
        });
        if jobs.is_empty() {
            return;
        }
        let picked = room.waiting.pick(
            Some(&jobs),
            &tried,
            AT_ONCE.min(jobs.len().max(most)),
            |host| room.may_work(host),
        );
        if picked.is_empty() {
            return;
        }
        tried.extend(picked.iter().map(|one| one.number));
        for taken in claim(room, picked).await {
            jobs.retain(|ready| ready.job != taken);
        }
        // Refused once is rare and refused often means that nobody here can have it: ask more at a time.
        most *= 4;
    }
}

/// Claims for the picked and tells them. Returns which jobs were taken.
async fn claim(room: &Arc<Room>, picked: Vec<Picked>) -> Vec<crate::protocol::JobId> {
    let request = ClaimRequest {
        claimants: picked.iter().map(|one| (*one.claimant).clone()).collect(),
        group: None,
        lease_for: room.settings.lease_for,
    };
    let marks = picked.iter().map(|one| one.mark).collect();
    let given = match room.queue.claim_once(request, marks).await {
        Ok(given) => given,
        Err(error) => {
            tracing::warn!(%error, "nothing could be claimed for waiting hosts");
            room.storage.failed(&error);
            Vec::new()
        }
    };
    room.took(&given);
    let taken = given.iter().map(|one| one.job).collect();
    let mut by_host: HashMap<HostId, Vec<Claimed>> = HashMap::new();
    for one in given {
        by_host.entry(one.host.clone()).or_default().push(one);
    }
    for one in picked {
        let given = by_host.remove(&one.claimant.host).unwrap_or_default();
        let lost = room.waiting.settle(one.number, given);
        // Whose request has a name asks again, and must get the same leases.
        if one.mark.is_none() {
            give_back(room, lost);
        }
    }
    taken
}

/// Gives back at once what nobody is there to run.
pub fn give_back(room: &Arc<Room>, lost: Vec<Claimed>) {
    if lost.is_empty() {
        return;
    }
    let room = Arc::clone(room);
    let parts = room.parts.clone();
    tokio::spawn(parts.watched("what gives leases back", async move {
        let leases = lost.iter().map(Claimed::lease).collect();
        if let Err(error) = room.queue.release(leases, Duration::ZERO).await {
            // The leases run out by themselves.
            tracing::warn!(%error, "leases of vanished hosts could not be given back");
        }
        for one in lost {
            room.leases.over(one.job, one.token);
        }
    }));
}
