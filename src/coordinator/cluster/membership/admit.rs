//! Takes newcomers in: on the leader, or on one who is alone and becomes the first member by it. Followers pass the
//! question on.

use std::collections::BTreeMap;

use reqwest::Url;
use tokio::time::timeout;

use super::address;
use super::asks::{self, Join, Joined};
use super::members::{self, CHANGE_WITHIN, Members, changing_failed, no_leader};
use super::newcomer::{self, Answer, Decision, Newcomer};
use crate::coordinator::api::error::Refused;
use crate::coordinator::cluster::{LinkError, Proven};
use crate::protocol::api::Code;
use crate::queue::cluster::{MemberId, Role, Status};

impl Members {
    /// Answers a coordinator that asks to be taken in.
    ///
    /// # Errors
    /// Why it is not.
    pub async fn admit(&self, peer: &Proven, ask: Join) -> Result<Joined, Refused> {
        if ask.seen.is_none() && ask.member != peer.member {
            return Err(Refused::bad("a coordinator asks for itself"));
        }
        match self.status().role {
            Role::Lone | Role::Leader => {
                let joined = self.take_in(peer, &ask).await;
                if let Err(refused) = &joined {
                    tracing::warn!(
                        member = %ask.member, name = ask.name, address = %peer.address,
                        "a coordinator was not taken in: {}", refused.text
                    );
                }
                joined
            }
            Role::Waiting => Err(no_leader("this coordinator waits to be taken in itself")),
            Role::Learner | Role::Follower | Role::Candidate => self.pass_on(peer, ask).await,
        }
    }

    async fn pass_on(&self, peer: &Proven, ask: Join) -> Result<Joined, Refused> {
        if ask.seen.is_some() {
            return Err(no_leader("the leader has changed: try again"));
        }
        let (_, leader) = self.leader()?;
        let seen = address::at(peer.address, ask.port)
            .as_ref()
            .map(address::shown);
        let ask = Join {
            seen: Some(seen.unwrap_or_default()),
            ..ask
        };
        let answer = self
            .links
            .ask(&leader, asks::JOIN, &ask, CHANGE_WITHIN * 2)
            .await;
        answer.map_err(|error| passed_back(&error))
    }

    async fn take_in(&self, peer: &Proven, ask: &Join) -> Result<Joined, Refused> {
        // Two newcomers at once must not both find a name free.
        let _changing = self.changing.lock().await;
        let url = self.reach(peer, ask).await?;
        let status = self.status();
        if status.role == Role::Lone {
            self.begin(ask).await?;
        } else {
            self.improve(&status, ask, &url).await;
        }
        let status = self.status();
        if status.role != Role::Leader {
            return Err(no_leader("the leader has changed: try again"));
        }
        let url = address::shown(&url);
        let newcomer = Newcomer {
            id: ask.member,
            member: members::member(url.clone(), ask.name.clone(), ask.protocol, &ask.version),
        };
        let answers = self.ask_namesakes(&newcomer, &status).await;
        match newcomer::decide(&newcomer, &status.members, &answers) {
            Decision::Known => return Ok(Joined { url }),
            Decision::Refused(refusal) => {
                return Err(Refused::new(Code::Conflict, refusal.to_string()));
            }
            Decision::Changed => {}
            Decision::Welcome(gone) if gone.is_empty() => {}
            Decision::Welcome(gone) => self.replace(&gone, &newcomer, &status).await?,
        }
        self.changed(self.cluster.add(newcomer.id, newcomer.member.clone()))
            .await?;
        tracing::info!(
            member = %newcomer.id, name = newcomer.member.name, url,
            "a coordinator was taken into the cluster"
        );
        Ok(Joined { url })
    }

    /// Finds where the newcomer is reached, and that it is who it says.
    async fn reach(&self, peer: &Proven, ask: &Join) -> Result<Url, Refused> {
        let conflict = |text: String| Refused::new(Code::Conflict, text);
        let seen = match ask.seen.as_deref() {
            Some(seen) => address::parse(seen).ok(),
            None => address::at(peer.address, ask.port),
        };
        let url = match &ask.url {
            Some(url) => address::parse(url).map_err(|error| conflict(error.to_string()))?,
            None => {
                seen.ok_or_else(|| conflict("it is not known where it is reached".to_owned()))?
            }
        };
        if self.links.secrets().is_open() && !self.settings.insecure && !address::is_loopback(&url)
        {
            return Err(conflict(
                "without a token or a cluster secret only coordinators of one machine form a cluster: \
                 set SKYCLAW_CLUSTER_SECRET for all of them"
                    .to_owned(),
            ));
        }
        let shown = address::shown(&url);
        let hint =
            "set SKYCLAW_COORDINATOR_PUBLIC_URL there to an address at which the others reach it";
        let hello = self
            .hello(&url)
            .await
            .map_err(|error| conflict(format!("it is not reached at {shown} ({error}): {hint}")))?;
        if hello.who.member != ask.member {
            return Err(conflict(format!(
                "another coordinator answers at {shown}: {hint}"
            )));
        }
        if hello.who.cluster.is_some() && hello.who.cluster != self.status().cluster {
            return Err(conflict(
                "it belongs to another cluster: move its database away, then start it again"
                    .to_owned(),
            ));
        }
        if hello.who.role == Role::Lone {
            return Err(conflict("it serves a queue of its own".to_owned()));
        }
        Ok(url)
    }

