//! What a job finds in its environment: little, and nothing of the daemon's secrets.

use std::collections::BTreeMap;
use std::ffi::OsString;

use super::watch::processes::{ATTEMPT_VARIABLE, JOB_VARIABLE, MARK_VARIABLE};
use crate::protocol::{AttemptNo, JobId};

/// What every job gets of the host's environment, besides `LC_*`.
const USUAL: [&str; 7] = ["PATH", "HOME", "USER", "SHELL", "LANG", "TZ", "TMPDIR"];

/// Names that decide which code a program loads. Payloads may not set them.
const DANGEROUS: [&str; 3] = ["PATH", "NODE_OPTIONS", "BASH_ENV"];
const DANGEROUS_STARTS: [&str; 4] = ["LD_", "DYLD_", "SKYCLAW_", "BASH_FUNC_"];
/// What tells one of several jobs from the others. Only jobs read these, so payloads may set them.
const HARMLESS: [&str; 4] = [
    "SKYCLAW_ARRAY_INDEX",
    "SKYCLAW_ITEM",
    // Set for PicoClaw; they change only what is printed.
    "NO_COLOR",
    "PICOCLAW_LOG_LEVEL",
];

/// Makes the environments of jobs.
#[derive(Debug, Clone)]
pub(super) struct Environment {
    base: BTreeMap<OsString, OsString>,
    allowed: Vec<String>,
    /// Payloads may set nothing else.
    only_allowed: bool,
}

impl Environment {
    /// Takes from `own` what is usual and what `pass` names. `allowed` names may be set by payloads though
    /// they are dangerous; `mark` is the daemon's.
    pub(super) fn new(
        own: &BTreeMap<String, String>,
        pass: &[String],
        allowed: &[String],
        mark: &str,
    ) -> Self {
        let wanted = |name: &str| {
            USUAL.contains(&name)
                || name.starts_with("LC_")
                || pass.iter().any(|passed| passed == name)
        };
        let mut base: BTreeMap<OsString, OsString> = own
            .iter()
            .filter(|(name, _)| wanted(name))
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        base.insert(MARK_VARIABLE.into(), mark.into());
        Self {
            base,
            allowed: allowed.to_vec(),
            only_allowed: false,
        }
    }

    /// Lets payloads set only what the owner allows by name: where whole argument lists are limited,
    /// hardly any variable is harmless (`GIT_SSH_COMMAND`, `PERL5OPT`, `HOME`, …).
    #[must_use]
    pub(super) fn only_allowed_if(mut self, limited: bool) -> Self {
        self.only_allowed = limited;
        self
    }

    fn may_set(&self, name: &str) -> bool {
        let free = !self.only_allowed && !is_dangerous(name);
        free || HARMLESS.contains(&name) || self.allowed.iter().any(|allowed| allowed == name)
    }

    /// Returns the environment of one attempt with `extra` set, or the name that may not be set.
    pub(super) fn for_job(
        &self,
        job: JobId,
        attempt: AttemptNo,
        extra: &BTreeMap<String, String>,
    ) -> Result<Vec<(OsString, OsString)>, String> {
        let mut all = self.base.clone();
        for (name, value) in extra {
            // The daemon's own marks are not for lending, whatever the owner allows.
            let ours = [MARK_VARIABLE, JOB_VARIABLE, ATTEMPT_VARIABLE].contains(&name.as_str());
            let malformed = name.is_empty() || name.contains(['=', '\0']) || value.contains('\0');
            if ours || malformed || !self.may_set(name) {
                return Err(name.clone());
            }
            all.insert(name.into(), value.into());
        }
        all.insert(JOB_VARIABLE.into(), job.to_string().into());
        all.insert(ATTEMPT_VARIABLE.into(), attempt.to_string().into());
        Ok(all.into_iter().collect())
    }
}

fn is_dangerous(name: &str) -> bool {
    let starts = || DANGEROUS_STARTS.iter().any(|start| name.starts_with(start));
    DANGEROUS.contains(&name) || starts() && !HARMLESS.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn only_the_usual_and_the_passed_variables_reach_a_job() {
        let own = map(&[
            ("PATH", "/bin"),
            ("LC_ALL", "C"),
            ("SKYCLAW_TOKEN", "secret"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("GPU", "0"),
        ]);
        let environment = Environment::new(&own, &["GPU".into()], &["LD_LIBRARY_PATH".into()], "m");
        let job = JobId::fresh();
        let made =
            |extra: &[(&str, &str)]| environment.for_job(job, AttemptNo::new(2), &map(extra));
        assert!(made(&[("SKYCLAW_ARRAY_INDEX", "7"), ("SKYCLAW_ITEM", "x")]).is_ok());
        let names: Vec<String> = made(&[("X", "1"), ("LD_LIBRARY_PATH", "/l")])
            .unwrap()
            .into_iter()
            .map(|(name, _)| name.into_string().unwrap())
            .collect();
        assert_eq!(
            names,
            [
                "GPU",
                "LC_ALL",
                "LD_LIBRARY_PATH",
                "PATH",
                "SKYCLAW_ATTEMPT",
                "SKYCLAW_HOST_MARK",
                "SKYCLAW_JOB_ID",
                "X"
            ]
        );
        for name in [
            "PATH",
            "LD_PRELOAD",
            "BASH_FUNC_uptime%%",
            "DYLD_X",
            "NODE_OPTIONS",
            "BASH_ENV",
            "SKYCLAW_TOKEN",
            "a=b",
            "",
        ] {
            assert_eq!(made(&[(name, "x")]), Err(name.to_owned()), "{name}");
        }
        let limited = environment.clone().only_allowed_if(true);
        let made = |name: &str| limited.for_job(job, AttemptNo::new(1), &map(&[(name, "x")]));
        assert!(made("LD_LIBRARY_PATH").is_ok() && made("SKYCLAW_ITEM").is_ok());
        for name in ["X", "GIT_SSH_COMMAND", "HOME"] {
            assert_eq!(made(name), Err(name.to_owned()), "{name}");
        }
    }
}
