//! What the daemon tells whoever looks at its output. Scripts wait for some of these lines.

use std::fmt;

use serde::Serialize;

use crate::protocol::api::Phase;
use crate::protocol::{AttemptNo, HostId, JobId};

/// Takes notices. Called from any thread; must not block.
pub type Hook = Box<dyn Fn(Notice) + Send + Sync>;

/// Something worth a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(
    tag = "event",
    rename_all = "kebab-case",
    rename_all_fields = "camelCase"
)]
pub enum Notice {
    /// The coordinator knows this host now.
    HostRegistered {
        /// Its id.
        host: HostId,
        /// Its name.
        name: String,
    },
    /// A job begins.
    Running {
        /// Which.
        job: JobId,
        /// Which try.
        attempt: AttemptNo,
        /// Its kind.
        kind: String,
    },
    /// A job is over and the coordinator has its result.
    Completed {
        /// Which.
        job: JobId,
        /// Which try.
        attempt: AttemptNo,
        /// Whether it went well.
        ok: bool,
    },
    /// A job ran for nothing: the lease was another's by the time it ended.
    LeaseLost {
        /// Which.
        job: JobId,
        /// Which try.
        attempt: AttemptNo,
    },
    /// The owner does not accept the job; it goes back to the queue.
    Refused {
        /// Which.
        job: JobId,
        /// Which try.
        attempt: AttemptNo,
        /// Its kind.
        kind: String,
        /// Who asked for it.
        submitted_by: Option<String>,
    },
    /// The job wants something that the owner does not allow; it fails.
    NotAllowed {
        /// Which.
        job: JobId,
        /// Which try.
        attempt: AttemptNo,
        /// What.
        why: String,
    },
    /// A service moved on.
    Service {
        /// Its name.
        service: String,
        /// Which part of it this is.
        assignment: String,
        /// How far it is now.
        phase: Phase,
        /// Its port, while it has one.
        port: Option<u16>,
        /// Why it does not run.
        why: Option<String>,
    },
    /// No work is taken for now, or again.
    Blocked {
        /// Why; nothing if it is over.
        why: Option<String>,
    },
    /// The coordinator does not answer, or not as it should.
    Trouble {
        /// What is wrong.
        text: String,
    },
    /// The coordinator answers again.
    Back,
    /// The daemon ends.
    Stopping {
        /// How many jobs run.
        running: usize,
    },
    /// Something about the settings that the owner should know.
    Warning {
        /// What.
        text: String,
    },
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HostRegistered { host, name } => write!(f, "host registered: {host} ({name})"),
            Self::Running { job, kind, .. } => write!(f, "running {job} ({kind})"),
            Self::Completed { job, ok, .. } => {
                write!(f, "completed {job}: {}", if *ok { "ok" } else { "failed" })
            }
            Self::LeaseLost { job, attempt } => {
                write!(f, "lost {job}: attempt {attempt} is not ours any more")
            }
            Self::Refused {
                job,
                kind,
                submitted_by,
                ..
            } => {
                let who = submitted_by.as_deref().unwrap_or("an unnamed submitter");
                write!(f, "refused {job} ({kind}) of {who}")
            }
            Self::NotAllowed { job, why, .. } => write!(f, "refused {job}: {why}"),
            Self::Service {
                service,
                phase,
                port,
                why,
                ..
            } => {
                write!(f, "service {service} is {}", phase.word())?;
                if let Some(port) = port {
                    write!(f, " on port {port}")?;
                }
                why.iter().try_for_each(|why| write!(f, ": {why}"))
            }
            Self::Blocked { why: Some(why) } => write!(f, "taking no work: {why}"),
            Self::Blocked { why: None } => f.write_str("taking work again"),
            Self::Trouble { text } => f.write_str(text),
            Self::Back => f.write_str("coordinator answers again"),
            Self::Stopping { running } => write!(f, "stopping, {running} running"),
            Self::Warning { text } => write!(f, "warning: {text}"),
        }
    }
}
