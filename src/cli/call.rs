//! `skyclaw call`: asks a service something, through whichever gateway answers.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Response};

use super::error::Failure;
use super::exit::Exit;
use super::output::Output;
use super::sanitize::Filter;
use crate::client::{Call, CallError, DEFAULT_GATEWAY, GatewayClient};
use crate::support::secret::Secret;
use crate::support::span;

/// Call a service through a gateway
///
/// Of several gateways the next one is asked when one cannot be reached, and for calls that may be
/// repeated (GET, HEAD, OPTIONS, or with an idempotency key) also when one answers 502 or 503.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "skyclaw call [OPTIONS] [URLS] SERVICE/PATH",
    after_help = "Example: skyclaw call http://gw1:8790,http://gw2:8790 api/users -d '{\"name\":\"ann\"}'\n\n\
The answer's body is printed as it comes. A key for the gateways is read from SKYCLAW_GATEWAY_KEY\n\
or a file.\n\n\
Exit codes: 0 answered with a status below 400, 1 with another, 2 usage or configuration error,\n\
69 no gateway answered, 124 none in time."
)]
pub struct Args {
    /// Gateways, separated by commas; may be left out [default: $SKYCLAW_GATEWAY_URLS, else
    /// http://127.0.0.1:8790]
    #[arg(value_name = "URLS")]
    first: String,
    /// The service's name or id, then path and query
    #[arg(value_name = "SERVICE/PATH")]
    second: Option<String>,
    /// Method [default: GET, with --data POST]
    #[arg(short = 'X', long, value_name = "METHOD")]
    request: Option<Method>,
    /// Body: a text, @FILE, or @- for stdin. JSON is sent as application/json
    #[arg(short, long, value_name = "DATA")]
    data: Option<String>,
    /// Header `name: value`, or @FILE with one per line, so that secrets stay out of process lists; repeat
    /// for more
    #[arg(short = 'H', long = "header", value_name = "HEADER")]
    headers: Vec<String>,
    /// Print the status and headers of the answer first
    #[arg(short, long)]
    include: bool,
    /// Do not escape control sequences on a terminal
    #[arg(long)]
    raw: bool,
    /// File with the key for the gateways
    #[arg(
        long,
        value_name = "FILE",
        env = "SKYCLAW_GATEWAY_KEY_FILE",
        hide_env_values = true
    )]
    key_file: Option<PathBuf>,
    /// How long the beginning of an answer may take, such as 10s; 0 is no limit
    #[arg(long, value_name = "SPAN", value_parser = span::parse_limit, default_value = "60s")]
    timeout: span::Limit,
}

/// Runs the verb.
///
/// # Errors
/// When the call cannot be made or no gateway answers.
pub async fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let (urls, target) = match &args.second {
        Some(target) => (args.first.clone(), target.clone()),
        None => (known_gateways(), args.first.clone()),
    };
    let body = args.data.as_deref().map(body).transpose()?;
    let mut headers = headers(&args.headers)?;
    if let Some(body) = &body
        && !headers.contains_key(CONTENT_TYPE)
    {
        let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok();
        let kind = match is_json {
            true => "application/json",
            false => "application/octet-stream",
        };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    let method = match (&args.request, &body) {
        (Some(method), _) => method.clone(),
        (None, Some(_)) => Method::POST,
        (None, None) => Method::GET,
    };
    let call = Call {
        method,
        target,
        headers,
        body,
    };
    let key = key(args.key_file.as_deref())?;
    let client = GatewayClient::new(&urls, key.as_ref()).map_err(explained)?;
    let within: Option<Duration> = args.timeout.0;
    let response = client.send(&call, within).await.map_err(explained)?;
    show(response, args, output).await
}

fn known_gateways() -> String {
    let set = std::env::var("SKYCLAW_GATEWAY_URLS").unwrap_or_default();
    match set.trim() {
        "" => DEFAULT_GATEWAY.to_owned(),
        urls => urls.to_owned(),
    }
}

