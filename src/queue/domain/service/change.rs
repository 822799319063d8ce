//! What a person asks of a service that is there. Here only what is wanted changes; placing does the rest.

use super::{form, life};
use crate::protocol::api::{ChangeService, ServiceRecord};
use crate::support::clock::Timestamp;

/// Returns `service` after `change`; unchanged if it is so already, or if it is being removed.
pub fn change(
    service: &ServiceRecord,
    change: ChangeService,
    node: &str,
    now: Timestamp,
) -> ServiceRecord {
    let mut after = service.clone();
    if service.removing {
        return after;
    }
    match change {
        ChangeService::Stop => after.stopped = true,
        ChangeService::Start => {
            if after.stopped {
                after.stopped = false;
                // Nothing runs that could be kept up instead: what is wanted gets another try.
                after.update_error = None;
            }
        }
        ChangeService::Restart => {
            form::remember(&mut after);
            after.generation += 1;
            after.update_error = None;
            after.stopped = false;
            form::forget(&mut after);
        }
        ChangeService::Scale { replicas } => after.replicas = replicas.max(1),
        ChangeService::Remove => after.removing = true,
    }
    if after == *service {
        return after;
    }
    life::changed(after, node, now)
}
