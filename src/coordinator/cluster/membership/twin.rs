//! A copy of a member's directory that is started beside it would vote and lead a second time under one number, and break what
//! the cluster promises. Each member looks at the address that the others know for it: if another process with its own
//! number is there, this one is the copy, as far as they are concerned, and ends.

use std::sync::Arc;
use std::time::Duration;

use super::address;
use super::asks::Standing;
use super::members::{Ending, Members};
use crate::coordinator::cluster::LinkError;

/// From one look to the next, at first; twice as long each time.
const FIRST: Duration = Duration::from_secs(1);
/// And at last.
const EACH: Duration = Duration::from_secs(10);

/// Works for as long as this coordinator runs.
pub async fn run(members: Arc<Members>) {
    let mut status = members.cluster.watch();
    let mut pause = FIRST;
    loop {
        let known = status.wait_for(|status| status.members.contains_key(&status.id));
        let url = match known.await {
            Ok(status) => status.members.get(&status.id).map(|(me, _)| me.url.clone()),
            Err(_) => return,
        };
        if let Some(url) = url
            && is_at(&members, &url).await
        {
            return;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(EACH);
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
pub async fn is_at(members: &Members, url: &str) -> bool {
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
