//! Members that all came back at other addresses find each other: whoever hears of no leader asks where its owner says that
//! somebody is, tells who it is and where, and is told where others were found. Where they are is then put right in the log.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::address;
use super::asks::{self, Here};
use super::members::Members;
use super::{outcast, twin};
use crate::coordinator::api::error::Refused;
use crate::coordinator::cluster::{LinkError, Proven};
use crate::protocol::api::Code;
use crate::queue::cluster::{Member, MemberId, Role, Status};

/// How long nobody must lead before others are looked for.
const AFTER: Duration = Duration::from_secs(4);
/// From one look to the next.
const EACH: Duration = Duration::from_secs(2);
/// How long one may take to answer.
const ASK_WITHIN: Duration = Duration::from_secs(3);

/// Works for as long as this coordinator runs.
pub async fn run(members: Arc<Members>) {
    let mut ticks = interval(EACH);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let status = members.status();
        match status.role {
            Role::Leader => {
                // Who led before it was stopped believes that it still does.
                if !is_confirmed(&members).await {
                    seek(&members).await;
                }
                put_right(&members, &status).await;
            }
            Role::Learner | Role::Follower | Role::Candidate if status.leader.is_none() => {
                let mut watch = members.cluster.watch();
                let led = watch.wait_for(|status| status.leader.is_some());
                if timeout(AFTER, led).await.is_err() {
                    seek(&members).await;
                }
            }
            Role::Learner | Role::Follower | Role::Candidate | Role::Lone | Role::Waiting => {}
        }
    }
}

async fn is_confirmed(members: &Members) -> bool {
    let confirmed = timeout(AFTER, members.cluster.confirm()).await;
    matches!(confirmed, Ok(Ok(())))
}

/// Asks at all addresses that somebody named.
async fn seek(members: &Members) {
    let status = members.status();
    let mut urls: Vec<Url> = members.targets();
    let found = members.found(&status);
    urls.extend(found.values().filter_map(|url| address::parse(url).ok()));
    for url in urls {
        if let Err(error) = greet(members, &status, &url).await {
            tracing::debug!(%error, "a member was not found there");
        }
    }
}

/// Tells whoever is at `url` who and where this member is, and learns the same of others.
async fn greet(members: &Members, status: &Status, url: &Url) -> Result<(), LinkError> {
    let hello = members.hello(url).await?;
    let there = hello.who.member;
    if hello.who.cluster != status.cluster || there == status.id {
        return Ok(());
    }
    members.noted(status, there, url);
    // Before others are told that it is here, and look for it here alone.
    if let Ok(standing) = outcast::standing(members, status.id, url).await
        && twin::has_taken_over(members, &standing).await
    {
        return Ok(());
    }
    let place = &members.settings.whereabouts;
    let ask = Here {
        member: status.id,
        url: place.known().map(address::shown),
        port: place.port(),
        found: members.found(status),
    };
    let told: Here = members.links.ask(url, asks::HERE, &ask, ASK_WITHIN).await?;
    members.heard(status, told.found);
    Ok(())
}

/// Has the log say where members are. The leader itself says so as anybody who was started elsewhere.
async fn put_right(members: &Members, status: &Status) {
    for (id, at) in members.found(status) {
        let Some((known, _)) = status.members.get(&id) else {
            continue;
        };
        let now = Member {
            url: at,
            ..known.clone()
        };
        if id == status.id || !members.is_there(id, &now).await {
            continue;
        }
        let _changing = members.changing.lock().await;
        let url = now.url.clone();
        match members.changed(members.cluster.add(id, now)).await {
            Ok(()) => {
                tracing::info!(member = %id, url, "a member is reached elsewhere from now on")
            }
            Err(refused) => {
                tracing::warn!(member = %id, url, "where a member is could not be put right: {}", refused.text);
            }
        }
    }
}

impl Members {
    /// Is told by a member where it is, and whom it found. Answers with whom this one has found.
    ///
    /// # Errors
    /// When it is of another cluster.
    pub fn here(&self, peer: &Proven, ask: Here) -> Result<Here, Refused> {
        let status = self.status();
        if peer.member != ask.member || peer.cluster != status.cluster {
            return Err(Refused::new(Code::Conflict, "it is of another cluster"));
        }
        let said = ask.url.as_deref().and_then(|url| address::parse(url).ok());
        if let Some(url) = said.or_else(|| address::at(peer.address, ask.port)) {
            self.noted(&status, peer.member, &url);
        }
        self.heard(&status, ask.found);
        let mut found = self.found(&status);
        if status.leader.is_some() {
            // What its log says is not old then, and may be news to whoever asks.
            for (id, (member, _)) in &status.members {
                found.entry(*id).or_insert_with(|| member.url.clone());
            }
        }
        Ok(Here {
            member: status.id,
            url: None,
            port: self.settings.whereabouts.port(),
            found,
        })
    }

    /// Takes note of what another one says of where members are, where this one knows no better.
    fn heard(&self, status: &Status, found: BTreeMap<MemberId, String>) {
        let own = self.found(status);
        for (id, url) in found {
            if let (false, Ok(url)) = (own.contains_key(&id), address::parse(&url)) {
                self.noted(status, id, &url);
            }
        }
    }

    fn noted(&self, status: &Status, id: MemberId, url: &Url) {
        let Some((member, _)) = status.members.get(&id).filter(|_| id != status.id) else {
            return;
        };
        let url = address::shown(url);
        if self.links.moved().note(id, &member.url, &url) {
            tracing::info!(member = %id, name = member.name, url, "a member was found elsewhere");
        }
    }

    /// Returns where members were found that are not where the log says.
    fn found(&self, status: &Status) -> BTreeMap<MemberId, String> {
        let all = status.members.iter().filter_map(|(id, (member, _))| {
            let at = self.links.moved().place(*id, &member.url);
            (at != member.url).then_some((*id, at))
        });
        all.collect()
    }
}
