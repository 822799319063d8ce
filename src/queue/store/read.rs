//! The read side: each call is one short snapshot of at most a page.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};

use super::attempts::{Holders, holders, result_columns};
use super::row::{self, columns, payload};
use super::view::{Found, add, read_attempt, read_group, read_view, running, status_range};
use super::{fault, open};
use crate::protocol::{
    AttemptNo, AttemptRecord, GroupCounts, GroupId, GroupRecord, HostId, JobId, JobRecord,
    JobResult, JobStatus, Reason, Usage,
};
use crate::queue::Error;

/// How many entries one page has at most: a long read would keep the log from being emptied.
const PAGE: u32 = 500;

/// Where the next page starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cursor(i64);

/// Some entries, and where to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The entries.
    pub items: Vec<T>,
    /// Nothing when these were the last.
    pub next: Option<Cursor>,
}

/// A job and its last try, running or over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobView {
    /// The job.
    pub job: JobRecord,
    /// Its last try.
    pub last: Option<AttemptRecord>,
}

/// Which jobs to list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JobFilter {
    /// Only these; with a group the order is that of the queue, without it newest first.
    pub group: Option<GroupId>,
    /// Only with this status.
    pub status: Option<JobStatus>,
    /// Only those that failed, or were last put back, for this reason.
    pub reason: Option<Reason>,
    /// Only those that this host holds or had in its last try.
    pub host: Option<HostId>,
    /// Only those that this submitter asked for.
    pub submitted_by: Option<String>,
    /// Only payloads of this kind.
    pub kind: Option<String>,
    /// Oldest first, also without a group.
    pub oldest_first: bool,
}

/// A connection that can only read.
pub struct Reader {
    pub(super) connection: Connection,
    path: PathBuf,
}

/// The columns of a whole job, after which those of its last report follow.
macro_rules! view {
    ($($rest:expr)*) => {
        concat!(
            "SELECT ",
            columns!(),
            ", priority, timeout_ms, created_at, submitted_by, ",
            payload!(),
            ", ",
            result_columns!(),
            ", retry_of FROM job LEFT JOIN (SELECT key, ",
            result_columns!(),
            " FROM attempt) AS told ON told.key = (SELECT max(key) FROM attempt \
               WHERE key BETWEEN (job.seq << 16) AND (job.seq << 16 | 65535) \
               AND finished_at IS NOT NULL) ",
            $($rest),*
        )
    };
}

/// The rarer conditions of a filter; each holds if nothing was asked for.
macro_rules! also {
    () => {
        "(?6 IS NULL OR job.reason = ?6) AND (?8 IS NULL OR job.submitted_by = ?8) \
         AND (?7 IS NULL OR job.host = ?7 OR ?7 = (SELECT host FROM attempt \
           WHERE key BETWEEN (job.seq << 16) AND (job.seq << 16 | 65535) ORDER BY key DESC LIMIT 1)) \
         AND (?9 IS NULL OR ?9 = json_extract(coalesce(job.payload, \
           (SELECT l.payload FROM long_payload AS l WHERE l.job = job.seq)), '$.kind'))"
    };
}

