//! What the demo leaves running while other commands run, and what these are told of it.

use std::collections::BTreeMap;
use std::process::{ExitStatus, Stdio};

use anyhow::Context;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};

use super::end;
use super::steps::Step;
use crate::cli::output::Output;

/// Programs that stay. Killed on drop.
#[derive(Debug, Default)]
pub struct Background {
    running: Vec<Running>,
    variables: BTreeMap<&'static str, String>,
}

#[derive(Debug)]
struct Running {
    process: Child,
    /// Without a reader it could not go on printing.
    _stdout: BufReader<ChildStdout>,
    /// It has to end what it started itself; the others have nothing to finish.
    is_host: bool,
}

impl Background {
    /// Starts a command that stays, and passes on what it says until it is there. Returns how it ended if it did.
    ///
    /// # Errors
    /// When it cannot be started or read.
    pub async fn start(
        &mut self,
        mut command: Command,
        step: &Step,
        output: &Output,
    ) -> anyhow::Result<Option<ExitStatus>> {
        if step.words.first() == Some(&"coordinator") {
            // What it says of others that are not there yet, or no more, would stand between the commands.
            command.stderr(Stdio::null());
        }
        let mut process = command
            .stdout(Stdio::piped())
            .spawn()
            .context("start a command that stays")?;
        let stdout = process.stdout.take().context("read what it says")?;
        let mut stdout = BufReader::new(stdout);
        loop {
            let mut line = String::new();
            let read = stdout.read_line(&mut line).await;
            if read.context("read what the command says")? == 0 {
                let ended = process.wait().await.context("wait for the command")?;
                return Ok(Some(ended));
            }
            output.bytes(line.as_bytes());
            if step.stays_when.is_some_and(|sign| line.contains(sign)) {
                if let Some(variable) = step.exports {
                    let url = line.split_whitespace().next_back().unwrap_or_default();
                    self.variables.insert(variable, url.to_owned());
                }
                self.running.push(Running {
                    process,
                    _stdout: stdout,
                    is_host: step.words.first() == Some(&"host"),
                });
                return Ok(None);
            }
        }
    }

    /// Returns what later commands are told.
    pub fn variables(&self) -> impl Iterator<Item = (&'static str, &String)> {
        self.variables.iter().map(|(name, value)| (*name, value))
    }

    /// Returns what later commands are told in this variable.
    pub fn variable(&self, name: &str) -> &str {
        self.variables.get(name).map_or("", String::as_str)
    }

    /// Kills the one that was started first.
    pub async fn kill_first(&mut self) {
        if let Some(first) = self.running.first_mut() {
            let _ = first.process.kill().await;
        }
    }

    /// Ends all, the last one first, and forgets what was told of them.
    pub async fn end(&mut self) {
        self.variables.clear();
        while let Some(mut one) = self.running.pop() {
            if one.is_host {
                end(one.process).await;
            } else {
                let _ = one.process.kill().await;
            }
        }
    }
}
