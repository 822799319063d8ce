//! Services, one record each.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::read::Reader;
use crate::protocol::HostId;
use crate::protocol::api::{DeployService, ReportService, ServiceRecord};
use crate::queue::Error;
use crate::queue::command::ServiceReported;
use crate::queue::domain::service::{self, Claimed};
use crate::support::clock::Timestamp;

/// Writes the service that is asked for.
pub fn deploy(
    connection: &Connection,
    now: Timestamp,
    id: &str,
    ask: &DeployService,
    node: &str,
) -> rusqlite::Result<ServiceRecord> {
    let before = find(connection, id)?;
    let service = service::deploy(ask, id, before.as_ref(), node, now);
    save(connection, &service)?;
    Ok(service)
}

/// Gives a host the oldest service that it has or may take.
pub fn claim(
    connection: &Connection,
    now: Timestamp,
    host: &HostId,
    capabilities: &[String],
    node: &str,
) -> rusqlite::Result<Option<ServiceRecord>> {
    for one in all(connection)? {
        match service::claim(&one, host, capabilities, node, now) {
            Claimed::Held => return Ok(Some(one)),
            Claimed::Taken(taken) => {
                save(connection, &taken)?;
                return Ok(Some(*taken));
            }
            Claimed::No => {}
        }
    }
    Ok(None)
}

/// Notes what a host says about its part of a service.
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
            save(connection, &after)?;
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

    /// Returns every service, oldest first.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn services(&self) -> Result<Vec<ServiceRecord>, Error> {
        all(&self.connection).map_err(|error| self.failed(error))
    }
}
