//! What `fleet status` shows of a host, as a table row and as JSON.

use serde::Serialize;

use crate::cli::table::Table;
use crate::fleet::file::Host;
use crate::fleet::status::{Agent, Observed};
use crate::ssh::{Error, Kind};

/// One host.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Row {
    name: String,
    host: String,
    ssh: &'static str,
    picoclaw: &'static str,
    details: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Trouble>,
    #[serde(flatten)]
    more: Option<More>,
}

/// Why a host could not be asked.
#[derive(Debug, Serialize)]
struct Trouble {
    kind: &'static str,
    reason: String,
    hint: Option<String>,
}

/// What only a reachable host tells. Null is what could not be found out.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct More {
    system: Option<String>,
    version: Option<String>,
    has_config: bool,
    has_key: bool,
    daemon: Option<DaemonRow>,
    load1: Option<f64>,
    cpus: Option<u32>,
    free_memory_bytes: Option<u64>,
    free_disk_bytes: Option<u64>,
    latency_ms: u64,
    clock_offset_ms: Option<i64>,
    running_tasks: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    abandoned: Option<String>,
    last_task: Option<String>,
}

#[derive(Debug, Serialize)]
struct DaemonRow {
    state: String,
    version: Option<String>,
}

/// How many hosts are how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Summary {
    hosts: usize,
    reachable: usize,
    unreachable: usize,
    installed: usize,
}

/// The one JSON document.
#[derive(Debug, Serialize)]
pub(super) struct Document<'r> {
    pub(super) hosts: &'r [Row],
    pub(super) summary: Summary,
}

impl Row {
    pub(super) fn new(host: &Host, seen: Result<Observed, Error>) -> Self {
        let (name, address) = (host.name.to_string(), host.host.to_string());
        match seen {
            Ok(seen) => {
                let (picoclaw, mut details) = match &seen.agent {
                    Agent::Installed { .. } => ("installed", "ready".to_owned()),
                    Agent::Missing => ("missing", "run fleet deploy".to_owned()),
                    Agent::Unknown { why } => ("unknown", format!("{why}: run fleet deploy")),
                };
                if let Some(mark) = &seen.abandoned {
                    details = format!("left there by {mark}: run fleet teardown");
                }
                Self {
                    name,
                    host: address,
                    ssh: "reachable",
                    picoclaw,
                    details,
                    error: None,
                    more: Some(More::from(seen)),
                }
            }
            Err(error) => {
                let trouble = Trouble {
                    kind: match error.kind() {
                        Kind::Unreachable => "unreachable",
                        Kind::Auth => "auth",
                        Kind::HostKey => "hostKey",
                        Kind::Lost => "lost",
                    },
                    reason: error.chain(),
                    hint: error.hint(),
                };
                let mut details = format!("ssh failed: {}", trouble.reason);
                if let Some(hint) = &trouble.hint {
                    details.push_str("; ");
                    details.push_str(hint);
                }
                Self {
                    name,
                    host: address,
                    ssh: "unreachable",
                    picoclaw: "unknown",
                    details,
                    error: Some(trouble),
                    more: None,
                }
            }
        }
    }

    pub(super) fn is_reachable(&self) -> bool {
        self.error.is_none()
    }

    pub(super) fn is_installed(&self) -> bool {
        self.picoclaw == "installed"
    }
}

impl From<Observed> for More {
    fn from(seen: Observed) -> Self {
        Self {
            system: seen.uname,
            version: match seen.agent {
                Agent::Installed { version } => Some(version),
                Agent::Missing | Agent::Unknown { .. } => None,
            },
            has_config: seen.has_config,
            has_key: seen.has_key,
            daemon: seen.daemon.map(|daemon| DaemonRow {
                state: daemon.state,
                version: daemon.version,
            }),
            load1: seen.load1,
            cpus: seen.cpus,
            free_memory_bytes: seen.free_memory,
            free_disk_bytes: seen.free_disk,
            latency_ms: u64::try_from(seen.latency.as_millis()).unwrap_or(u64::MAX),
            clock_offset_ms: seen.clock_offset_ms,
            running_tasks: seen.running,
            abandoned: seen.abandoned,
            last_task: seen.last_task,
        }
    }
}

