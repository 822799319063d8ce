//! What this host says that it can do, unless its owner says it.

use std::path::Path;
use std::process::{Command, Stdio};

use super::kinds::Kinds;
use super::services::CAPABILITY;
use super::settings::Settings;

/// Returns the owner's words, or what is found: `shell` if any command may run, and each agent whose
/// program is here and may run, `service-host` if any command may run and services are wanted. Runs `picoclaw version`, because another program has the same name.
pub(super) fn of(settings: &Settings, kinds: &Kinds) -> Vec<String> {
    if let Some(capabilities) = &settings.capabilities {
        let mut capabilities = capabilities.clone();
        // Nobody would take what is sent here for it.
        capabilities.retain(|word| word != CAPABILITY || runs_services(settings));
        return capabilities;
    }
    let agents = &settings.agents;
    let has = |agent| kinds.agent_file(agent).is_some();
    let found = [
        ("shell", kinds.allowed.any()),
        ("openclaw", has(&agents.openclaw)),
        ("automaton", has(&agents.automaton)),
        (
            "picoclaw",
            // What the owner chose instead is there, or the job says what is missing.
            settings.task_agent.is_some()
                || kinds
                    .agent_file(&agents.picoclaw)
                    .is_some_and(|file| is_picoclaw(&file)),
        ),
        (CAPABILITY, runs_services(settings) && kinds.allowed.any()),
    ];
    found
        .into_iter()
        .filter(|(_, found)| *found)
        .map(|(word, _)| word.to_owned())
        .collect()
}

fn runs_services(settings: &Settings) -> bool {
    settings.services.enabled && !settings.once
}

fn is_picoclaw(program: &Path) -> bool {
    let output = Command::new(program)
        .arg("version")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    output.is_ok_and(|output| {
        let text = String::from_utf8_lossy(&output.stdout);
        let words: Vec<&str> = text.split_whitespace().collect();
        words.windows(2).any(|pair| {
            matches!(pair, [name, version] if *name == "picoclaw"
                && version.trim_start_matches('v').starts_with(|c: char| c.is_ascii_digit()))
        })
    })
}
