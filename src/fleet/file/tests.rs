//! Tests of the whole reader.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::support::span::Limit;

const EXAMPLE: &str = include_str!("../../../fleet.example.json");

fn parse(text: &str) -> Result<Fleet, Error> {
    Fleet::parse(Path::new("fleet.json"), text, &Overrides::default())
}

fn problems(text: &str) -> Vec<String> {
    match parse(text) {
        Ok(fleet) => fleet.warnings.iter().map(Problem::to_string).collect(),
        Err(Error::Invalid { problems, .. }) => problems.iter().map(Problem::to_string).collect(),
        Err(other) => panic!("{other}"),
    }
}

/// One host with one more field.
fn with_field(field: &str) -> String {
    format!(r#"{{"hosts": [{{"name": "a", "host": "b", {field}}}]}}"#)
}

#[test]
fn the_template_is_the_known_file_and_loads() {
    let fleet = parse(TEMPLATE).unwrap();
    assert_eq!(fleet.warnings, []);
    let [host] = fleet.hosts.as_slice() else {
        panic!("one host")
    };
    assert_eq!(host.name.as_str(), "darth");
    assert_eq!(host.host.as_str(), "192.168.50.57");
    assert_eq!(host.user.as_deref(), Some("eric"));
    assert_eq!(host.arch, Some(Arch::Arm64));
    assert_eq!(host.ssh_keys, [paths::expand_home("~/.ssh/id_rsa")]);
    assert!(!host.ssh_keys[0].starts_with("~"));
    assert_eq!(host.provider, "anthropic");
    assert_eq!(host.key, KeySource::Env("ANTHROPIC_API_KEY".to_owned()));
    assert_eq!(
        (host.port, host.slots, host.weight, host.disabled),
        (None, 1, 1, false)
    );
}

#[test]
fn the_example_loads_without_a_warning() {
    let fleet = parse(EXAMPLE).unwrap();
    assert_eq!(fleet.warnings, []);
    let web = fleet.host("web1").unwrap();
    assert_eq!(web.port, Some(2222));
    assert_eq!(web.user.as_deref(), Some("www"), "from the group");
    assert_eq!(web.labels["tier"], "front", "the host outranks the group");
    assert_eq!(web.env["TZ"], "Europe/Berlin");
    assert_eq!(web.timeout, Some(Limit(Some(Duration::from_secs(300)))));
    let lab = fleet.host("lab").unwrap();
    assert_eq!(lab.host.as_str(), "2001:db8::7");
    assert_eq!(lab.ssh_keys.len(), 2);
    assert!(lab.tunnel_submit && !web.tunnel_submit);
    assert!(matches!(&lab.key, KeySource::File(path) if path.is_absolute()));
    assert_eq!(lab.timeout, Some(Limit::secs(120)), "from the defaults");
    let old = fleet.host("old").unwrap();
    assert_eq!(old.host.as_str(), "old-alias-in-ssh-config");
    assert_eq!(old.key, KeySource::Cmd("pass show llm/old".to_owned()));
    assert!(old.disabled);
}

#[test]
fn the_example_shows_every_field() {
    for key in fields::KEYS {
        assert!(EXAMPLE.contains(&format!("\"{key}\":")), "{key}");
    }
}

#[test]
fn every_problem_is_reported_with_its_place() {
    let text = r#"{
  "hosts": [
    {"name": "a", "host": ""},
    {"name": "a", "host": "b", "port": 70000, "usr": "x"},
    {"name": "c d", "host": "-oProxyCommand=x", "arch": "aarch64"},
    {"host": 7, "slots": 0, "ssh_key": [1]},
    {"name": "e"},
    "f"
  ],
  "defaults": {"user": "é", "port": "22", "name": "x"},
  "grops": {}
}"#;
    let expected = [
        "line 3, column 27: /hosts/0/host: `host`: must not be empty",
        "line 4, column 14: /hosts/1/name: the name `a` is already taken by /hosts/0",
        "line 4, column 40: /hosts/1/port: 70000 is not a whole number from 1 to 65535",
        "line 4, column 54: /hosts/1/usr: unknown key `usr` (did you mean `user`?)",
        "line 5, column 14: /hosts/2/name: `name`: must be letters, digits, `.`, `_` and `-` only",
        "line 5, column 29: /hosts/2/host: `host`: must not begin with `-`",
        "line 5, column 57: /hosts/2/arch: unknown architecture `aarch64`: use amd64, arm64, riscv64 (did you mean `arm64`?)",
        "line 6, column 5: /hosts/3: `name` is missing",
        "line 6, column 14: /hosts/3/host: expected a string, found a number",
        "line 6, column 26: /hosts/3/slots: 0 is not a whole number from 1 to 4096",
        "line 6, column 41: /hosts/3/ssh_key/0: expected a string, found a number",
        "line 7, column 5: /hosts/4: `host` is missing: an address, or an alias of your SSH configuration",
        "line 8, column 5: /hosts/5: expected an object, found a string",
        "line 10, column 37: /defaults/port: expected a number, found a string",
        "line 10, column 51: /defaults/name: only a host has a name",
        "line 11, column 12: /grops: unknown key `grops` (did you mean `groups`?)",
    ];
    assert_eq!(problems(text), expected);
}

