//! Members go: by their own wish, or because somebody removes them.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::timeout;

use super::asks::{self, About, Nothing};
use super::members::{CHANGE_WITHIN, Ending, Members, no_leader};
use super::{address, admit, removal};
use crate::coordinator::api::error::Refused;
use crate::coordinator::cluster::LinkError;
use crate::protocol::api::{Code, RemovePeer};
use crate::queue::cluster::{MemberId, Role};

/// How long a member may take to hear that it is none any more.
const TELL_WITHIN: Duration = Duration::from_secs(2);

/// How long a majority may take to confirm who leads.
const CONFIRM_WITHIN: Duration = Duration::from_secs(2);
/// Why nobody can be removed.
const NO_MAJORITY: &str = "a majority of the members must agree to a removal, and too few of them answer: bring them back first. If they are gone for good, \
                           `skyclaw peer remove --force-new-cluster` makes one that is left, and is stopped, a new cluster";

impl Members {
    /// Leaves the cluster. The process ends when the answer is out.
    ///
    /// # Errors
    /// Why it cannot.
    pub async fn leave(&self) -> Result<(), Refused> {
        self.leaving(true);
        let left = self.try_leave().await;
        match &left {
            Ok(()) => {
                tracing::info!("has left the cluster");
                self.end(Ending::Left);
            }
            Err(_) => self.leaving(false),
        }
        left
    }

    async fn try_leave(&self) -> Result<(), Refused> {
        let status = self.status();
        let conflict = |text: &'static str| Refused::new(Code::Conflict, text);
        match status.role {
            Role::Lone => {
                return Err(conflict(
                    "this coordinator is in no cluster: stop it instead",
                ));
            }
            Role::Waiting => {
                return Err(conflict(
                    "this coordinator is not in a cluster yet: stop it instead",
                ));
            }
            Role::Leader => self.let_go(status.id).await?,
            Role::Learner | Role::Follower | Role::Candidate => self.ask_to_go(status.id).await?,
        }
        Ok(())
    }

    /// Asks whoever leads to remove this member.
    async fn ask_to_go(&self, me: MemberId) -> Result<(), Refused> {
        let (_, leader) = self.leader()?;
        let ask = About { member: me };
        let done: Result<Nothing, LinkError> = self
            .links
            .ask(&leader, asks::REMOVE, &ask, CHANGE_WITHIN * 2)
            .await;
        done.map(|Nothing {}| ())
            .map_err(|error| admit::passed_back(&error))
    }

    /// Removes the member that is meant. Asked of the leader.
    ///
    /// # Errors
    /// Why it cannot be.
    pub async fn remove(&self, meant: &RemovePeer) -> Result<(), Refused> {
        let status = self.status();
        if status.role == Role::Lone {
            let text = "this coordinator is in no cluster: there is nobody to remove";
            return Err(Refused::new(Code::Conflict, text));
        }
        let words: Vec<&String> = [&meant.id, &meant.name, &meant.url]
            .into_iter()
            .flatten()
            .filter(|word| !word.trim().is_empty())
            .collect();
        let [word] = words.as_slice() else {
            return Err(Refused::bad("one of id, name and url is required"));
        };
        let found = removal::meant(&status.members, word.trim());
        match found.as_slice() {
            [one] => self.let_go(*one).await,
            [] => Err(Refused::new(
                Code::NotFound,
                format!("no member is called {word}"),
            )),
            several => {
                let ids: Vec<String> = several.iter().map(ToString::to_string).collect();
                let text = format!("several members are meant by {word}: {}", ids.join(", "));
                Err(Refused::new(Code::Conflict, text))
            }
        }
    }

    /// Removes a member, if the others can go on without it. Asked of the leader, by a member or for a person.
    ///
    /// # Errors
    /// Why it cannot be.
    pub async fn let_go(&self, target: MemberId) -> Result<(), Refused> {
        let _changing = self.changing.lock().await;
        let status = self.status();
        if status.role != Role::Leader {
            return Err(no_leader("the leader has changed: try again"));
        }
        let Some((member, _)) = status.members.get(&target).cloned() else {
            return Ok(());
        };
        let alive: BTreeSet<MemberId> = self.answering(&status).await.into_iter().collect();
        removal::check(&status.members, target, &alive)
            .map_err(|refusal| Refused::new(Code::Conflict, refusal.to_string()))?;
        // Without a majority it would wait in the log, and come about when nobody expects it any more.
        let confirmed = timeout(CONFIRM_WITHIN, self.cluster.confirm()).await;
        if !matches!(confirmed, Ok(Ok(()))) {
            return Err(no_leader(NO_MAJORITY));
        }
        if target == status.id && self.hand_over().await {
            // A leader that removes itself would be missed first.
            return self.ask_to_go(target).await;
        }
        self.changed(self.cluster.remove(&[target])).await?;
        tracing::info!(member = %target, name = member.name, url = member.url, "a member was removed from the cluster");
        if target == status.id {
            self.removed();
        } else if alive.contains(&target)
            && let Ok(url) = address::parse(&member.url)
        {
            let links = self.links.clone();
            // It would find out by itself, only later.
            tokio::spawn(async move {
                let about = About { member: target };
                let told: Result<Nothing, LinkError> =
                    links.ask(&url, asks::REMOVED, &about, TELL_WITHIN).await;
                if let Err(error) = told {
                    tracing::debug!(%error, "a removed member was not told");
                }
            });
        }
        Ok(())
    }
}

/// What a coordinator says that was removed.
pub const REMOVED: &str = "this coordinator was removed from its cluster: its database is kept and is out of date from now on. \
                           To join again as a new member, move the database and the files beside it away and start it with SKYCLAW_PEER_URLS";

/// What a coordinator says whose former fellows form another cluster.
pub const OTHER_CLUSTER: &str = "those that were members with this coordinator belong to another cluster now, as after `skyclaw peer remove --force-new-cluster`: \
                                 what its database has is out of date. To join them as a new member, move the database and the files beside it away and start it with SKYCLAW_PEER_URLS";
