//! Services of a coordinator that has no sync, as those of the original: claimed one at a time, reported on, never
//! taken back but by another form of the same service.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::{Instant, sleep, timeout};

use super::sync::remove;
use super::table::Services;
use crate::client::Error;
use crate::client::holder::Session;
use crate::host::core::Core;
use crate::protocol::api::{
    DRAIN_MS, READY_MS, ReportService, ServiceRecord, SyncedServices, Want, WantedAssignment,
};
use crate::support::backoff::jittered;

/// All services that were claimed, by their ids. Kept when the coordinator changes: it names each only once.
pub(super) type Taken = BTreeMap<String, One>;

/// A service that was claimed.
pub(super) struct One {
    record: ServiceRecord,
    /// Which form of it this is.
    form: u32,
    told: Option<ReportService>,
}

/// Keeps claiming and reporting `until` then, or until the coordinator forgets us or does not know these routes either.
pub(super) async fn keep(
    core: &Arc<Core>,
    services: &Services,
    session: &Session,
    taken: &mut Taken,
    until: Instant,
) {
    let mut news = services.news();
    while Instant::now() < until {
        let leaving = *core.stopping.borrow();
        if !leaving {
            match core.client.claim_service(&session.host).await {
                Ok(Some(record)) => take(taken, record),
                Ok(None) => {}
                Err(error) if is_over(core, session, &error) => return,
                Err(error) => core.failed(&error),
            }
            let answer = SyncedServices {
                assignments: taken.values().map(wanted).collect(),
                ..SyncedServices::default()
            };
            remove(services.apply(answer, leaving));
        }
        let count = *news.borrow_and_update();
        match report(core, services, session, taken).await {
            Ok(()) => {
                services.told.send_replace(count);
            }
            Err(error) if is_over(core, session, &error) => return,
            Err(error) => core.failed(&error),
        }
        let pause = jittered(core.settings.poll);
        // A service that changes all the time is not to make us hurry.
        sleep(pause / 10).await;
        let _ = timeout(pause, news.changed()).await;
    }
}

/// Tells whether there is nothing more to do with this coordinator.
fn is_over(core: &Core, session: &Session, error: &Error) -> bool {
    let known = core.session.borrow().clone();
    known.as_ref() != Some(session) || matches!(error.status(), Some(403..=405))
}

fn take(taken: &mut Taken, record: ServiceRecord) {
    let form = match taken.get(&record.id) {
        Some(known) if is_same(&known.record, &record) => return,
        Some(known) => known.form + 1,
        None => 0,
    };
    let fresh = One {
        record,
        form,
        told: None,
    };
    taken.insert(fresh.record.id.clone(), fresh);
}

/// Tells whether what runs is the same.
fn is_same(one: &ServiceRecord, other: &ServiceRecord) -> bool {
    let form = |record: &ServiceRecord| {
        let ServiceRecord {
            name,
            command,
            args,
            cwd,
            env,
            ..
        } = record.clone();
        (name, command, args, cwd, env)
    };
    form(one) == form(other)
}

/// Returns the assignment that a claimed service is here.
fn wanted(taken: &One) -> WantedAssignment {
    let record = taken.record.clone();
    WantedAssignment {
        assignment_id: assignment(taken),
        want: Want::Run,
        service_id: record.id,
        name: record.name,
        generation: record.generation,
        command: record.command,
        args: record.args,
        cwd: record.cwd,
        env: record.env.unwrap_or_default(),
        secret_env: record.secret_env.unwrap_or_default(),
        health: record.health,
        restart: record.restart,
        protocol: record.protocol,
        ready_ms: record.ready_ms.unwrap_or(READY_MS),
        drain_ms: record.drain_ms.unwrap_or(DRAIN_MS),
        logs: None,
    }
}

fn assignment(taken: &One) -> String {
    format!("{}-{}", taken.record.id, taken.form)
}

/// Says what has changed since it was said last.
async fn report(
    core: &Core,
    services: &Services,
    session: &Session,
    taken: &mut Taken,
) -> Result<(), Error> {
    for one in taken.values_mut() {
        let Some(said) = services.report(&assignment(one)) else {
            continue;
        };
        let report = ReportService {
            host_id: session.host.clone(),
            status: said.phase.status(),
            endpoint: said.endpoint,
            error: said.error,
        };
        if one.told.as_ref() != Some(&report) {
            core.client.report_service(&one.record.id, &report).await?;
            one.told = Some(report);
        }
    }
    Ok(())
}