#[test]
fn only_strict_json_is_read() {
    let cases = [
        ("", "line 1, column 1: expected an object"),
        ("{\"hosts\": [],}", "not JSON"),
        ("{\"hosts\": [] // x\n}", "not JSON"),
        ("{'hosts': []}", "not JSON"),
        ("{hosts: []}", "not JSON"),
        ("{\"hosts\": [1 2]}", "not JSON"),
        ("{\"hosts\": [\"a\tb\"]}", "not JSON"),
        ("{\"hosts\": []} x", "not JSON"),
        ("{\n\n  \"hosts\": [}", "line 3"),
        ("[]", "expected an object, found a list"),
        ("{}", "`hosts` is missing"),
    ];
    for (text, part) in cases {
        let found = problems(text);
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        assert!(
            found[0].contains(part) || text.is_empty(),
            "{text}: {found:?}"
        );
        assert!(parse(text).is_err());
    }
}

#[test]
fn wrong_values_are_errors() {
    let cases = [
        (r#""port": 0"#, "from 1 to 65535"),
        (r#""port": 22.5"#, "from 1 to 65535"),
        (r#""user": "a b""#, "white space"),
        (r#""user": null"#, "expected a string, found null"),
        (r#""labels": {"a b": "c"}"#, "label `a b`"),
        (r#""labels": {"a": "c,d"}"#, "value of label `a`"),
        (r#""labels": {"a": true}"#, "expected a string"),
        (r#""groups": "web""#, "expected a list of strings"),
        (r#""groups": ["@web"]"#, "must be letters"),
        (r#""env": {"A-B": "x"}"#, "no name of a variable"),
        (r#""timeout": "soon""#, "not a span of time"),
        (r#""host_key": "MD5:aa""#, "fingerprint"),
        (r#""api_base": "ftp://x""#, "https://"),
        (r#""weight": -1"#, "-1 is not"),
        (r#""disabled": "no""#, "expected true or false"),
        (r#""tunnel_submit": 1"#, "expected true or false"),
        (r#""jump": "-x""#, "must not begin with `-`"),
        (r#""host": "c""#, "this key is here twice"),
        (
            r#""api_key_env": "K", "api_key_cmd": "x""#,
            "only one of api_key_env",
        ),
    ];
    for (field, part) in cases {
        let text = with_field(field);
        assert!(parse(&text).is_err(), "{field}");
        let found = problems(&text);
        assert!(found[0].contains(part), "{field}: {found:?}");
    }
}

#[test]
fn literal_keys_are_refused_anywhere_and_never_repeated() {
    let cases = [
        with_field(r#""api_key": "sk-secret""#),
        with_field(r#""apiKey": "sk-secret""#),
        with_field(r#""labels": {"api_key": "sk-secret"}"#),
        with_field(r#""deep": [{"API-KEY": "sk-secret"}]"#),
        r#"{"hosts": [], "api_key": "sk-secret"}"#.to_owned(),
        r#"{"hosts": [], "defaults": {"api_keys": ["sk-secret"]}}"#.to_owned(),
        r#"{"hosts": [], "groups": {"api_key": "sk-secret"}}"#.to_owned(),
    ];
    for text in cases {
        assert!(parse(&text).is_err(), "{text}");
        let found = problems(&text).join("\n");
        assert!(
            found.contains("api_key_env (a variable), api_key_file (a file) or api_key_cmd"),
            "{found}"
        );
        assert!(!found.contains("sk-secret"), "{found}");
    }
    let found = problems(&with_field(r#""api_key_env": "sk-secret""#)).join("\n");
    assert!(found.contains("must be the name of a variable"), "{found}");
    assert!(!found.contains("sk-secret"), "{found}");
}

#[test]
fn odd_but_usable_files_only_warn() {
    let cases = [
        (r#""colour": "red""#, "unknown key `colour`"),
        (r#""sshkey": "x""#, "did you mean `ssh_key`?"),
        (
            r#""env": {"MY_TOKEN": "x"}"#,
            "MY_TOKEN looks like a secret",
        ),
    ];
    for (field, part) in cases {
        let text = with_field(field);
        assert!(parse(&text).is_ok(), "{field}");
        assert!(problems(&text)[0].contains(part), "{field}");
    }
    let text = r#"{"groups": {"web": {}}, "hosts": [{"name": "a", "host": "b", "groups": ["wbe", "gpu"]}]}"#;
    assert_eq!(
        problems(text),
        [
            "line 1, column 73: /hosts/0/groups/0: the group `wbe` is not defined (did you mean `web`?)"
        ]
    );
}

#[test]
fn stronger_layers_win() {
    let text = r#"{
        "hosts": [
            {"name": "own", "host": "h", "user": "own", "provider": "own", "groups": ["g1", "g2", "g1"]},
            {"name": "group", "host": "h", "groups": ["g1", "g2"]},
            {"name": "plain", "host": "h"}
        ],
        "groups": {
            "g1": {"user": "g1", "labels": {"a": "g1"}, "api_key_file": "/k"},
            "g2": {"user": "g2", "labels": {"a": "g2", "b": "g2"}, "weight": 3}
        },
        "defaults": {"user": "d", "provider": "d", "labels": {"b": "d", "c": "d"}, "api_key_env": "D"}
    }"#;
    let fleet = parse(text).unwrap();
    let users: Vec<_> = fleet
        .hosts
        .iter()
        .map(|host| host.user.clone().unwrap())
        .collect();
    assert_eq!(users, ["own", "g1", "d"]);
    let group = fleet.host("group").unwrap();
    let labels: Vec<_> = group
        .labels
        .iter()
        .map(|(k, v)| format!("{k}={v}"))
        .collect();
    assert_eq!(labels, ["a=g1", "b=g2", "c=d"]);
    assert_eq!(group.weight, 3);
    assert_eq!(group.key, KeySource::File("/k".into()));
    assert_eq!(fleet.host("own").unwrap().groups, ["g1", "g2"]);

    let environment = Fields::from_environment(|name| match name {
        "PROVIDER" => Some("env".to_owned()),
        "API_KEY_ENV" => Some("FROM_ENV".to_owned()),
        _ => None,
    })
    .unwrap();
    let mut overrides = Overrides {
        flags: Fields::default(),
        environment,
    };
    let load = |overrides: &Overrides| Fleet::parse(Path::new("f"), text, overrides).unwrap();
    let own = load(&overrides).hosts.remove(0);
    assert_eq!(own.provider, "env");
    assert_eq!(own.key, KeySource::Env("FROM_ENV".to_owned()));
    overrides.flags.provider = Some("flag".to_owned());
    assert_eq!(load(&overrides).hosts.remove(0).provider, "flag");
}

#[test]
fn the_environment_is_checked_without_repeating_it() {
    let error = Fields::from_environment(|_| Some("sk-very-secret".to_owned())).unwrap_err();
    assert!(matches!(error, Error::Environment { .. }));
    assert!(!error.to_string().contains("secret"));
    let empty = Fields::from_environment(|_| Some(String::new())).unwrap();
    assert_eq!(empty, Fields::default(), "empty is as good as unset");
}

#[test]
fn submitting_through_the_tunnel_is_granted_by_any_layer_and_taken_back_by_a_stronger_one() {
    let text = r#"{
        "hosts": [
            {"name": "no", "host": "h", "tunnel_submit": false, "groups": ["g"]},
            {"name": "group", "host": "h", "groups": ["g"]},
            {"name": "own", "host": "h", "tunnel_submit": true},
            {"name": "plain", "host": "h"}
        ],
        "groups": {"g": {"tunnel_submit": true}}, "defaults": {"tunnel_submit": false}
    }"#;
    let fleet = parse(text).unwrap();
    let may = |name: &str| fleet.host(name).unwrap().tunnel_submit;
    assert_eq!(
        ["no", "group", "own", "plain"].map(may),
        [false, true, true, false]
    );
    let all = parse(&text.replace(
        "\"defaults\": {\"tunnel_submit\": false}",
        "\"defaults\": {\"tunnel_submit\": true}",
    ));
    assert!(all.unwrap().host("plain").unwrap().tunnel_submit);
}

#[test]
fn groups_may_come_from_the_defaults_and_give_the_address() {
    let text = r#"{"hosts": [{"name": "a", "port": 1}, {"name": "b", "port": 2}],
        "groups": {"local": {"host": "127.0.0.1"}}, "defaults": {"groups": ["local"]}}"#;
    let fleet = parse(text).unwrap();
    assert!(
        fleet
            .hosts
            .iter()
            .all(|host| host.host.as_str() == "127.0.0.1" && host.groups == ["local"])
    );
}

#[test]
fn the_template_is_private_and_never_overwrites() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a/b/fleet.json");
    assert!(matches!(
        Fleet::load(&path, &Overrides::default()),
        Err(Error::Missing { .. })
    ));
    assert!(write_template(&path).unwrap());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), TEMPLATE);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    std::fs::write(&path, "mine").unwrap();
    assert!(!write_template(&path).unwrap());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
}

proptest! {
    #[test]
    fn any_text_is_read_without_a_panic(text in "[\\[\\]{}:,\" a-z0-9é\n-]{0,60}") {
        let _ = parse(&text);
        let _ = parse(&with_field(&text));
    }

    #[test]
    fn a_valid_name_round_trips(name in "[A-Za-z0-9._][A-Za-z0-9._-]{0,20}") {
        let text = format!(r#"{{"hosts": [{{"name": "{name}", "host": "{name}"}}]}}"#);
        let fleet = parse(&text).unwrap();
        prop_assert_eq!(fleet.hosts[0].name.as_str(), &name);
    }
}
