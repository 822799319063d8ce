//! The fleet file and host selection as a user meets them: the real binary, its own home.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

const PLACE: &str = ".openclaw/workspace/config/picoclaw-fleet.json";

/// A home directory and nothing else of the user's.
struct Home {
    dir: tempfile::TempDir,
}

struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Home {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn with_fleet(text: &str) -> Self {
        let home = Self::new();
        let path = home.fleet();
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        home
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn fleet(&self) -> PathBuf {
        self.path().join(PLACE)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_skyclaw"));
        command
            .args(args)
            .env_clear()
            .env("HOME", self.path())
            .current_dir(self.path())
            .stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Ran {
        self.finish(self.command(args).output().unwrap())
    }

    /// Makes the output the same on every machine.
    fn finish(&self, output: Output) -> Ran {
        let tidy = |bytes: Vec<u8>| {
            String::from_utf8(bytes)
                .unwrap()
                .replace(self.path().to_str().unwrap(), "$HOME")
        };
        Ran {
            code: output.status.code().expect("not killed"),
            out: tidy(output.stdout),
            err: tidy(output.stderr),
        }
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "exit {}\n--- stdout\n{}--- stderr\n{}",
            self.code, self.out, self.err
        )
    }
}

const FLEET: &str = r#"{
  "hosts": [
    {"name": "web1", "host": "10.0.0.1", "user": "www", "port": 2222, "arch": "amd64", "groups": ["web", "eu"],
     "labels": {"zone": "eu-1", "tier": "front"}},
    {"name": "web2", "host": "10.0.0.2", "groups": ["web"]},
    {"name": "db1", "host": "2001:db8::1", "arch": "arm64"},
    {"name": "off", "host": "10.0.0.9", "disabled": true}
  ]
}
"#;

const BROKEN: &str = r#"{
  "hosts": [
    {"name": "a", "host": ""},
    {"name": "a", "host": "b", "port": 0, "usr": "x"},
    {"name": "c", "host": "d", "arch": "x86_64", "api_key": "sk-very-secret"}
  ]
}
"#;

