//! `skyclaw service stop|start|restart|scale|rm`: what a person asks of a service that is there.

use std::sync::OnceLock;

use serde_json::json;

use super::goal::Goal;
use super::wait::{End, WaitArgs, Watch, report_left};
use super::{OneService, names, shown, words};
use crate::cli::args::JsonArgs;
use crate::cli::error::Failure;
use crate::cli::exit::Exit;
use crate::cli::job::unless_stopped;
use crate::cli::output::{Format, Output};
use crate::client::Client;
use crate::protocol::api::{ChangeService, ServiceRecord};

/// Flags of `stop`, `start`, `restart` and `rm`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: skyclaw service restart api --wait\n\nExit codes: 0 accepted, 1 refused, or there is no such service, 2 usage or configuration error, 69 no coordinator could be reached.\nWith --wait: 0 done, 1 it failed, 124 not within --timeout, 130/143 stopped by a signal; it then goes on."
)]
pub struct Args {
    /// How to wait.
    #[command(flatten)]
    pub wait: WaitArgs,
    /// How to print.
    #[command(flatten)]
    pub json: JsonArgs,
    /// Which service.
    #[command(flatten)]
    pub service: OneService,
}

/// Flags of `scale`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: skyclaw service scale api 3 --wait\n\nExit codes: 0 accepted, 1 refused, or there is no such service, 2 usage or configuration error, 69 no coordinator could be reached.\nWith --wait: 0 done, 1 it failed, 124 not within --timeout, 130/143 stopped by a signal; it then goes on."
)]
pub struct ScaleArgs {
    /// How to wait, how to print, and which service.
    #[command(flatten)]
    pub change: Args,
    /// On how many hosts it is to run; see `service stop` for none
    #[arg(value_name = "N", help_heading = None::<&'static str>, value_parser = clap::value_parser!(u32).range(1..))]
    pub replicas: u32,
}

impl Args {
    /// Returns how the result is to be written.
    pub fn format(&self) -> Format {
        self.json.format()
    }

    /// Asks for the change and, if that is wanted, waits for its end.
    ///
    /// # Errors
    /// When there is no such service, the coordinator cannot be asked, or what was waited for failed.
    pub async fn run(&self, change: ChangeService, output: &Output) -> anyhow::Result<Exit> {
        let client = self.service.coordinator.client()?;
        let found = names::find(&client, &self.service.service).await?;
        if !self.wait.wait {
            let service = client.change_service(&found.id, &change).await?;
            check_not_leaving(&service, change)?;
            output.line(&accepted_line(&service, change));
            output.document(&json!({ "service": shown(&service) }))?;
            return Ok(Exit::Success);
        }
        let accepted = OnceLock::new();
        let work = self.waited(&client, &found, change, &accepted, output);
        let still = || {
            accepted.get()?;
            Some(format!(
                "the change of {} goes on; see `skyclaw service show {}`",
                found.name, found.id
            ))
        };
        let exit = unless_stopped(work, still, output).await?;
        if let Some(service) = accepted.get() {
            report_left(exit, json!({ "service": shown(service) }), output)?;
        }
        Ok(exit)
    }

    async fn waited(
        &self,
        client: &Client,
        found: &ServiceRecord,
        change: ChangeService,
        accepted: &OnceLock<ServiceRecord>,
        output: &Output,
    ) -> anyhow::Result<Exit> {
        let mut watch = Watch::begin(client, self.wait, output).await;
        let service = client.change_service(&found.id, &change).await?;
        check_not_leaving(&service, change)?;
        let _ = accepted.set(service.clone());
        let goal = goal(change, &service);
        let (end, last) = watch.until(&service, &goal).await?;
        let last = last.unwrap_or(service);
        if matches!(end, End::Reached) {
            output.line(&done_line(&last, change));
        }
        watch.report(&end, &last, json!({ "service": shown(&last) }))
    }
}

impl ScaleArgs {
    /// Returns what is asked for.
    pub fn change(&self) -> ChangeService {
        ChangeService::Scale {
            replicas: self.replicas,
        }
    }
}

/// A service that is being removed takes no other change, and the coordinator does not say so.
fn check_not_leaving(service: &ServiceRecord, change: ChangeService) -> Result<(), Failure> {
    if service.removing && change != ChangeService::Remove {
        let name = &service.name;
        return Err(
            Failure::new(Exit::Failed, format!("{name} is being removed"))
                .hint("deploy it again if it is needed"),
        );
    }
    Ok(())
}

fn goal(change: ChangeService, answer: &ServiceRecord) -> Goal {
    match change {
        ChangeService::Stop => Goal::Stopped,
        ChangeService::Remove => Goal::Gone,
        ChangeService::Restart => Goal::up(),
        ChangeService::Start | ChangeService::Scale { .. } => Goal::adjusted(answer),
    }
}

fn accepted_line(service: &ServiceRecord, change: ChangeService) -> String {
    let what = match change {
        ChangeService::Stop => "is to stop".to_owned(),
        ChangeService::Start => "is to start".to_owned(),
        ChangeService::Restart => "is restarted, one replica after the other".to_owned(),
        ChangeService::Scale { replicas } => format!("is to run on {replicas}"),
        ChangeService::Remove => "is to end and be forgotten".to_owned(),
    };
    format!("{} {what}", service.name)
}

fn done_line(service: &ServiceRecord, change: ChangeService) -> String {
    let what = match change {
        ChangeService::Stop => "stopped".to_owned(),
        ChangeService::Remove => "removed".to_owned(),
        ChangeService::Start | ChangeService::Restart | ChangeService::Scale { .. } => {
            format!("{} {}", words::standing(service), words::ready(service))
        }
    };
    format!("{} {what}", service.name)
}
