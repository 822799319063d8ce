//! Remembers answers by idempotency key, in the transaction that made them.

use rusqlite::{Connection, OptionalExtension, params};

use super::Reader;
use crate::queue::command::{Idempotency, Outcome};
use crate::queue::error::Error;
use crate::support::clock::Timestamp;

impl Reader {
    /// Tells whether anything is remembered under `key` at `now`.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn remembers(&self, key: &Idempotency, now: Timestamp) -> Result<bool, Error> {
        look_up(&self.connection, key, now)
            .map(|found| !matches!(found, Found::Nothing))
            .map_err(|error| self.failed(error))
    }
}

/// What is remembered under a key.
pub enum Found {
    /// Nothing, or nothing any more.
    Nothing,
    /// The answer to the same request.
    Same(Outcome),
    /// The answer to another request.
    Other,
}

/// Returns what is remembered under `key` at `now`.
pub fn look_up(
    connection: &Connection,
    key: &Idempotency,
    now: Timestamp,
) -> rusqlite::Result<Found> {
    let found: Option<(Vec<u8>, String)> = connection
        .prepare_cached(
            "SELECT body_hash, outcome FROM idempotency WHERE key = ?1 AND expires_at > ?2",
        )?
        .query_row(params![key.key, now.as_millis()], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    match found {
        None => Ok(Found::Nothing),
        Some((hash, _)) if hash != key.body_hash => Ok(Found::Other),
        Some((_, outcome)) => serde_json::from_str(&outcome)
            .map(Found::Same)
            .map_err(|error| {
                rusqlite::Error::FromSqlConversionFailure(
                    1,
                    rusqlite::types::Type::Text,
                    error.into(),
                )
            }),
    }
}

/// Remembers `outcome` under `key`. A refusal is not remembered: the same request may do better later.
pub fn remember(
    connection: &Connection,
    key: &Idempotency,
    outcome: &Outcome,
) -> rusqlite::Result<()> {
    if matches!(outcome, Outcome::Refused(_)) {
        return Ok(());
    }
    let text = serde_json::to_string(outcome)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO idempotency (key, body_hash, outcome, expires_at) \
             VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![
            key.key,
            key.body_hash.as_slice(),
            text,
            key.expires_at.as_millis()
        ])?;
    Ok(())
}
