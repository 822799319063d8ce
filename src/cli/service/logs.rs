//! `skyclaw service logs`: what a service prints, from all its replicas or one of them.

use std::time::{Duration, Instant};

use anyhow::Context;

use super::names::{self, HostNames};
use super::screen::Screen;
use super::{OneService, shown};
use crate::cli::error::Failure;
use crate::cli::exit::Exit;
use crate::cli::job::{PATIENCE, unless_stopped};
use crate::cli::output::{Format, Output};
use crate::client::{Client, Error, ServiceLogQuery};
use crate::protocol::api::{Assignment, ServiceRecord};

/// How long to leave a coordinator alone that cut the stream.
const PAUSE: Duration = Duration::from_secs(1);

/// Print what a service printed
///
/// Each line begins with its host if there are several replicas; of one the bytes come as they are. Its standard error
/// is among them. What is older than a few files of 10 MiB is gone.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: skyclaw service logs -F api\n\nExit codes: 0 printed, 1 there is no such service, or the output of a replica could not be had, 2 usage or configuration error, 69 no coordinator could be reached, 130/143 stopped by a signal."
)]
pub struct Args {
    /// Go on with what it prints from now on, also on hosts that get it later
    #[arg(short = 'F', long)]
    pub follow: bool,
    /// Begin with so many of the latest lines of each replica
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub tail: u32,
    /// Only this replica: its host, or its id or the end of it as `service show` prints it
    #[arg(long, value_name = "REPLICA")]
    pub replica: Option<String>,
    /// Do not escape control sequences on a terminal
    #[arg(long)]
    pub raw: bool,
    /// Print one JSON event per line
    #[arg(long)]
    pub ndjson: bool,
    /// Which service.
    #[command(flatten)]
    pub service: OneService,
}

impl Args {
    /// Returns how the result is to be written.
    pub fn format(&self) -> Format {
        match self.ndjson {
            true => Format::Ndjson,
            false => Format::Human,
        }
    }
}

/// Runs the verb.
///
/// # Errors
/// When there is no such service or replica, or the coordinator cannot be asked.
pub async fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let client = args.service.coordinator.client()?;
    let work = async {
        let service = shown(&names::find(&client, &args.service.service).await?);
        let mut hosts = HostNames::default();
        hosts.learn(&client, std::slice::from_ref(&service)).await;
        let query = ServiceLogQuery {
            tail: Some(args.tail),
            follow: args.follow,
            replica: match &args.replica {
                Some(word) => Some(chosen(&service, &hosts, word)?),
                None => None,
            },
        };
        if service.assignments.is_empty() {
            let name = &service.name;
            output.note(&format!("{name} is on no host"));
        }
        let several = args.replica.is_none() && service.assignments.len() > 1;
        let mut screen = Screen::new(output, hosts, several, args.raw);
        read(&client, service, query, &mut screen).await?;
        screen.finish();
        Ok(match screen.is_whole() {
            true => Exit::Success,
            false => Exit::Failed,
        })
    };
    unless_stopped(work, || None, output).await
}

/// Shows pieces until there are no more. A stream that is followed goes on after a cut, without what came in between.
async fn read(
    client: &Client,
    mut service: ServiceRecord,
    mut query: ServiceLogQuery,
    screen: &mut Screen<'_>,
) -> anyhow::Result<()> {
    let mut heard = Instant::now();
    loop {
        let read = one_stream(client, &mut service, &query, screen, &mut heard).await;
        match read {
            Err(cut) if query.follow && cut.retry_helps() && heard.elapsed() < PATIENCE => {
                tracing::debug!(error = %cut, "the stream was cut, going on");
            }
            done => return done.context("read the output"),
        }
        // The hosts have the lines in between, but nobody can tell which of them were shown.
        query.tail = Some(0);
        tokio::time::sleep(PAUSE).await;
    }
}

async fn one_stream(
    client: &Client,
    service: &mut ServiceRecord,
    query: &ServiceLogQuery,
    screen: &mut Screen<'_>,
    heard: &mut Instant,
) -> Result<(), Error> {
    let mut stream = client.service_logs(&service.id, query).await?;
    while let Some(piece) = stream.next().await? {
        *heard = Instant::now();
        let known = service.assignments.iter();
        if !known.into_iter().any(|one| one.id == piece.assignment_id) {
            *service = client.service(&service.id).await?;
            screen.learn(client, service).await;
        }
        screen.piece(service, &piece);
        if screen.is_closed() {
            break;
        }
    }
    Ok(())
}

/// Returns what the coordinator calls the replica that `word` means.
fn chosen(service: &ServiceRecord, hosts: &HostNames, word: &str) -> Result<String, Failure> {
    let all = &service.assignments;
    if let Some(one) = all.iter().find(|one| hosts.is_called(&one.host_id, word)) {
        return Ok(one.host_id.to_string());
    }
    let by_id: Vec<&Assignment> = all
        .iter()
        .filter(|one| !word.is_empty() && one.id.ends_with(word))
        .collect();
    match by_id.as_slice() {
        [one] => Ok(one.id.clone()),
        [] => Err(Failure::new(
            Exit::Failed,
            format!("{} has no replica `{word}`", service.name),
        )
        .hint(format!("`skyclaw service show {}` shows them", service.id))),
        [_, _, ..] => Err(Failure::usage(format!(
            "several replicas end with `{word}`"
        ))),
    }
}
