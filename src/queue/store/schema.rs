//! The tables, as steps from one schema version to the next. A step that was released never changes.

/// The steps; after step `n` (from 1) the file has schema version `n`.
///
/// Why the tables look as they do:
/// - `job.state` splits "queued" in two, so that delayed jobs never stand in the way of a claim.
/// - `pin` and `need` come first in the queue index: a claim goes straight to the jobs of its own
///   host, then to each distinct need, and never walks over jobs that it may not take.
/// - `due_at` is the one alarm of a job, whatever it is waiting for.
/// - an attempt is written when it ends; the running one is part of the job's row. Its key is the
///   job's number and the attempt's number in one integer, so it needs no second index.
/// - a row is written anew whenever its job changes, so a long payload lies in a table of its own.
pub const STEPS: [&str; 3] = [
    "CREATE TABLE job (
        seq INTEGER PRIMARY KEY,
        id BLOB NOT NULL UNIQUE,
        state INTEGER NOT NULL,
        attempt INTEGER NOT NULL,
        lost INTEGER NOT NULL,
        failed INTEGER NOT NULL,
        max_attempts INTEGER NOT NULL,
        retries INTEGER NOT NULL,
        start_by INTEGER,
        not_before INTEGER,
        due_at INTEGER,
        host TEXT,
        token BLOB,
        since INTEGER,
        lease_ms INTEGER,
        cancel_at INTEGER,
        cancel_reason TEXT,
        avoid_host TEXT,
        avoid_until INTEGER,
        reason INTEGER,
        ended_at INTEGER,
        pin TEXT NOT NULL,
        need TEXT NOT NULL,
        grp BLOB,
        priority INTEGER NOT NULL,
        timeout_ms INTEGER,
        created_at INTEGER NOT NULL,
        updated_at INTEGER NOT NULL,
        submitted_by TEXT,
        payload TEXT
    );
    CREATE TABLE long_payload (
        job INTEGER PRIMARY KEY,
        payload TEXT NOT NULL
    );
    CREATE INDEX job_queue ON job (pin, need, priority DESC) WHERE state = 0;
    CREATE INDEX job_group_queue ON job (grp, state, pin, need, priority DESC) WHERE grp IS NOT NULL;
    CREATE INDEX job_group ON job (grp) WHERE grp IS NOT NULL;
    CREATE INDEX job_due ON job (due_at) WHERE due_at IS NOT NULL;
    CREATE INDEX job_ended ON job (ended_at, grp) WHERE ended_at IS NOT NULL;
    CREATE TABLE attempt (
        key INTEGER PRIMARY KEY,
        host TEXT NOT NULL,
        token BLOB NOT NULL,
        started_at INTEGER NOT NULL,
        ended_at INTEGER NOT NULL,
        ending INTEGER NOT NULL,
        reason INTEGER,
        finished_at INTEGER,
        duration_ms INTEGER,
        exit_code INTEGER,
        signal INTEGER,
        detail TEXT,
        error TEXT,
        stdout_total INTEGER,
        stdout_cut INTEGER,
        stderr_total INTEGER,
        stderr_cut INTEGER,
        stdout BLOB,
        stderr BLOB
    );
    CREATE TABLE grp (
        seq INTEGER PRIMARY KEY,
        id BLOB NOT NULL UNIQUE,
        kind TEXT NOT NULL,
        title TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        parent BLOB,
        meta TEXT NOT NULL
    );
    CREATE TABLE idempotency (
        key TEXT PRIMARY KEY,
        body_hash BLOB NOT NULL,
        outcome TEXT NOT NULL,
        expires_at INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX idempotency_expires ON idempotency (expires_at);
    CREATE TABLE stray (
        key INTEGER PRIMARY KEY,
        received_at INTEGER NOT NULL,
        report TEXT NOT NULL
    );",
    // Hosts, what running jobs print, and the switches of a coordinator. `log_end` knows where the
    // output of a job stands, so that adding a piece never reads the others.
    "ALTER TABLE job ADD COLUMN retry_of BLOB;
    ALTER TABLE job ADD COLUMN cancel_grace INTEGER;
    CREATE INDEX job_holder ON job (host) WHERE state = 2;
    CREATE TABLE host (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL,
        capabilities TEXT NOT NULL,
        labels TEXT NOT NULL,
        max_parallel INTEGER NOT NULL,
        mode INTEGER NOT NULL,
        state_id TEXT,
        facts TEXT,
        registered_at INTEGER NOT NULL,
        updated_at INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE service (
        id TEXT PRIMARY KEY,
        created_at INTEGER NOT NULL,
        record TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE setting (
        name TEXT PRIMARY KEY,
        value TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE log (
        number INTEGER PRIMARY KEY,
        job INTEGER NOT NULL,
        attempt INTEGER NOT NULL,
        stream INTEGER NOT NULL,
        start INTEGER NOT NULL,
        dropped INTEGER NOT NULL,
        bytes BLOB NOT NULL
    );
    CREATE INDEX log_of ON log (job);
    CREATE TABLE log_end (
        job INTEGER PRIMARY KEY,
        attempt INTEGER NOT NULL,
        kept INTEGER NOT NULL,
        head INTEGER,
        stdout_next INTEGER NOT NULL,
        stderr_next INTEGER NOT NULL
    );",
    // How far a member of a cluster has come in the log, in the same transaction as what the log
    // says. A queue in no cluster has no row here, or one that means nothing.
    "CREATE TABLE replica (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        cluster TEXT NOT NULL,
        term INTEGER,
        node INTEGER,
        place INTEGER,
        members TEXT NOT NULL,
        now INTEGER NOT NULL
    );",
];
