//! What the local OpenClaw says of itself. Never a secret: of its token only the start of a digest leaves this file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::protocol::api::OpenclawProfile;
use crate::support::ids;

/// How much of a configuration is looked at.
const LARGEST: u64 = 4 * 1024 * 1024;
/// How many agents are named.
const MOST_AGENTS: usize = 64;

/// Returns the profile, or nothing if there is neither a program nor a configuration. Runs
/// `openclaw --version`: not for async code.
pub(super) fn profile(
    program: Option<&Path>,
    environment: &BTreeMap<String, String>,
) -> Option<OpenclawProfile> {
    let version = program.and_then(version);
    let config = read(&file(environment)?);
    if version.is_none() && config.is_none() {
        return None;
    }
    let mut profile = config.as_ref().map(described).unwrap_or_default();
    profile.version = version;
    Some(profile)
}

fn file(environment: &BTreeMap<String, String>) -> Option<PathBuf> {
    let set = |name: &str| environment.get(name).filter(|value| !value.is_empty());
    if let Some(path) = set("OPENCLAW_CONFIG_PATH") {
        return Some(PathBuf::from(path));
    }
    let state = match (set("OPENCLAW_STATE_DIR"), set("OPENCLAW_PROFILE")) {
        (Some(dir), _) => PathBuf::from(dir),
        (None, Some(profile)) => home(environment)?.join(format!(".openclaw-{profile}")),
        (None, None) => home(environment)?.join(".openclaw"),
    };
    Some(state.join("openclaw.json"))
}

fn home(environment: &BTreeMap<String, String>) -> Option<PathBuf> {
    let set = |name: &str| environment.get(name).filter(|value| !value.is_empty());
    set("OPENCLAW_HOME")
        .or_else(|| set("HOME"))
        .map(PathBuf::from)
}

/// The file is JSON5; comments and commas at the end are all that people use of it.
fn read(file: &Path) -> Option<Value> {
    let small = std::fs::metadata(file).is_ok_and(|meta| meta.len() <= LARGEST);
    let text = small
        .then(|| std::fs::read_to_string(file).ok())
        .flatten()?;
    let parsed = jsonc_parser::parse_to_ast(
        &text,
        &jsonc_parser::CollectOptions::default(),
        &jsonc_parser::ParseOptions::default(),
    );
    parsed.ok()?.value.map(Value::from)
}

fn described(config: &Value) -> OpenclawProfile {
    let text = |pointer: &str| config.pointer(pointer).and_then(Value::as_str);
    let agents = config
        .pointer("/agents/list")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|agent| agent.get("id").or_else(|| agent.get("name"))?.as_str())
        .take(MOST_AGENTS)
        .map(str::to_owned)
        .collect();
    OpenclawProfile {
        version: None,
        node: text("/node/name")
            .or_else(|| text("/nodeHost/displayName"))
            .map(str::to_owned),
        agents,
        gateway_port: config
            .pointer("/gateway/port")
            .and_then(Value::as_u64)
            .and_then(|port| u16::try_from(port).ok()),
        auth_mode: text("/gateway/auth/mode").map(str::to_owned),
        token_digest: text("/gateway/auth/token")
            // A reference to a variable is no token.
            .filter(|token| !token.is_empty() && !token.starts_with("${"))
            .map(digest),
    }
}

fn digest(token: &str) -> String {
    let mut hex = ids::hex(&Sha256::digest(token.as_bytes()));
    hex.truncate(12);
    hex
}

/// Reads `OpenClaw 2026.9.6 (eb377ac)`.
fn version(program: &Path) -> Option<String> {
    let output = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.split_whitespace()
        .find(|word| word.starts_with(|c: char| c.is_ascii_digit()))
        .map(|word| word.chars().take(64).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_modes_are_told_and_the_token_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("openclaw.json");
        std::fs::write(
            &file,
            r#"{ // gateway
              gateway: { port: 18789, auth: { mode: "token", token: "top-secret-token" } },
              "agents": { "list": [ {"id": "main"}, {"id": "ops"}, ] },
            }"#,
        )
        .unwrap();
        let environment = BTreeMap::from([(
            "OPENCLAW_CONFIG_PATH".to_owned(),
            file.to_str().unwrap().to_owned(),
        )]);
        let profile = profile(None, &environment).unwrap();
        assert_eq!(profile.gateway_port, Some(18789));
        assert_eq!(profile.auth_mode.as_deref(), Some("token"));
        assert_eq!(profile.agents, ["main", "ops"]);
        let json = serde_json::to_string(&profile).unwrap();
        assert!(!json.contains("secret"), "{json}");
        assert_eq!(profile.token_digest.map(|digest| digest.len()), Some(12));
    }

    #[test]
    fn without_openclaw_there_is_no_profile() {
        let nowhere = BTreeMap::from([("HOME".to_owned(), "/nonexistent".to_owned())]);
        assert_eq!(profile(None, &nowhere), None);
    }
}
