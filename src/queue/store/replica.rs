//! The state of a member of a cluster: what the log says is applied in one transaction with how far it went.

use rusqlite::{Connection, OptionalExtension, params};

use super::tx::Tx;
use super::{Applied, Store, apply, fault};
use crate::queue::Error;
use crate::queue::command::Envelope;
use crate::queue::engine::Change;
use crate::support::clock::Timestamp;

/// Where an entry is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// In whose term it was written: the number of the term,
    pub term: u64,
    /// and its leader.
    pub node: u64,
    /// How many entries are before it.
    pub index: u64,
}

/// How far a member has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replica {
    /// The cluster.
    pub cluster: String,
    /// The last entry that is part of the state.
    pub applied: Option<Place>,
    /// Who was in the cluster then, in the engine's own words; empty if nobody said.
    pub members: String,
    /// The latest time in what was applied.
    pub now: Timestamp,
}

/// Entries of the log that are to become part of the state.
pub struct Replay {
    /// The commands of each entry.
    pub entries: Vec<Vec<Envelope>>,
    /// Where the last one is.
    pub upto: Place,
    /// Who is in the cluster from then on, if one of them says so.
    pub members: Option<String>,
}

/// What came of a [`Replay`].
pub struct Replayed {
    /// One answer for each command of each entry.
    pub answers: Vec<Vec<Result<Applied, Error>>>,
    /// What changed, to be told to whoever listens.
    pub changes: Vec<Change>,
    /// The latest time in what was applied, now or ever.
    pub now: Timestamp,
}

/// Returns how far the queue behind `connection` has come, if it ever was in a cluster.
pub fn read(connection: &Connection) -> rusqlite::Result<Option<Replica>> {
    connection
        .prepare_cached("SELECT cluster, term, node, place, members, now FROM replica")?
        .query_row([], |row| {
            let number = |at| -> rusqlite::Result<Option<u64>> {
                row.get(at)
                    .map(|number: Option<i64>| number.map(i64::cast_unsigned))
            };
            let applied = match (number(1)?, number(2)?, number(3)?) {
                (Some(term), Some(node), Some(index)) => Some(Place { term, node, index }),
                (_, _, _) => None,
            };
            Ok(Replica {
                cluster: row.get(0)?,
                applied,
                members: row.get(4)?,
                now: Timestamp::from_millis(row.get(5)?),
            })
        })
        .optional()
}

