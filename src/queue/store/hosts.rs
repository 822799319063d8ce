//! The hosts that introduced themselves, what they hold, and the switch that stops all giving out.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::apply::completion;
use super::read::Reader;
use super::row::{self, Stored, columns};
use super::tx::Tx;
use crate::protocol::api::HostMode;
use crate::protocol::{HostId, Payload};
use crate::queue::Error;
use crate::queue::command::{Completion, HeldLease, HostEntry, LeaseProof, LeaseRef, NewHost};
use crate::queue::domain::lease::Proof;
use crate::queue::domain::{Event, State};
use crate::support::clock::Timestamp;

const ENTRY: &str = "SELECT id, name, capabilities, labels, max_parallel, mode, state_id, facts, \
     registered_at, updated_at FROM host";

/// Writes what `host` says of itself. A known host keeps its mode and the time of its first registration.
pub fn register(
    tx: &mut Tx<'_>,
    now: Timestamp,
    host: &NewHost,
    held: Option<&[LeaseRef]>,
) -> rusqlite::Result<HostEntry> {
    if let Some(held) = held {
        for stored in held_by(tx.connection, &host.id)? {
            if !is_among(&stored, held) {
                let _gone = tx.step(&stored, Event::Lose, now, None)?;
            }
        }
    }
    tx.connection
        .prepare_cached(
            "INSERT INTO host (id, name, capabilities, labels, max_parallel, mode, state_id, facts, \
             registered_at, updated_at) VALUES (?1, ?2, ?3, ?4, ?5, 0, ?6, ?7, ?8, ?8) \
             ON CONFLICT (id) DO UPDATE SET name = excluded.name, \
             capabilities = excluded.capabilities, labels = excluded.labels, \
             max_parallel = excluded.max_parallel, state_id = excluded.state_id, \
             facts = coalesce(excluded.facts, facts), updated_at = excluded.updated_at",
        )?
        .execute(params![
            host.id.as_str(),
            host.name,
            json(&host.capabilities)?,
            json(&host.labels)?,
            host.max_parallel,
            host.state_id,
            host.facts.as_ref().map(Payload::as_str),
            now.as_millis(),
        ])?;
    find(tx.connection, &host.id)?.ok_or(rusqlite::Error::QueryReturnedNoRows)
}

/// Tells whether the host's id is known under another name.
pub fn is_named_otherwise(connection: &Connection, host: &NewHost) -> rusqlite::Result<bool> {
    let known = find(connection, &host.id)?;
    Ok(known.is_some_and(|known| known.host.name != host.name))
}

/// Sets whether `host` is given work; nothing if there is no such host.
pub fn set_mode(
    connection: &Connection,
    now: Timestamp,
    host: &HostId,
    mode: HostMode,
) -> rusqlite::Result<Option<HostEntry>> {
    connection
        .prepare_cached("UPDATE host SET mode = ?2, updated_at = ?3 WHERE id = ?1")?
        .execute(params![host.as_str(), mode_number(mode), now.as_millis()])?;
    find(connection, host)
}

/// Takes everything from `host` and forgets it. Returns whether it was known.
pub fn forget(tx: &mut Tx<'_>, now: Timestamp, host: &HostId) -> rusqlite::Result<bool> {
    for stored in held_by(tx.connection, host)? {
        let _gone = tx.step(&stored, Event::Lose, now, None)?;
    }
    let gone = tx
        .connection
        .prepare_cached("DELETE FROM host WHERE id = ?1")?
        .execute([host.as_str()])?;
    Ok(gone > 0)
}

/// Gives back unharmed what `host` holds here and does not know of.
pub fn give_back(
    tx: &mut Tx<'_>,
    now: Timestamp,
    host: &HostId,
    held: &[LeaseRef],
    given_before: Timestamp,
) -> rusqlite::Result<Vec<Completion>> {
    let mut given = Vec::new();
    for stored in held_by(tx.connection, host)? {
        let State::Leased(lease) = &stored.job.state else {
            continue;
        };
        if lease.since >= given_before || is_among(&stored, held) {
            continue;
        }
        let event = Event::Release {
            proof: Proof::Token(stored.job.attempt, lease.token),
            delay: std::time::Duration::ZERO,
        };
        if let Ok(job) = tx.step(&stored, event, now, None)? {
            given.push(completion(&job));
        }
    }
    Ok(given)
}

fn is_among(stored: &Stored, held: &[LeaseRef]) -> bool {
    let State::Leased(lease) = &stored.job.state else {
        return false;
    };
    held.iter().any(|one| {
        one.job == stored.id
            && match &one.proof {
                LeaseProof::Token { attempt, token } => {
                    *attempt == stored.job.attempt && *token == lease.token
                }
                LeaseProof::Host(host) => *host == lease.host,
            }
    })
}

fn held_by(connection: &Connection, host: &HostId) -> rusqlite::Result<Vec<Stored>> {
    connection
        .prepare_cached(concat!(
            "SELECT ",
            columns!(),
            " FROM job INDEXED BY job_holder WHERE state = 2 AND host = ?1 ORDER BY seq"
        ))?
        .query_map([host.as_str()], row::read)?
        .collect()
}

