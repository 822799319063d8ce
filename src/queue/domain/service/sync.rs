//! What a host says of its assignments.

use std::time::Duration;

use super::{choose, form, life};
use crate::protocol::HostId;
use crate::protocol::api::service::Speaks;
use crate::protocol::api::{Assignment, AssignmentReport, Phase, ServiceRecord};
use crate::support::clock::Timestamp;

/// An assignment that is to end and that its host does not name this long after is taken for ended: the host never
/// heard of it, or was started again and has forgotten it.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(10);
/// The most that is kept of what a process printed, in bytes.
const LONGEST_OUTPUT: usize = 4096;
/// The most that is kept of a host's other words, in bytes.
const LONGEST_WORD: usize = 1024;

/// Returns `service` after `host` said that `reports` is all it has; nothing if that changes nothing. What is said
/// of assignments that are not the host's, or are over, is not for us: it is told to end them by their absence.
pub fn sync(
    service: &ServiceRecord,
    host: &HostId,
    reports: &[AssignmentReport],
    node: &str,
    now: Timestamp,
) -> Option<ServiceRecord> {
    let mut after = service.clone();
    let mut failed = Vec::new();
    for one in &mut after.assignments {
        if one.host_id != *host || one.id.is_empty() {
            continue;
        }
        let Some(phase) = one.phase.filter(|phase| !phase.is_over()) else {
            continue;
        };
        let said = reports
            .iter()
            .rev()
            .find(|said| said.assignment_id == one.id);
        match said {
            Some(said) => {
                let form = form::of(service, one.generation);
                note(one, (phase, form.protocol.unwrap_or_default()), said, now);
                if !matches!(phase, Phase::Draining | Phase::CrashLoop) && life::has_failed(one) {
                    failed.push(one.generation);
                }
            }
            None => unnamed(one, phase, now),
        }
    }
    for generation in failed {
        choose::note_failure(&mut after, host, generation, now);
    }
    after.assignments.retain(|one| !has_drained(service, one));
    (after != *service).then(|| life::changed(after, node, now))
}

/// Tells whether it was to end and has: nobody needs to hear of it any more.
fn has_drained(before: &ServiceRecord, one: &Assignment) -> bool {
    life::is_over(one)
        && before
            .assignments
            .iter()
            .any(|old| old.id == one.id && old.phase == Some(Phase::Draining))
}

fn unnamed(one: &mut Assignment, phase: Phase, now: Timestamp) {
    match phase {
        Phase::Draining => {
            if one.updated_at.plus(FORGOTTEN_AFTER) <= now {
                life::set_phase(one, Phase::Stopped, now);
            }
        }
        // Whatever ran of it does not run any more; the host will begin anew.
        Phase::Starting | Phase::Ready | Phase::Backoff | Phase::CrashLoop => {
            life::set_phase(one, Phase::Assigned, now);
        }
        Phase::Assigned | Phase::Failed | Phase::Stopped | Phase::Lost => {}
    }
}

fn note(
    one: &mut Assignment,
    (phase, speaks): (Phase, Speaks),
    said: &AssignmentReport,
    now: Timestamp,
) {
    let heard = match said.phase {
        // Not a host's to say.
        Phase::Assigned | Phase::Lost => return,
        Phase::Starting | Phase::Ready | Phase::Backoff | Phase::CrashLoop => {
            if phase == Phase::Draining {
                // It has not heard yet that it is to end.
                return;
            }
            said.phase
        }
        Phase::Draining | Phase::Failed | Phase::Stopped => said.phase,
    };
    let before = one.clone();
    if heard != phase {
        life::set_phase(one, heard, now);
    }
    if heard == Phase::Ready {
        let endpoint = said.endpoint.as_deref();
        one.endpoint = endpoint.map(|text| speaks.address(cut(text, LONGEST_WORD)));
    }
    one.error = said.error.as_deref().map(|text| cut(text, LONGEST_WORD));
    one.restarts = said.restarts;
    if let Some(text) = &said.last_output {
        one.last_output = Some(cut_front(text, LONGEST_OUTPUT));
    }
    if *one != before {
        one.updated_at = now;
    }
}

/// Returns the beginning of `text`.
fn cut(text: &str, longest: usize) -> String {
    let end = (0..=longest.min(text.len()))
        .rev()
        .find(|end| text.is_char_boundary(*end));
    text.get(..end.unwrap_or(0)).unwrap_or_default().to_owned()
}

/// Returns the end of `text`: of output the last lines tell most.
fn cut_front(text: &str, longest: usize) -> String {
    let from =
        (text.len().saturating_sub(longest)..=text.len()).find(|from| text.is_char_boundary(*from));
    text.get(from.unwrap_or(0)..).unwrap_or_default().to_owned()
}
