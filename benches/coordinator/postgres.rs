//! PostgreSQL as a queue, driven by its own pgbench: a cluster of its own with the settings it comes
//! with, on a socket in a directory of its own.
//!
//! The statements are those of queues that are built on it: one table, a partial index over what
//! waits, `FOR UPDATE SKIP LOCKED`, and the result in the row of the job.

use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;
use tokio::process::Command;

use crate::process::{Process, program};
use crate::rates::Load;

const SCHEMA: &str = "\
CREATE TABLE job (id bigserial PRIMARY KEY, state smallint NOT NULL DEFAULT 0, \
priority smallint NOT NULL DEFAULT 0, attempt smallint NOT NULL DEFAULT 0, host text, \
created_at timestamptz NOT NULL DEFAULT now(), leased_at timestamptz, ended_at timestamptz, \
exit_code int, stdout text, payload jsonb NOT NULL);
CREATE INDEX job_queue ON job (priority DESC, id) WHERE state = 0;
";

const PAYLOAD: &str = r#"'{"kind":"shell","command":"true"}'"#;

const CLAIM: &str = "\
UPDATE job SET state = 1, attempt = attempt + 1, host = 'host', leased_at = now() WHERE id = \
(SELECT id FROM job WHERE state = 0 ORDER BY priority DESC, id LIMIT 1 FOR UPDATE SKIP LOCKED) \
RETURNING id, attempt, payload \\gset
UPDATE job SET state = 2, ended_at = now(), exit_code = 0, \
stdout = 'Linux web1 6.1.0 #1 SMP x86_64 GNU/Linux' \
WHERE id = :id AND state = 1 AND attempt = :attempt;
";

const CLAIM_MANY: &str = "\
WITH next AS (SELECT id FROM job WHERE state = 0 ORDER BY priority DESC, id LIMIT 50 \
FOR UPDATE SKIP LOCKED), taken AS (UPDATE job SET state = 1, attempt = attempt + 1, host = 'host', \
leased_at = now() FROM next WHERE job.id = next.id RETURNING job.id, job.payload) \
SELECT array_agg(id) AS ids, array_agg(payload) AS payloads FROM taken \\gset
UPDATE job SET state = 2, ended_at = now(), exit_code = 0, \
stdout = 'Linux web1 6.1.0 #1 SMP x86_64 GNU/Linux' WHERE id = ANY (:ids) AND state = 1;
";

/// A cluster that runs.
pub struct Postgres {
    process: Process,
    pgbench: PathBuf,
    dir: TempDir,
    // Its path must be short: the name of a socket has at most 107 bytes.
    socket: TempDir,
}

impl Postgres {
    /// Makes a cluster in a directory of `place` and starts it.
    ///
    /// # Errors
    /// When there is no PostgreSQL, or it cannot run here.
    pub async fn start(place: &Path) -> Result<Self, String> {
        let also = installed();
        let find = |name| program(name, &also).ok_or(format!("there is no {name}"));
        let (initdb, postgres) = (find("initdb")?, find("postgres")?);
        let pgbench = find("pgbench")?;
        let dir = tempfile::tempdir_in(place).map_err(|error| error.to_string())?;
        let socket = tempfile::tempdir().map_err(|error| error.to_string())?;
        // It refuses to run as root.
        let user = unprivileged();
        for path in [dir.path(), socket.path()] {
            if let Some((user, group)) = user {
                chown(path, Some(user), Some(group)).map_err(|error| error.to_string())?;
            }
        }
        let data = dir.path().join("data");
        let as_user = |program: &Path| {
            let mut command = Command::new(program);
            command.arg("-D").arg(&data).current_dir(dir.path());
            if let Some((user, group)) = user {
                command.uid(user).gid(group);
            }
            command
        };
        let mut init = as_user(&initdb);
        init.args(["-A", "trust", "-U", "bench", "-E", "UTF8", "--locale=C"]);
        output(&mut init).await?;
        let mut run = as_user(&postgres);
        run.arg("-k").arg(socket.path());
        run.args(["-c", "listen_addresses="]);
        let mut process = Process::start(&mut run, dir.path().join("log"));
        process.line_with("ready to accept connections").await;
        let cluster = Self {
            process,
            pgbench,
            dir,
            socket,
        };
        cluster.script("-t1", 1, SCHEMA, "simple").await?;
        Ok(cluster)
    }