    /// Makes this coordinator, which is alone, the first member.
    async fn begin(&self, ask: &Join) -> Result<(), Refused> {
        if let Some(to) = ask.to.as_deref().and_then(|to| address::parse(to).ok()) {
            self.settings.whereabouts.reached_under(to);
        }
        let own = self.settings.whereabouts.url().ok_or_else(|| {
            let text = "this coordinator does not know where it is reached itself: set SKYCLAW_COORDINATOR_PUBLIC_URL for it";
            Refused::new(Code::Conflict, text)
        })?;
        let me = self.member_at(&own);
        tracing::info!(url = me.url, "becomes the first member of a cluster");
        self.changed(self.cluster.found(me)).await
    }

    /// Known so far only under an address of its own machine, and now reached under one that others can use, this
    /// coordinator corrects what the cluster says of it.
    async fn improve(&self, status: &Status, ask: &Join, newcomer: &Url) {
        if address::is_loopback(newcomer) {
            return;
        }
        let to = ask.to.as_deref().and_then(|to| address::parse(to).ok());
        if ask.seen.is_none()
            && let Some(to) = to
            && self.settings.whereabouts.reached_under(to.clone())
            && let Some((me, _)) = status.members.get(&status.id)
            && me.url != address::shown(&to)
        {
            let me = self.member_at(&to);
            tracing::info!(
                url = me.url,
                "is reached under a better address from now on"
            );
            if let Err(refused) = self.changed(self.cluster.add(status.id, me)).await {
                tracing::warn!("the address could not be changed: {}", refused.text);
            }
        }
        for (member, _) in self.status().members.values() {
            if address::parse(&member.url).is_ok_and(|url| address::is_loopback(&url)) {
                tracing::warn!(
                    name = member.name,
                    url = member.url,
                    "only coordinators of its own machine reach this member: set SKYCLAW_COORDINATOR_PUBLIC_URL there and start it again"
                );
            }
        }
    }

    async fn ask_namesakes(
        &self,
        newcomer: &Newcomer,
        status: &Status,
    ) -> BTreeMap<MemberId, Answer> {
        let mut answers = BTreeMap::new();
        for id in newcomer::namesakes(newcomer, &status.members) {
            let Some((member, _)) = status.members.get(&id) else {
                continue;
            };
            let answer = if id == status.id {
                Answer::Is(id)
            } else if member.url == newcomer.member.url {
                Answer::Is(newcomer.id)
            } else {
                match address::parse(&member.url) {
                    Ok(url) => match self.hello(&url).await {
                        Ok(hello) => Answer::Is(hello.who.member),
                        Err(_) => Answer::Nothing,
                    },
                    Err(_) => Answer::Nothing,
                }
            };
            answers.insert(id, answer);
        }
        answers
    }

    /// Removes what a machine was before its disk was wiped.
    async fn replace(
        &self,
        gone: &[MemberId],
        newcomer: &Newcomer,
        status: &Status,
    ) -> Result<(), Refused> {
        for id in gone {
            if let Some((old, _)) = status.members.get(id) {
                tracing::warn!(
                    member = %id, name = old.name, url = old.url, newcomer = %newcomer.id,
                    "a member came back without its data: it is a new member, and the old one is removed"
                );
            }
        }
        self.changed(self.cluster.remove(gone)).await
    }

    /// Waits for a change of the members.
    pub(super) async fn changed(
        &self,
        change: impl Future<Output = Result<(), crate::queue::Error>>,
    ) -> Result<(), Refused> {
        match timeout(CHANGE_WITHIN, change).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(changing_failed(&error)),
            Err(_) => Err(no_leader(
                "no majority of the members has answered in time: whether the change comes about is not known",
            )),
        }
    }
}

/// Returns what the leader said to whoever asked through this member.
pub fn passed_back(error: &LinkError) -> Refused {
    match error {
        LinkError::Answer { status, text, .. } => {
            let code = match status {
                400 => Code::BadRequest,
                404 => Code::NotFound,
                409 | 422 => Code::Conflict,
                _ => Code::Unavailable,
            };
            Refused::new(code, text.clone())
        }
        other => Refused::new(
            Code::Unavailable,
            format!("the leader does not answer: {other}"),
        )
        .retry_after(std::time::Duration::from_secs(1)),
    }
}
