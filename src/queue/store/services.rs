//! Services, one record each.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::read::Reader;
use crate::protocol::HostId;
use crate::protocol::api::{
    AssignmentReport, ChangeService, DeployService, ReportService, ServiceRecord,
};
use crate::queue::Error;
use crate::queue::command::{ServiceChanged, ServiceReported};
use crate::queue::domain::service::{self, Claimed, ServiceHost};
use crate::support::clock::Timestamp;

/// Writes the service that is asked for: under `id`, unless it goes by its name and there is one.
pub fn deploy(
    connection: &Connection,
    now: Timestamp,
    id: &str,
    ask: &DeployService,
    node: &str,
) -> rusqlite::Result<ServiceRecord> {
    let before = match ask.by_name {
        true => service::replaced_by(ask, &all(connection)?).cloned(),
        false => None,
    };
    let before = match before {
        Some(named) => Some(named),
        None => find(connection, id)?,
    };
    let id = before.as_ref().map_or(id, |before| &before.id);
    let after = service::deploy(ask, id, before.as_ref(), node, now);
    if before.as_ref() != Some(&after) {
        save(connection, &after)?;
    }
    Ok(after)
}

/// Writes what a person asks of a service.
pub fn change(
    connection: &Connection,
    now: Timestamp,
    id: &str,
    change: ChangeService,
    node: &str,
) -> rusqlite::Result<ServiceChanged> {
    let Some(before) = find(connection, id)? else {
        return Ok(ServiceChanged::Unknown);
    };
    let after = service::change(&before, change, node, now);
    if after != before {
        keep(connection, &after)?;
    }
    Ok(ServiceChanged::Changed(Box::new(after)))
}

/// Notes what a host says of its assignments, and returns the services that change.
pub fn sync(
    connection: &Connection,
    now: Timestamp,
    host: &HostId,
    reports: &[AssignmentReport],
    node: &str,
) -> rusqlite::Result<Vec<ServiceRecord>> {
    let changed = synced(&all(connection)?, host, reports, node, now);
    changed.iter().try_for_each(|one| keep(connection, one))?;
    Ok(changed)
}

fn synced(
    services: &[ServiceRecord],
    host: &HostId,
    reports: &[AssignmentReport],
    node: &str,
    now: Timestamp,
) -> Vec<ServiceRecord> {
    let after = |one| service::sync(one, host, reports, node, now);
    services.iter().filter_map(after).collect()
}

/// Decides what runs where, and returns the services that change.
pub fn place(
    connection: &Connection,
    now: Timestamp,
    hosts: &[ServiceHost],
    seed: [u8; 16],
    node: &str,
) -> rusqlite::Result<Vec<ServiceRecord>> {
    let changed = service::place(&all(connection)?, hosts, seed, node, now);
    changed.iter().try_for_each(|one| keep(connection, one))?;
    Ok(changed)
}

/// Writes a service, or forgets it if it was removed and nothing of it is left.
fn keep(connection: &Connection, service: &ServiceRecord) -> rusqlite::Result<()> {
    if !service::is_gone(service) {
        return save(connection, service);
    }
    connection
        .prepare_cached("DELETE FROM service WHERE id = ?1")?
        .execute([&service.id])?;
    Ok(())
}

/// Gives a host of the original a service that it may take, or one of its own.
pub fn claim(
    connection: &Connection,
    now: Timestamp,
    host: &HostId,
    capabilities: &[String],
    node: &str,
) -> rusqlite::Result<Option<ServiceRecord>> {
    match service::claim(&all(connection)?, host, capabilities, node, now) {
        Claimed::Held(held) => Ok(Some(*held)),
        Claimed::Taken(taken) => {
            save(connection, &taken)?;
            Ok(Some(*taken))
        }
        Claimed::No => Ok(None),
    }
}

/// Notes what a host of the original says about its part of a service.
pub fn report(
    connection: &Connection,
    now: Timestamp,
    id: &str,
    report: &ReportService,
    node: &str,
) -> rusqlite::Result<ServiceReported> {
    let Some(before) = find(connection, id)? else {
        return Ok(ServiceReported::Unknown);
    };
    match service::report(&before, report, node, now) {
        None => Ok(ServiceReported::NotAssigned),
        Some(after) => {
            if after != before {
                keep(connection, &after)?;
            }
            Ok(ServiceReported::Noted(Box::new(after)))
        }
    }
}

/// Returns the service with this id.
pub fn find(connection: &Connection, id: &str) -> rusqlite::Result<Option<ServiceRecord>> {
    connection
        .prepare_cached("SELECT record FROM service WHERE id = ?1")?
        .query_row([id], read)
        .optional()
}

/// Returns every service, oldest first.
pub fn all(connection: &Connection) -> rusqlite::Result<Vec<ServiceRecord>> {
    connection
        .prepare_cached("SELECT record FROM service ORDER BY created_at, id")?
        .query_map([], read)?
        .collect()
}

/// Writes a service as it is.
pub fn save(connection: &Connection, service: &ServiceRecord) -> rusqlite::Result<()> {
    let text = serde_json::to_string(service)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO service (id, created_at, record) VALUES (?1, ?2, ?3)",
        )?
        .execute(params![service.id, service.created_at.as_millis(), text])?;
    Ok(())
}

fn read(row: &Row<'_>) -> rusqlite::Result<ServiceRecord> {
    let text: String = row.get(0)?;
    serde_json::from_str(&text).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, error.into())
    })
}

impl Reader {
    /// Returns the service with this id.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn service(&self, id: &str) -> Result<Option<ServiceRecord>, Error> {
        find(&self.connection, id).map_err(|error| self.failed(error))
    }

    /// Tells whether what a host says of its assignments would change anything.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn sync_matters(
        &self,
        host: &HostId,
        reports: &[AssignmentReport],
        now: Timestamp,
    ) -> Result<bool, Error> {
        let all = self.services()?;
        Ok(!synced(&all, host, reports, "", now).is_empty())
    }

    /// Tells whether placing the services on `hosts` would change anything.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn placing_matters(&self, hosts: &[ServiceHost], now: Timestamp) -> Result<bool, Error> {
        let all = self.services()?;
        Ok(!service::place(&all, hosts, [0; 16], "", now).is_empty())
    }

    /// Returns every service, oldest first.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn services(&self) -> Result<Vec<ServiceRecord>, Error> {
        all(&self.connection).map_err(|error| self.failed(error))
    }
}
