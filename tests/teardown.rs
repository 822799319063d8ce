//! `fleet teardown` as a user meets it: what goes, what stays, and what is said about it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

mod common;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use common::world::DEADLINE;
use common::{FleetHost, RefusingPort, Shell, Sshd, World, require_program, require_sshd};

const KEY: &str = "sk-teardown-secret";
const RC: &str = "alias a=b\n# >>> skyclaw >>>\nexport PATH=\"$HOME/.local/bin:$PATH\"\n# <<< skyclaw <<<\nalias c=d\n";
const OURS: &str = "model_list:\n  fleet:\n    api_keys:\n      - \"sk-teardown-secret\"\n";

fn put(home: &Path, path: &str, text: &str) {
    let path = home.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn read(home: &Path, path: &str) -> String {
    fs::read_to_string(home.join(path)).unwrap()
}

/// What deploy and a few tasks leave on a host.
fn deployed(server: &Sshd, security: &str) {
    let home = server.home();
    for program in ["picoclaw", "picoclaw.prev", "skyclaw", "other"] {
        put(home, &format!(".local/bin/{program}"), "#!/bin/sh\n");
    }
    put(home, ".local/bin/.skyclaw-upload.123", "half");
    put(
        home,
        ".picoclaw/.env",
        &format!("ANTHROPIC_API_KEY={KEY}\n"),
    );
    put(home, ".picoclaw/.security.yml", security);
    put(home, ".picoclaw/config.json", "{}");
    put(home, ".picoclaw/workspace/notes", "mine");
    put(home, ".local/state/skyclaw/lock/owner", "somebody");
    put(home, ".local/state/skyclaw/queue.db", "a controller's");
    put(home, ".bashrc", RC);
    fs::set_permissions(home.join(".bashrc"), PermissionsExt::from_mode(0o640)).unwrap();
}

struct Bed {
    world: World,
    server: Sshd,
}

impl Bed {
    fn new() -> Option<Self> {
        require_sshd().then(|| {
            let world = World::new();
            let server = world.sshd().start();
            world.trust(&server);
            world.fleet(&[server.fleet_host("one")]);
            Self { world, server }
        })
    }
}

#[test]
fn removes_exactly_what_deploy_put_there_and_names_it() {
    let Some(Bed { world, server }) = Bed::new() else {
        return;
    };
    deployed(&server, OURS);
    let home = server.home();
    let ran = world
        .skyclaw(&["fleet", "teardown", "one", "-y"])
        .expect_code(0);
    let out = ran.out();
    assert!(
        out.starts_with("NAME\tHOST\tRESULT\tDETAILS\none\t127.0.0.1\tclean\tremoved "),
        "{ran}"
    );
    let gone = [
        ".local/bin/picoclaw",
        ".local/bin/picoclaw.prev",
        ".local/bin/.skyclaw-upload.123",
        ".picoclaw/.env",
        ".picoclaw/.security.yml",
        ".local/state/skyclaw/lock",
    ];
    for path in gone {
        assert!(!home.join(path).exists(), "{path}");
        assert!(out.contains(&format!("~/{path}")), "{path}: {ran}");
    }
    assert!(out.contains("took our part out of ~/.bashrc"), "{ran}");
    assert_eq!(read(home, ".bashrc"), "alias a=b\nalias c=d\n");
    let mode = fs::metadata(home.join(".bashrc"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o640);
    for path in [
        ".local/bin/other",
        ".local/bin/skyclaw",
        ".picoclaw/config.json",
        ".picoclaw/workspace/notes",
        ".local/state/skyclaw/queue.db",
    ] {
        assert!(home.join(path).exists(), "{path}");
    }
    assert!(common::scan_files(home, KEY).is_empty());
    assert!(!out.contains(KEY) && !ran.err().contains(KEY));
    // Twice is once.
    let again = world
        .skyclaw(&["fleet", "teardown", "one", "-y"])
        .expect_code(0);
    assert!(again.out().contains("clean\tnothing to remove"), "{again}");
}

#[test]
fn keys_of_others_stay_in_the_file() {
    let Some(Bed { world, server }) = Bed::new() else {
        return;
    };
    deployed(
        &server,
        &format!("{OURS}  mine:\n    api_keys:\n      - \"sk-mine\"\n"),
    );
    let ran = world
        .skyclaw(&["fleet", "teardown", "one", "-y", "--json"])
        .expect_code(0);
    let host = &ran.json()["hosts"][0];
    assert_eq!(host["outcome"], "clean");
    assert!(
        host["edited"]
            .as_array()
            .unwrap()
            .contains(&"~/.picoclaw/.security.yml".into())
    );
    let left = read(server.home(), ".picoclaw/.security.yml");
    assert!(left.contains("sk-mine") && !left.contains(KEY), "{left}");
    let mode = fs::metadata(server.home().join(".picoclaw/.security.yml"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(!ran.out().contains("sk-"), "{ran}");
}

#[test]
fn a_file_that_cannot_be_edited_is_named_and_makes_the_code_1() {
    let Some(Bed { world, server }) = Bed::new() else {
        return;
    };
    deployed(&server, "model_list: [sk-teardown-secret");
    put(
        server.home(),
        ".bashrc",
        "a\n# >>> skyclaw >>>\nthe rest of the file\n",
    );
    let ran = world
        .skyclaw(&["fleet", "teardown", "one", "-y"])
        .expect_code(1);
    assert!(ran.out().contains("\tremains\t"), "{ran}");
    assert!(
        ran.out()
            .contains("left ~/.picoclaw/.security.yml: it cannot be read"),
        "{ran}"
    );
    assert!(
        ran.out()
            .contains("left ~/.bashrc: its skyclaw block has no end"),
        "{ran}"
    );
    assert!(!ran.out().contains(KEY), "{ran}");
    assert!(read(server.home(), ".bashrc").ends_with("the rest of the file\n"));
    assert!(
        !server.home().join(".local/bin/picoclaw").exists(),
        "the rest went"
    );
}

#[test]
fn symlinks_are_not_followed() {
    let Some(Bed { world, server }) = Bed::new() else {
        return;
    };
    deployed(&server, OURS);
    let home = server.home();
    let elsewhere = tempfile::tempdir().unwrap();
    put(elsewhere.path(), ".env", "mine");
    put(elsewhere.path(), "program", "mine");
    fs::remove_dir_all(home.join(".picoclaw")).unwrap();
    symlink(elsewhere.path(), home.join(".picoclaw")).unwrap();
    fs::remove_file(home.join(".local/bin/picoclaw")).unwrap();
    symlink(
        elsewhere.path().join("program"),
        home.join(".local/bin/picoclaw"),
    )
    .unwrap();
    for args in [&["-y"][..], &["-y", "--purge"]] {
        let ran = world
            .skyclaw(&[&["fleet", "teardown", "one"], args].concat())
            .expect_code(1);
        assert!(
            ran.out().contains("left ~/.picoclaw: it is a symlink"),
            "{ran}"
        );
    }
    assert_eq!(read(elsewhere.path(), ".env"), "mine");
    assert_eq!(read(elsewhere.path(), "program"), "mine");
    assert!(
        fs::symlink_metadata(home.join(".local/bin/picoclaw")).is_err(),
        "the link itself went"
    );
    assert!(home.join(".picoclaw").is_symlink());
}

#[test]
fn purge_ends_tasks_first_and_removes_the_data() {
    let Some(Bed { world, server }) = Bed::new() else {
        return;
    };
    deployed(&server, OURS);
    let home = server.home();
    put(
        home,
        ".config/systemd/user/skyclaw-host.service",
        "[Unit]\n",
    );
    put(home, ".local/state/skyclaw/host/state", "x");
    // One that heeds TERM and one that does not.
    let heeds = world.spawn_ssh(&server, &["echo up; SKYCLAW_TASK=skyclaw-1 exec sleep 300"]);
    let stubborn = world.spawn_ssh(
        &server,
        &["SKYCLAW_TASK=skyclaw-2 exec sh -c 'trap \"\" TERM; echo up; while :; do sleep 1; done'"],
    );
    heeds.wait_for_line("up", DEADLINE);
    stubborn.wait_for_line("up", DEADLINE);
    common::eventually(DEADLINE, || {
        let tasks = server.session_processes();
        tasks
            .iter()
            .filter(|task| task.environ.contains("SKYCLAW_TASK="))
            .count()
            >= 2
    });
    let dry = world
        .skyclaw(&["fleet", "teardown", "one", "--purge", "--dry-run"])
        .expect_code(0);
    assert!(
        dry.out().contains("would end ") && dry.out().contains("~/.picoclaw"),
        "{dry}"
    );
    assert!(home.join(".picoclaw/workspace/notes").exists());
    let ran = world
        .skyclaw(&["fleet", "teardown", "one", "-y", "--purge"])
        .expect_code(0);
    assert!(ran.out().contains("\tclean\tended "), "{ran}");
    for path in [
        ".picoclaw",
        ".local/bin/picoclaw",
        ".local/bin/skyclaw",
        ".config/systemd/user/skyclaw-host.service",
        ".local/state/skyclaw/host",
    ] {
        assert!(!home.join(path).exists(), "{path}");
    }
    assert!(
        home.join(".local/state/skyclaw/queue.db").exists(),
        "a controller's own"
    );
    let left = server.session_processes();
    assert!(
        left.iter()
            .all(|task| !task.environ.contains("SKYCLAW_TASK=")),
        "{left:#?}"
    );
}

#[test]
fn components_and_dry_run_touch_what_they_say() {
    let Some(Bed { world, server }) = Bed::new() else {
        return;
    };
    deployed(&server, OURS);
    let home = server.home();
    let dry = world
        .skyclaw(&["fleet", "teardown", "--all", "--dry-run"])
        .expect_code(0);
    assert!(
        dry.out()
            .contains("dry run\twould remove ~/.local/bin/picoclaw,"),
        "{dry}"
    );
    assert!(dry.out().contains("~/.picoclaw/.security.yml"), "{dry}");
    assert_eq!(read(home, ".picoclaw/.security.yml"), OURS);
    assert_eq!(read(home, ".bashrc"), RC);
    world
        .skyclaw(&["fleet", "teardown", "one", "-y", "--component", "host"])
        .expect_code(0);
    assert!(!home.join(".local/bin/skyclaw").exists());
    assert!(home.join(".local/bin/picoclaw").exists());
    put(home, ".local/bin/skyclaw", "x");
    world
        .skyclaw(&["fleet", "teardown", "one", "-y", "--component", "all"])
        .expect_code(0);
    assert!(!home.join(".local/bin/skyclaw").exists());
    assert!(!home.join(".local/bin/picoclaw").exists());
}

#[test]
fn consent_and_hosts_must_be_given() {
    let Some(Bed { world, server }) = Bed::new() else {
        return;
    };
    deployed(&server, OURS);
    let ran = world.skyclaw(&["fleet", "teardown", "-y"]).expect_code(2);
    assert!(
        ran.err().contains("HOSTS") && ran.err().contains("--all"),
        "{ran}"
    );
    let ran = world.skyclaw(&["fleet", "teardown", "one"]).expect_code(2);
    assert!(ran.err().contains("-y"), "{ran}");
    world
        .skyclaw(&["fleet", "teardown", "nobody", "-y"])
        .expect_code(2);
    assert!(server.home().join(".local/bin/picoclaw").exists());
    assert!(!server.log().contains("Accepted"), "nothing was contacted");
}

#[test]
fn a_host_that_fails_does_not_stop_the_others() {
    let Some(Bed { world, server }) = Bed::new() else {
        return;
    };
    deployed(&server, OURS);
    let down = RefusingPort::start();
    world.fleet(&[
        FleetHost::new("down", "127.0.0.1", down.port()),
        server.fleet_host("one"),
    ]);
    let ran = world
        .skyclaw(&["fleet", "teardown", "--all", "-y"])
        .expect_code(4);
    let out = ran.out();
    assert!(
        out.contains("down\t127.0.0.1\tunreachable\tssh failed: "),
        "{ran}"
    );
    assert!(out.contains("one\t127.0.0.1\tclean\t"), "{ran}");
    let ran = world
        .skyclaw(&["fleet", "teardown", "--all", "-y", "--ndjson"])
        .expect_code(4);
    let events: Vec<serde_json::Value> = ran
        .out()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(events.len(), 3, "{ran}");
    assert_eq!(events[2]["event"], "summary");
    assert_eq!(events[2]["clean"], 1);
}

#[test]
fn other_login_shells_and_noise_change_nothing() {
    if !require_sshd() {
        return;
    }
    let world = World::new();
    let mut servers = vec![(
        "noisy",
        world.sshd().rc_noise("gone ~/x\nno newline").start(),
    )];
    for (name, shell) in [
        ("busybox", Shell::Busybox),
        ("fish", Shell::Fish),
        ("tcsh", Shell::Tcsh),
    ] {
        if require_program(shell.program()) {
            servers.push((name, world.sshd().shell(shell).start()));
        }
    }
    servers
        .iter()
        .for_each(|(_, server)| deployed(server, OURS));
    let hosts: Vec<FleetHost> = servers
        .iter()
        .map(|(name, server)| server.fleet_host(name))
        .collect();
    world.fleet(&hosts);
    let out = world
        .skyclaw(&["fleet", "teardown", "--all", "-y"])
        .expect_code(0)
        .out();
    for (name, server) in &servers {
        assert!(
            out.contains(&format!("{name}\t127.0.0.1\tclean\t")),
            "{out}"
        );
        assert!(common::scan_files(server.home(), KEY).is_empty(), "{name}");
    }
}

#[test]
fn help_is_as_shown() {
    let world = World::new();
    let ran = world
        .skyclaw(&["fleet", "teardown", "--help"])
        .expect_code(0);
    insta::assert_snapshot!("help_fleet_teardown", ran.out());
}
