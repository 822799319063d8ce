//! The flags that `fleet dispatch` and `fleet exec` share.

use std::io::{BufRead, IsTerminal};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;

use super::args::{FleetArgs, FormatArgs};
use super::connect::ConnectArgs;
use super::error::Failure;
use super::output::Output;
use crate::fleet::dispatch::Common;
use crate::fleet::remote::{Sudo, Value};
use crate::fleet::run::InputFile;
use crate::ssh::shell::is_variable_name;
use crate::support::ids::hex;
use crate::support::secret::Secret;
use crate::support::span::{Limit, parse_limit};

/// Everything that `dispatch` and `exec` take alike.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    // Those without a heading come first: a heading goes on until the next one.
    /// Which fleet file.
    #[command(flatten)]
    pub fleet: FleetArgs,
    /// How to print.
    #[command(flatten)]
    pub format: FormatArgs,
    /// How tasks run.
    #[command(flatten)]
    pub task: TaskArgs,
    /// How output is shown.
    #[command(flatten)]
    pub show: ShowArgs,
    /// How hosts are connected to.
    #[command(flatten)]
    pub connect: ConnectArgs,
}

/// How tasks run.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Task options")]
pub struct TaskArgs {
    /// Limit of each task; 0 means none [default: the host's `timeout`, else 120s]
    #[arg(long, value_name = "SPAN", value_parser = parse_limit)]
    pub timeout: Option<Limit>,
    /// Limit of the whole run: what runs then ends as `timeout`, what waits as `skipped`
    #[arg(long, value_name = "SPAN", value_parser = parse_limit)]
    pub deadline: Option<Limit>,
    /// Time between TERM and KILL
    #[arg(long, value_name = "SPAN", default_value = "5s", value_parser = crate::support::span::parse)]
    pub grace: Duration,
    /// Set a variable for the task; repeat for more
    #[arg(long = "env", value_name = "NAME=VALUE")]
    pub env: Vec<String>,
    /// Hand over a variable of this machine, without its value showing anywhere; repeat for more
    #[arg(long, value_name = "NAME")]
    pub env_from: Vec<String>,
    /// Directory to run in [default: the host's `workdir`, else its home]
    #[arg(long, value_name = "DIR")]
    pub cwd: Option<String>,
    /// Run as another user by way of sudo [default user: root]
    #[arg(long, value_name = "USER", num_args = 0..=1, require_equals = true, default_missing_value = "root")]
    pub sudo: Option<String>,
    /// Read the password for sudo from a file instead of asking for it
    #[arg(long, value_name = "FILE", requires = "sudo")]
    pub sudo_password_file: Option<PathBuf>,
    /// Give every task this file on its standard input [default: end of file at once]
    #[arg(long, value_name = "FILE")]
    pub stdin: Option<PathBuf>,
    /// Run each task once, on the next free host: tasks from a file, one per line or a JSON array; - is stdin
    #[arg(long, value_name = "FILE")]
    pub tasks: Option<PathBuf>,
    /// Run every task on every host
    #[arg(long)]
    pub each: bool,
    /// Show which hosts would run what, and contact none
    #[arg(long)]
    pub dry_run: bool,
}

/// How output is shown and kept.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Output options")]
pub struct ShowArgs {
    /// Print host by host, each when it has ended
    #[arg(long, conflicts_with = "gather")]
    pub group: bool,
    /// Print equal outputs once, under the names of their hosts, at the end
    #[arg(long)]
    pub gather: bool,
    /// With --gather, treat a host's own name and address in its output as equal
    #[arg(long, requires = "gather")]
    pub similar: bool,
    /// Also write NAME.out, NAME.err, NAME.json and summary.json into a directory
    #[arg(long, value_name = "DIR")]
    pub output_dir: Option<PathBuf>,
    /// Keep at most this much of each stream, such as 64MiB; the rest is only counted; 0 keeps all
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = parse_size)]
    pub max_output: u64,
    /// Do not escape control sequences on a terminal
    #[arg(long)]
    pub raw: bool,
}

/// The limit of a task where neither flag nor fleet file gives one.
const TIMEOUT: Duration = Duration::from_secs(120);

impl TaskArgs {
    /// Returns the limit for hosts that set none, and whether the flag outranks those that do.
    pub fn limit(&self) -> (Option<Duration>, bool) {
        match self.timeout {
            Some(limit) => (limit.0, true),
            None => (Some(TIMEOUT), false),
        }
    }

