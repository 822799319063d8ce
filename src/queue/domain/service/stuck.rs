//! What a host begins and never ends beginning: it lives and speaks, but its own limit did not work.

use std::time::Duration;

use super::choose::note_failure;
use super::life::set_phase;
use super::{ServiceHost, form};
use crate::protocol::api::service::READY_MS;
use crate::protocol::api::{Assignment, Phase, ServiceRecord};
use crate::support::clock::Timestamp;
use crate::support::span;

/// So much longer than it may take to be ready is waited for its host's own judgement, which comes with the lines that
/// tell why.
const MARGIN: Duration = Duration::from_secs(60);

/// Takes note that what has begun for too long has failed.
pub fn judge(service: &mut ServiceRecord, hosts: &[ServiceHost], now: Timestamp) {
    let heard_out = |one: &Assignment| {
        let mut hosts = hosts.iter();
        hosts.any(|host| host.id == one.host_id && host.alive && host.heard_out)
    };
    let mut failed = Vec::new();
    for index in 0..service.assignments.len() {
        let Some(one) = service.assignments.get(index).filter(|one| heard_out(one)) else {
            continue;
        };
        let within = form::of(service, one.generation).ready_ms;
        let within = Duration::from_millis(within.unwrap_or(READY_MS));
        let begins = matches!(one.phase, Some(Phase::Assigned | Phase::Starting));
        if !begins || now < one.updated_at.plus(within.saturating_add(MARGIN)) {
            continue;
        }
        let generation = one.generation;
        if let Some(one) = service.assignments.get_mut(index) {
            set_phase(one, Phase::Failed, now);
            let within = span::human(within.saturating_add(MARGIN));
            one.error = Some(match &one.error {
                Some(why) => format!("not ready for {within}: {why}"),
                None => format!(
                    "host {} did not say within {within} that it is ready, or why it is not",
                    one.host_id
                ),
            });
            failed.push((one.host_id.clone(), generation));
        }
    }
    for (host, generation) in failed {
        note_failure(service, &host, generation, now);
    }
}
