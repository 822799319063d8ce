//! What a request about services may say: a clear refusal here is better than a strange fault on a host.

use std::collections::BTreeMap;

use reqwest::Url;

use super::super::error::Refused;
use crate::protocol::api::service::HIDDEN;
use crate::protocol::api::{AssignmentReport, ChangeService, DeployService, Phase, ReportService};

/// How many hosts one service may run on.
const MOST_REPLICAS: u32 = 1000;
/// How long words may be: names, ids.
const WORD: usize = 255;
/// How long paths, addresses and programs may be.
const LINE: usize = 4096;
/// How many arguments, variables or capabilities one service may have.
const MOST: usize = 1000;
/// What arguments and variables may hold together, in bytes: about what systems take for a new process.
const TOGETHER: usize = 256 << 10;
/// What one argument or variable may be long, with its end: Linux takes no more.
const ONE: usize = 128 << 10;
/// How long becoming ready and draining may take, in milliseconds.
const LONGEST: u64 = 3_600_000;
/// How many assignments a host may report on at once.
const MOST_REPORTS: usize = 1000;
/// How much of its output and errors a host may report, in bytes. A little more than it should, for whole characters.
const OUTPUT: usize = 8 << 10;

/// Checks a word that people read: not empty, not too long, one line.
///
/// # Errors
/// When it is none.
pub fn word(what: &str, text: &str, most: usize) -> Result<(), Refused> {
    let fault = if text.trim().is_empty() {
        "is empty".to_owned()
    } else if text.len() > most {
        format!("is longer than {most} bytes")
    } else if text.chars().any(char::is_control) {
        "has control characters".to_owned()
    } else {
        return Ok(());
    };
    Err(Refused::bad(format!("{what} {fault}")))
}

/// Checks the address of something that speaks HTTP.
///
/// # Errors
/// When it is none.
pub fn url(what: &str, text: &str) -> Result<(), Refused> {
    if is_url(what, text, &["http", "https"])? {
        return Ok(());
    }
    Err(Refused::bad(format!(
        "{what} must begin with http:// or https:// and name a host"
    )))
}

/// Checks the address of a service, which may speak HTTP/2 without TLS.
fn endpoint(text: &str) -> Result<(), Refused> {
    if is_url("endpoint", text, &["http", "https", "h2c"])? {
        return Ok(());
    }
    Err(Refused::bad(
        "endpoint must begin with http://, https:// or h2c:// and name a host",
    ))
}

fn is_url(what: &str, text: &str, schemes: &[&str]) -> Result<bool, Refused> {
    word(what, text, LINE)?;
    Ok(Url::parse(text).is_ok_and(|url| {
        schemes.contains(&url.scheme()) && url.has_host() && url.fragment().is_none()
    }))
}

/// Checks what is asked for as a service.
///
/// # Errors
/// With the first thing that is wrong.
pub fn deploy(ask: &DeployService) -> Result<(), Refused> {
    for (text, missing) in [
        (&ask.name, "name is required"),
        (&ask.command, "command is required"),
    ] {
        if text.trim().is_empty() {
            return Err(Refused::bad(missing));
        }
    }
    part("name", ask.name.trim())?;
    word("command", ask.command.trim(), LINE)?;
    if let Some(id) = ask.service_id.as_deref().map(str::trim)
        && !id.is_empty()
    {
        part("serviceId", id)?;
    }
    if let Some(count) = ask.replicas {
        replicas(count)?;
    }
    if let Some(cwd) = &ask.cwd {
        word("cwd", cwd, LINE)?;
    }
    if let Some(path) = &ask.health {
        health(path)?;
    }
    if ask.ready_ms.is_some_and(|ms| ms == 0 || ms > LONGEST) {
        return Err(Refused::bad(format!("readyMs must be 1 to {LONGEST}")));
    }
    if ask.drain_ms.is_some_and(|ms| ms > LONGEST) {
        return Err(Refused::bad(format!("drainMs must be 0 to {LONGEST}")));
    }
    for capability in counted("requiredCapabilities", ask.required_capabilities.as_deref())? {
        // The original drops empty ones.
        if !capability.trim().is_empty() {
            word("a required capability", capability, WORD)?;
        }
    }
    let args = counted("args", ask.args.as_deref())?;
    if args.iter().any(|arg| arg.contains('\0')) {
        return Err(Refused::bad("args: an argument has a NUL character"));
    }
    if args.iter().any(|arg| arg.len() >= ONE) {
        return Err(Refused::bad(format!(
            "args: an argument is longer than {ONE} bytes"
        )));
    }
    let mut bytes: usize = args.iter().map(String::len).sum();
    bytes += variables("env", ask.env.as_ref())?;
    bytes += variables("secretEnv", ask.secret_env.as_ref())?;
    if bytes > TOGETHER {
        return Err(Refused::bad(format!(
            "args, env and secretEnv together are longer than {TOGETHER} bytes"
        )));
    }
    secrets(ask)
}

