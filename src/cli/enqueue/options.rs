//! The flags that say what a job is like and who may run it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::deliver::Batch;
use super::several::{self, Item};
use crate::cli::error::Failure;
use crate::protocol::api::{GroupRequest, JobKind, SubmitJob};
use crate::protocol::{Payload, Requirement};
use crate::support::clock::{Clock, SystemClock, Timestamp};
use crate::support::span::{self, Limit, parse_limit};

/// A host of the original counts limits in 32 bits of milliseconds: 24 days. More would end a job at once.
const LONGEST_LIMIT_MS: u64 = i32::MAX as u64;

/// What a job is like.
#[derive(Debug, Clone, PartialEq, Eq, Default, Args)]
#[command(next_help_heading = "Job options")]
pub struct JobArgs {
    /// Demand a capability besides that of the kind; repeat for more
    #[arg(long, value_name = "CAP")]
    pub require: Vec<String>,
    /// Demand a label of the host; repeat for more
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = parse_pair)]
    pub labels: Vec<(String, String)>,
    /// Only on hosts of this name or pattern; repeat for alternatives
    #[arg(long = "on-host", visible_alias = "host", value_name = "NAME")]
    pub hosts: Vec<String>,
    /// Higher runs first, -100 to 100 [default: 0]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(i8).range(-100..=100))]
    pub priority: Option<i8>,
    /// Run it again so often after it failed by itself [default: 0]
    #[arg(long, value_name = "N")]
    pub retries: Option<u16>,
    /// Give it up after so many hosts were lost while they ran it [default: 3]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub max_attempts: Option<u16>,
    /// Limit of one try; 0 means 24 days [default: the host's]
    #[arg(long, value_name = "SPAN", value_parser = parse_limit)]
    pub timeout: Option<Limit>,
    /// Fail unless a try has begun by then: a span from now, or a time such as 2026-05-01T10:00:00Z
    #[arg(long, value_name = "WHEN", value_parser = parse_when)]
    pub start_by: Option<When>,
    /// Begin no sooner than after this span
    #[arg(long, value_name = "SPAN", value_parser = span::parse, conflicts_with = "at")]
    pub delay: Option<Duration>,
    /// Begin no sooner than at this time, such as 2026-05-01T10:00:00Z
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub at: Option<Timestamp>,
    /// Who asks
    #[arg(long, value_name = "NAME")]
    pub submitted_by: Option<String>,
    /// Set a variable for the job; repeat for more. The coordinator keeps it, so no secrets
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = parse_pair)]
    pub env: Vec<(String, String)>,
    /// Directory of the host to run in [default: a fresh one that goes with the job]
    #[arg(long, value_name = "DIR")]
    pub cwd: Option<String>,
    /// One job per number of a list such as 1-100 or 1,5-9: $SKYCLAW_ARRAY_INDEX, and {index} in the arguments
    #[arg(long, value_name = "NUMBERS", value_parser = several::parse_numbers, group = "several")]
    pub array: Option<several::Numbers>,
    /// One job per line of a file: $SKYCLAW_ITEM, and {item} in the arguments; - is stdin
    #[arg(long, value_name = "FILE", group = "several")]
    pub each_line: Option<PathBuf>,
    /// One job per value of a JSON list in a file: $SKYCLAW_ITEM, and {item} in the arguments; - is stdin
    #[arg(long, value_name = "FILE", group = "several")]
    pub from_json: Option<PathBuf>,
    /// Cancel what is left of several jobs after so many failures
    #[arg(long, value_name = "N", requires = "several", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_fails: Option<u32>,
}

/// A point in time, or a span from when it is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// So long from now.
    In(Duration),
    /// Then.
    At(Timestamp),
}

/// How the job's process runs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Process {
    /// Where.
    pub directory: Option<String>,
    /// What is added to its environment.
    pub env: BTreeMap<String, String>,
    /// How long it may run, in milliseconds.
    pub timeout_ms: Option<u64>,
}

impl JobArgs {
    /// Returns how the job's process runs.
    ///
    /// # Errors
    /// When a variable's name is none, or the limit is too long.
    pub fn process(&self) -> Result<Process, Failure> {
        for (name, _) in &self.env {
            if !crate::ssh::shell::is_variable_name(name) {
                return Err(Failure::usage(format!(
                    "--env: `{name}` is not a variable name"
                )));
            }
        }
        let timeout_ms = match self.timeout {
            None => None,
            Some(Limit(None)) => Some(LONGEST_LIMIT_MS),
            Some(Limit(Some(limit))) => match u64::try_from(limit.as_millis()) {
                Ok(millis) if millis <= LONGEST_LIMIT_MS => Some(millis),
                Ok(_) | Err(_) => return Err(Failure::usage("--timeout: at most 24 days")),
            },
        };
        Ok(Process {
            directory: self.cwd.clone(),
            env: self.env.iter().cloned().collect(),
            timeout_ms,
        })
    }