impl Store {
    /// Returns how far this member has come; nothing if it never was one.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn replica(&self) -> Result<Option<Replica>, Error> {
        read(&self.connection).map_err(|error| fault::error("read", &self.path, error))
    }

    /// Says how far this member has come, whatever was said before.
    ///
    /// # Errors
    /// When the file fails.
    pub fn set_replica(&self, replica: &Replica) -> Result<(), Error> {
        let place = |of: fn(&Place) -> u64| replica.applied.as_ref().map(|at| of(at).cast_signed());
        let done = self.connection.execute(
            "INSERT OR REPLACE INTO replica (one, cluster, term, node, place, members, now) \
             VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6)",
            params![
                replica.cluster,
                place(|at| at.term),
                place(|at| at.node),
                place(|at| at.index),
                replica.members,
                replica.now.as_millis()
            ],
        );
        done.map(|_| ())
            .map_err(|error| fault::error("write", &self.path, error))
    }

    /// Forgets that this ever was a member of a cluster.
    ///
    /// # Errors
    /// When the file fails.
    pub fn forget_replica(&self) -> Result<(), Error> {
        let done = self.connection.execute("DELETE FROM replica", []);
        done.map(|_| ())
            .map_err(|error| fault::error("write", &self.path, error))
    }

    /// Makes the entries part of the state, in one transaction with how far that is.
    ///
    /// A command that contradicts the file, or a fault of ours in one, costs that command alone: every
    /// other member refuses it in the same way.
    ///
    /// # Errors
    /// When the file fails: nothing is kept then.
    pub fn replay(&self, replay: &Replay) -> Result<Replayed, Error> {
        let quick = self.guarded(|| self.in_one(|| self.straight(replay)));
        let done = match quick {
            Err(error) if fault::is_of_one_command(&error) => {
                self.guarded(|| self.in_one(|| self.one_by_one(replay)))
            }
            done => done,
        };
        done.map_err(|error| fault::error("write", &self.path, error))
    }

    fn in_one<T>(&self, work: impl FnOnce() -> rusqlite::Result<T>) -> rusqlite::Result<T> {
        self.statement("BEGIN IMMEDIATE")?;
        let done = work().and_then(|done| self.statement("COMMIT").map(|()| done));
        if done.is_err() {
            self.roll_back();
        }
        done
    }

    fn straight(&self, replay: &Replay) -> rusqlite::Result<Replayed> {
        let mut tx = Tx::new(&self.connection);
        let mut answers = Vec::with_capacity(replay.entries.len());
        for entry in &replay.entries {
            let each = entry.iter().map(|one| apply::apply(&mut tx, one).map(Ok));
            answers.push(each.collect::<rusqlite::Result<_>>()?);
        }
        let changes = tx.changes;
        self.finish(replay, answers, changes)
    }

    /// As [`Self::straight`], but each command can be taken back without the others.
    fn one_by_one(&self, replay: &Replay) -> rusqlite::Result<Replayed> {
        let mut answers = Vec::with_capacity(replay.entries.len());
        let mut changes = Vec::new();
        for entry in &replay.entries {
            let mut given = Vec::with_capacity(entry.len());
            for one in entry {
                self.statement("SAVEPOINT one")?;
                // Not `guarded`: the transaction must live on.
                let done = super::caught(|| {
                    let mut tx = Tx::new(&self.connection);
                    apply::apply(&mut tx, one).map(|applied| (applied, tx.changes))
                });
                match done {
                    Ok((applied, told)) => {
                        changes.extend(told);
                        given.push(Ok(applied));
                    }
                    Err(error) if fault::is_of_one_command(&error) => {
                        self.statement("ROLLBACK TO one")?;
                        given.push(Err(fault::error("write", &self.path, error)));
                    }
                    Err(error) => return Err(error),
                }
                self.statement("RELEASE one")?;
            }
            answers.push(given);
        }
        self.finish(replay, answers, changes)
    }

    fn finish(
        &self,
        replay: &Replay,
        answers: Vec<Vec<Result<Applied, Error>>>,
        changes: Vec<Change>,
    ) -> rusqlite::Result<Replayed> {
        let times = replay.entries.iter().flatten();
        let latest = times.map(|one| one.command.time()).max();
        let now: i64 = self
            .connection
            .prepare_cached(
                "INSERT INTO replica (one, cluster, term, node, place, members, now) \
                 VALUES (1, '', ?1, ?2, ?3, coalesce(?4, ''), ?5) ON CONFLICT DO UPDATE SET \
                 term = excluded.term, node = excluded.node, place = excluded.place, \
                 members = coalesce(?4, members), now = max(now, excluded.now) RETURNING now",
            )?
            .query_row(
                params![
                    replay.upto.term.cast_signed(),
                    replay.upto.node.cast_signed(),
                    replay.upto.index.cast_signed(),
                    replay.members,
                    latest.map_or(i64::MIN, Timestamp::as_millis)
                ],
                |row| row.get(0),
            )?;
        Ok(Replayed {
            answers,
            changes,
            now: Timestamp::from_millis(now),
        })
    }

    /// From now on a commit need not wait for the disk: the log can bring back what is lost. See
    /// [`super::sync`].
    ///
    /// # Errors
    /// When the file fails.
    pub fn relax(&self) -> Result<(), Error> {
        self.tune("PRAGMA synchronous = NORMAL")
    }

    /// From now on a commit is on disk when it returns, as at first.
    ///
    /// # Errors
    /// When the file fails.
    pub fn tighten(&self) -> Result<(), Error> {
        self.tune("PRAGMA synchronous = FULL")
    }

    fn tune(&self, sql: &str) -> Result<(), Error> {
        let done = self.connection.execute_batch(sql);
        done.map_err(|error| fault::error("write", &self.path, error))
    }
}

#[cfg(test)]
#[path = "replica_tests.rs"]
mod tests;
