//! What running jobs print: pieces in the order of their arrival, with a cap that drops the middle.

use rusqlite::{Connection, OptionalExtension, params};

use super::read::Reader;
use super::tx::Tx;
use crate::protocol::api::Stream;
use crate::protocol::{AttemptNo, JobId};
use crate::queue::Error;
use crate::queue::command::{LOG_HEAD, LOG_LIMIT, LeaseProof, NewPiece, Piece};
use crate::queue::domain::State;
use crate::queue::domain::lease::Proof;

/// No stream is so long; numbers up to here can be added up in the file and read by any client.
const FARTHEST: u64 = 1 << 53;

/// Where the output of a job stands.
struct End {
    attempt: AttemptNo,
    kept: u64,
    /// The last piece of the beginning that always stays, once it is full.
    head: Option<i64>,
    next: [u64; 2],
}

/// Keeps a piece. Returns whether it came from the holder of the lease and can be true; a piece that
/// was kept before counts as kept and is not stored again.
pub fn append(tx: &Tx<'_>, piece: &NewPiece) -> rusqlite::Result<bool> {
    if piece.offset > FARTHEST {
        return Ok(false);
    }
    let Some(stored) = tx.find(piece.lease.job)? else {
        return Ok(false);
    };
    let State::Leased(lease) = &stored.job.state else {
        return Ok(false);
    };
    let proof: Proof = LeaseProof::into(piece.lease.proof.clone());
    if !lease.accepts(stored.job.attempt, &proof) {
        return Ok(false);
    }
    let connection = tx.connection;
    let mut end = end_of(connection, stored.seq)?.unwrap_or(End {
        attempt: stored.job.attempt,
        kept: 0,
        head: None,
        next: [0, 0],
    });
    if end.attempt != stored.job.attempt {
        end.attempt = stored.job.attempt;
        end.next = [0, 0];
    }
    let [stdout_next, stderr_next] = &mut end.next;
    let next = match piece.stream {
        Stream::Stdout => stdout_next,
        Stream::Stderr => stderr_next,
    };
    // A piece whose answer got lost comes again, perhaps longer than before.
    let known = usize::try_from(next.saturating_sub(piece.offset)).unwrap_or(usize::MAX);
    let Some(bytes) = piece.bytes.get(known..).filter(|new| !new.is_empty()) else {
        return Ok(true);
    };
    let start = piece.offset.max(*next);
    let dropped = start - *next;
    *next = start + bytes.len() as u64;
    connection
        .prepare_cached(
            "INSERT INTO log (job, attempt, stream, start, dropped, bytes) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            stored.seq,
            end.attempt.get(),
            stream_number(piece.stream),
            signed(start),
            signed(dropped),
            bytes
        ])?;
    end.kept += bytes.len() as u64;
    if end.head.is_none() && end.kept >= LOG_HEAD {
        end.head = Some(connection.last_insert_rowid());
    }
    if end.kept > LOG_LIMIT {
        drop_middle(connection, stored.seq, &mut end)?;
    }
    save_end(connection, stored.seq, &end)?;
    Ok(true)
}

/// Removes the oldest pieces after the beginning until the rest fits, and notes with their
/// successors how much went.
fn drop_middle(connection: &Connection, job: i64, end: &mut End) -> rusqlite::Result<()> {
    while end.kept > LOG_LIMIT {
        let oldest: Option<(i64, i64, i64, i64)> = connection
            .prepare_cached(
                "SELECT number, stream, attempt, length(bytes) + dropped FROM log \
                 WHERE job = ?1 AND number > ?2 ORDER BY number LIMIT 1",
            )?
            .query_row(params![job, end.head], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
            })
            .optional()?;
        let Some((number, stream, attempt, gone)) = oldest else {
            return Ok(());
        };
        let bytes: i64 = connection
            .prepare_cached("DELETE FROM log WHERE number = ?1 RETURNING length(bytes)")?
            .query_row([number], |row| row.get(0))?;
        connection
            .prepare_cached(
                "UPDATE log SET dropped = dropped + ?5 WHERE number = (SELECT min(number) FROM log \
                 WHERE job = ?1 AND number > ?2 AND stream = ?3 AND attempt = ?4)",
            )?
            .execute(params![job, number, stream, attempt, gone])?;
        end.kept = end.kept.saturating_sub(u64::try_from(bytes).unwrap_or(0));
    }
    Ok(())
}

fn end_of(connection: &Connection, job: i64) -> rusqlite::Result<Option<End>> {
    connection
        .prepare_cached(
            "SELECT attempt, kept, head, stdout_next, stderr_next FROM log_end WHERE job = ?1",
        )?
        .query_row([job], |row| {
            Ok(End {
                attempt: AttemptNo::new(row.get(0)?),
                kept: row.get(1)?,
                head: row.get(2)?,
                next: [row.get(3)?, row.get(4)?],
            })
        })
        .optional()
}

fn save_end(connection: &Connection, job: i64, end: &End) -> rusqlite::Result<()> {
    let [stdout_next, stderr_next] = end.next;
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO log_end (job, attempt, kept, head, stdout_next, stderr_next) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            job,
            end.attempt.get(),
            signed(end.kept),
            end.head,
            signed(stdout_next),
            signed(stderr_next)
        ])?;
    Ok(())
}

/// Returns pieces of a job after number `after`, at most about `limit` bytes of them and at least
/// one if there is any; nothing if there is no such job.
pub fn read(
    connection: &Connection,
    id: JobId,
    after: i64,
    limit: usize,
) -> rusqlite::Result<Option<Vec<Piece>>> {
    let job: Option<i64> = connection
        .prepare_cached("SELECT seq FROM job WHERE id = ?1")?
        .query_row([id.as_bytes()], |row| row.get(0))
        .optional()?;
    let Some(job) = job else {
        return Ok(None);
    };
    let mut statement = connection.prepare_cached(
        "SELECT number, attempt, stream, start, dropped, bytes FROM log INDEXED BY log_of \
         WHERE job = ?1 AND number > ?2 ORDER BY number LIMIT 1000",
    )?;
    let mut rows = statement.query(params![job, after])?;
    let mut pieces = Vec::new();
    let mut size = 0;
    while size < limit
        && let Some(row) = rows.next()?
    {
        let bytes: Vec<u8> = row.get(5)?;
        size += bytes.len();
        pieces.push(Piece {
            number: row.get(0)?,
            attempt: AttemptNo::new(row.get(1)?),
            stream: match row.get::<_, i64>(2)? {
                0 => Stream::Stdout,
                _ => Stream::Stderr,
            },
            offset: row.get(3)?,
            dropped: row.get(4)?,
            bytes,
        });
    }
    Ok(Some(pieces))
}

const fn stream_number(stream: Stream) -> i64 {
    match stream {
        Stream::Stdout => 0,
        Stream::Stderr => 1,
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl Reader {
    /// Returns kept output of a job after piece number `after`, at most about `limit` bytes and at
    /// least one piece if there is any; nothing if there is no such job.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn log(&self, id: JobId, after: i64, limit: usize) -> Result<Option<Vec<Piece>>, Error> {
        read(&self.connection, id, after, limit).map_err(|error| self.failed(error))
    }
}
