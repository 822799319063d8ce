//! `jump`: the machines a connection goes through, as `ProxyJump` writes them, or by their names in the fleet.

use std::path::PathBuf;

use super::host::Host;
use super::names::Address;

/// The word that takes a `jump` of a group or of the defaults back.
const NONE: &str = "none";

/// One machine to go through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hop {
    /// Its address, as the machine before it knows it.
    pub host: Address,
    /// The SSH port, if given.
    pub port: Option<u16>,
    /// The login name, if given.
    pub user: Option<String>,
    /// Private keys; empty leaves it to the agent and the default keys.
    pub ssh_keys: Vec<PathBuf>,
    /// Fingerprint (`SHA256:…`) that replaces known_hosts.
    pub host_key: Option<String>,
}

/// What is written of one hop: `[user@]host[:port]`.
struct Written<'t> {
    user: Option<&'t str>,
    host: &'t str,
    port: Option<u16>,
}

/// Checks a whole list.
pub(super) fn check(list: &str) -> Result<(), &'static str> {
    if list == NONE {
        return Ok(());
    }
    for text in list.split(',') {
        let written = read(text)?;
        Address::new(written.host)
            .map_err(|_| "must be hosts as `[user@]host[:port]`, with commas between them")?;
    }
    Ok(())
}

fn read(text: &str) -> Result<Written<'_>, &'static str> {
    let text = text.strip_prefix("ssh://").unwrap_or(text);
    let (user, rest) = match text.rsplit_once('@') {
        Some(("", _)) => return Err("a user before `@` is missing"),
        Some((user, rest)) => (Some(user), rest),
        None => (None, text),
    };
    // A bare IPv6 address has colons of its own; with a port it stands in brackets.
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port))
            if host.starts_with('[') && host.ends_with(']') || !host.contains(':') =>
        {
            let port = port.parse().ok().filter(|port| *port > 0);
            (
                host,
                Some(port.ok_or("a port must be a number from 1 to 65535")?),
            )
        }
        Some(_) | None => (rest, None),
    };
    Ok(Written { user, host, port })
}

/// Returns the names in a list, which may be hosts of the fleet.
pub(super) fn names(list: &str) -> impl Iterator<Item = &str> {
    let list = (list != NONE).then_some(list);
    let hops = list.into_iter().flat_map(|list| list.split(','));
    hops.filter_map(|text| read(text).ok())
        .map(|written| written.host)
}

/// Fills in the route of every host. Circles were refused when the file was read.
pub(super) fn lay(hosts: &mut [Host]) {
    let routes: Vec<Vec<Hop>> = hosts
        .iter()
        .map(|host| {
            let mut hops = Vec::new();
            follow(host, hosts, hosts.len(), &mut hops);
            hops
        })
        .collect();
    for (host, route) in hosts.iter_mut().zip(routes) {
        host.route = route;
    }
}

fn follow(host: &Host, hosts: &[Host], depth: usize, hops: &mut Vec<Hop>) {
    let list = host.jump.as_deref().filter(|list| *list != NONE);
    for text in list.into_iter().flat_map(|list| list.split(',')) {
        let Ok(written) = read(text) else { continue };
        let own = |known: &&Host| known.name.as_str() == written.host;
        let known = hosts.iter().find(own);
        if known.is_some_and(|known| known.name == host.name) {
            // The `jump` of a group or of the defaults holds for the jump host too.
            continue;
        }
        if let Some(known) = known
            && depth > 0
        {
            follow(known, hosts, depth - 1, hops);
        }
        let Ok(address) = Address::new(written.host) else {
            continue;
        };
        let same_key = |known: &Host| known.ssh_keys.clone();
        hops.push(Hop {
            host: known.map_or(address, |known| known.host.clone()),
            port: written.port.or_else(|| known.and_then(|known| known.port)),
            user: written
                .user
                .map(str::to_owned)
                .or_else(|| known.and_then(|known| known.user.clone())),
            ssh_keys: known.map_or_else(|| same_key(host), same_key),
            host_key: known.and_then(|known| known.host_key.clone()),
        });
    }
}

#[cfg(test)]
mod tests {
    use crate::fleet::file::{Fleet, Overrides};

    fn route(hosts: &str, name: &str) -> Vec<String> {
        let text =
            format!(r#"{{"defaults": {{"user": "op", "ssh_key": "/k"}}, "hosts": {hosts}}}"#);
        let fleet = Fleet::parse("f".as_ref(), &text, &Overrides::default()).unwrap();
        let hops = fleet.host(name).unwrap().route.iter();
        hops.map(|hop| {
            let user = hop.user.as_deref().unwrap_or("?");
            format!("{user}@{}:{}", hop.host, hop.port.unwrap_or(0))
        })
        .collect()
    }

    #[test]
    fn hops_come_in_order_with_those_of_the_fleet_followed() {
        let hosts = r#"[
            {"name": "gate", "host": "10.0.0.1", "port": 2222},
            {"name": "mid", "host": "10.1.0.1", "user": "root", "jump": "gate"},
            {"name": "deep", "host": "10.2.0.1", "jump": "mid,x@other:22,[fe80::1]:23"},
            {"name": "near", "host": "10.0.0.2", "jump": "none"}
        ]"#;
        let expected = [
            "op@10.0.0.1:2222",
            "root@10.1.0.1:0",
            "x@other:22",
            "?@fe80::1:23",
        ];
        assert_eq!(route(hosts, "deep"), expected);
        assert_eq!(route(hosts, "near"), [""; 0]);
    }

    #[test]
    fn the_defaults_jump_does_not_send_the_jump_host_through_itself() {
        let text = r#"{"defaults": {"jump": "gate"},
            "hosts": [{"name": "gate", "host": "g"}, {"name": "a", "host": "h"}]}"#;
        let fleet = Fleet::parse("f".as_ref(), text, &Overrides::default()).unwrap();
        assert!(fleet.host("gate").unwrap().route.is_empty());
        assert_eq!(fleet.host("a").unwrap().route.len(), 1);
    }

    #[test]
    fn circles_and_nonsense_are_refused_where_they_stand() {
        for (jump, why) in [
            (r#""b""#, "circle: a → b → a"),
            (r#""x:0""#, "a port must be"),
            (r#""@x""#, "a user"),
            (r#""x,,y""#, "[user@]host[:port]"),
        ] {
            let text = format!(
                "{{\"hosts\": [{{\"name\": \"b\", \"host\": \"b\", \"jump\": \"a\"}},\n                  {{\"name\": \"a\", \"host\": \"a\", \"jump\": {jump}}}]}}"
            );
            let error = Fleet::parse("f".as_ref(), &text, &Overrides::default()).unwrap_err();
            let all = format!("{error:?}");
            assert!(all.contains(why), "{all}");
        }
    }
}