impl Summary {
    pub(super) fn of(rows: &[Row]) -> Self {
        let reachable = rows.iter().filter(|row| row.is_reachable()).count();
        Self {
            hosts: rows.len(),
            reachable,
            unreachable: rows.len() - reachable,
            installed: rows.iter().filter(|row| row.is_installed()).count(),
        }
    }
}

const COLUMNS: [&str; 5] = ["NAME", "HOST", "SSH", "PICOCLAW", "DETAILS"];
const WIDE: [&str; 9] = [
    "VERSION", "CONFIG", "DAEMON", "TASKS", "LOAD", "MEMORY", "DISK", "LATENCY", "CLOCK",
];

/// Returns the table; `wide` adds what the hosts told of themselves.
pub(super) fn table(rows: &[Row], wide: bool) -> Table {
    let more = if wide { &WIDE[..] } else { &[] };
    let last = wide.then_some("LAST TASK");
    let mut table = Table::new(COLUMNS.iter().chain(more).copied().chain(last));
    for row in rows {
        let mut cells = vec![
            row.name.clone(),
            row.host.clone(),
            row.ssh.to_owned(),
            row.picoclaw.to_owned(),
            row.details.clone(),
        ];
        if wide {
            match &row.more {
                Some(more) => cells.extend(more.cells()),
                None => cells.resize(COLUMNS.len() + WIDE.len() + 1, String::new()),
            }
        }
        table.row(cells);
    }
    table
}

impl More {
    fn cells(&self) -> [String; WIDE.len() + 1] {
        let config = match (self.has_config, self.has_key) {
            (true, true) => "yes",
            (true, false) => "no key",
            (false, _) => "no",
        };
        let daemon = self.daemon.as_ref().map(|daemon| {
            let version = daemon.version.as_deref().unwrap_or("unknown version");
            format!("{} {version}", daemon.state)
        });
        let load = self.load1.map(|load| match self.cpus {
            Some(cpus) => format!("{load:.2}/{cpus}"),
            None => format!("{load:.2}"),
        });
        let text = |value: Option<String>| value.unwrap_or_default();
        [
            text(self.version.clone()),
            config.to_owned(),
            text(daemon),
            text(self.running_tasks.map(|running| running.to_string())),
            text(load),
            text(self.free_memory_bytes.map(size)),
            text(self.free_disk_bytes.map(size)),
            format!("{}ms", self.latency_ms),
            text(self.clock_offset_ms.map(offset)),
            text(self.last_task.clone()),
        ]
    }
}

/// Writes a size briefly: `512MiB`, `1.5GiB`.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 3] = ["MiB", "GiB", "TiB"];
    #[allow(clippy::cast_precision_loss, reason = "shown with one digit")]
    let mut value = bytes as f64 / f64::from(1 << 20);
    let mut units = UNITS.iter();
    let mut unit = units.next();
    while value >= 1024.0
        && let Some(larger) = units.next()
    {
        value /= 1024.0;
        unit = Some(larger);
    }
    let unit = unit.unwrap_or(&"MiB");
    if value < 10.0 {
        format!("{value:.1}{unit}")
    } else {
        format!("{value:.0}{unit}")
    }
}

/// Writes how far a clock is off: `+3ms`, `-2.5s`.
fn offset(millis: i64) -> String {
    if millis.abs() < 1000 {
        format!("{millis:+}ms")
    } else {
        format!("{:+}.{}s", millis / 1000, millis.abs() % 1000 / 100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_offsets_are_brief() {
        let sizes = [
            (0, "0.0MiB"),
            (512 << 20, "512MiB"),
            (3 << 29, "1.5GiB"),
            (20 << 40, "20TiB"),
            (u64::MAX, "16777216TiB"),
        ];
        for (bytes, text) in sizes {
            assert_eq!(size(bytes), text);
        }
        for (millis, text) in [
            (3, "+3ms"),
            (-999, "-999ms"),
            (-2540, "-2.5s"),
            (60_000, "+60.0s"),
        ] {
            assert_eq!(offset(millis), text);
        }
    }
}
