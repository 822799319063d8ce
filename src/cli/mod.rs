//! The command line: arguments, one file per verb, output and exit codes. Prints; nobody else does.
//!
//! A verb is a file with an `Args` struct and `async fn run(&Args, &Output) -> Result<Exit>`. To add
//! one to `skyclaw fleet`, add the file, a variant in `fleet.rs` and its two match arms.

pub mod args;
mod bind;
pub mod call;
pub mod connect;
pub mod coordinator;
pub mod coordinator_file;
pub mod coordinators;
pub mod demo;
pub mod deploy;
pub mod dispatch;
mod document;
pub mod each_host;
pub mod enqueue;
pub mod error;
pub mod events;
pub mod exec;
pub mod exit;
pub mod fleet;
pub mod gateway;
pub mod given;
pub mod host;
pub mod hosts;
pub mod hosts_remote;
pub mod init;
pub mod job;
pub mod output;
pub mod peer;
pub mod perform;
pub mod progress;
pub mod queue_verbs;
pub mod resume;
pub mod retry;
mod rollback;
pub mod runs;
pub mod sandbox;
pub mod sanitize;
pub mod service;
pub mod shed;
pub mod show;
pub mod stage;
pub mod status;
pub mod summary;
pub mod table;
pub mod task_args;
pub mod teardown;
pub mod through;
pub mod up;
pub mod validate;

use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use self::args::{Cli, Command};
use self::exit::Exit;
use self::output::Output;

/// Parses the words this process was started with.
///
/// # Errors
/// With help, version or a usage error, for [`show_usage`].
pub fn parse() -> Result<Cli, clap::Error> {
    let words = service::arrange(&Cli::command(), std::env::args_os().collect());
    Cli::try_parse_from(words)
}

/// Runs the command and returns the exit code of the process.
pub async fn run(cli: Cli) -> ExitCode {
    let output = Output::new(cli.command.format(), &cli.global);
    let result = match &cli.command {
        Command::Fleet(group) => fleet::run(group, &output).await,
        Command::Coordinator(args) => coordinator::run(args, &output).await,
        Command::Demo(args) => demo::run(args, &output).await,
        Command::Host(args) => host::run(args, &output).await,
        Command::Call(args) => call::run(args, &output).await,
        Command::Gateway(args) => gateway::run(args, &output).await,
        Command::HostWatch => host::watch(),
        Command::EnqueueShell(args) => args.run(&output).await,
        Command::EnqueueOpenclaw(args) => args.run(&output).await,
        Command::EnqueueAutomaton(args) => args.run(&output).await,
        Command::EnqueuePicoclaw(args) => args.run(&output).await,
        Command::Job(group) => job::run(group, &output).await,
        Command::DeployService(args) => service::deploy::run(args, &output).await,
        Command::ListServices(args) => args.run(&output).await,
        Command::Service(group) => service::run(group, &output).await,
        Command::Queue(group) => queue_verbs::run(group, &output).await,
        Command::Peer(group) => peer::run(group, &output).await,
        Command::Events(args) => events::run(args, &output).await,
    };
    let exit = match result {
        Ok(exit) => exit,
        Err(error) => output.failure(&error),
    };
    let exit = match output.finish() {
        Ok(()) => exit,
        Err(error) => output.failure(&error),
    };
    exit.into()
}

/// Shows help, version or a usage error and returns the exit code for it.
pub fn show_usage(error: &clap::Error) -> ExitCode {
    // A reader that went away is no reason for another code.
    let _ = error.print();
    if error.use_stderr() {
        print_usage_document(error);
        Exit::Usage.into()
    } else {
        Exit::Success.into()
    }
}

/// Whoever asked for JSON gets a usage error as JSON too. The arguments could not be parsed, so the
/// words themselves are looked at.
fn print_usage_document(error: &clap::Error) {
    let asked = std::env::args_os()
        .take_while(|word| word != "--")
        .any(|word| word == "--json" || word == "--ndjson");
    if asked {
        let text = error.render().to_string();
        let message = text
            .lines()
            .next()
            .unwrap_or_default()
            .trim_start_matches("error: ");
        let body = serde_json::json!({
            "schema": output::SCHEMA,
            "error": { "exit": Exit::Usage.code(), "message": message, "hints": [] },
        });
        let _ = writeln!(std::io::stdout(), "{body}");
    }
}

/// Says that the process could not even start its work.
pub fn show_start_failure(error: &std::io::Error) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "skyclaw: start: {error}");
    Exit::Failed.into()
}
