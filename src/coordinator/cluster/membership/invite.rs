//! Somebody names a coordinator that is to join: it is asked to, and then asks itself to be taken in.

use std::sync::PoisonError;

use super::address;
use super::asks::{self, Invite, Nothing};
use super::members::{CHANGE_WITHIN, Members};
use crate::coordinator::api::error::Refused;
use crate::coordinator::cluster::LinkError;
use crate::protocol::api::Code;
use crate::queue;
use crate::queue::cluster::Role;

impl Members {
    /// Asks the coordinator at `text` to join this cluster.
    ///
    /// # Errors
    /// Why it does not.
    pub async fn invite(&self, text: &str) -> Result<(), Refused> {
        let conflict = |text: String| Refused::new(Code::Conflict, text);
        let url = address::parse(text).map_err(|error| Refused::bad(error.to_string()))?;
        let shown = address::shown(&url);
        let hello = match self.hello(&url).await {
            Ok(hello) => hello,
            Err(LinkError::Myself { .. }) => return Ok(()),
            Err(error @ (LinkError::Unreachable { .. } | LinkError::Lost { .. })) => {
                let text = format!("{shown} cannot be asked to join: {error}");
                return Err(Refused::new(Code::Unavailable, text));
            }
            Err(error) => {
                return Err(conflict(format!(
                    "{shown} cannot join: {error}. Coordinators of the original cannot be members"
                )));
            }
        };
        let status = self.status();
        if status.members.contains_key(&hello.who.member) || hello.who.member == status.id {
            return Ok(());
        }
        if !matches!(hello.who.role, Role::Lone | Role::Waiting) {
            return Err(conflict(format!("{shown} belongs to another cluster")));
        }
        let own = self.url().ok_or_else(|| {
            conflict("this coordinator does not know where it is reached: set SKYCLAW_COORDINATOR_PUBLIC_URL".to_owned())
        })?;
        let ask = Invite {
            url: address::shown(&own),
        };
        let answer: Result<Nothing, LinkError> = self
            .links
            .ask(&url, asks::INVITE, &ask, CHANGE_WITHIN)
            .await;
        match answer {
            Ok(Nothing {}) => Ok(()),
            Err(LinkError::Answer {
                status: 409, text, ..
            }) => Err(conflict(format!("{shown} cannot join: {text}"))),
            Err(error) => {
                let text = format!("{shown} cannot be asked to join: {error}");
                Err(Refused::new(Code::Unavailable, text))
            }
        }
    }

    /// Is asked to join the cluster of whoever is at the address. Only with nothing of its own it does.
    ///
    /// # Errors
    /// Why it does not.
    pub async fn invited(&self, ask: &Invite) -> Result<(), Refused> {
        let conflict = |text: String| Refused::new(Code::Conflict, text);
        let url = address::parse(&ask.url).map_err(|error| Refused::bad(error.to_string()))?;
        match self.status().role {
            Role::Waiting => self.remember(url),
            Role::Lone => {
                // Before it waits: it must know for whom.
                self.remember(url);
                match self.cluster.wait_for_adoption().await {
                    Ok(()) => {}
                    Err(queue::Error::NotEmpty { .. }) => {
                        tracing::warn!(
                            by = ask.url,
                            "was asked to join a cluster, but has a queue of its own"
                        );
                        return Err(conflict(
                            "it has a queue of its own with something in it".to_owned(),
                        ));
                    }
                    Err(error) => return Err(conflict(error.to_string())),
                }
                tracing::info!(by = ask.url, "was asked to join a cluster");
            }
            Role::Learner | Role::Follower | Role::Candidate | Role::Leader => {
                return Err(conflict("it belongs to a cluster already".to_owned()));
            }
        }
        Ok(())
    }

    /// Asks at this address as well from now on.
    pub fn remember(&self, url: reqwest::Url) {
        let mut invited = self.invited.lock().unwrap_or_else(PoisonError::into_inner);
        if !invited.contains(&url) {
            invited.push(url);
        }
    }
}
