//! What a host is like just after it was connected to: what it can do, and whether a daemon of ours is there.

use std::sync::LazyLock;

use crate::fleet::agent::AgentPreset;
use crate::fleet::file::Host;
use crate::fleet::payload;
use crate::fleet::seat::{self, ControllerId};
use crate::fleet::status::{self, Agent, Observed};
use crate::protocol::api::Facts;
use crate::ssh::shell::{Code, Marker, command_line, header};
use crate::ssh::upload::path_word;
use crate::ssh::{Connection, Error};

static PULLS: LazyLock<String> =
    LazyLock::new(|| command_line(include_str!("../../../templates/pulls.sh")));

/// More than the one word that is expected, login scripts included.
const MOST: usize = 64 << 10;

/// What was seen.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Seen {
    /// What jobs it can run.
    pub capabilities: Vec<String>,
    /// About the machine.
    pub facts: Facts,
    /// A daemon of this controller pulls its jobs.
    pub pulls: bool,
}

/// Asks the host.
pub(super) async fn look(
    connection: &Connection,
    host: &Host,
    controller: &ControllerId,
) -> Result<Seen, Error> {
    let (observed, pulls) =
        tokio::try_join!(status::probe(connection), pulls(connection, controller))?;
    Ok(Seen {
        capabilities: capabilities(host, &observed),
        facts: facts(&observed),
        pulls,
    })
}

/// Tells whether the settings of the daemon there lead to this controller.
async fn pulls(connection: &Connection, controller: &ControllerId) -> Result<bool, Error> {
    let marker = Marker::fresh();
    let code = Code::new()
        .raw("w=")
        .word(controller.coordinator_file().as_bytes());
    let code = path_word(code.raw("; f="), &format!("~/{}", seat::SETTINGS));
    let said = connection
        .run(&PULLS, header(&marker, [code]), MOST)
        .await?;
    let yes = format!("{} pull", marker.reply());
    Ok(String::from_utf8_lossy(&said.stdout).contains(&yes))
}

fn capabilities(host: &Host, seen: &Observed) -> Vec<String> {
    if let Some(said) = &host.capabilities {
        return said.clone();
    }
    let mut found = vec!["shell".to_owned()];
    let has_agent = match payload::preset(host) {
        Ok(AgentPreset::Picoclaw) => matches!(seen.agent, Agent::Installed { .. }),
        // What the fleet file names is there, or the job says what is missing.
        Ok(AgentPreset::Openclaw | AgentPreset::Custom(_)) => true,
        Err(_) => false,
    };
    if has_agent {
        found.push("picoclaw".to_owned());
    }
    found
}

fn facts(seen: &Observed) -> Facts {
    let uname = seen.uname.clone().unwrap_or_default();
    let (os, arch) = uname.split_once(' ').unwrap_or((&uname, ""));
    Facts {
        os: os.to_ascii_lowercase(),
        arch: arch.to_owned(),
        cpus: seen.cpus,
        disk_free_bytes: seen.free_disk,
        load: seen.load1,
        latency_ms: u32::try_from(seen.latency.as_millis()).ok(),
        ..Facts::default()
    }
}
