//! `skyclaw fleet sandbox`: serves a fleet on this machine until it is stopped.

use std::path::PathBuf;

use anyhow::Context;
use serde::Serialize;

use super::args::JsonArgs;
use super::error::Failure;
use super::exit::Exit;
use super::output::{Format, Output};
use crate::fleet::sandbox::{Error, KEY_VARIABLE, Options, Sandbox};
use crate::support::shutdown::{Shutdown, Urgency};

/// Serve a fleet of SSH hosts on this machine, to try things on
///
/// Each host is an SSH server on its own port of 127.0.0.1 with its own home directory; commands on
/// all of them run as you. Stays in the foreground until Ctrl-C or TERM, then ends every process of
/// the sandbox and removes its files. To stop it so is what is expected, and exits 0.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: skyclaw fleet sandbox --hosts 3\n\nExit codes: 0 stopped by Ctrl-C or TERM, 1 it could not be served or its files not removed, 2 DIR or FILE holds something else."
)]
pub struct Args {
    /// How many hosts; they are named sandbox1, sandbox2 and so on
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub hosts: u16,
    /// Put homes and keys there: new, empty, or kept by --keep [default: a temporary directory]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Write the fleet file there too; the file must not exist yet
    #[arg(long, value_name = "FILE")]
    pub config_out: Option<PathBuf>,
    /// Leave all files behind
    #[arg(long)]
    pub keep: bool,
    /// How to print.
    #[command(flatten)]
    pub json: JsonArgs,
}

#[derive(Serialize)]
struct Row<'s> {
    name: &'s str,
    port: u16,
    home: String,
}

#[derive(Serialize)]
struct Document<'s> {
    dir: String,
    fleet: String,
    ssh_config: String,
    hosts: Vec<Row<'s>>,
}

/// Runs the verb.
///
/// # Errors
/// When the sandbox cannot be made or removed.
pub async fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    // Before anything is made, so that a signal never finds it without an owner.
    let mut shutdown = Shutdown::listen().context("listen for signals")?;
    let started = Sandbox::start(Options {
        hosts: usize::from(args.hosts),
        dir: args.dir.clone(),
        config_out: args.config_out.clone(),
        keep: args.keep,
    });
    let sandbox = started.await.map_err(explain)?;
    show(&sandbox, args, output)?;
    shutdown.reached(Urgency::Stop).await;
    let dir = sandbox.dir().to_owned();
    sandbox.stop().await.context("end the sandbox")?;
    output.note(&if args.keep {
        format!("sandbox ended; its files are in {}", dir.display())
    } else {
        "sandbox ended; nothing is left of it".to_owned()
    });
    Ok(Exit::Success)
}

fn explain(error: Error) -> anyhow::Error {
    match error {
        Error::NotEmpty(_) => Failure::usage(error.to_string())
            .hint("give a directory that is new or empty")
            .into(),
        Error::Exists(_) => Failure::usage(error.to_string())
            .hint("remove it, or give another --config-out")
            .into(),
        Error::Place(_) | Error::Io { .. } | Error::Key(_) | Error::Listen { .. } => {
            anyhow::Error::new(error).context("start the sandbox")
        }
    }
}

fn show(sandbox: &Sandbox, args: &Args, output: &Output) -> anyhow::Result<()> {
    // Another terminal may be in another directory.
    let outside = args.config_out.as_deref().map(std::path::absolute);
    let outside = outside.transpose().context("find FILE")?;
    let fleet = outside.as_deref().unwrap_or(sandbox.fleet_path());
    if output.format() == Format::Json {
        let hosts = sandbox.hosts().iter().map(|host| Row {
            name: &host.name,
            port: host.port,
            home: host.home.display().to_string(),
        });
        return output.document(&Document {
            dir: sandbox.dir().display().to_string(),
            fleet: fleet.display().to_string(),
            ssh_config: sandbox.ssh_config().display().to_string(),
            hosts: hosts.collect(),
        });
    }
    output.line(&format!(
        "export SKYCLAW_FLEET_CONFIG={}",
        quoted(&fleet.display().to_string())
    ));
    output.line(&format!("export {KEY_VARIABLE}=made-up-key"));
    output.note(&match sandbox.hosts() {
        [one] => format!("{} is up", one.name),
        more => format!(
            "{} hosts are up: sandbox1 to sandbox{}",
            more.len(),
            more.len()
        ),
    });
    output.note("in another terminal, run the lines above, then for example: skyclaw fleet hosts");
    output.note(&format!(
        "OpenSSH works too: ssh -F {} sandbox1 uptime",
        quoted(&sandbox.ssh_config().display().to_string())
    ));
    output.note("Ctrl-C ends it");
    Ok(())
}

/// Returns `text` as one word of a shell.
fn quoted(text: &str) -> String {
    if text
        .chars()
        .all(|c| c.is_alphanumeric() || "_-./:".contains(c))
    {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}
