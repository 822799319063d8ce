//! What a loop without any promises costs: one writer thread, group commit, the same rows.
//!
//! It knows no retries, no fencing beyond one comparison, no requirements and no keys, and uses
//! the fewest statements that leave the same rows behind as the queue does.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;

use rusqlite::{Connection, OptionalExtension, params};
use skyclaw::support::clock::{Clock, SystemClock};
use tokio::sync::oneshot;

use crate::sides::{LEASE, PAYLOAD, PRINTED};

const BATCH: usize = 256;

enum Ask {
    Insert(Vec<[u8; 16]>, oneshot::Sender<()>),
    Claim(String, [u8; 16], oneshot::Sender<Option<Given>>),
    Complete(Given, oneshot::Sender<bool>),
}

/// A job that was given out.
pub struct Given {
    id: [u8; 16],
    attempt: i64,
    token: [u8; 16],
    host: String,
    since: i64,
}

/// The way to the writer thread.
#[derive(Clone)]
pub struct Writer(Arc<Parts>);

struct Parts {
    sender: Option<Sender<Ask>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Parts {
    fn drop(&mut self) {
        drop(self.sender.take());
        self.thread.take().unwrap().join().unwrap();
    }
}

impl Writer {
    /// Starts writing into the file at `path`, which has its tables.
    pub fn open(path: &Path) -> Self {
        let connection = Connection::open(path).unwrap();
        connection.set_prepared_statement_cache_capacity(64);
        connection
            .execute_batch("PRAGMA synchronous = FULL; PRAGMA journal_size_limit = 67108864;")
            .unwrap();
        let (sender, asked) = mpsc::channel();
        let thread = std::thread::spawn(move || write(&connection, &asked));
        Self(Arc::new(Parts {
            sender: Some(sender),
            thread: Some(thread),
        }))
    }

    fn send(&self, ask: Ask) {
        self.0.sender.as_ref().unwrap().send(ask).unwrap();
    }

    /// Puts `count` jobs in.
    pub async fn insert(&self, count: u64) {
        let (answer, answered) = oneshot::channel();
        let ids = (0..count).map(|_| uuid::Uuid::now_v7().into_bytes());
        self.send(Ask::Insert(ids.collect(), answer));
        answered.await.unwrap();
    }

    /// Takes the next job.
    pub async fn claim(&self, host: &str) -> Option<Given> {
        let (answer, answered) = oneshot::channel();
        let mut token = [0; 16];
        getrandom::fill(&mut token).unwrap();
        self.send(Ask::Claim(host.to_owned(), token, answer));
        answered.await.unwrap()
    }

    /// Reports a job done.
    pub async fn complete(&self, given: Given) -> bool {
        let (answer, answered) = oneshot::channel();
        self.send(Ask::Complete(given, answer));
        answered.await.unwrap()
    }
}

fn write(connection: &Connection, asked: &Receiver<Ask>) {
    let begin = || {
        connection
            .prepare_cached("BEGIN IMMEDIATE")
            .unwrap()
            .execute([])
    };
    let commit = || connection.prepare_cached("COMMIT").unwrap().execute([]);
    while let Ok(first) = asked.recv() {
        let mut asks = vec![first];
        asks.extend(asked.try_iter().take(BATCH - 1));
        begin().unwrap();
        let answers: Vec<Box<dyn FnOnce()>> =
            asks.into_iter().map(|ask| one(connection, ask)).collect();
        commit().unwrap();
        for answer in answers {
            answer();
        }
    }
}

/// Does what was asked; the answer is given after the commit.
fn one(connection: &Connection, ask: Ask) -> Box<dyn FnOnce()> {
    let now = SystemClock.now().as_millis();
    match ask {
        Ask::Insert(ids, answer) => {
            for id in ids {
                insert(connection, &id, now).unwrap();
            }
            Box::new(move || answer.send(()).unwrap_or_default())
        }
        Ask::Claim(host, token, answer) => {
            let given = claim(connection, host, token, now).unwrap();
            Box::new(move || drop(answer.send(given)))
        }
        Ask::Complete(given, answer) => {
            let done = complete(connection, &given, now).unwrap();
            Box::new(move || assert!(answer.send(done).is_ok()))
        }
    }
}

fn insert(connection: &Connection, id: &[u8; 16], now: i64) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO job (id, state, attempt, lost, failed, max_attempts, retries, pin, need, \
             priority, created_at, updated_at, payload) \
             VALUES (?1, 0, 0, 0, 0, 3, 0, '', '-', 0, ?2, ?2, ?3)",
        )?
        .execute(params![id, now, PAYLOAD])
        .map(|_| ())
}

fn claim(
    connection: &Connection,
    host: String,
    token: [u8; 16],
    now: i64,
) -> rusqlite::Result<Option<Given>> {
    let lease = i64::try_from(LEASE.as_millis()).unwrap();
    connection
        .prepare_cached(
            "UPDATE job SET state = 2, attempt = attempt + 1, host = ?1, token = ?2, since = ?3, \
             lease_ms = ?4, due_at = ?3 + ?4, updated_at = ?3 WHERE seq = \
             (SELECT seq FROM job INDEXED BY job_queue WHERE state = 0 AND pin = '' AND need = '-' \
             ORDER BY priority DESC, seq LIMIT 1) RETURNING id, attempt, payload",
        )?
        .query_row(params![host, token, now, lease], |row| {
            let _payload: String = row.get(2)?;
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()
        .map(|found| {
            found.map(|(id, attempt)| Given {
                id,
                attempt,
                token,
                host,
                since: now,
            })
        })
}

fn complete(connection: &Connection, given: &Given, now: i64) -> rusqlite::Result<bool> {
    let seq: Option<i64> = connection
        .prepare_cached(
            "UPDATE job SET state = 3, host = NULL, token = NULL, since = NULL, lease_ms = NULL, \
             due_at = NULL, ended_at = ?1, updated_at = ?1 \
             WHERE id = ?2 AND state = 2 AND attempt = ?3 AND token = ?4 RETURNING seq",
        )?
        .query_row(params![now, given.id, given.attempt, given.token], |row| {
            row.get(0)
        })
        .optional()?;
    let Some(seq) = seq else {
        return Ok(false);
    };
    connection
        .prepare_cached(
            "INSERT INTO attempt (key, host, token, started_at, ended_at, ending, finished_at, \
             duration_ms, exit_code, stdout_total, stdout_cut, stderr_total, stderr_cut, stdout, \
             stderr) VALUES (?1, ?2, ?3, ?4, ?5, 0, 0, 12, 0, ?6, 0, 0, 0, ?7, x'')",
        )?
        .execute(params![
            seq << 16 | given.attempt,
            given.host,
            given.token,
            given.since,
            now,
            i64::try_from(PRINTED.len()).unwrap(),
            PRINTED,
        ])?;
    Ok(true)
}

/// Returns how many jobs and how many attempts are in the file.
pub fn left_behind(path: &Path) -> (u64, u64) {
    let connection = Connection::open(path).unwrap();
    let count = |sql: &str| connection.query_row(sql, [], |row| row.get(0)).unwrap();
    (
        count("SELECT count(*) FROM job"),
        count("SELECT count(*) FROM attempt"),
    )
}
