//! `skyclaw job logs`: what a job printed, and prints.

use anyhow::Context;
use serde_json::json;

use super::follow::{Screen, until_end};
use super::{OneJob, unless_stopped};
use crate::cli::exit::Exit;
use crate::cli::output::{Format, Output};
use crate::client::{Client, LogQuery};
use crate::protocol::AttemptNo;
use crate::protocol::api::Stream;

/// Print what a job printed
///
/// What it wrote to its standard output goes to stdout, its standard error to stderr. With --stderr or
/// --stdout only that one is printed, to stdout.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: skyclaw job logs -F job_0192f0c0-7c1e-7a3b-9d2e-0123456789ab\n\nExit codes: 0 printed, whatever the job came to, 1 there is no such job, 2 usage or configuration error, 69 no coordinator could be reached, 130/143 stopped by a signal; the job then goes on."
)]
pub struct Args {
    /// Go on until the job ends
    #[arg(short = 'F', long)]
    pub follow: bool,
    /// Only its standard error
    #[arg(long, conflicts_with = "stdout")]
    pub stderr: bool,
    /// Only its standard output
    #[arg(long)]
    pub stdout: bool,
    /// Which try, from 1 [default: the last]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub attempt: Option<u16>,
    /// Do not escape control sequences on a terminal
    #[arg(long)]
    pub raw: bool,
    /// Print one JSON event per line
    #[arg(long)]
    pub ndjson: bool,
    /// Which job.
    #[command(flatten)]
    pub job: OneJob,
}

impl Args {
    /// Returns how the result is to be written.
    pub fn format(&self) -> Format {
        if self.ndjson {
            Format::Ndjson
        } else {
            Format::Human
        }
    }

    fn only(&self) -> Option<Stream> {
        match (self.stdout, self.stderr) {
            (true, _) => Some(Stream::Stdout),
            (_, true) => Some(Stream::Stderr),
            (false, false) => None,
        }
    }
}

/// Runs the verb.
///
/// # Errors
/// When there is no such job or the coordinator cannot be asked.
pub async fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let client = args.job.coordinator.client()?;
    let query = LogQuery {
        attempt: args.attempt.map(AttemptNo::new),
        stream: args.only(),
        ..LogQuery::default()
    };
    let mut screen = Screen::new(output, args.raw).only(args.only()).leaving();
    let work = async {
        if args.follow {
            let job = until_end(&client, args.job.id, &query, &mut screen).await?;
            let body = json!({ "job": job.id, "status": job.status, "reason": job.reason });
            output.event("end", &body)?;
        } else {
            so_far(&client, args, query, &mut screen).await?;
        }
        Ok(Exit::Success)
    };
    unless_stopped(work, || None, output).await
}

/// Prints what is there now.
async fn so_far(
    client: &Client,
    args: &Args,
    mut query: LogQuery,
    screen: &mut Screen<'_>,
) -> anyhow::Result<()> {
    let mut any = false;
    loop {
        let page = client
            .logs(args.job.id, &query)
            .await
            .context("read the output")?;
        any |= !page.pieces.is_empty();
        for piece in &page.pieces {
            screen.piece(piece);
        }
        if page.pieces.is_empty() || page.done {
            break;
        }
        query.cursor = Some(page.next);
    }
    if !any && args.attempt.is_none() {
        // Hosts of the original send nothing before the end, and then the result.
        if let Some(result) = client.job(args.job.id).await?.result {
            screen.result(&result);
        }
    }
    screen.finish();
    Ok(())
}
