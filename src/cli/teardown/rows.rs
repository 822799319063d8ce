//! What `fleet teardown` shows of a host, as a table row and as JSON.

use serde::Serialize;

use crate::cli::exit::Exit;
use crate::cli::table::Table;
use crate::fleet::file::Host;
use crate::fleet::teardown::{Options, Report};
use crate::ssh::{Error, Kind};

/// How teardown came out on a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Outcome {
    Clean,
    Remains,
    DryRun,
    Unreachable,
    Failed,
}

impl Outcome {
    fn word(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Remains => "remains",
            Self::DryRun => "dry run",
            Self::Unreachable => "unreachable",
            Self::Failed => "failed",
        }
    }
}

/// One host.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Row {
    name: String,
    host: String,
    outcome: Outcome,
    removed: Vec<String>,
    edited: Vec<String>,
    tasks: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    daemon: Option<u32>,
    problems: Vec<ProblemRow>,
    remains: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Trouble>,
}

#[derive(Debug, Serialize)]
struct ProblemRow {
    path: String,
    why: String,
}

#[derive(Debug, Serialize)]
struct Trouble {
    reason: String,
    hint: Option<String>,
}

/// How many hosts came out how.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Summary {
    hosts: usize,
    clean: usize,
    remains: usize,
    unreachable: usize,
    failed: usize,
}

/// The one JSON document.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Document<'r> {
    dry_run: bool,
    hosts: &'r [Row],
    pub(super) summary: Summary,
}

impl<'r> Document<'r> {
    pub(super) fn new(dry_run: bool, hosts: &'r [Row]) -> Self {
        let count = |outcome| hosts.iter().filter(|row| row.outcome == outcome).count();
        Self {
            dry_run,
            hosts,
            summary: Summary {
                hosts: hosts.len(),
                clean: count(Outcome::Clean),
                remains: count(Outcome::Remains),
                unreachable: count(Outcome::Unreachable),
                failed: count(Outcome::Failed),
            },
        }
    }
}

impl Row {
    pub(super) fn new(host: &Host, options: Options, done: Result<Report, Error>) -> Self {
        let (outcome, error) = match &done {
            // What a dry run would be refused, the real run would be too.
            Ok(report) if !report.is_clean() => (Outcome::Remains, None),
            Ok(_) if options.dry_run => (Outcome::DryRun, None),
            Ok(_) => (Outcome::Clean, None),
            Err(error) => {
                let outcome = match error.kind() {
                    Kind::Unreachable | Kind::Auth | Kind::HostKey => Outcome::Unreachable,
                    Kind::Lost => Outcome::Failed,
                };
                let trouble = Trouble {
                    reason: error.chain(),
                    hint: error.hint(),
                };
                (outcome, Some(trouble))
            }
        };
        let report = done.unwrap_or_default();
        let problems = report.problems.into_iter().map(|problem| ProblemRow {
            path: problem.path,
            why: problem.why,
        });
        Self {
            name: host.name.to_string(),
            host: host.host.to_string(),
            outcome,
            removed: report.removed,
            edited: report.edited,
            tasks: report.tasks,
            daemon: report.daemon,
            problems: problems.collect(),
            remains: report.remains,
            error,
        }
    }

    pub(super) fn exit(&self) -> Exit {
        match self.outcome {
            Outcome::Clean | Outcome::DryRun => Exit::Success,
            Outcome::Remains | Outcome::Failed => Exit::Failed,
            Outcome::Unreachable => Exit::Unreachable,
        }
    }

    fn details(&self) -> String {
        let dry = self.outcome == Outcome::DryRun;
        if let Some(error) = &self.error {
            let hint = error.hint.as_ref();
            let hint = hint.map(|hint| format!("; {hint}")).unwrap_or_default();
            return format!("ssh failed: {}{hint}", error.reason);
        }
        let mut parts = Vec::new();
        if self.tasks > 0 {
            let verb = if dry { "would end" } else { "ended" };
            parts.push(format!("{verb} {} tasks", self.tasks));
        }
        if let Some(pid) = self.daemon {
            let verb = if dry { "would end" } else { "ended" };
            parts.push(format!("{verb} the host daemon (process {pid})"));
        }
        let mut list = |verb: &str, paths: &[String]| {
            if !paths.is_empty() {
                parts.push(format!("{verb} {}", paths.join(", ")));
            }
        };
        list(if dry { "would remove" } else { "removed" }, &self.removed);
        list(
            if dry {
                "would take our part out of"
            } else {
                "took our part out of"
            },
            &self.edited,
        );
        list("still there:", &self.remains);
        for problem in &self.problems {
            parts.push(format!("left {}: {}", problem.path, problem.why));
        }
        if parts.is_empty() {
            "nothing to remove".into()
        } else {
            parts.join("; ")
        }
    }
}

/// Returns the table.
pub(super) fn table(rows: &[Row]) -> Table {
    let mut table = Table::new(["NAME", "HOST", "RESULT", "DETAILS"]);
    for row in rows {
        let details = row.details();
        table.row([&row.name, &row.host, row.outcome.word(), &details]);
    }
    table
}