/// Returns the leases that `host` holds.
pub fn leases_of(connection: &Connection, host: &HostId) -> rusqlite::Result<Vec<HeldLease>> {
    let held = held_by(connection, host)?;
    Ok(held
        .into_iter()
        .filter_map(|stored| match stored.job.state {
            State::Leased(lease) => Some(HeldLease {
                job: stored.id,
                attempt: stored.job.attempt,
                token: lease.token,
                since: lease.since,
                expires_at: lease.expires_at,
                grace: lease.cancel.as_ref().and_then(|ask| ask.grace),
                cancel: lease.cancel.map(|ask| ask.reason),
            }),
            State::Queued { .. } | State::Ended(_) => None,
        })
        .collect())
}

/// Returns how many leases `host` holds.
pub fn count_held(connection: &Connection, host: &HostId) -> rusqlite::Result<u16> {
    connection
        .prepare_cached(
            "SELECT count(*) FROM job INDEXED BY job_holder WHERE state = 2 AND host = ?1",
        )?
        .query_row([host.as_str()], |row| row.get::<_, u64>(0))
        .map(|held| u16::try_from(held).unwrap_or(u16::MAX))
}

/// Returns how many leases each host holds, for those that hold any.
pub fn count_all_held(connection: &Connection) -> rusqlite::Result<BTreeMap<HostId, u32>> {
    connection
        .prepare_cached(
            "SELECT host, count(*) FROM job INDEXED BY job_holder WHERE state = 2 \
             AND host IS NOT NULL GROUP BY host",
        )?
        .query_map([], |row| {
            let host = row::host(row, 0)?.ok_or(rusqlite::Error::InvalidQuery)?;
            Ok((host, row.get(1)?))
        })?
        .collect()
}

/// Returns the host with this id.
pub fn find(connection: &Connection, host: &HostId) -> rusqlite::Result<Option<HostEntry>> {
    connection
        .prepare_cached(&format!("{ENTRY} WHERE id = ?1"))?
        .query_row([host.as_str()], read)
        .optional()
}

/// Returns every host, by name.
pub fn all(connection: &Connection) -> rusqlite::Result<Vec<HostEntry>> {
    connection
        .prepare_cached(&format!("{ENTRY} ORDER BY name, id"))?
        .query_map([], read)?
        .collect()
}

/// Tells whether nothing is given out.
pub fn paused(connection: &Connection) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("SELECT 1 FROM setting WHERE name = 'paused'")?
        .exists([])
}

/// Moves the switch.
pub fn set_paused(tx: &mut Tx<'_>, paused: bool) -> rusqlite::Result<()> {
    let sql = if paused {
        "INSERT OR REPLACE INTO setting (name, value) VALUES ('paused', '1')"
    } else {
        "DELETE FROM setting WHERE name = 'paused'"
    };
    tx.connection.prepare_cached(sql)?.execute([])?;
    tx.set_paused(paused);
    Ok(())
}

const fn mode_number(mode: HostMode) -> i64 {
    match mode {
        HostMode::Active => 0,
        HostMode::Draining => 1,
        HostMode::Paused => 2,
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<HostEntry> {
    Ok(HostEntry {
        host: NewHost {
            id: row::host(row, 0)?.ok_or(rusqlite::Error::InvalidQuery)?,
            name: row.get(1)?,
            capabilities: from_json(row, 2)?,
            labels: from_json(row, 3)?,
            max_parallel: row.get(4)?,
            state_id: row.get(6)?,
            facts: row.get::<_, Option<String>>(7)?.map(Payload::stored),
        },
        mode: match row.get::<_, i64>(5)? {
            0 => HostMode::Active,
            1 => HostMode::Draining,
            _ => HostMode::Paused,
        },
        registered_at: row::time(row, 8)?.unwrap_or_default(),
        updated_at: row::time(row, 9)?.unwrap_or_default(),
    })
}

fn json<T: serde::Serialize>(value: &T) -> rusqlite::Result<String> {
    serde_json::to_string(value)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

fn from_json<T: serde::de::DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, error.into())
    })
}

impl Reader {
    /// Returns the host with this id.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn host(&self, id: &HostId) -> Result<Option<HostEntry>, Error> {
        find(&self.connection, id).map_err(|error| self.failed(error))
    }

    /// Returns every host, by name.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn hosts(&self) -> Result<Vec<HostEntry>, Error> {
        all(&self.connection).map_err(|error| self.failed(error))
    }

    /// Returns how many leases each host holds, for those that hold any.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn held_counts(&self) -> Result<BTreeMap<HostId, u32>, Error> {
        count_all_held(&self.connection).map_err(|error| self.failed(error))
    }

    /// Returns the leases that a host holds.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn leases_of(&self, host: &HostId) -> Result<Vec<HeldLease>, Error> {
        leases_of(&self.connection, host).map_err(|error| self.failed(error))
    }

    /// Tells whether nothing is given out.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn paused(&self) -> Result<bool, Error> {
        paused(&self.connection).map_err(|error| self.failed(error))
    }
}
