//! The routes between members that are about who belongs to the cluster.

use std::sync::Arc;

use tokio::time::Instant;

use super::address;
use super::asks::{self, About, Consent, Consented, Invite, Join, Nothing, Roster, Standing};
use super::members::{Members, no_leader};
use crate::coordinator::api::error::Refused;
use crate::coordinator::cluster::{LinkError, PeerDoor, Proven};
use crate::protocol::api::Code;
use crate::queue::cluster::Role;

/// Returns the door with these routes.
#[must_use]
pub fn routes(door: PeerDoor, members: &Arc<Members>) -> PeerDoor {
    let with = || Arc::clone(members);
    let (join, consent, release, invite) = (with(), with(), with(), with());
    let (remove, removed, standing, roster) = (with(), with(), with(), with());
    let (stand, here) = (with(), with());
    door.route(asks::JOIN, move |peer: Arc<Proven>, ask: Join| {
        let members = Arc::clone(&join);
        async move { members.admit(&peer, ask).await }
    })
    .route(asks::CONSENT, move |peer: Arc<Proven>, ask: Consent| {
        let answer = consented(&consent, &peer, &ask);
        async move { answer }
    })
    .route(asks::RELEASE, move |peer: Arc<Proven>, _: Consent| {
        release.promise().release(peer.member);
        async move { Ok(Nothing {}) }
    })
    .route(asks::INVITE, move |_: Arc<Proven>, ask: Invite| {
        let members = Arc::clone(&invite);
        async move { members.invited(&ask).await.map(|()| Nothing {}) }
    })
    .route(asks::REMOVE, move |_: Arc<Proven>, about: About| {
        let members = Arc::clone(&remove);
        async move { members.let_go(about.member).await.map(|()| Nothing {}) }
    })
    .route(asks::REMOVED, move |peer: Arc<Proven>, about: About| {
        let status = removed.status();
        // Its former fellows may remove it from the cluster that it was forced out of.
        let elsewhere = peer.cluster.is_some() && peer.cluster != status.cluster;
        if about.member == status.id && !elsewhere {
            removed.removed();
        }
        async move { Ok(Nothing {}) }
    })
    .route(asks::HERE, move |peer: Arc<Proven>, ask: asks::Here| {
        let answer = here.here(&peer, ask);
        async move { answer }
    })
    .route(asks::STAND, move |peer: Arc<Proven>, about: About| {
        let members = Arc::clone(&stand);
        async move { members.stand(&peer, about).await.map(|()| Nothing {}) }
    })
    .route(asks::STANDING, move |_: Arc<Proven>, about: About| {
        let members = Arc::clone(&standing);
        async move { members.standing(about).await }
    })
    .route(asks::ROSTER, move |_: Arc<Proven>, _: Nothing| {
        let status = roster.status();
        let answer = match status.role {
            Role::Leader => Ok(Roster {
                members: roster.roster(&status),
            }),
            _ => Err(no_leader("this member does not lead")),
        };
        async move { answer }
    })
}

fn consented(members: &Members, peer: &Proven, ask: &Consent) -> Result<Consented, Refused> {
    if ask.founder != peer.member {
        return Err(Refused::new(
            Code::Conflict,
            "a coordinator asks for itself",
        ));
    }
    if let Some(to) = ask.to.as_deref().and_then(|to| address::parse(to).ok()) {
        members.settings.whereabouts.reached_under(to);
    }
    let waits = members.status().role == Role::Waiting;
    let agreed = waits && members.promise().give(ask.founder, Instant::now()).is_ok();
    let seen = address::at(peer.address, ask.port);
    let said = ask.url.as_deref().and_then(|url| address::parse(url).ok());
    if let Some(founder) = said.or_else(|| seen.clone()).filter(|_| agreed) {
        // It founds, perhaps with nobody on the list here: whoever has promised it must not found beside it later.
        members.remember(founder);
    }
    Ok(Consented {
        agreed,
        seen: seen.as_ref().map(address::shown),
    })
}

impl Members {
    /// Stands for election, if the leader asks for it.
    async fn stand(&self, peer: &Proven, about: About) -> Result<(), Refused> {
        let leader = self.status().leader;
        let is_leader = leader.is_none_or(|leader| leader == about.member);
        if peer.member != about.member || !is_leader {
            return Err(Refused::new(Code::Conflict, "only the leader hands over"));
        }
        let stands = self.cluster.stand().await;
        stands.map_err(|error| Refused::new(Code::Unavailable, error.to_string()))
    }

    /// Answers whether somebody is a member. Only the leader knows for sure; others ask it.
    async fn standing(&self, about: About) -> Result<Standing, Refused> {
        let status = self.status();
        if status.role == Role::Leader {
            // One that leads no more might not know of whoever came since.
            self.cluster
                .confirm()
                .await
                .map_err(|_| no_leader("no majority confirms this leader"))?;
            let status = self.status();
            let known = status.members.get(&about.member);
            return Ok(Standing {
                is_member: known.is_some(),
                url: known.map(|(member, _)| member.url.clone()),
            });
        }
        let (leader, url) = self.leader()?;
        if leader == about.member {
            return Err(no_leader("that one is believed to lead"));
        }
        let answer: Result<Standing, LinkError> = self
            .links
            .ask(
                &url,
                asks::STANDING,
                &about,
                std::time::Duration::from_secs(3),
            )
            .await;
        answer.map_err(|error| super::admit::passed_back(&error))
    }
}
