//! `skyclaw demo`: the whole tour on a sandbox of three hosts, with the real commands.
//!
//! Runs this very program, as anybody would, and checks its exit codes. Knows nothing a user does not.

mod background;
mod steps;

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use self::background::Background;
use self::steps::{KILLED, Step, steps};
use super::exit::Exit;
use super::output::Output;
use crate::fleet::sandbox::{KEY_VARIABLE, Options, Sandbox};
use crate::support::shutdown::{Cause, Shutdown, Urgency};

const HOSTS: usize = 3;
const SAMPLE_AGENT: &str = include_str!("../../templates/agents/sample-agent.sh");
const MADE_UP_KEY: &str = "made-up-key";
/// Variables of the caller that commands get: where programs are, and how to print.
const KEPT: &[&str] = &[
    "PATH",
    "LANG",
    "LC_ALL",
    "TZ",
    "TERM",
    "COLORTERM",
    "NO_COLOR",
    "CLICOLOR_FORCE",
    "TMPDIR",
];
/// How long three coordinators may take to become one queue.
const TOGETHER: Duration = Duration::from_secs(10);
/// What a command may still do after it was asked to end.
const GRACE: Duration = Duration::from_secs(8);

/// Show what skyclaw does, on three hosts made for it on this machine
///
/// Prints each command and runs it: status, deploy, dispatch, a task that runs into its limit, a host
/// that dies in the middle, a controller whose jobs are pushed to one host and pulled by another, a service
/// behind a gateway, a coordinator of three that dies, the record of it all, and teardown. Takes about 25 seconds, needs
/// neither keys nor network, touches nothing of yours and leaves nothing behind.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: skyclaw demo\n\nExit codes: 0 every step did what it should, 1 one did not, 130/143 stopped by a signal."
)]
pub struct Args {}

/// Runs the verb.
///
/// # Errors
/// When the sandbox cannot be made or removed, or a command cannot be started.
pub async fn run(_args: &Args, output: &Output) -> anyhow::Result<Exit> {
    // Before anything is made, so that a signal never finds it without an owner.
    let shutdown = Shutdown::listen().context("listen for signals")?;
    let dir = tempfile::Builder::new()
        .prefix("skyclaw-demo-")
        .tempdir()
        .context("make a directory for the demo")?;
    let sandbox = Sandbox::start(Options {
        hosts: HOSTS,
        dir: Some(dir.path().join("sandbox")),
        ..Options::default()
    })
    .await
    .context("start the sandbox")?;
    let mut stage = Stage {
        program: std::env::current_exe().context("find this program")?,
        work: dir.path().join("work"),
        sandbox,
        shutdown,
        output,
        background: Background::default(),
    };
    let result = stage.play().await;
    stage.background.end().await;
    // One that was left behind by a step that failed or was stopped is nobody's child.
    stage.end_controller().await;
    stage.sandbox.stop().await.context("end the sandbox")?;
    dir.close().context("remove the demo's directory")?;
    let exit = result?;
    if exit == Exit::Success {
        output.line("");
        output.line("# That is all. The hosts, their files and processes are gone again.");
        output.line(
            "# Your own fleet: skyclaw fleet init. A sandbox to play with: skyclaw fleet sandbox",
        );
    }
    Ok(exit)
}

struct Stage<'o> {
    program: PathBuf,
    /// The home of whoever runs the commands, and where they run.
    work: PathBuf,
    sandbox: Sandbox,
    shutdown: Shutdown,
    output: &'o Output,
    /// What stays while others run.
    background: Background,
}

