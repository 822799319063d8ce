//! The settings of a host's daemon: a block of ours, and whatever lines the host's owner has. Pure.
//!
//! systemd and our own script read the file in the same way as long as values are plain, so ours are. Later
//! lines win in both; ours come first, so the owner has the last word.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::lent;
use crate::fleet::file::Host;
use crate::fleet::seat::{self, ControllerId};
use crate::support::secret::Secret;

const BEGIN: &str =
    "# >>> skyclaw fleet >>> (written by fleet deploy; your own lines below outrank it)";
const END: &str = "# <<< skyclaw fleet <<<";
/// Before a value in base64.
pub const ENCODED: &str = "base64:";
/// The limit of jobs that have none: a year.
const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 3600);
/// What a daemon's jobs get unless its settings say otherwise.
const DRAIN: Duration = Duration::from_secs(30);

/// Which coordinator a daemon asks for work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asks {
    /// That of `fleet up` on this controller, through its tunnel.
    Controller(ControllerId),
    /// Coordinators that the host itself can reach.
    Network {
        /// Their addresses.
        urls: Vec<String>,
        /// What they are shown.
        token: Option<Secret>,
    },
}

/// A setting that does not fit on a line of the file.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error(
    "{name} cannot be written into the daemon's settings: it must be visible ASCII without quotes and backslashes"
)]
pub struct Unfit {
    /// The variable. Its value may be secret.
    pub name: &'static str,
}

/// Returns the settings of the daemon of `host`, whose user's home is `home`.
///
/// # Errors
/// When a value does not fit.
pub fn of(host: &Host, home: &str, asks: &Asks) -> Result<Vec<(&'static str, Secret)>, Unfit> {
    let mut lines = vec![("SKYCLAW_HOST_NAME", host.name.to_string())];
    lines.push(("SKYCLAW_HOST_STATE_DIR", format!("{home}/{}", seat::STATE)));
    lines.push(("SKYCLAW_MAX_PARALLEL", host.slots.to_string()));
    if !host.labels.is_empty() {
        let labels = host
            .labels
            .iter()
            .map(|(name, value)| format!("{name}={value}"));
        lines.push(("SKYCLAW_LABELS", labels.collect::<Vec<_>>().join(",")));
    }
    if let Some(capabilities) = &host.capabilities {
        lines.push(("SKYCLAW_CAPABILITIES", capabilities.join(",")));
    }
    if let Some(agent) = &host.agent {
        let agent = agent.replace("{host}", host.host.as_str());
        lines.push(("SKYCLAW_AGENT", on_a_line(agent)));
    }
    // Where jobs that are pushed begin, and for how long they may run.
    let home_for_jobs = matches!(asks, Asks::Controller(_)).then_some("~");
    if let Some(dir) = host.workdir.as_deref().or(home_for_jobs) {
        lines.push(("SKYCLAW_JOB_DIR", on_a_line(below(home, dir))));
    }
    if let Some(limit) = host.timeout {
        let millis = limit.0.unwrap_or(FOR_EVER).as_millis();
        lines.push(("SKYCLAW_TIMEOUT_MS", millis.to_string()));
    }
    let lent = lent::of(host).variables;
    if !lent.is_empty() {
        let names: Vec<String> = lent.into_iter().map(|(name, _)| name).collect();
        lines.push(("SKYCLAW_ENV_PASS", names.join(",")));
    }
    match asks {
        Asks::Controller(id) => {
            let file = format!("{home}/{}", id.coordinator_file());
            lines.push(("SKYCLAW_COORDINATOR_FILE", file));
            // Its jobs come from whoever may log in there; a list would only make `fleet exec` differ.
            lines.push(("SKYCLAW_ALLOWED_COMMANDS", "*".to_owned()));
            // A controller sleeps now and then, as laptops do: jobs go on and are delivered when it is back.
            lines.push(("SKYCLAW_ON_LEASE_LOST", "finish".to_owned()));
        }
        Asks::Network { urls, token } => {
            lines.push(("SKYCLAW_COORDINATOR_URLS", urls.join(",")));
            let token = token.iter().map(|token| token.expose().to_owned());
            lines.extend(token.map(|token| ("SKYCLAW_TOKEN", token)));
        }
    }
    let lines = lines
        .into_iter()
        .map(|(name, value)| match is_plain(&value) {
            true => Ok((name, Secret::new(value))),
            false => Err(Unfit { name }),
        });
    lines.collect()
}

/// Returns a directory as it is for a program that begins anywhere.
fn below(home: &str, dir: &str) -> String {
    match dir.strip_prefix('~') {
        Some("" | "/") => home.to_owned(),
        Some(rest) if rest.starts_with('/') => format!("{home}{rest}"),
        _ if dir.starts_with('/') => dir.to_owned(),
        _ => format!("{home}/{dir}"),
    }
}

/// Returns a value as the daemon reads it from a line of the file.
fn on_a_line(value: String) -> String {
    match is_plain(&value) && !value.starts_with(ENCODED) {
        true => value,
        false => format!("{ENCODED}{}", STANDARD.encode(value)),
    }
}

