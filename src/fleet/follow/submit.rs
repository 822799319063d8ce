//! Hands the jobs of a run in: one request, all or none, and the same however often it is sent.

use std::time::Duration;

use serde_json::{Map, Value};
use tokio::time::Instant;

use super::{Error as Failed, PATIENCE, Place};
use crate::client::{Client, Error};
use crate::fleet::run::Plan;
use crate::protocol::api::{GroupRequest, SubmitJob, SubmitMany};
use crate::protocol::{GroupId, Payload, Requirement};
use crate::support::clock::Timestamp;

/// Stands for no limit: what is not said is limited by the host.
const NO_LIMIT: u64 = 10 * 365 * 24 * 3600 * 1000;
/// What is longer for people than this is cut, because a coordinator takes no more.
const LONGEST_TITLE: usize = 1000;
/// Pause before it is sent again.
const PAUSE: Duration = Duration::from_millis(500);

/// A run, ready to be handed in.
#[derive(Debug)]
pub struct Handover {
    key: String,
    request: SubmitMany,
}

impl Handover {
    /// Returns the handover of `plan` under the id `group`, and where its jobs belong.
    pub fn of(
        plan: &Plan,
        group: GroupId,
        parent: Option<GroupId>,
        now: Timestamp,
    ) -> (Self, Vec<Place>) {
        let mut jobs = Vec::with_capacity(plan.units.len());
        let mut places = Vec::with_capacity(plan.units.len());
        let everywhere: Vec<String> = plan
            .hosts
            .iter()
            .map(|host| host.name.to_string())
            .collect();
        for unit in &plan.units {
            // Units that any host may take travel only where all hosts have the same limit.
            let model = plan.hosts.get(unit.host.unwrap_or(0));
            let timeout = match model.and_then(|host| host.timeout) {
                Some(limit) => limit.0,
                None => plan.timeout,
            };
            let payload = limited(&unit.payload, timeout, plan.grace);
            let hosts = match unit.host.and_then(|at| everywhere.get(at)) {
                Some(name) => vec![name.clone()],
                None => everywhere.clone(),
            };
            places.push(Place {
                job: unit.job,
                task: unit.task,
                host: unit.host,
                payload: payload.clone(),
            });
            jobs.push(SubmitJob {
                id: Some(unit.job),
                payload: Some(payload),
                requirement: Some(Requirement {
                    hosts,
                    ..Requirement::default()
                }),
                // Tasks may have effects: one that was cut off is looked at by a person before it runs again.
                max_attempts: Some(1),
                start_by: plan.deadline.map(|span| now.plus(span)),
                ..SubmitJob::default()
            });
        }
        let group_request = GroupRequest {
            id: Some(group),
            kind: Some(plan.kind.to_owned()),
            title: Some(cut(&plan.title)),
            meta: Some(plan.meta.clone()),
            parent,
            max_fails: None,
        };
        let handover = Self {
            key: format!("run-{group}"),
            request: SubmitMany {
                jobs,
                group: Some(group_request),
            },
        };
        (handover, places)
    }

    /// Says what it means that it could not be handed in: without an answer nobody knows whether it was taken.
    pub(super) fn failed(&self, run: GroupId, source: Error) -> Failed {
        let is_unsure = source.retry_helps() || matches!(source, Error::Answer { .. });
        let kind = self.request.group.as_ref();
        match kind.and_then(|group| group.kind.clone()) {
            Some(kind) if is_unsure => Failed::Unsure { run, kind, source },
            Some(_) | None => Failed::Submit(source),
        }
    }
}

/// Hands a run in, again and again while the coordinator is away: it is the same run.
///
/// # Errors
/// When the coordinator refuses it, or is away for too long.
pub async fn submit(client: &Client, handover: &Handover) -> Result<(), Error> {
    let since = Instant::now();
    loop {
        let sent = client.submit_many(&handover.request, Some(&handover.key));
        match sent.await {
            Ok(_) => return Ok(()),
            Err(error) if error.retry_helps() && since.elapsed() < PATIENCE => {
                tracing::debug!(%error, "the run is handed in again");
            }
            Err(error) => return Err(error),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Returns the payload with its limits in it.
fn limited(payload: &Payload, timeout: Option<Duration>, grace: Duration) -> Payload {
    let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let Ok(mut fields) = serde_json::from_str::<Map<String, Value>>(payload.as_str()) else {
        return payload.clone();
    };
    let limit = timeout.map_or(NO_LIMIT, millis).min(NO_LIMIT);
    fields.insert("timeoutMs".to_owned(), limit.into());
    fields.insert("graceMs".to_owned(), millis(grace).into());
    Payload::of(&fields).unwrap_or_else(|_| payload.clone())
}

fn cut(title: &str) -> String {
    let mut end = title.len().min(LONGEST_TITLE);
    while !title.is_char_boundary(end) {
        end -= 1;
    }
    title.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::api::Code;

    #[test]
    fn without_an_answer_nobody_says_that_it_was_not_taken() {
        let run = GroupId::fresh();
        let handover = Handover {
            key: String::new(),
            request: SubmitMany {
                group: Some(GroupRequest {
                    kind: Some("exec".to_owned()),
                    ..GroupRequest::default()
                }),
                ..SubmitMany::default()
            },
        };
        let gone = Error::NoCoordinator { tries: Vec::new() };
        let text = handover.failed(run, gone).to_string();
        let hint = format!("may have taken the run: `skyclaw fleet exec --resume {run}`");
        assert!(text.contains(&hint), "{text}");
        let refused = Error::Refused {
            url: String::new(),
            status: 400,
            code: Code::BadRequest,
            text: String::new(),
            retry_after: None,
        };
        let text = handover.failed(run, refused).to_string();
        assert_eq!(text, "`fleet up` did not take the run");
    }
}
