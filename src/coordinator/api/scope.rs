//! What a host may do over its tunnel: act for itself, and nothing else. The one place that decides it.
//!
//! A route that is not named in `rules` is closed to hosts. Ids come in paths and in bodies; both are looked
//! at before the handler sees the request, and read by the same code that the handler reads them with.

mod rules;

use std::collections::HashMap;
use std::sync::Arc;

use axum::body::{Body, HttpBody};
use axum::extract::{FromRequestParts, MatchedPath, Path, Request, State};
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use self::rules::{Named, Rule, leases, rule, submits};
use super::body::{self, LARGE, SMALL};
use super::error::Refused;
use super::share::Share;
use super::{Shared, wire};
use crate::coordinator::{Caller, Room};
use crate::protocol::api::{Code, Complete, LeaseName, Register, ReportService};
use crate::protocol::{AttemptNo, HostId, JobId};

/// How many ids one name may have: a daemon whose directory is lost makes itself another one, but not for ever.
const MOST_IDS: usize = 100;

/// Refuses what a host may not do.
pub fn forbidden() -> Refused {
    let text = "over its tunnel a host may only act for itself";
    Refused::new(Code::Forbidden, text)
}

fn too_many_ids(name: &str) -> Refused {
    let text = format!(
        "{MOST_IDS} hosts called {name} are registered: those that are gone can be removed with \
         `skyclaw host remove ID`"
    );
    Refused::new(Code::TooMany, text)
}

/// Lets a request through to its handler, or refuses it.
pub async fn check(State(room): Shared, request: Request, next: Next) -> Response {
    let caller = request.extensions().get::<Arc<Caller>>().cloned();
    let passed = match caller.as_deref() {
        Some(Caller::Owner | Caller::Network(_)) => Ok((request, None)),
        Some(Caller::Host {
            name, may_submit, ..
        }) => {
            let scope = Scope { room: &room, name };
            scope.passed(request, *may_submit).await
        }
        None => Err(forbidden()),
    };
    match passed {
        // The body is in memory until the answer is there.
        Ok((request, _share)) => next.run(request).await,
        Err(refused) => refused.into_response(),
    }
}

/// A host and what it is looked up in.
struct Scope<'a> {
    room: &'a Room,
    name: &'a str,
}