/// Tries out whether what is asked can be written.
///
/// # Errors
/// When it cannot.
pub fn check(asks: &Asks) -> Result<(), Unfit> {
    let (urls, token) = match asks {
        Asks::Controller(_) => return Ok(()),
        Asks::Network { urls, token } => (urls, token),
    };
    let name = "SKYCLAW_COORDINATOR_URLS";
    if !urls.iter().all(|url| is_plain(url)) {
        return Err(Unfit { name });
    }
    match token {
        Some(token) if !is_plain(token.expose()) => Err(Unfit {
            name: "SKYCLAW_TOKEN",
        }),
        Some(_) | None => Ok(()),
    }
}

pub(super) fn is_plain(value: &str) -> bool {
    let fits = |c: char| (c == ' ' || c.is_ascii_graphic()) && !matches!(c, '"' | '\'' | '\\');
    value.chars().all(fits) && value.trim() == value
}

/// Puts our settings into the text of the file; the other lines stay as they are.
pub fn merge(existing: Option<&str>, settings: &[(&'static str, Secret)]) -> Secret {
    merge_with(existing, settings, &[])
}

/// The same with variables that are `lent` to jobs.
pub fn merge_with(
    existing: Option<&str>,
    settings: &[(&'static str, Secret)],
    lent: &[(String, Secret)],
) -> Secret {
    let mut text = format!("{BEGIN}\n");
    let settings = settings.iter().map(|(name, value)| (*name, value));
    let lent = lent.iter().map(|(name, value)| (name.as_str(), value));
    for (name, value) in settings.chain(lent) {
        text.push_str(&format!("{name}={}\n", value.expose()));
    }
    text.push_str(END);
    text.push('\n');
    text.push_str(&own_lines(existing.unwrap_or_default()));
    Secret::new(text)
}

/// Takes our settings out of the text of the file. Returns the rest, or nothing if they are not in it.
pub fn unmerge(existing: &str) -> Option<Secret> {
    let rest = own_lines(existing);
    (rest != existing).then(|| Secret::new(rest))
}

/// Returns what is not ours. A block without an end is one line.
fn own_lines(text: &str) -> String {
    let ours = text.find(BEGIN).and_then(|start| {
        let rest = text.get(start..)?;
        let end = rest.find(END)? + END.len();
        let after = rest.get(end..)?;
        Some(format!(
            "{}{}",
            text.get(..start)?,
            after.strip_prefix('\n').unwrap_or(after)
        ))
    });
    let text = ours.unwrap_or_else(|| text.to_owned());
    let lines = text.split_inclusive('\n');
    lines.filter(|line| !line.starts_with(BEGIN)).collect()
}

/// Returns what a variable is in a file of settings: what the last line says.
pub fn value<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let mut lines = text.lines().rev();
    let found = lines.find_map(|line| {
        let (other, value) = line.trim_start().split_once('=')?;
        (other.trim_end() == name).then(|| value.trim())
    })?;
    let unquoted = |quote| found.strip_prefix(quote)?.strip_suffix(quote);
    Some(unquoted('"').or_else(|| unquoted('\'')).unwrap_or(found))
}

/// Returns how long jobs may go on when a daemon with these settings is stopped.
pub fn drain(text: &str) -> Duration {
    let given = value(text, "SKYCLAW_DRAIN_MS").and_then(|text| text.parse().ok());
    given.map_or(DRAIN, Duration::from_millis)
}

/// Tells what a person should know of the owner's lines: which of our settings they outrank, and whose
/// daemon it was until now.
pub fn remarks(existing: Option<&str>, settings: &[(&'static str, Secret)]) -> Vec<String> {
    let Some(existing) = existing else {
        return Vec::new();
    };
    let own = own_lines(existing);
    let mut remarks = Vec::new();
    let tunnelled = settings
        .iter()
        .any(|(name, _)| *name == "SKYCLAW_COORDINATOR_FILE");
    for (name, wanted) in settings {
        if value(&own, name).is_some_and(|value| value != wanted.expose()) {
            let path = seat::SETTINGS;
            // Over its tunnel a host does not say itself which labels it has.
            let what = match *name {
                "SKYCLAW_LABELS" if tunnelled => "is not used: the fleet file's labels count",
                _ => "outranks the fleet's",
            };
            remarks.push(format!("the host's own line for {name} in ~/{path} {what}"));
        }
    }
    let file = |(name, value): &(&str, Secret)| {
        (*name == "SKYCLAW_COORDINATOR_FILE").then(|| value.expose().to_owned())
    };
    let (before, after) = (
        value(existing, "SKYCLAW_COORDINATOR_FILE"),
        settings.iter().find_map(file),
    );
    if before.is_some() && after.is_some() && before != after.as_deref() {
        remarks.push("its daemon worked for another controller until now".to_owned());
    }
    remarks
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fleet::file::{Fleet, Overrides};

    fn settings() -> Vec<(&'static str, Secret)> {
        let value = |text: &str| Secret::new(text.to_owned());
        vec![
            ("SKYCLAW_HOST_NAME", value("web1")),
            ("SKYCLAW_MAX_PARALLEL", value("2")),
        ]
    }

    fn merged(existing: Option<&str>) -> String {
        merge(existing, &settings()).expose().to_owned()
    }

    #[test]
    fn our_block_is_replaced_and_other_lines_stay_and_win() {
        let fresh = merged(None);
        assert!(fresh.contains("\nSKYCLAW_HOST_NAME=web1\n"), "{fresh}");
        let own = "# mine\nSKYCLAW_MAX_PARALLEL=8\nSKYCLAW_DRAIN_MS=\"5000\"";
        let both = merged(Some(own));
        assert!(both.ends_with(own) && both.starts_with(&fresh), "{both}");
        assert_eq!(value(&both, "SKYCLAW_MAX_PARALLEL"), Some("8"));
        assert_eq!(drain(&both), Duration::from_secs(5));
        assert_eq!(drain(&fresh), DRAIN);
        assert_eq!(unmerge(&both).unwrap().expose(), own);
        assert_eq!(unmerge(&fresh).unwrap().expose(), "");
        assert_eq!(unmerge(own), None);
        let old = both.replace("web1", "old");
        assert_eq!(merged(Some(&old)), both, "the old block is gone");
        let remarks = remarks(Some(&both), &settings());
        assert_eq!(remarks.len(), 1, "{remarks:?}");
        assert!(remarks[0].contains("SKYCLAW_MAX_PARALLEL"), "{remarks:?}");
    }

    #[test]
    fn a_line_that_has_no_effect_over_a_tunnel_is_not_said_to_win() {
        let line = |name, value: &str| (name, Secret::new(value.to_owned()));
        let mut wanted = vec![line("SKYCLAW_LABELS", "zone=eu")];
        let own = Some("SKYCLAW_LABELS=zone=us\n");
        assert!(remarks(own, &wanted)[0].contains("outranks"));
        wanted.push(line("SKYCLAW_COORDINATOR_FILE", "/x.json"));
        assert!(remarks(own, &wanted)[0].contains("is not used"));
    }

    #[test]
    fn what_the_fleet_file_says_of_jobs_reaches_the_daemon() {
        let text = r#"{ "hosts": [
            { "name": "a", "host": "h1", "agent": "say 'it' {task} {host}", "workdir": "~/w", "timeout": "2m", "capabilities": ["gpu", "shell"] },
            { "name": "b", "host": "h2", "agent": "openclaw", "workdir": "/srv/w", "timeout": "0" },
            { "name": "c", "host": "h3", "workdir": "w" },
            { "name": "d", "host": "h4" }
        ] }"#;
        let fleet = Fleet::parse("fleet.json".as_ref(), text, &Overrides::default()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let here = Asks::Controller(ControllerId::in_dir(dir.path()).unwrap());
        let said = |host: usize, asks: &Asks| {
            let lines = of(&fleet.hosts[host], "/home/me", asks).unwrap();
            let value = move |name: &str| {
                let mut lines = lines.iter();
                let found = lines.find(|(other, _)| *other == name);
                found.map(|(_, value)| value.expose().to_owned())
            };
            ["AGENT", "JOB_DIR", "TIMEOUT_MS", "CAPABILITIES"]
                .map(|name| value(&format!("SKYCLAW_{name}")))
        };
        let all = |words: [&str; 4]| words.map(|word| (!word.is_empty()).then(|| word.to_owned()));
        let agent = format!("base64:{}", STANDARD.encode("say 'it' {task} h1"));
        assert_eq!(
            said(0, &here),
            all([&agent, "/home/me/w", "120000", "gpu,shell"])
        );
        assert_eq!(
            said(1, &here),
            all(["openclaw", "/srv/w", "31536000000", ""])
        );
        assert_eq!(said(2, &here), all(["", "/home/me/w", "", ""]));
        assert_eq!(said(3, &here), all(["", "/home/me", "", ""]));
        // With another coordinator a job has a fresh directory, as with any other daemon of it.
        let elsewhere = Asks::Network {
            urls: vec!["http://c".into()],
            token: None,
        };
        assert_eq!(said(3, &elsewhere), all(["", "", "", ""]));
        assert_eq!(said(2, &elsewhere), all(["", "/home/me/w", "", ""]));
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused_and_not_shown() {
        for bad in ["a\"b", "a\nb", "it's", "back\\slash", " a", "a ", "ü"] {
            assert!(!is_plain(bad), "{bad:?}");
        }
        assert!(is_plain("/home/me/a b/$x#1;[](){}<>|&!"));
        let text = Unfit {
            name: "SKYCLAW_TOKEN",
        }
        .to_string();
        assert!(text.contains("SKYCLAW_TOKEN"), "{text}");
    }

    proptest! {
        #[test]
        fn twice_is_once_and_other_lines_stay(own in "([A-Z_#=a-z \"]{0,12}\n){0,5}[A-Z=]{0,5}") {
            let once = merged(Some(&own));
            prop_assert_eq!(&merged(Some(&once)), &once);
            prop_assert_eq!(own_lines(&once), own);
        }
    }
}