#[test]
fn a_missing_file_becomes_the_template() {
    let home = Home::new();
    let ran = home.run(&["fleet", "hosts"]);
    insta::assert_snapshot!("missing_file", ran);
    let written = fs::read_to_string(home.fleet()).unwrap();
    assert_eq!(written, include_str!("../templates/fleet.json"));
    let mode = fs::metadata(home.fleet()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    fs::write(home.fleet(), FLEET).unwrap();
    assert_eq!(home.run(&["fleet", "hosts"]).code, 0);
    assert_eq!(fs::read_to_string(home.fleet()).unwrap(), FLEET);
}

#[test]
fn what_is_in_the_way_is_never_overwritten() {
    let home = Home::new();
    let link = home.path().join("link.json");
    std::os::unix::fs::symlink("nowhere", &link).unwrap();
    fs::create_dir(home.path().join("dir.json")).unwrap();
    for config in ["link.json", "dir.json"] {
        let ran = home.run(&["fleet", "hosts", "--config", config]);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{ran}");
        assert!(!ran.err.contains("template was written"), "{ran}");
    }
    assert!(!home.path().join("nowhere").exists());
}

#[test]
fn every_verb_that_needs_the_file_writes_the_template_in_json_too() {
    let home = Home::new();
    let ran = home.run(&["fleet", "validate", "--json"]);
    assert_eq!(ran.code, 2, "{ran}");
    let document: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(document["error"]["exit"], 2);
    assert!(home.fleet().exists());
}

#[test]
fn the_flag_outranks_the_variable_and_the_variable_the_usual_place() {
    let home = Home::with_fleet(FLEET);
    let one = |name: &str| format!(r#"{{"hosts": [{{"name": "{name}", "host": "h"}}]}}"#);
    fs::write(home.path().join("flag.json"), one("by-flag")).unwrap();
    fs::write(home.path().join("variable.json"), one("by-variable")).unwrap();
    let names = |args: &[&str], variable: Option<&str>| {
        let mut command = home.command(args);
        command.envs(variable.map(|path| ("SKYCLAW_FLEET_CONFIG", path)));
        home.finish(command.output().unwrap()).out
    };
    assert!(names(&["fleet", "hosts"], None).contains("web1"));
    assert!(names(&["fleet", "hosts"], Some("~/variable.json")).contains("by-variable"));
    let flag = ["fleet", "hosts", "--config", "flag.json"];
    assert!(names(&flag, Some("variable.json")).contains("by-flag"));
}

#[test]
fn init_writes_once_and_leaves_what_is_there() {
    let home = Home::new();
    insta::assert_snapshot!("init_first", home.run(&["fleet", "init"]));
    fs::write(home.fleet(), "mine").unwrap();
    insta::assert_snapshot!("init_again", home.run(&["fleet", "init"]));
    assert_eq!(fs::read_to_string(home.fleet()).unwrap(), "mine");
    let ran = home.run(&["fleet", "init", "--config", "/dev/null/x.json"]);
    assert_eq!(ran.code, 2, "{ran}");
    assert!(!ran.err.contains("panicked"));
}

#[test]
fn validate_names_every_problem_with_its_place() {
    let home = Home::with_fleet(BROKEN);
    let ran = home.run(&["fleet", "validate"]);
    assert!(!format!("{ran}").contains("sk-very-secret"));
    insta::assert_snapshot!("validate_broken", ran);
    insta::assert_snapshot!(
        "validate_broken_json",
        home.run(&["fleet", "validate", "--json"])
    );
    insta::assert_snapshot!("hosts_of_broken", home.run(&["fleet", "hosts"]));

    let home = Home::with_fleet(FLEET);
    insta::assert_snapshot!("validate_good", home.run(&["fleet", "validate"]));
    insta::assert_snapshot!(
        "validate_good_json",
        home.run(&["fleet", "validate", "--json"])
    );
}

#[test]
fn hosts_shows_the_selection_in_three_formats() {
    let home = Home::with_fleet(FLEET);
    insta::assert_snapshot!("hosts_table", home.run(&["fleet", "hosts"]));
    insta::assert_snapshot!(
        "hosts_json",
        home.run(&["fleet", "hosts", "--json", "web*", "!web2"])
    );
    insta::assert_snapshot!(
        "hosts_ndjson",
        home.run(&["fleet", "hosts", "--ndjson", "--limit", "2"])
    );
}

#[test]
fn hosts_takes_every_way_to_select() {
    let home = Home::with_fleet(FLEET);
    fs::write(home.path().join("list"), "# mine\nweb2\n\ndb1 # last\n").unwrap();
    let names = |args: &[&str]| {
        let mut all = vec!["fleet", "hosts"];
        all.extend(args);
        let ran = home.run(&all);
        assert_eq!(ran.code, 0, "{args:?}\n{ran}");
        let lines = ran.out.lines().skip(1);
        let names: Vec<_> = lines.filter_map(|line| line.split('\t').next()).collect();
        names.join(" ")
    };
    let cases: &[(&[&str], &str)] = &[
        (&["--on", "web[1-2]"], "web1 web2"),
        (&["zone=eu-1,tier=front"], "web1"),
        (&["@web", "--on", "db1"], "web1 web2 db1"),
        (&["!@web"], "db1"),
        (&["--hosts-from", "list"], "web2 db1"),
        (&["--limit", "1"], "web1"),
        (&["off", "web1"], "web1"),
    ];
    for (args, expected) in cases {
        assert_eq!(names(args), *expected, "{args:?}");
    }

    let mut child = home
        .command(&["fleet", "hosts", "--hosts-from", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"db1\n").unwrap();
    let ran = home.finish(child.wait_with_output().unwrap());
    assert!(
        ran.out.contains("db1") && !ran.out.contains("web1"),
        "{ran}"
    );
}

#[test]
fn no_match_and_empty_lists_never_mean_every_host() {
    let home = Home::with_fleet(FLEET);
    insta::assert_snapshot!("no_match", home.run(&["fleet", "hosts", "wep1"]));
    insta::assert_snapshot!("only_disabled", home.run(&["fleet", "hosts", "off"]));
    fs::write(home.path().join("empty"), "# nobody\n").unwrap();
    for args in [
        ["fleet", "hosts", "--hosts-from", "empty"],
        ["fleet", "hosts", "--hosts-from", "absent"],
        ["fleet", "hosts", "--limit", "0"],
        ["fleet", "hosts", "--on", "web["],
    ] {
        let ran = home.run(&args);
        assert_eq!(ran.code, 2, "{args:?}\n{ran}");
        // Nothing but the error, and that only for those who asked for JSON.
        let asked = args.contains(&"--json");
        assert_eq!(ran.out.is_empty(), !asked, "{args:?}\n{ran}");
    }
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let hosts: Vec<String> = (0..20_000)
        .map(|number| format!(r#"{{"name": "host{number}", "host": "h"}}"#))
        .collect();
    let home = Home::with_fleet(&format!(r#"{{"hosts": [{}]}}"#, hosts.join(",")));
    for args in [
        &["fleet", "hosts"][..],
        &["fleet", "hosts", "--json"],
        &["fleet", "hosts", "--ndjson"],
    ] {
        let mut child = home
            .command(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = child.stdout.take().unwrap();
        stdout.read_exact(&mut [0; 10]).unwrap();
        drop(stdout);
        let ran = home.finish(child.wait_with_output().unwrap());
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{args:?}");
    }
}

#[test]
fn a_full_disk_is_an_error() {
    if !Path::new("/dev/full").exists() {
        return;
    }
    let home = Home::with_fleet(FLEET);
    let full = fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let output = home
        .command(&["fleet", "hosts"])
        .stdout(full)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    let ran = home.finish(output);
    assert_eq!(ran.code, 1, "{ran}");
    assert!(ran.err.contains("write the result to stdout"), "{ran}");
}

#[test]
fn usage_errors_exit_2_and_help_and_version_exit_0() {
    let home = Home::new();
    insta::assert_snapshot!("unknown_command", home.run(&["flet"]));
    insta::assert_snapshot!("unknown_verb", home.run(&["fleet", "host"]));
    for args in [
        &[][..],
        &["fleet"],
        &["fleet", "hosts", "--json", "--ndjson"],
        &["fleet", "hosts", "--color", "red"],
        &["fleet", "hosts", "-v", "-q"],
        &["fleet", "init", "--json"],
    ] {
        let ran = home.run(args);
        assert_eq!(ran.code, 2, "{args:?}\n{ran}");
        // Nothing but the error, and that only for those who asked for JSON.
        let asked = args.contains(&"--json");
        assert_eq!(ran.out.is_empty(), !asked, "{args:?}\n{ran}");
    }
    let version = home.run(&["--version"]);
    assert_eq!(version.code, 0);
    assert_eq!(
        version.out,
        format!("skyclaw {}\n", env!("CARGO_PKG_VERSION"))
    );
    assert!(!home.fleet().exists(), "nothing of this touches the file");
}

#[test]
fn help_has_an_example_and_the_exit_codes() {
    let home = Home::new();
    for (name, args) in [
        ("help", &[][..]),
        ("help_fleet", &["fleet"]),
        ("help_fleet_init", &["fleet", "init"]),
        ("help_fleet_validate", &["fleet", "validate"]),
        ("help_fleet_hosts", &["fleet", "hosts"]),
        ("help_fleet_deploy", &["fleet", "deploy"]),
        ("help_fleet_rollback", &["fleet", "rollback"]),
        ("help_fleet_sandbox", &["fleet", "sandbox"]),
        ("help_demo", &["demo"]),
    ] {
        let mut args = args.to_vec();
        args.push("--help");
        let ran = home.run(&args);
        assert!(
            ran.out.contains("Example: skyclaw") && ran.out.contains("Exit codes: 0 "),
            "{ran}"
        );
        insta::assert_snapshot!(name, ran);
    }
}

#[test]
fn colour_is_for_those_who_want_it() {
    let home = Home::with_fleet(FLEET);
    let escapes = |args: &[&str], variables: &[(&str, &str)]| {
        let mut command = home.command(args);
        command.envs(variables.iter().copied());
        let ran = home.finish(command.output().unwrap());
        (ran.out + &ran.err).contains('\u{1b}')
    };
    let bad = ["fleet", "hosts", "nobody"];
    let always = ["fleet", "hosts", "nobody", "--color", "always"];
    assert!(!escapes(&bad, &[]));
    assert!(escapes(&bad, &[("CLICOLOR_FORCE", "1")]));
    assert!(!escapes(
        &bad,
        &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]
    ));
    assert!(escapes(&always, &[("NO_COLOR", "1")]));
    assert!(!escapes(
        &["fleet", "hosts", "--json", "--color", "always"],
        &[]
    ));
}

#[test]
fn warnings_go_to_stderr_and_can_be_silenced() {
    let home = Home::with_fleet(r#"{"hosts": [{"name": "a", "host": "h", "colour": "red"}]}"#);
    let ran = home.run(&["fleet", "hosts"]);
    insta::assert_snapshot!("warning", ran);
    assert_eq!(home.run(&["-q", "fleet", "hosts"]).err, "");
}
