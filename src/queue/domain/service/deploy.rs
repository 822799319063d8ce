//! A service is asked for, or asked for anew.

use std::collections::BTreeMap;

use super::{form, life};
use crate::protocol::api::service::Form;
use crate::protocol::api::{DeployService, ServiceRecord, ServiceStatus};
use crate::support::clock::Timestamp;

/// Returns the service of `all` (oldest first) that `ask` means, if it goes by the name. A service that is being
/// removed is none any more.
pub fn replaced_by<'a>(ask: &DeployService, all: &'a [ServiceRecord]) -> Option<&'a ServiceRecord> {
    let has_id = ask.service_id.as_deref().map(str::trim);
    if !ask.by_name || has_id.is_some_and(|id| !id.is_empty()) {
        return None;
    }
    all.iter()
        .find(|one| !one.removing && one.name == ask.name.trim())
}

/// Returns the service that `ask` describes under `id`. What was there keeps its assignments: they are replaced one
/// by one when what runs must change, and stay when it need not. `before` itself comes back if nothing changes.
pub fn deploy(
    ask: &DeployService,
    id: &str,
    before: Option<&ServiceRecord>,
    node: &str,
    now: Timestamp,
) -> ServiceRecord {
    let Some(before) = before else {
        return life::changed(fresh(ask, id, node, now), node, now);
    };
    let wanted = fresh(ask, id, node, now);
    let mut after = before.clone();
    let same_form = form::current(&wanted)
        == Form {
            generation: wanted.generation,
            ..form::current(before)
        };
    // What is on its way out is not taken back: its processes are told to end.
    if !same_form || before.removing {
        form::remember(&mut after);
        after.generation += 1;
        after.update_error = None;
    }
    let as_before = ask.by_name && ask.replicas.is_none();
    after = ServiceRecord {
        id: after.id,
        created_at: after.created_at,
        updated_at: after.updated_at,
        updated_by: after.updated_by,
        version: after.version,
        status: after.status,
        assignments: after.assignments,
        generation: after.generation,
        update_error: after.update_error,
        kept: after.kept,
        replicas: match as_before {
            true => after.replicas,
            false => wanted.replicas,
        },
        ..wanted
    };
    if after == *before {
        return after;
    }
    form::forget(&mut after);
    life::changed(after, node, now)
}

/// Returns a service that nobody has yet, before its first change.
fn fresh(ask: &DeployService, id: &str, node: &str, now: Timestamp) -> ServiceRecord {
    let mut wanted: Vec<String> = match &ask.required_capabilities {
        Some(wanted) => wanted.iter().map(|word| word.trim().to_owned()).collect(),
        None => vec!["service-host".to_owned()],
    };
    wanted.retain(|word| !word.is_empty());
    wanted.sort();
    wanted.dedup();
    ServiceRecord {
        id: id.to_owned(),
        name: ask.name.trim().to_owned(),
        command: ask.command.trim().to_owned(),
        args: ask.args.clone().unwrap_or_default(),
        cwd: ask.cwd.clone(),
        env: said(&ask.env),
        replicas: ask.replicas.unwrap_or(1).max(1),
        required_capabilities: wanted,
        status: ServiceStatus::Pending,
        created_at: now,
        updated_at: now,
        updated_by: node.to_owned(),
        version: 0,
        assignments: Vec::new(),
        generation: 1,
        secret_env: said(&ask.secret_env),
        health: ask.health.clone(),
        restart: ask.restart.unwrap_or_default(),
        protocol: ask.protocol,
        ready_ms: ask.ready_ms,
        drain_ms: ask.drain_ms,
        stopped: false,
        update_error: None,
        update_waits: None,
        removing: false,
        kept: Default::default(),
    }
}

/// No variables and none given are the same.
fn said(variables: &Option<BTreeMap<String, String>>) -> Option<BTreeMap<String, String>> {
    variables.clone().filter(|given| !given.is_empty())
}