    /// Returns how many jobs per second `callers` put in, or take and report.
    pub async fn rate(&self, load: Load, callers: usize) -> f64 {
        let (filled, script, size) = match load {
            Load::Submit(1) => (0, insert("1"), 1),
            Load::Submit(size) => (0, insert(&size.to_string()), size),
            Load::ClaimAndComplete(1) => (30_000, CLAIM.to_owned(), 1),
            Load::ClaimAndComplete(_) => (150_000, CLAIM_MANY.to_owned(), 50),
        };
        let fill = format!(
            "TRUNCATE job;\n{}VACUUM ANALYZE job;\nCHECKPOINT;\n",
            insert(&filled.to_string())
        );
        self.script("-t1", 1, &fill, "simple").await.unwrap();
        let printed = self.script("-T1", callers, &script, "prepared").await;
        let printed = printed.unwrap();
        let rate = printed
            .lines()
            .find_map(|line| line.strip_prefix("tps = ")?.split(' ').next());
        let rate: f64 = rate.unwrap().parse().unwrap();
        rate * size as f64
    }

    /// Has pgbench run `script` and returns what it printed.
    async fn script(
        &self,
        length: &str,
        callers: usize,
        script: &str,
        mode: &str,
    ) -> Result<String, String> {
        let file = self.dir.path().join("script.sql");
        std::fs::write(&file, script).map_err(|error| error.to_string())?;
        let mut command = Command::new(&self.pgbench);
        command
            .args(["-n", length, "-M", mode, "-U", "bench", "-h"])
            .arg(self.socket.path())
            .args([
                "-c",
                &callers.to_string(),
                "-j",
                &callers.min(2).to_string(),
            ])
            .arg("-f")
            .arg(&file)
            .arg("postgres");
        output(&mut command).await
    }

    /// Ends it.
    pub async fn stop(self) {
        // The fast way: sessions are ended, data is written.
        self.process.stop(Signal::INT).await;
    }
}

fn insert(count: &str) -> String {
    match count {
        "1" => format!("INSERT INTO job (payload) VALUES ({PAYLOAD}) RETURNING id;\n"),
        _ => format!(
            "INSERT INTO job (payload) SELECT {PAYLOAD} FROM generate_series(1, {count}) RETURNING id;\n"
        ),
    }
}

async fn output(command: &mut Command) -> Result<String, String> {
    let run = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let done = tokio::time::timeout(Duration::from_secs(30), run).await;
    let done = done
        .map_err(|_| format!("{command:?} took too long"))?
        .map_err(|error| format!("{command:?}: {error}"))?;
    let errors = String::from_utf8_lossy(&done.stderr);
    match done.status.success() {
        true => Ok(String::from_utf8_lossy(&done.stdout).into_owned()),
        false => Err(format!("{command:?}: {errors}")),
    }
}

/// Returns where Debian puts the programs, newest first.
fn installed() -> Vec<PathBuf> {
    let mut found: Vec<_> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .collect();
    found.sort();
    found.reverse();
    found
}

/// Returns a user and group to become, if we are root.
fn unprivileged() -> Option<(u32, u32)> {
    if !rustix::process::getuid().is_root() {
        return None;
    }
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    let find = |name: &str| {
        let fields = users
            .lines()
            .map(|line| line.split(':').collect::<Vec<_>>());
        fields
            .filter(|fields| fields.first() == Some(&name))
            .find_map(|fields| Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?)))
    };
    find("postgres").or_else(|| find("nobody"))
}