impl Stage<'_> {
    async fn play(&mut self) -> anyhow::Result<Exit> {
        std::fs::create_dir(&self.work).context("make the demo's home")?;
        std::fs::write(self.work.join("sample-agent.sh"), SAMPLE_AGENT)
            .context("write the sample agent")?;
        self.output.line(&format!(
            "# {HOSTS} SSH hosts are up on this machine. This fleet file names them:"
        ));
        let fleet = self.sandbox.fleet_path().display();
        self.output
            .line(&format!("$ export SKYCLAW_FLEET_CONFIG={fleet}"));
        self.output
            .line(&format!("$ export {KEY_VARIABLE}={MADE_UP_KEY}"));
        let mut failed = false;
        for step in steps() {
            self.output.line("");
            self.output.line(&format!("# {}", step.why));
            self.output.line(&format!("$ {}", step.shown()));
            let Some(status) = self.perform(&step).await? else {
                return Ok(match self.shutdown.cause() {
                    Some(Cause::Terminate) => Exit::Terminated,
                    Some(Cause::Interrupt) | None => Exit::Interrupted,
                });
            };
            if status.code() == Some(step.expected) {
                if step.expected != 0 {
                    self.output
                        .line(&format!("# exit code {}, as it should be", step.expected));
                }
            } else {
                failed = true;
                self.output.note(&format!(
                    "demo: `{}` ended with {status}, expected was exit code {}",
                    step.shown(),
                    step.expected
                ));
            }
        }
        Ok(if failed { Exit::Failed } else { Exit::Success })
    }

    /// Runs one command to its end, or until it stays. Returns `None` if the user wants to stop.
    async fn perform(&mut self, step: &Step) -> anyhow::Result<Option<ExitStatus>> {
        if step.ends_background {
            self.background.end().await;
        }
        if step.kills_first {
            return self.kill_first().await;
        }
        let mut command = self.command(step.words);
        if step.stays_when.is_some() {
            return self.leave_running(command, step).await;
        }
        if step.kills_when.is_some() {
            command.stdout(Stdio::piped());
        }
        let mut child = command
            .spawn()
            .with_context(|| format!("start {}", self.program.display()))?;
        let stdout = child.stdout.take();
        let mut stop = self.shutdown.clone();
        let watched = async {
            if let (Some(stdout), Some(sign)) = (stdout, step.kills_when) {
                watch(stdout, sign, &mut self.sandbox, self.output).await;
            }
            child.wait().await
        };
        let ended = tokio::select! {
            status = watched => Some(status),
            () = stop.reached(Urgency::Stop) => None,
        };
        match ended {
            Some(status) => Ok(Some(status.context("wait for the command")?)),
            None => {
                end(child).await;
                Ok(None)
            }
        }
    }

    /// Starts a command and waits until it says what it says when it is there.
    async fn leave_running(
        &mut self,
        command: Command,
        step: &Step,
    ) -> anyhow::Result<Option<ExitStatus>> {
        let mut stop = self.shutdown.clone();
        let starting = self.background.start(command, step, self.output);
        let ended = tokio::select! {
            ended = starting => ended?,
            () = stop.reached(Urgency::Stop) => return Ok(None),
        };
        if let (None, Some(variable)) = (ended, step.exports) {
            let url = self.background.variable(variable);
            self.output.line(&format!("$ export {variable}={url}"));
        }
        Ok(Some(ended.unwrap_or_default()))
    }

    /// Kills the first in the background, once three coordinators have a vote: two of which one dies could not go on.
    async fn kill_first(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        let mut stop = self.shutdown.clone();
        let together = timeout(TOGETHER, async {
            while self.voters().await < 3 {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        tokio::select! {
            done = together => done.context("wait for three coordinators with a vote")?,
            () = stop.reached(Urgency::Stop) => return Ok(None),
        }
        self.background.kill_first().await;
        Ok(Some(ExitStatus::default()))
    }

    /// Returns how many coordinators have a vote.
    async fn voters(&self) -> usize {
        let mut command = self.command(&["peer", "list", "--json"]);
        command.stderr(Stdio::null());
        let Ok(done) = command.output().await else {
            return 0;
        };
        let peers: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap_or_default();
        let members = peers.get("members").and_then(|list| list.as_array());
        let votes = |one: &&serde_json::Value| one.get("voter").is_some_and(|vote| vote == true);
        members.map_or(0, |members| members.iter().filter(votes).count())
    }

    /// Ends the controller if one runs.
    async fn end_controller(&self) {
        let mut command = self.command(&["fleet", "down", "--now"]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        if let Ok(child) = command.spawn() {
            let _ = timeout(GRACE, child.wait_with_output()).await;
        }
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(words).current_dir(&self.work).env_clear();
        for name in KEPT {
            command.envs(std::env::var_os(name).map(|value| (name, value)));
        }
        let below = |name: &str| self.work.join(name);
        command
            .env("HOME", &self.work)
            .env("XDG_CONFIG_HOME", below(".config"))
            .env("XDG_STATE_HOME", below(".local/state"))
            .env("XDG_DATA_HOME", below(".local/share"))
            .env("XDG_CACHE_HOME", below(".cache"))
            .env("SKYCLAW_FLEET_CONFIG", self.sandbox.fleet_path() as &Path)
            .env(KEY_VARIABLE, MADE_UP_KEY)
            .envs(self.background.variables())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }
}

/// Passes the output on, and kills the host when `sign` is in it.
async fn watch(mut stdout: ChildStdout, sign: &str, sandbox: &mut Sandbox, output: &Output) {
    let mut seen = Vec::new();
    let mut buffer = [0; 8192];
    while let Ok(length @ 1..) = stdout.read(&mut buffer).await {
        let bytes = buffer.get(..length).unwrap_or_default();
        output.bytes(bytes);
        seen.extend_from_slice(bytes);
        if String::from_utf8_lossy(&seen).contains(sign) && sandbox.kill_host(KILLED).await {
            output.line(&format!("# {KILLED} has just lost its power"));
        }
    }
}

/// Asks a command to end, as Ctrl-C in its terminal has done already, and waits for it.
async fn end(mut child: Child) {
    if let Some(pid) = child.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
        let _ = kill_process(pid, Signal::TERM);
    }
    if timeout(GRACE, child.wait()).await.is_err() {
        let _ = child.kill().await;
    }
}
