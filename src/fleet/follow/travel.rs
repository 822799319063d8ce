//! Whether a run can be handed to a coordinator, or only this process can carry it out.

use std::fmt;

use crate::fleet::run::Plan;

/// The most jobs that one request takes.
const MOST_JOBS: usize = 10_000;
/// The most that all payloads may come to, in bytes; a coordinator takes 16 MiB in all.
const MOST_BYTES: usize = 12 << 20;

/// Why a run stays in this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// These must not be written down, and a job is.
    Secret(Vec<String>),
    /// This flag needs our own connection to the host.
    Flag(&'static str),
    /// Any host may take a task, and the hosts differ in this.
    Differs(&'static str),
    /// It is too much for one request.
    TooLarge,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret(flags) => write!(f, "it must not be written down ({})", flags.join(", ")),
            Self::Flag(flag) => write!(f, "{flag} needs a connection of its own"),
            Self::Differs(what) => {
                write!(f, "any host may take a task and they differ in {what}")
            }
            Self::TooLarge => f.write_str("it is too much for one request"),
        }
    }
}

/// Tells whether `plan` can be handed over. `kept_back` and `differs` are what its preparation found.
///
/// # Errors
/// Why it cannot.
pub fn travels(
    plan: &Plan,
    kept_back: &[String],
    differs: Option<&'static str>,
) -> Result<(), Reason> {
    if !kept_back.is_empty() {
        return Err(Reason::Secret(kept_back.to_vec()));
    }
    if plan.input.is_some() {
        return Err(Reason::Flag("--stdin"));
    }
    if plan.attendant.is_some() {
        return Err(Reason::Flag("--deploy-missing or --ephemeral"));
    }
    if plan.one_by_one {
        return Err(Reason::Flag("--one"));
    }
    if let Some(what) = differs {
        return Err(Reason::Differs(what));
    }
    let bytes: usize = plan
        .units
        .iter()
        .map(|unit| unit.payload.as_str().len())
        .sum();
    if plan.units.len() > MOST_JOBS || bytes + plan.meta.as_str().len() > MOST_BYTES {
        return Err(Reason::TooLarge);
    }
    Ok(())
}