    /// Returns what all commands of the run have in common, asking for the sudo password if need be.
    ///
    /// # Errors
    /// When a variable is malformed or missing, or the password cannot be had.
    pub fn common(&self, fill_in: bool) -> anyhow::Result<Common> {
        let mut env = Vec::new();
        for text in &self.env {
            // Neither message shows a value: it may be a secret.
            let (name, value) = text
                .split_once('=')
                .ok_or_else(|| Failure::usage("--env: write NAME=VALUE"))?;
            if !is_variable_name(name) {
                let why = format!("--env: `{name}` is not a variable name");
                return Err(Failure::usage(why).into());
            }
            env.push((name.to_owned(), Value::Open(value.to_owned())));
        }
        for name in &self.env_from {
            let value = std::env::var(name)
                .ok()
                .filter(|_| is_variable_name(name))
                .ok_or_else(|| {
                    Failure::usage(format!("--env-from {name}: this variable is not set here"))
                        .hint(format!("export {name}, or leave --env-from out"))
                })?;
            env.push((name.clone(), Value::Hidden(Secret::new(value))));
        }
        let sudo = match &self.sudo {
            None => None,
            Some(user) => Some(Sudo {
                user: Some(user.clone()),
                password: self.sudo_password()?,
            }),
        };
        Ok(Common {
            env,
            directory: self.cwd.clone(),
            sudo,
            fill_in,
        })
    }

    fn sudo_password(&self) -> anyhow::Result<Option<Secret>> {
        if let Some(path) = &self.sudo_password_file {
            let text = std::fs::read_to_string(path).map_err(|error| {
                Failure::usage(format!("read {}", path.display())).because(error)
            })?;
            let line = text.lines().next().unwrap_or_default().to_owned();
            return Ok(Some(Secret::new(line)));
        }
        if !(std::io::stdin().is_terminal() && std::io::stderr().is_terminal()) {
            // sudo may be allowed to work without one; if not, it says so on the host.
            return Ok(None);
        }
        let password = rpassword::prompt_password("Password for sudo (empty if it needs none): ")
            .context("ask for the sudo password")?;
        Ok((!password.is_empty()).then(|| Secret::new(password)))
    }

    /// Returns the file for standard input, with its digest.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn input(&self) -> anyhow::Result<Option<InputFile>> {
        use sha2::{Digest, Sha256};
        let Some(path) = &self.stdin else {
            return Ok(None);
        };
        let unreadable =
            |error| Failure::usage(format!("read {} for --stdin", path.display())).because(error);
        // It is read once for its digest and once for every host, so it must be a file that stays.
        if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
            return Err(
                Failure::usage(format!("--stdin {}: not a regular file", path.display()))
                    .hint("write it to a file first")
                    .into(),
            );
        }
        let mut file = std::fs::File::open(path).map_err(unreadable)?;
        let mut digest = Sha256::new();
        let mut size = 0;
        let mut buffer = vec![0; 64 << 10];
        loop {
            let read = std::io::Read::read(&mut file, &mut buffer).map_err(unreadable)?;
            let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else {
                break;
            };
            digest.update(bytes);
            size += read as u64;
        }
        Ok(Some(InputFile {
            path: path.clone(),
            size,
            sha256: hex(&digest.finalize()),
        }))
    }

    /// Returns the texts of `--tasks`.
    ///
    /// # Errors
    /// When the file cannot be read, is no JSON array of texts, or has no task.
    pub fn listed_tasks(&self) -> anyhow::Result<Vec<String>> {
        let Some(path) = &self.tasks else {
            return Ok(Vec::new());
        };
        let unreadable =
            |error| Failure::usage(format!("read tasks from {}", path.display())).because(error);
        let text = if path.as_os_str() == "-" {
            std::io::read_to_string(std::io::stdin().lock()).map_err(unreadable)?
        } else {
            std::fs::read_to_string(path).map_err(unreadable)?
        };
        let tasks: Vec<String> = if text.trim_start().starts_with('[') {
            serde_json::from_str(&text).map_err(|error| {
                Failure::usage(format!("{} is no JSON array of texts", path.display()))
                    .because(error)
            })?
        } else {
            text.as_bytes()
                .lines()
                .map_while(Result::ok)
                .filter(|line| !line.trim().is_empty())
                .collect()
        };
        if tasks.is_empty() {
            return Err(Failure::usage(format!("no task in {}", path.display())).into());
        }
        Ok(tasks)
    }
}

impl ShowArgs {
    /// Returns the cap on kept output.
    pub fn cap(&self) -> Option<u64> {
        (self.max_output > 0).then_some(self.max_output)
    }

    /// Makes the directory of `--output-dir` before anything runs.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn prepare(&self, _output: &Output) -> anyhow::Result<()> {
        if let Some(dir) = &self.output_dir {
            std::fs::create_dir_all(dir).map_err(|error| {
                Failure::usage(format!("create {}", dir.display())).because(error)
            })?;
        }
        Ok(())
    }
}

fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        _ => return Err("write a size as 4096, 64KiB, 64MiB or 1GiB".into()),
    };
    let number: u64 = number
        .parse()
        .map_err(|_| "write a size as 64MiB".to_owned())?;
    number
        .checked_mul(factor)
        .ok_or_else(|| "that is more than a size can be".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let cases = [
            ("0", 0),
            ("10", 10),
            ("64MiB", 64 << 20),
            ("1g", 1 << 30),
            ("2 KiB", 2048),
        ];
        for (text, bytes) in cases {
            assert_eq!(parse_size(text), Ok(bytes));
        }
        for text in ["", "x", "1TB", "-1", "99999999999G"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }
}