impl Scope<'_> {
    /// Returns the request as it came if it concerns nobody but this host.
    async fn passed(
        &self,
        request: Request,
        may_submit: bool,
    ) -> Result<(Request, Option<Share>), Refused> {
        let (mut parts, body) = request.into_parts();
        let Some(route) = parts.extensions.get::<MatchedPath>().cloned() else {
            return Err(forbidden());
        };
        if may_submit && submits(&parts.method, route.as_str()) {
            let share = self.share(at_most(&body, LARGE)).await?;
            return Ok((Request::from_parts(parts, body), Some(share)));
        }
        let rule = rule(&parts.method, route.as_str()).ok_or_else(forbidden)?;
        let limit = match rule {
            Rule::Nobody => return Ok((Request::from_parts(parts, body), None)),
            Rule::Holder => {
                self.check_holder(&mut parts).await?;
                return Ok((Request::from_parts(parts, body), None));
            }
            Rule::Register | Rule::ReportService | Rule::Host(Named::None | Named::Heartbeat) => {
                SMALL
            }
            Rule::CompleteOne
            | Rule::Host(Named::Completions | Named::Releases | Named::Logs | Named::Services) => {
                LARGE
            }
        };
        let id = match rule {
            Rule::Host(_) | Rule::CompleteOne => in_path(&mut parts).await?,
            Rule::Nobody | Rule::Register | Rule::ReportService | Rule::Holder => String::new(),
        };
        let mut share = self.share(at_most(&body, limit)).await?;
        let bytes = body::read(&parts.headers, body, limit).await?;
        share.keep(bytes.len());
        match rule {
            Rule::Register => self.check_register(&bytes).await?,
            Rule::ReportService => {
                let said: ReportService = body::exact(&bytes)?;
                self.check_own(&said.host_id)?;
            }
            Rule::CompleteOne => self.check_complete(&id, &bytes).await?,
            Rule::Host(named) => {
                let id = wire::host_id(&id)?;
                self.check_own(&id)?;
                let leases = leases(named, &bytes)?;
                self.check_leases(Some(&id), &leases).await?;
            }
            Rule::Nobody | Rule::Holder => {}
        }
        Ok((Request::from_parts(parts, Body::from(bytes)), Some(share)))
    }

    /// Waits until there is room for a body of at most `most` bytes beside the others of this host.
    async fn share(&self, most: usize) -> Result<Share, Refused> {
        self.room.shares.take(self.name, most).await
    }

    /// Answers for an unknown id itself: it might be another's by the time the handler looks.
    fn check_own(&self, id: &HostId) -> Result<(), Refused> {
        match self.room.presence.name_of(id) {
            None => Err(wire::unknown_host(id)),
            Some(name) if name == self.name => {
                self.room.presence.tunnels(id);
                Ok(())
            }
            Some(_) => Err(forbidden()),
        }
    }

    async fn check_register(&self, bytes: &[u8]) -> Result<(), Refused> {
        let asked: Register = body::exact(bytes)?;
        if asked.name.trim() != self.name {
            return Err(forbidden());
        }
        let id = asked.host_id.as_ref();
        match id.and_then(|id| self.room.presence.name_of(id)) {
            Some(name) if name == self.name => {}
            Some(_) => return Err(forbidden()),
            None if id.is_some_and(|id| !self.may_take(id)) => return Err(forbidden()),
            None if self.room.presence.count_called(self.name) >= MOST_IDS => {
                return Err(too_many_ids(self.name));
            }
            None => {}
        }
        let named = asked.leases.unwrap_or_default();
        self.check_leases(id, &named).await
    }

    /// Jobs are sent to hosts by id or by name, so an id that is another's name would be given its work.
    fn may_take(&self, id: &HostId) -> bool {
        let id = id.as_str();
        let made_by_chance = id
            .strip_prefix("host_")
            .is_some_and(|rest| uuid::Uuid::try_parse(rest).is_ok());
        id == self.name || made_by_chance && self.room.presence.count_called(id) == 0
    }

    /// Checks that `host` was given each of these leases. Those of jobs or tries that are not known
    /// concern nobody: the queue says that they are lost.
    async fn check_leases(
        &self,
        host: Option<&HostId>,
        named: &[LeaseName],
    ) -> Result<(), Refused> {
        let mut asked: HashMap<JobId, Vec<AttemptNo>> = HashMap::new();
        for name in named {
            let held = self.room.leases.get(name.job_id).filter(|held| {
                held.token == name.lease_token
                    && held.attempt == name.attempt
                    && Some(&held.host) == host
            });
            if held.is_none() {
                asked.entry(name.job_id).or_default().push(name.attempt);
            }
        }
        if asked.is_empty() {
            return Ok(());
        }
        for (job, tries) in self.holders(asked.keys().copied().collect()).await? {
            let last = tries.last().map(|(number, _)| *number);
            for attempt in asked.get(&job).into_iter().flatten() {
                let made_by = tries.iter().find(|(number, _)| number == attempt);
                let own = match made_by {
                    Some((_, by)) => Some(by) == host,
                    None => last.is_none_or(|last| *attempt > last),
                };
                if !own {
                    return Err(forbidden());
                }
            }
        }
        Ok(())
    }

    async fn check_complete(&self, job: &str, bytes: &[u8]) -> Result<(), Refused> {
        let done: Complete = body::mended(bytes)?;
        self.check_own(&done.host_id)?;
        let job = wire::job_id(job)?;
        let tries = self.holders(vec![job]).await?;
        let Some(tries) = tries.get(&job) else {
            return Ok(());
        };
        // Without a token the report is one of the last try.
        let meant = match done.attempt {
            Some(attempt) => tries.iter().find(|(number, _)| *number == attempt),
            None => tries.last(),
        };
        match meant {
            Some((_, by)) if *by == done.host_id => Ok(()),
            Some(_) | None => Err(forbidden()),
        }
    }

    /// Without a query: who waits for a job would be told how it ended on another host.
    async fn check_holder(&self, parts: &mut Parts) -> Result<(), Refused> {
        if parts.uri.query().is_some() {
            return Err(forbidden());
        }
        let id = wire::job_id(&in_path(parts).await?)?;
        let view = self.room.queue.job(id).await;
        let view = view.map_err(|error| self.room.refuse(error))?;
        let holder = view.and_then(|view| view.job.assigned_host_id);
        match holder.and_then(|host| self.room.presence.name_of(&host)) {
            Some(name) if name == self.name => Ok(()),
            Some(_) | None => Err(forbidden()),
        }
    }

    async fn holders(
        &self,
        jobs: Vec<JobId>,
    ) -> Result<HashMap<JobId, Vec<(AttemptNo, HostId)>>, Refused> {
        let found = self.room.queue.holders(jobs).await;
        found.map_err(|error| self.room.refuse(error))
    }
}

/// Returns how long a body can be where no more than `limit` is read.
fn at_most(body: &Body, limit: usize) -> usize {
    let said = body.size_hint().upper();
    said.map_or(limit, |said| usize::try_from(said).unwrap_or(limit))
        .min(limit)
}

/// Returns the id in the path as handlers read it.
async fn in_path(parts: &mut Parts) -> Result<String, Refused> {
    let Path(id) = Path::<String>::from_request_parts(parts, &())
        .await
        .map_err(|_| forbidden())?;
    Ok(id)
}
