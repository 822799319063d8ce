//! What a job finds in its environment: little, and nothing of the daemon's secrets.

use std::collections::BTreeMap;
use std::ffi::OsString;

use super::watch::processes::{
    ATTEMPT_VARIABLE, JOB_VARIABLE, MARK_VARIABLE, SERVICE_RUN_VARIABLE,
};
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
        let mut all = self.with(extra)?;
        all.insert(JOB_VARIABLE.into(), job.to_string().into());
        all.insert(ATTEMPT_VARIABLE.into(), attempt.to_string().into());
        Ok(all.into_iter().collect())
    }

    /// Returns the environment of one run of a service with what it was `given` and what we set of our `own`, or the
    /// name that may not be set. Of two that set one name, the later one wins.
    pub(super) fn for_service(
        &self,
        run: JobId,
        given: &[&BTreeMap<String, String>],
        own: &[(&str, &str)],
    ) -> Result<Vec<(OsString, OsString)>, String> {
        let given: BTreeMap<&String, &String> = given.iter().copied().flatten().collect();
        let mut all = self.with(given)?;
        all.extend(own.iter().map(|(name, value)| (name.into(), value.into())));
        all.insert(SERVICE_RUN_VARIABLE.into(), run.to_string().into());
        Ok(all.into_iter().collect())
    }

    /// Returns what everybody gets with `extra` set, or the name that may not be set.
    fn with<'e>(
        &self,
        extra: impl IntoIterator<Item = (&'e String, &'e String)>,
    ) -> Result<BTreeMap<OsString, OsString>, String> {
        let mut all = self.base.clone();
        for (name, value) in extra {
            // The daemon's own marks are not for lending, whatever the owner allows.
            let ours = [
                MARK_VARIABLE,
                JOB_VARIABLE,
                ATTEMPT_VARIABLE,
                SERVICE_RUN_VARIABLE,
            ]
            .contains(&name.as_str());
            let malformed = name.is_empty() || name.contains(['=', '\0']) || value.contains('\0');
            if ours || malformed || !self.may_set(name) {
                return Err(name.clone());
            }
            all.insert(name.into(), value.into());
        }
        Ok(all)
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
    fn a_service_gets_secrets_and_its_port_and_may_set_no_more_than_a_job() {
        let own = map(&[("PATH", "/bin"), ("AWS_SECRET_ACCESS_KEY", "secret")]);
        let environment = Environment::new(&own, &[], &["SKYCLAW_SERVICE_RUN".into()], "m");
        let run = JobId::fresh();
        let made = |open: &[(&str, &str)], secret: &[(&str, &str)]| {
            environment.for_service(run, &[&map(open), &map(secret)], &[("PORT", "3100")])
        };
        let found = made(&[("A", "1"), ("PORT", "1"), ("B", "open")], &[("B", "key")]).unwrap();
        let of = |name: &str| {
            let found = found.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| value.to_str().unwrap().to_owned())
        };
        let value = |name: &str| of(name).unwrap();
        assert_eq!((value("A"), value("B")), ("1".into(), "key".into()));
        assert_eq!(value("PORT"), "3100", "not what it was given");
        assert_eq!(value("SKYCLAW_SERVICE_RUN"), run.to_string());
        assert_eq!(of("AWS_SECRET_ACCESS_KEY"), None);
        assert_eq!(of("SKYCLAW_JOB_ID"), None);
        for name in ["LD_PRELOAD", "SKYCLAW_SERVICE_RUN", "SKYCLAW_PORT", "a=b"] {
            assert_eq!(made(&[], &[(name, "x")]), Err(name.to_owned()), "{name}");
        }
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