/// Checks what is asked of a service that is there.
///
/// # Errors
/// When a number is out of range.
pub fn change(change: &ChangeService) -> Result<(), Refused> {
    match change {
        ChangeService::Scale { replicas: count } => replicas(*count),
        ChangeService::Stop
        | ChangeService::Start
        | ChangeService::Restart
        | ChangeService::Remove => Ok(()),
    }
}

/// Checks what a host says of its assignments.
///
/// # Errors
/// With the first thing that is wrong.
pub fn reports(reports: &[AssignmentReport]) -> Result<(), Refused> {
    if reports.len() > MOST_REPORTS {
        return Err(Refused::bad(format!(
            "assignments: there are more than {MOST_REPORTS}"
        )));
    }
    let mut seen = std::collections::BTreeSet::new();
    for (at, report) in reports.iter().enumerate() {
        let bad = |text: String| Refused::bad(format!("assignments[{at}]: {text}"));
        word("assignmentId", &report.assignment_id, WORD).map_err(|one| bad(one.text.into()))?;
        if !seen.insert(&report.assignment_id) {
            return Err(bad("the same assignment is reported twice".to_owned()));
        }
        if matches!(report.phase, Phase::Assigned | Phase::Lost) {
            return Err(bad("phase is none that a host may report".to_owned()));
        }
        if report.port == Some(0) {
            return Err(bad("port must be 1 to 65535".to_owned()));
        }
        if let Some(text) = &report.endpoint {
            endpoint(text).map_err(|one| bad(one.text.into()))?;
        }
        for (what, text) in [
            ("error", &report.error),
            ("lastOutput", &report.last_output),
        ] {
            if text.as_ref().is_some_and(|text| text.len() > OUTPUT) {
                return Err(bad(format!("{what} is longer than {OUTPUT} bytes")));
            }
        }
    }
    Ok(())
}

/// Checks what a host of the original says of its part of a service.
///
/// # Errors
/// When its texts are too long or its address is none.
pub fn report(report: &ReportService) -> Result<(), Refused> {
    if let Some(text) = &report.endpoint {
        endpoint(text)?;
    }
    // The original sends whatever its system says.
    if report
        .error
        .as_ref()
        .is_some_and(|text| text.len() > 16 * OUTPUT)
    {
        let most = 16 * OUTPUT;
        return Err(Refused::bad(format!("error is longer than {most} bytes")));
    }
    Ok(())
}

/// Checks what will be one part of a path.
fn part(what: &str, text: &str) -> Result<(), Refused> {
    word(what, text, WORD)?;
    if text.contains('/') {
        return Err(Refused::bad(format!("{what} has a /")));
    }
    if matches!(text, "." | "..") {
        return Err(Refused::bad(format!("{what} must not be {text}")));
    }
    Ok(())
}

fn replicas(count: u32) -> Result<(), Refused> {
    if (1..=MOST_REPLICAS).contains(&count) {
        return Ok(());
    }
    Err(Refused::bad(format!(
        "replicas must be 1 to {MOST_REPLICAS}"
    )))
}

fn health(path: &str) -> Result<(), Refused> {
    word("health", path, LINE)?;
    if !path.starts_with('/') {
        return Err(Refused::bad("health must begin with /"));
    }
    if path.contains([' ', '#']) || !path.is_ascii() {
        return Err(Refused::bad(
            "health must be the path of a URL: ASCII without spaces and #",
        ));
    }
    Ok(())
}

fn counted<'a>(what: &str, list: Option<&'a [String]>) -> Result<&'a [String], Refused> {
    let list = list.unwrap_or_default();
    if list.len() > MOST {
        return Err(Refused::bad(format!("{what}: there are more than {MOST}")));
    }
    Ok(list)
}

/// Checks variables and returns how many bytes they have.
fn variables(what: &str, variables: Option<&BTreeMap<String, String>>) -> Result<usize, Refused> {
    let Some(variables) = variables else {
        return Ok(0);
    };
    if variables.len() > MOST {
        return Err(Refused::bad(format!("{what}: there are more than {MOST}")));
    }
    let mut bytes = 0;
    for (name, value) in variables {
        word(&format!("{what}: the name of a variable"), name, WORD)?;
        if name.contains('=') || name.contains(char::is_whitespace) {
            return Err(Refused::bad(format!(
                "{what}: {name} is no name of a variable"
            )));
        }
        if value.contains('\0') {
            return Err(Refused::bad(format!("{what}: {name} has a NUL character")));
        }
        let whole = name.len() + value.len() + 2;
        if whole > ONE {
            return Err(Refused::bad(format!(
                "{what}: {name} is longer than {ONE} bytes"
            )));
        }
        bytes += whole;
    }
    Ok(bytes)
}

fn secrets(ask: &DeployService) -> Result<(), Refused> {
    for (name, value) in ask.secret_env.iter().flatten() {
        if ask.env.as_ref().is_some_and(|env| env.contains_key(name)) {
            return Err(Refused::bad(format!(
                "{name} is in env and in secretEnv: it can only be in one of them"
            )));
        }
        // Whoever sends back what was read would lose the secret.
        if value == HIDDEN {
            return Err(Refused::bad(format!(
                "secretEnv: {name} is {HIDDEN}, which readers see in its place; send the value"
            )));
        }
    }
    Ok(())
}
