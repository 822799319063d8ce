//! From flags and variables to the daemon's settings.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::args::{Args, of};
use crate::cli::error::Failure;
use crate::fleet::agent::{AgentPreset, Order, Passing, Program, Session};
use crate::fleet::service::settings::ENCODED;
use crate::host::accept::Accept;
use crate::host::allow::ArgvPattern;
use crate::host::services::ServiceSettings;
use crate::host::settings::{Agent, Agents, Asked, DEFAULT_COMMANDS, Settings, Start, TaskAgent};
use crate::host::spare::Condition;
use crate::protocol::{HostId, OUTPUT_LIMIT};
use crate::support::paths;

/// More slots than this are more threads than a machine is likely to want.
const MOST_PARALLEL: u16 = 1024;
/// Where the ports of services begin.
const BASE_PORT: u16 = 3100;

/// Returns the settings.
///
/// # Errors
/// When a value cannot be used, or there is no place for the daemon's files.
pub fn read(args: &Args) -> anyhow::Result<Settings> {
    let (work, rules) = (&args.work, &args.rules);
    let millis = |given, usual| Duration::from_millis(of(given).unwrap_or(usual));
    let commands = of(&rules.allowed_commands).map(|text| list(&text));
    Ok(Settings {
        id: host_id(args)?,
        name: name(args),
        capabilities: of(&work.capabilities).map(|text| list(&text)),
        labels: labels(of(&work.labels).as_deref().unwrap_or_default())?,
        max_parallel: of(&work.max_parallel).unwrap_or(1).clamp(1, MOST_PARALLEL),
        state_dir: state_dir(args)?,
        program: program()?,
        path: std::env::var("PATH").unwrap_or_default(),
        environment: environment(),
        env_pass: of(&rules.env_pass)
            .map(|text| list(&text))
            .unwrap_or_default(),
        env_allow: of(&rules.env_allow)
            .map(|text| list(&text))
            .unwrap_or_default(),
        commands_chosen: commands.is_some(),
        commands: commands.unwrap_or_else(|| DEFAULT_COMMANDS.map(str::to_owned).to_vec()),
        argv: of(&rules.allowed_argv)
            .map(|text| ArgvPattern::parse_list(&text))
            .transpose()
            .map_err(|why| usage("--allowed-argv", &why))?,
        agents: Agents {
            openclaw: agent(of(&rules.openclaw_command), "openclaw"),
            automaton: agent(of(&rules.automaton_command), "automaton"),
            picoclaw: agent(of(&rules.picoclaw_command), "picoclaw"),
        },
        accept: Accept::parse(of(&work.accept_from).as_deref().unwrap_or_default())
            .map_err(|why| usage("--accept-from", &why))?,
        claim_when: Condition::parse_list(of(&work.claim_when).as_deref().unwrap_or_default())
            .map_err(|why| usage("--claim-when", &why))?,
        workdir: workdir(of(&rules.workdir))?,
        job_dir: of(&rules.job_dir)
            .map(|text| decoded("--job-dir", text))
            .transpose()?,
        task_agent: of(&rules.agent)
            .map(|text| task_agent(&text, &name(args)))
            .transpose()?
            .flatten(),
        keep_failed: rules.keep_failed,
        poll: millis(&work.poll_ms, 2000).max(Duration::from_millis(10)),
        short: millis(&work.short_ms, 20),
        heartbeat: millis(&work.heartbeat_ms, 5000).max(Duration::from_millis(100)),
        timeout: millis(&rules.timeout_ms, 300_000),
        grace: grace(args)?,
        drain: millis(&work.drain_ms, 30_000),
        max_output: of(&rules.max_output_bytes)
            .unwrap_or(OUTPUT_LIMIT)
            .min(OUTPUT_LIMIT),
        on_lease_lost: of(&work.on_lease_lost)
            .map(|what| what.0)
            .unwrap_or_default(),
        openclaw_profile: switch("--openclaw-profile", of(&work.openclaw_profile))?,
        services: ServiceSettings {
            enabled: switch("--service-host", of(&args.services.service_host))?,
            base_port: of(&args.services.service_base_port).unwrap_or(BASE_PORT),
            public_url: public_url(of(&args.services.service_public_url))?,
        },
        once: args.once,
    })
}

/// Returns where the daemon keeps its files: one place for each host, so that several can run here.
///
/// # Errors
/// When this user has no home directory.
pub fn state_dir(args: &Args) -> anyhow::Result<PathBuf> {
    if let Some(dir) = of(&args.state_dir) {
        return Ok(std::path::absolute(paths::expand_home(&dir))?);
    }
    let name = of(&args.id)
        .map(|id| format!("id-{id}"))
        .or_else(|| of(&args.name).map(|name| format!("name-{name}")))
        .unwrap_or_else(|| "default".to_owned());
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let name: String = name
        .chars()
        .map(|c| if plain(c) { c } else { '_' })
        .take(100)
        .collect();
    Ok(paths::state_dir()?.join("host").join(name))
}

fn usage(what: &str, why: &str) -> Failure {
    Failure::usage(format!("{what}: {why}"))
}

fn host_id(args: &Args) -> Result<Option<HostId>, Failure> {
    of(&args.id)
        .map(HostId::new)
        .transpose()
        .map_err(|error| usage("--id", &error.to_string()))
}

