//! `skyclaw deploy-service`, also `skyclaw service deploy`: asks for a service, or for another form of it.

use std::sync::OnceLock;
use std::time::Duration;

use clap::ValueEnum;
use serde_json::json;

use super::environment::EnvironmentArgs;
use super::goal::Goal;
use super::shown;
use super::wait::{WaitArgs, Watch, report_left};
use crate::cli::args::JsonArgs;
use crate::cli::coordinators::CoordinatorArgs;
use crate::cli::error::Failure;
use crate::cli::exit::Exit;
use crate::cli::job::unless_stopped;
use crate::cli::output::{Format, Output};
use crate::protocol::api::{DeployService, Restart, ServiceRecord, Speaks};
use crate::support::span;

/// What a host must be able to do to run services at all.
const SERVICE_HOST: &str = "service-host";

/// Ask for a service: a process that should always run, on so many hosts
///
/// Prints the service's id. A service of that name is updated: new replicas come up one by one, and an old one ends
/// only after a new one answers. The process is told its port in $PORT and $SKYCLAW_PORT.
///
/// These options may also stand behind the command; other words there are the command's. To give the command an option
/// that skyclaw has too, write -- before the name or before the command.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: skyclaw deploy-service api node server.js --replicas 2 --health /health\n\nExit codes: 0 accepted, 1 refused, 2 usage or configuration error, 69 no coordinator could be reached.\nWith --wait: 0 all replicas answer, 1 the update failed or the service ends again and again, 124 not within --timeout, 130/143 stopped by a signal; the deploy then goes on."
)]
pub struct Args {
    /// What to call it
    #[arg(value_name = "NAME")]
    pub name: String,
    /// The command and its arguments
    #[arg(value_name = "CMD", trailing_var_arg = true, required = true)]
    pub command: Vec<String>,
    /// How to wait.
    #[command(flatten)]
    pub wait: WaitArgs,
    /// How to print.
    #[command(flatten)]
    pub json: JsonArgs,
    /// How it runs.
    #[command(flatten)]
    pub shape: ShapeArgs,
    /// What is added to its environment.
    #[command(flatten)]
    pub environment: EnvironmentArgs,
    /// Which coordinators.
    #[command(flatten)]
    pub coordinator: CoordinatorArgs,
}

/// How a service runs.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Service options")]
pub struct ShapeArgs {
    /// On how many hosts it runs [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub replicas: Option<u32>,
    /// It is ready once this path answers 2xx, and gateways ask for it from then on [default: once its port accepts connections]
    #[arg(long, value_name = "PATH", value_parser = parse_health)]
    pub health: Option<String>,
    /// What it speaks on its port: http/1.1, or h2c for HTTP/2 without TLS (gRPC) [default: http/1.1]
    #[arg(long, value_name = "HOW", value_enum, hide_possible_values = true)]
    pub protocol: Option<ProtocolArg>,
    /// Demand a capability of its hosts besides service-host; repeat for more
    #[arg(long = "cap", value_name = "CAP")]
    pub capabilities: Vec<String>,
    /// Directory of the host to run in
    #[arg(long, value_name = "DIR")]
    pub cwd: Option<String>,
    /// When to start its process again: always, on-failure or never [default: always]
    #[arg(long, value_name = "WHEN", value_enum, hide_possible_values = true)]
    pub restart: Option<RestartArg>,
    /// How long it may take until it is ready [default: 30s]
    #[arg(long, value_name = "SPAN", value_parser = parse_ready)]
    pub ready_timeout: Option<Duration>,
    /// How long open requests may take when it is to end; 0 ends it at once [default: 30s]
    #[arg(long, value_name = "SPAN", value_parser = span::parse)]
    pub drain: Option<Duration>,
}

/// [`Speaks`] as a word of the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs, reason = "a doc here would show in the help text")]
pub enum ProtocolArg {
    #[value(name = "http/1.1")]
    Http1,
    H2c,
}

impl From<ProtocolArg> for Speaks {
    fn from(word: ProtocolArg) -> Self {
        match word {
            ProtocolArg::Http1 => Self::Http1,
            ProtocolArg::H2c => Self::H2c,
        }
    }
}

/// [`Restart`] as a word of the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs, reason = "a doc here would show in the help text")]
pub enum RestartArg {
    Always,
    OnFailure,
    Never,
}

impl From<RestartArg> for Restart {
    fn from(word: RestartArg) -> Self {
        match word {
            RestartArg::Always => Self::Always,
            RestartArg::OnFailure => Self::OnFailure,
            RestartArg::Never => Self::Never,
        }
    }
}

impl Args {
    /// Returns how the result is to be written.
    pub fn format(&self) -> Format {
        self.json.format()
    }

