//! The variables that the fleet file gives a host's jobs, as its daemon is to lend them. Pure.

use super::settings::is_plain;
use crate::fleet::file::Host;
use crate::support::secret::Secret;

/// Variables that mean something to the daemon itself or to what starts it.
const ITS_OWN: [&str; 9] = [
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "TMPDIR", "BASH_ENV", "ENV", "IFS",
];
const ITS_OWN_BEGIN: [&str; 5] = ["SKYCLAW_", "LD_", "DYLD_", "XDG_", "SYSTEMD_"];

/// What is lent, and what cannot be.
#[derive(Debug, Clone, Default)]
pub struct Lent {
    /// Names and values.
    pub variables: Vec<(String, Secret)>,
    /// What a person should know of the others.
    pub remarks: Vec<String>,
}

/// Returns what the daemon of `host` is to lend its jobs.
pub fn of(host: &Host) -> Lent {
    let mut lent = Lent::default();
    for (name, value) in &host.env {
        match why_not(name, value) {
            None => lent
                .variables
                .push((name.clone(), Secret::new(value.clone()))),
            Some(why) => lent.remarks.push(format!(
                "the jobs of its daemon do not get {name} of the fleet file's env: {why}"
            )),
        }
    }
    lent
}

fn why_not(name: &str, value: &str) -> Option<&'static str> {
    let begins = |first: char| first.is_ascii_alphabetic() || first == '_';
    let is_name =
        name.starts_with(begins) && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !is_name {
        return Some("it is no name that a file of settings can have");
    }
    let its_own =
        ITS_OWN.contains(&name) || ITS_OWN_BEGIN.iter().any(|begin| name.starts_with(begin));
    if its_own {
        return Some("it would change the daemon itself");
    }
    (!is_plain(value)).then_some(
        "its value does not fit on a line of the daemon's settings: only visible ASCII does, without quotes and backslashes",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::file::{Fleet, Overrides};

    #[test]
    fn what_is_plain_is_lent_and_of_the_rest_it_is_said_why_not() {
        let text = r#"{ "hosts": [{ "name": "web1", "host": "h", "env": {
            "GREETING": "hello $x", "PATH": "/evil", "LD_PRELOAD": "x.so", "SKYCLAW_TOKEN": "t",
            "QUOTED": "it's", "LINES": "a\nb", "ZONE": "eu 1"
        } }] }"#;
        let fleet = Fleet::parse("fleet.json".as_ref(), text, &Overrides::default()).unwrap();
        let lent = of(&fleet.hosts[0]);
        let plain: Vec<_> = lent
            .variables
            .iter()
            .map(|(name, value)| (name.as_str(), value.expose()))
            .collect();
        assert_eq!(plain, [("GREETING", "hello $x"), ("ZONE", "eu 1")]);
        assert_eq!(lent.remarks.len(), 5, "{:?}", lent.remarks);
        let said = lent.remarks.join("\n");
        for name in ["PATH", "LD_PRELOAD", "SKYCLAW_TOKEN", "QUOTED", "LINES"] {
            assert!(said.contains(&format!("{name} of")), "{said}");
        }
        assert!(!said.contains("evil") && !format!("{lent:?}").contains("eu 1"));
    }
}