    /// Returns the jobs that these flags make of `kind`: one, or one per number, line or value.
    ///
    /// # Errors
    /// When a file cannot be used, or there would be no job or too many.
    pub fn batch(&self, kind: JobKind) -> anyhow::Result<Batch> {
        let job = self.job(&kind)?;
        let Some(items) = self.items()? else {
            return Ok(Batch::one(job));
        };
        let title = crate::cli::job::what(&payload(&kind)?);
        let jobs = items
            .iter()
            .map(|item| {
                let payload = payload(&several::filled_in(&kind, item))?;
                Ok(SubmitJob {
                    payload: Some(payload),
                    ..job.clone()
                })
            })
            .collect::<Result<Vec<_>, Failure>>()?;
        Batch::of(
            jobs,
            Some(GroupRequest {
                kind: Some("array".to_owned()),
                title: Some(title),
                max_fails: self.max_fails,
                ..GroupRequest::default()
            }),
        )
    }

    fn job(&self, kind: &JobKind) -> Result<SubmitJob, Failure> {
        let mut capabilities = vec![kind.capability().to_owned()];
        capabilities.extend(self.require.iter().cloned());
        let requirement = Requirement {
            required_capabilities: capabilities,
            labels: self.labels.iter().cloned().collect(),
            hosts: self.hosts.clone(),
        };
        Ok(SubmitJob {
            payload: Some(payload(kind)?),
            requirement: Some(requirement.normalized()),
            submitted_by: self.submitted_by.clone(),
            priority: self.priority,
            max_attempts: self.max_attempts,
            retries: self.retries,
            start_by: self.start_by.map(|when| match when {
                When::At(at) => at,
                When::In(span) => SystemClock.now().plus(span),
            }),
            not_before: self.at,
            delay_ms: self
                .delay
                .map(|delay| u64::try_from(delay.as_millis()).unwrap_or(u64::MAX)),
            group: None,
            id: None,
        })
    }

    fn items(&self) -> anyhow::Result<Option<Vec<Item>>> {
        if let Some(numbers) = &self.array {
            return Ok(Some(numbers.items()));
        }
        if let Some(path) = &self.each_line {
            return several::lines(path).map(Some);
        }
        match &self.from_json {
            Some(path) => several::values(path).map(Some),
            None => Ok(None),
        }
    }
}

fn payload(kind: &JobKind) -> Result<Payload, Failure> {
    Payload::of(kind).map_err(|error| Failure::usage("the job").because(error))
}

fn parse_pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => {
            Ok((key.trim().to_owned(), value.to_owned()))
        }
        // The text may hold a secret, so it is not repeated.
        Some(_) | None => Err("write KEY=VALUE".to_owned()),
    }
}

fn parse_time(text: &str) -> Result<Timestamp, String> {
    serde_json::from_value(text.into())
        .map_err(|_| "write a time as 2026-05-01T10:00:00Z or 2026-05-01T12:00:00+02:00".to_owned())
}

fn parse_when(text: &str) -> Result<When, String> {
    match (span::parse(text), parse_time(text)) {
        (Ok(span), _) => Ok(When::In(span)),
        (Err(_), Ok(at)) => Ok(When::At(at)),
        (Err(_), Err(_)) => {
            Err("write a span such as 10m, or a time as 2026-05-01T10:00:00Z".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::enqueue::shell;

    #[test]
    fn flags_become_a_job() {
        let args = JobArgs {
            require: vec!["gpu".into(), "shell".into()],
            hosts: vec!["web*".into()],
            priority: Some(-5),
            timeout: Some(Limit::secs(90)),
            delay: Some(Duration::from_secs(2)),
            ..JobArgs::default()
        };
        let command = ["bash", "-lc", "true"].map(str::to_owned);
        let batch = args
            .batch(shell(&command, args.process().unwrap()))
            .unwrap();
        let json = serde_json::to_value(&batch.jobs).unwrap();
        assert_eq!(
            json,
            serde_json::json!([{
                "payload": {"kind": "shell", "command": "bash", "args": ["-lc", "true"], "timeoutMs": 90_000},
                "requirement": {"requiredCapabilities": ["gpu", "shell"], "hosts": ["web*"]},
                "priority": -5, "delayMs": 2000,
            }])
        );
        assert!(batch.group.is_none());
    }

    #[test]
    fn an_array_is_one_group() {
        let args = JobArgs {
            array: Some(several::parse_numbers("2-3").unwrap()),
            max_fails: Some(1),
            ..JobArgs::default()
        };
        let command = ["echo", "part {index} of {item}"].map(str::to_owned);
        let batch = args
            .batch(shell(&command, args.process().unwrap()))
            .unwrap();
        let first = batch.jobs[0].payload.as_ref().unwrap().as_str();
        assert!(first.contains(r#""part 2 of 2""#), "{first}");
        assert!(first.contains(r#""SKYCLAW_ARRAY_INDEX":"2""#), "{first}");
        assert_eq!(batch.jobs.len(), 2);
        assert_eq!(batch.group.unwrap().max_fails, Some(1));
    }

    #[test]
    fn points_in_time_are_read() {
        assert_eq!(parse_when("10m"), Ok(When::In(Duration::from_secs(600))));
        assert_eq!(
            parse_when("2026-05-01T12:00:00+02:00"),
            Ok(When::At(Timestamp::from_millis(1_777_629_600_000)))
        );
        assert!(parse_when("tomorrow").is_err());
    }
}