    /// Returns what is asked for.
    ///
    /// # Errors
    /// When a variable or the name cannot be used.
    pub fn request(&self) -> Result<DeployService, Failure> {
        if self.name.trim().is_empty() {
            return Err(Failure::usage("the name of a service must not be empty"));
        }
        let (env, secret_env) = self.environment.read()?;
        let mut words = self.command.iter().cloned();
        let capabilities = std::iter::once(SERVICE_HOST.to_owned());
        let shape = self.shape.clone();
        Ok(DeployService {
            name: self.name.clone(),
            command: words.next().unwrap_or_default(),
            service_id: None,
            args: Some(words.collect()),
            cwd: shape.cwd,
            env: Some(env).filter(|env| !env.is_empty()),
            replicas: shape.replicas,
            required_capabilities: Some(capabilities.chain(shape.capabilities).collect()),
            by_name: true,
            secret_env: Some(secret_env).filter(|env| !env.is_empty()),
            health: shape.health,
            restart: shape.restart.map(Restart::from),
            protocol: shape.protocol.map(Speaks::from),
            ready_ms: shape.ready_timeout.map(millis),
            drain_ms: shape.drain.map(millis),
        })
    }
}

/// Runs the verb.
///
/// # Errors
/// When a flag cannot be used, the coordinator cannot be asked, or with `--wait` the update failed.
pub async fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let request = args.request()?;
    let client = args.coordinator.client()?;
    let body = |service: &ServiceRecord| json!({ "id": service.id, "service": shown(service) });
    if !args.wait.wait {
        let service = client.deploy_service(&request).await?;
        output.line(&service.id);
        output.document(&body(&service))?;
        return Ok(Exit::Success);
    }
    // Filled inside the part that a signal interrupts: from then on it says what goes on.
    let accepted = OnceLock::new();
    let work = async {
        let mut watch = Watch::begin(&client, args.wait, output).await;
        let new = client.deploy_service(&request).await?;
        let service = accepted.get_or_init(|| new);
        output.line(&service.id);
        let (end, last) = watch.until(service, &Goal::up()).await?;
        let last = last.as_ref().unwrap_or(service);
        watch.report(&end, last, body(last))
    };
    let still = || {
        let id = &accepted.get()?.id;
        Some(format!(
            "the deploy of {} goes on; see `skyclaw service show {id}`",
            args.name
        ))
    };
    let exit = unless_stopped(work, still, output).await?;
    if let Some(service) = accepted.get() {
        report_left(exit, body(service), output)?;
    }
    Ok(exit)
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn parse_health(text: &str) -> Result<String, String> {
    let plain = text.bytes().all(|byte| (0x21..0x7f).contains(&byte));
    match text.starts_with('/') && plain {
        true => Ok(text.to_owned()),
        false => Err("a path begins with / and has no blanks, as /health".to_owned()),
    }
}

fn parse_ready(text: &str) -> Result<Duration, String> {
    match span::parse(text) {
        Ok(Duration::ZERO) => Err("nothing is ready in no time".to_owned()),
        Ok(span) => Ok(span),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Alone {
        #[command(flatten)]
        args: Args,
    }

    fn asked(line: &str) -> Result<serde_json::Value, String> {
        let alone = Alone::try_parse_from(line.split(' ')).map_err(|error| error.to_string())?;
        let request = alone.args.request().map_err(|error| error.to_string())?;
        Ok(serde_json::to_value(request).unwrap())
    }

    #[test]
    fn flags_become_a_request() {
        let plain = asked("deploy -- api node server.js").unwrap();
        assert_eq!(
            plain,
            json!({
                "name": "api", "command": "node", "args": ["server.js"], "byName": true,
                "requiredCapabilities": ["service-host"],
            })
        );
        let full = asked(
            "deploy --replicas 3 --env A=1 --cwd /srv --cap gpu --health /up --protocol h2c --restart on-failure \
             --ready-timeout 2m --drain 0 -- api node --port 1",
        );
        assert_eq!(
            full.unwrap(),
            json!({
                "name": "api", "command": "node", "args": ["--port", "1"], "byName": true, "replicas": 3,
                "env": {"A": "1"}, "cwd": "/srv", "requiredCapabilities": ["service-host", "gpu"],
                "health": "/up", "protocol": "h2c", "restart": "on-failure", "readyMs": 120_000, "drainMs": 0,
            })
        );
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for flags in [
            "--replicas 0",
            "--health up",
            "--ready-timeout 0",
            "--timeout 5s",
            "--restart often",
            "--protocol smtp",
            "--env A",
        ] {
            assert!(
                asked(&format!("deploy {flags} -- api node")).is_err(),
                "{flags}"
            );
        }
        assert!(asked("deploy api").is_err());
    }
}