fn key(file: Option<&Path>) -> Result<Option<Secret>, Failure> {
    let text = match file {
        Some(path) if !path.as_os_str().is_empty() => {
            std::fs::read_to_string(path).map_err(|error| {
                Failure::usage(format!("read the key {}", path.display())).because(error)
            })?
        }
        Some(_) | None => std::env::var("SKYCLAW_GATEWAY_KEY").unwrap_or_default(),
    };
    let text = text.trim();
    Ok((!text.is_empty()).then(|| Secret::new(text.to_owned())))
}

fn body(data: &str) -> Result<Bytes, Failure> {
    let Some(file) = data.strip_prefix('@') else {
        return Ok(Bytes::copy_from_slice(data.as_bytes()));
    };
    let mut bytes = Vec::new();
    let read = match file {
        "-" => std::io::stdin().lock().read_to_end(&mut bytes),
        path => std::fs::File::open(path).and_then(|mut file| file.read_to_end(&mut bytes)),
    };
    match read {
        Ok(_) => Ok(bytes.into()),
        Err(error) => Err(Failure::usage(format!("--data: read {file}")).because(error)),
    }
}

fn headers(given: &[String]) -> Result<HeaderMap, Failure> {
    let mut headers = HeaderMap::new();
    for text in given {
        let text = match text.strip_prefix('@') {
            None => text.clone(),
            Some(path) => std::fs::read_to_string(path)
                .map_err(|error| Failure::usage(format!("--header: read {path}")).because(error))?,
        };
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            // The value is not shown: it may be a secret.
            let wrong = || Failure::usage("--header must be of the form `name: value`");
            let (name, value) = line.split_once(':').ok_or_else(wrong)?;
            let name: HeaderName = name.trim().parse().map_err(|_| wrong())?;
            let value = HeaderValue::from_str(value.trim()).map_err(|_| wrong())?;
            headers.append(name, value);
        }
    }
    Ok(headers)
}

fn explained(error: CallError) -> Failure {
    let exit = match &error {
        CallError::NoAnswer { tries, .. } => {
            let slow = |cause: &str| cause.starts_with("no answer within");
            match tries.last().is_some_and(|tried| slow(&tried.cause)) {
                true => Exit::TimedOut,
                false => Exit::NoCoordinator,
            }
        }
        CallError::None | CallError::Url { .. } | CallError::Target { .. } | CallError::Key => {
            Exit::Usage
        }
        CallError::Build(_) => Exit::Failed,
    };
    let failure = Failure::new(exit, error.to_string());
    match &error {
        CallError::NoAnswer { sent: true, .. } => failure
            .hint("it may have been done; with -H 'idempotency-key: …' it could be asked again"),
        CallError::NoAnswer { sent: false, .. } => failure.hint(
            "start one with `skyclaw gateway`, or name yours first or in SKYCLAW_GATEWAY_URLS",
        ),
        CallError::None
        | CallError::Url { .. }
        | CallError::Target { .. }
        | CallError::Key
        | CallError::Build(_) => failure,
    }
}

async fn show(mut response: Response, args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let terminal = output.streams().out_width.is_some();
    let mut filter = (terminal && !args.raw).then(Filter::new);
    let status = response.status();
    if args.include {
        output.line(&format!("{:?} {status}", response.version()));
        for (name, value) in response.headers() {
            output.line(&format!(
                "{name}: {}",
                String::from_utf8_lossy(value.as_bytes())
            ));
        }
        output.line("");
    }
    while let Some(piece) = response
        .chunk()
        .await
        .map_err(reqwest::Error::without_url)
        .context("the answer broke off")?
    {
        match &mut filter {
            None => output.bytes(&piece),
            Some(filter) => {
                let mut safe = Vec::new();
                filter.push(&piece, &mut safe);
                output.bytes(&safe);
            }
        }
        if output.is_closed() {
            break;
        }
    }
    if let Some(mut filter) = filter {
        let mut rest = Vec::new();
        filter.finish(&mut rest);
        output.bytes(&rest);
    }
    if status.as_u16() < 400 {
        return Ok(Exit::Success);
    }
    if !args.include {
        output.note(&format!("the answer was {status}"));
    }
    Ok(Exit::Failed)
}