impl Reader {
    /// Opens the file at `path` for reading.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path) -> Result<Self, Error> {
        Ok(Self {
            connection: open::open_reader(path)?,
            path: path.to_owned(),
        })
    }

    pub(super) fn failed(&self, source: rusqlite::Error) -> Error {
        fault::error("read", &self.path, source)
    }

    /// Returns the job with this id.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn job(&self, id: JobId) -> Result<Option<JobView>, Error> {
        self.view_of(id).map_err(|error| self.failed(error))
    }

    fn view_of(&self, id: JobId) -> rusqlite::Result<Option<JobView>> {
        let found = self
            .connection
            .prepare_cached(view!("WHERE job.id = ?1"))?
            .query_row([id.as_bytes()], read_view)
            .optional()?;
        found.map(|(seq, job)| self.with_last(seq, job)).transpose()
    }

    fn with_last(&self, seq: i64, found: Found) -> rusqlite::Result<JobView> {
        let last = match found.running {
            Some(running) => Some(running),
            None => self
                .attempts_between(seq, found.job.attempts.get(), u16::MAX)?
                .pop(),
        };
        let job = JobRecord {
            last_host_id: last.as_ref().map(|last| last.host.clone()),
            started_at: last.as_ref().map(|last| last.started_at),
            usage: (found.job.result.as_ref())
                .and_then(|result| Usage::of(&found.job.payload, result)),
            ..found.job
        };
        Ok(JobView { job, last })
    }

    /// Returns every try of a job, oldest first; nothing if there is no such job.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn attempts(&self, id: JobId) -> Result<Option<Vec<AttemptRecord>>, Error> {
        let read = || {
            let found = self
                .connection
                .prepare_cached(concat!("SELECT ", columns!(), " FROM job WHERE id = ?1"))?
                .query_row([id.as_bytes()], row::read)
                .optional()?;
            let Some(stored) = found else {
                return Ok(None);
            };
            let mut all = self.attempts_between(stored.seq, 0, u16::MAX)?;
            all.extend(running(&stored));
            Ok(Some(all))
        };
        read().map_err(|error| self.failed(error))
    }

    fn attempts_between(
        &self,
        seq: i64,
        from: u16,
        to: u16,
    ) -> rusqlite::Result<Vec<AttemptRecord>> {
        let from = row::attempt_key(seq, AttemptNo::new(from));
        let to = row::attempt_key(seq, AttemptNo::new(to));
        self.connection
            .prepare_cached(concat!(
                "SELECT key & 65535, host, started_at, ended_at, ending, reason, ",
                result_columns!(),
                " FROM attempt WHERE key BETWEEN ?1 AND ?2 ORDER BY key"
            ))?
            .query_map([from, to], read_attempt)?
            .collect()
    }

    /// Returns who made which try of each of these jobs, running ones last, without what came of them.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn holders(&self, jobs: &[JobId]) -> Result<Holders, Error> {
        let read = || {
            let mut found = Holders::new();
            for job in jobs {
                if let Some(holders) = holders(&self.connection, *job)? {
                    found.insert(*job, holders);
                }
            }
            Ok(found)
        };
        read().map_err(|error| self.failed(error))
    }

    /// Returns late reports of holders that had lost their lease, by attempt.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn strays(&self, id: JobId) -> Result<Vec<(AttemptNo, JobResult)>, Error> {
        let read = || {
            self.connection
                .prepare_cached(
                    "SELECT stray.key & 65535, stray.report FROM job JOIN stray ON stray.key \
                     BETWEEN (job.seq << 16) AND (job.seq << 16 | 65535) WHERE job.id = ?1",
                )?
                .query_map([id.as_bytes()], |row| {
                    let text: String = row.get(1)?;
                    let report: crate::queue::Report =
                        serde_json::from_str(&text).map_err(|error| {
                            rusqlite::Error::FromSqlConversionFailure(
                                1,
                                rusqlite::types::Type::Text,
                                error.into(),
                            )
                        })?;
                    Ok((AttemptNo::new(row.get(0)?), report.result))
                })?
                .collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|error| self.failed(error))
    }

    /// Returns jobs a page at a time: those of a group in queue order, others newest first.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn jobs(
        &self,
        filter: &JobFilter,
        from: Option<Cursor>,
        limit: u32,
    ) -> Result<Page<JobView>, Error> {
        self.page(filter, from, limit.clamp(1, PAGE))
            .map_err(|error| self.failed(error))
    }

    fn page(
        &self,
        filter: &JobFilter,
        from: Option<Cursor>,
        limit: u32,
    ) -> rusqlite::Result<Page<JobView>> {
        let (low, high) = status_range(filter.status);
        let rising = filter.oldest_first || filter.group.is_some();
        let sql = match (filter.group.is_some(), rising) {
            (true, _) => view!(
                "WHERE job.grp = ?1 AND job.seq > ?2 AND job.state BETWEEN ?3 AND ?4 AND "
                also!() " ORDER BY job.seq LIMIT ?5"
            ),
            (false, true) => view!(
                "WHERE ?1 IS NULL AND job.seq > ?2 AND job.state BETWEEN ?3 AND ?4 AND "
                also!() " ORDER BY job.seq LIMIT ?5"
            ),
            (false, false) => view!(
                "WHERE ?1 IS NULL AND job.seq < ?2 AND job.state BETWEEN ?3 AND ?4 AND "
                also!() " ORDER BY job.seq DESC LIMIT ?5"
            ),
        };
        let start = if rising { 0 } else { i64::MAX };
        let found: Vec<(i64, Found)> = self
            .connection
            .prepare_cached(sql)?
            .query_map(
                params![
                    filter.group.as_ref().map(GroupId::as_bytes),
                    from.map_or(start, |at| at.0),
                    low,
                    high,
                    limit,
                    filter.reason.map(row::reason_number),
                    filter.host.as_ref().map(HostId::as_str),
                    filter.submitted_by,
                    filter.kind,
                ],
                read_view,
            )?
            .collect::<rusqlite::Result<_>>()?;
        let full = found.len() == limit as usize;
        let next = found.last().filter(|_| full).map(|(seq, _)| Cursor(*seq));
        Ok(Page {
            items: found
                .into_iter()
                .map(|(seq, job)| self.with_last(seq, job))
                .collect::<rusqlite::Result<_>>()?,
            next,
        })
    }

    /// Returns the group with this id.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn group(&self, id: GroupId) -> Result<Option<GroupRecord>, Error> {
        let read = || {
            self.connection
                .prepare_cached(
                    "SELECT id, kind, title, created_at, parent, meta FROM grp WHERE id = ?1",
                )?
                .query_row([id.as_bytes()], read_group)
                .optional()?
                .map(|group| self.counted(group))
                .transpose()
        };
        read().map_err(|error| self.failed(error))
    }

    /// Returns the newest groups, newest first, with where their jobs stand.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn groups(&self, limit: u32) -> Result<Vec<GroupRecord>, Error> {
        let read = || {
            self.connection
                .prepare_cached(
                    "SELECT id, kind, title, created_at, parent, meta FROM grp \
                     ORDER BY seq DESC LIMIT ?1",
                )?
                .query_map([limit.min(PAGE)], read_group)?
                .collect::<rusqlite::Result<Vec<_>>>()?
                .into_iter()
                .map(|group| self.counted(group))
                .collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|error| self.failed(error))
    }

    fn counted(&self, mut group: GroupRecord) -> rusqlite::Result<GroupRecord> {
        let mut statement = self.connection.prepare_cached(
            "SELECT state, count(*) FROM job INDEXED BY job_group_queue WHERE grp = ?1 GROUP BY state",
        )?;
        let mut rows = statement.query([group.id.as_bytes()])?;
        while let Some(row) = rows.next()? {
            add(&mut group.counts, row.get(0)?, row.get(1)?);
        }
        Ok(group)
    }

    /// Tells whether more than `count` jobs wait that a host may take now. Costs as many steps.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn more_wait_than(&self, count: u32) -> Result<bool, Error> {
        let read = || {
            self.connection
                .prepare_cached(
                    "SELECT 1 FROM job INDEXED BY job_queue WHERE state = 0 LIMIT 1 OFFSET ?1",
                )?
                .exists([count])
        };
        read().map_err(|error| self.failed(error))
    }

    /// Returns how many jobs have which status.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn counts(&self) -> Result<GroupCounts, Error> {
        let read = || {
            let mut counts = GroupCounts::default();
            let mut statement = self
                .connection
                .prepare_cached("SELECT state, count(*) FROM job GROUP BY state")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                add(&mut counts, row.get(0)?, row.get(1)?);
            }
            Ok(counts)
        };
        read().map_err(|error| self.failed(error))
    }
}
