//! A copy of a member's directory that is started beside it would vote and lead a second time under one number, and break what
//! the cluster promises. Each member looks at the address that the others know for it: if another process with its own
//! number is there, this one is the copy, as far as they are concerned, and ends.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::address;
use super::asks::Standing;
use super::members::{Ending, Members};
use crate::coordinator::cluster::LinkError;

/// From one look to the next. The first is at the start, before it stands for election.
const EACH: Duration = Duration::from_secs(10);

/// Works for as long as this coordinator runs.
pub async fn run(members: Arc<Members>) {
    let mut ticks = interval(EACH);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let status = members.status();
        if let Some((me, _)) = status.members.get(&status.id)
            && is_at(&members, &me.url).await
        {
            return;
        }
    }
}

/// Looks where the leader knows this member, of which its own log may know nothing. Tells whether another is in its place.
pub async fn has_taken_over(members: &Members, standing: &Standing) -> bool {
    match &standing.url {
        Some(url) => is_at(members, url).await,
        None => false,
    }
}

/// Tells whether another process with this member's number is at `url`; this one ends then.
async fn is_at(members: &Members, url: &str) -> bool {
    let Ok(url) = address::parse(url) else {
        return false;
    };
    let found = members.hello(&url).await;
    let Err(error @ LinkError::Twin { .. }) = found else {
        return false;
    };
    members.end(Ending::Failed(error.to_string()));
    true
}
