//! What a host is like just after it was connected to: what it can do, and whether a daemon of ours is there.

use crate::fleet::agent::AgentPreset;
use crate::fleet::file::Host;
use crate::fleet::payload;
use crate::fleet::seat::{self, ControllerId};
use crate::fleet::status::{self, Agent, Observed};
use crate::protocol::api::Facts;
use crate::ssh::shell::command_line;
use crate::ssh::{Connection, Error};

/// More than the one word that is expected.
const MOST: usize = 4096;

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
    // Both are plain words: a path of ours and hexadecimal digits.
    let script = format!(
        "grep -qsF {} \"$HOME/{}\" && echo pull; exit 0",
        controller.coordinator_file(),
        seat::SETTINGS
    );
    let said = connection
        .run(&command_line(&script), Vec::new(), MOST)
        .await?;
    Ok(String::from_utf8_lossy(&said.stdout)
        .lines()
        .any(|line| line.trim() == "pull"))
}

fn capabilities(host: &Host, seen: &Observed) -> Vec<String> {
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
        ..Facts::default()
    }
}