fn name(args: &Args) -> String {
    of(&args.name).or_else(|| of(&args.id)).unwrap_or_else(|| {
        let machine = rustix::system::uname();
        let name = machine.nodename().to_string_lossy().trim().to_owned();
        if name.is_empty() {
            "skyclaw-host".to_owned()
        } else {
            name
        }
    })
}

fn list(text: &str) -> Vec<String> {
    text.split(',')
        .map(|word| word.trim().to_owned())
        .filter(|word| !word.is_empty())
        .collect()
}

fn labels(text: &str) -> Result<BTreeMap<String, String>, Failure> {
    list(text)
        .into_iter()
        .map(|pair| match pair.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => {
                Ok((key.trim().to_owned(), value.trim().to_owned()))
            }
            _ => Err(usage("--labels", &format!("`{pair}` is not key=value"))),
        })
        .collect()
}

fn agent(given: Option<String>, usual: &str) -> Agent {
    Agent {
        chosen: given.is_some(),
        command: given.unwrap_or_else(|| usual.to_owned()),
    }
}

/// Returns a setting that may have been written in base64 because it does not fit on a line of a file of settings.
fn decoded(flag: &str, text: String) -> Result<String, Failure> {
    let Some(code) = text.strip_prefix(ENCODED) else {
        return Ok(text);
    };
    let bytes = STANDARD.decode(code).ok();
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    text.ok_or_else(|| usage(flag, "what follows `base64:` is not text in base64"))
}

/// Returns what runs tasks, if that is not PicoClaw, which needs no setting.
fn task_agent(text: &str, name: &str) -> Result<Option<TaskAgent>, Failure> {
    let text = decoded("--agent", text.to_owned())?;
    let preset = AgentPreset::read(&text).map_err(|error| usage("--agent", &error.to_string()))?;
    if preset == AgentPreset::Picoclaw {
        return Ok(None);
    }
    let program = match preset.program() {
        Program::Home(path) => format!("~/{path}"),
        Program::Path(path) | Program::Search(path) => path,
    };
    let name = name.to_owned();
    let starts = move |asked: Asked<'_>| {
        let order = Order {
            task: asked.task,
            job: asked.job,
            name: &name,
            // A deploy has filled it in.
            host: &name,
            index: 0,
            session: Session::Unsupported,
            passing: match asked.on_stdin {
                true => Passing::Stdin,
                false => Passing::Preferred,
            },
        };
        let made = preset
            .command_line(&order)
            .map_err(|error| error.to_string())?;
        Ok(Start {
            args: made.args,
            env: made.env,
            stdin: made.stdin,
        })
    };
    Ok(Some(TaskAgent {
        program,
        starts: Arc::new(starts),
    }))
}

fn workdir(given: Option<String>) -> Result<Option<PathBuf>, Failure> {
    let Some(text) = given else { return Ok(None) };
    let dir = paths::expand_home(&text);
    if dir.is_absolute() && dir.is_dir() {
        Ok(Some(dir))
    } else {
        Err(usage(
            "--workdir",
            &format!("`{text}` is not an absolute path to a directory"),
        ))
    }
}

fn grace(args: &Args) -> Result<Duration, Failure> {
    if let Some(grace) = args.rules.grace {
        return Ok(grace);
    }
    let text = std::env::var("SKYCLAW_GRACE_MS").unwrap_or_default();
    if text.trim().is_empty() {
        return Ok(Duration::from_secs(10));
    }
    text.trim()
        .parse()
        .map(Duration::from_millis)
        .map_err(|error: std::num::ParseIntError| usage("SKYCLAW_GRACE_MS", &error.to_string()))
}

fn switch(flag: &str, given: Option<String>) -> Result<bool, Failure> {
    match given.as_deref() {
        None | Some("on" | "1" | "true" | "yes") => Ok(true),
        Some("off" | "0" | "false" | "no") => Ok(false),
        Some(_) => Err(usage(flag, "write on or off")),
    }
}

/// Returns the start of services' addresses: the port is added to it.
fn public_url(given: Option<String>) -> Result<Option<String>, Failure> {
    let Some(text) = given else { return Ok(None) };
    let rest = ["http://", "https://"]
        .into_iter()
        .find_map(|scheme| text.strip_prefix(scheme))
        .map(|rest| rest.trim_end_matches('/'));
    // Without the address of the newer family, whose brackets a port may follow.
    let plain = |rest: &str| !rest.is_empty() && !rest.contains(['/', '?', '#', '@', ' ']);
    let portless = |rest: &str| rest.ends_with(']') || !rest.contains(':');
    match rest.filter(|rest| plain(rest) && portless(rest)) {
        Some(_) => Ok(Some(text)),
        None => Err(usage(
            "--service-public-url",
            &format!("`{text}` is not http://NAME or https://NAME, to which the port is added"),
        )),
    }
}

/// The watcher is this program. On Linux its file may be replaced meanwhile and is still found.
fn program() -> anyhow::Result<PathBuf> {
    let own = PathBuf::from("/proc/self/exe");
    if own.exists() {
        return Ok(own);
    }
    Ok(std::env::current_exe()?)
}

/// Variables that are no text are nothing a job needs.
fn environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}
