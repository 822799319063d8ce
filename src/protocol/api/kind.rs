//! What a job can ask a host to run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The payload of a job, by its kind. The queue keeps the text as it was sent; this is how it is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all_fields = "camelCase")]
pub enum JobKind {
    /// A command with its arguments; no shell between them.
    #[serde(rename = "shell")]
    Shell {
        /// The program. It must be on the host's allowlist.
        command: String,
        /// Its arguments.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        args: Vec<String>,
        /// Program and arguments in base64, where they are not all UTF-8; outranks the two above.
        #[serde(default, rename = "argvB64", skip_serializing_if = "Vec::is_empty")]
        argv_b64: Vec<String>,
        /// What it reads on standard input.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stdin: Option<String>,
        /// The agent whose command it is: where the program is missing, that agent is not installed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        agent: Option<String>,
        /// Where it runs, `~` being the home; without it in a fresh directory that goes with the job.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cwd: Option<String>,
        /// What is added to its environment.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        env: BTreeMap<String, String>,
        /// How long it may run, in milliseconds; at least 1000 are granted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        timeout_ms: Option<u64>,
        /// Between TERM and KILL, in milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        grace_ms: Option<u64>,
    },
    /// The host's OpenClaw.
    #[serde(rename = "openclaw-run")]
    OpenclawRun {
        /// Its arguments, unchanged. None means `agent exec`, with the message on standard input if there is one.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        args: Vec<String>,
        /// What the agent is asked.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<String>,
        /// Where it runs.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        openclaw_dir: Option<String>,
        /// What is added to its environment.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        env: BTreeMap<String, String>,
        /// How long it may run, in milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        timeout_ms: Option<u64>,
        /// Between TERM and KILL, in milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        grace_ms: Option<u64>,
    },
    /// The host's Automaton, as the older form of the original calls it.
    #[serde(rename = "automaton-run")]
    AutomatonRun {
        /// Its arguments, unchanged. None means `--run`.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        args: Vec<String>,
        /// Where it runs.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        automaton_dir: Option<String>,
        /// What is added to its environment.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        env: BTreeMap<String, String>,
        /// How long it may run, in milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        timeout_ms: Option<u64>,
    },
    /// One task for the host's PicoClaw.
    #[serde(rename = "picoclaw-task")]
    PicoclawTask {
        /// What the agent is asked.
        message: String,
        /// The conversation it belongs to; without it a fresh one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        session: Option<String>,
        /// The message goes to the agent's standard input; it must be one line then.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        task_stdin: bool,
        /// Where it runs, `~` being the home; without it in a fresh directory that goes with the job.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cwd: Option<String>,
        /// What is added to its environment.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        env: BTreeMap<String, String>,
        /// How long it may run, in milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        timeout_ms: Option<u64>,
        /// Between TERM and KILL, in milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        grace_ms: Option<u64>,
    },
}

impl JobKind {
    /// Every kind's word on the wire.
    pub const WORDS: [&'static str; 4] =
        ["shell", "openclaw-run", "automaton-run", "picoclaw-task"];

    /// Returns the kind's word on the wire.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Shell { .. } => "shell",
            Self::OpenclawRun { .. } => "openclaw-run",
            Self::AutomatonRun { .. } => "automaton-run",
            Self::PicoclawTask { .. } => "picoclaw-task",
        }
    }

    /// Returns the capability that a host of ours advertises for this kind.
    pub const fn capability(&self) -> &'static str {
        match self {
            Self::Shell { .. } => "shell",
            Self::OpenclawRun { .. } => "openclaw",
            Self::AutomatonRun { .. } => "automaton",
            Self::PicoclawTask { .. } => "picoclaw",
        }
    }

    /// Tells whether the capability must be demanded whatever the submitter wrote: hosts of the
    /// original run every kind but `shell` as OpenClaw, so they must never be given another one.
    pub const fn needs_its_capability(&self) -> bool {
        match self {
            Self::Shell { .. } | Self::OpenclawRun { .. } => false,
            Self::AutomatonRun { .. } | Self::PicoclawTask { .. } => true,
        }
    }

    /// Returns what is between TERM and KILL, in milliseconds, if the payload says so.
    pub const fn grace_ms(&self) -> Option<u64> {
        match self {
            Self::Shell { grace_ms, .. }
            | Self::OpenclawRun { grace_ms, .. }
            | Self::PicoclawTask { grace_ms, .. } => *grace_ms,
            Self::AutomatonRun { .. } => None,
        }
    }

    /// Returns how long it may run, in milliseconds, if the payload says so.
    pub const fn timeout_ms(&self) -> Option<u64> {
        match self {
            Self::Shell { timeout_ms, .. }
            | Self::OpenclawRun { timeout_ms, .. }
            | Self::AutomatonRun { timeout_ms, .. }
            | Self::PicoclawTask { timeout_ms, .. } => *timeout_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_originals_payloads_are_read() {
        let shell: JobKind = serde_json::from_str(
            r#"{"kind":"shell","command":"bash","args":["-c","uptime"],"timeoutMs":20000,"x":1}"#,
        )
        .unwrap();
        assert_eq!((shell.word(), shell.timeout_ms()), ("shell", Some(20000)));
        let old: JobKind =
            serde_json::from_str(r#"{"kind":"automaton-run","automatonDir":"/a"}"#).unwrap();
        assert!(old.needs_its_capability());
        let unknown = serde_json::from_str::<JobKind>(r#"{"kind":"mine-coins"}"#);
        assert!(unknown.unwrap_err().to_string().contains("unknown variant"));
    }
}
