//! `skyclaw fleet up --detach`: starts itself in the background and waits until it serves.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::time::sleep;

use super::{Args, down};
use crate::cli::error::Failure;
use crate::cli::exit::Exit;
use crate::cli::output::Output;
use crate::fleet::controller::{Place, Seen};
use crate::support::paths;

/// How often it is looked whether it serves,
const LOOK: Duration = Duration::from_millis(30);
/// and for how long.
const PATIENCE: Duration = Duration::from_secs(60);
/// How much of the log a failed start shows.
const SHOWN: usize = 12;

/// Runs the verb.
///
/// # Errors
/// When the one in the background does not come to serve, or another one runs.
pub async fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    // Whatever can be said here need not be looked for in a log.
    let fleet = crate::cli::args::load_fleet(&args.fleet, output)?;
    crate::cli::connect::selected(&fleet, &args.select.selection()?, output)?;
    let place = Place::of_this_machine()?;
    if let Some(running) = down::who(&place).await? {
        return Err(super::serve::runs_already(Some(running)).into());
    }
    let log = place.log();
    let from = start_of(&log)?;
    let mut child = start(&log)?;
    let since = Instant::now();
    loop {
        if let Seen::Running(running) = place.look()?
            && i64::from(running.pid) == i64::from(child.id())
            && let Some(url) = running.url
        {
            output.line(&format!(
                "controller {} serves {url}; its log is {}",
                running.pid,
                log.display()
            ));
            return Ok(Exit::Success);
        }
        if let Some(status) = child.try_wait().context("look at the controller")? {
            let mut failure = Failure::new(
                Exit::Failed,
                format!("the controller ended at once ({status})"),
            );
            for line in last_lines(&log, from) {
                failure = failure.hint(line);
            }
            return Err(failure.into());
        }
        if since.elapsed() > PATIENCE {
            return Err(
                Failure::new(Exit::Failed, "the controller does not come to serve")
                    .hint(format!("its log is {}", log.display()))
                    .hint("`skyclaw fleet down --now` ends it")
                    .into(),
            );
        }
        sleep(LOOK).await;
    }
}

fn start(log: &Path) -> anyhow::Result<std::process::Child> {
    let program = std::env::current_exe().context("find this program")?;
    let words = std::env::args_os()
        .skip(1)
        .filter(|word| word != "--detach")
        .chain(std::iter::once("--detached".into()));
    let says = paths::append_private(log)?;
    let also = says.try_clone().context("open the log twice")?;
    // Ours is read already.
    let list = crate::cli::args::list_on_stdin();
    let mut child = Command::new(program)
        .args(words)
        .stdin(list.map_or_else(Stdio::null, |_| Stdio::piped()))
        .stdout(says)
        .stderr(also)
        .spawn()
        .context("start the controller")?;
    if let (Some(list), Some(mut stdin)) = (list, child.stdin.take()) {
        // One that ends at once reads nothing, and what it said is shown.
        let _ = stdin.write_all(list.as_bytes());
    }
    Ok(child)
}

fn start_of(log: &Path) -> anyhow::Result<u64> {
    Ok(paths::append_private(log)?
        .metadata()
        .context("look at the log")?
        .len())
}

fn last_lines(log: &Path, from: u64) -> Vec<String> {
    let mut text = Vec::new();
    let read = File::open(log).and_then(|mut file| {
        file.seek(SeekFrom::Start(from))?;
        file.take(64 << 10).read_to_end(&mut text)
    });
    if read.is_err() {
        return Vec::new();
    }
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let shown = lines.get(lines.len().saturating_sub(SHOWN)..);
    shown
        .unwrap_or_default()
        .iter()
        .map(|line| (*line).to_owned())
        .collect()
}
