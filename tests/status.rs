//! `fleet status` as a user meets it: the real binary against real and broken SSH servers.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::world::DEADLINE;
use common::{
    BlackholeHost, CloseAfterBanner, FleetHost, MuteHost, RefusingPort, Shell, Sshd, World,
    WrongBanner, require_program, require_sshd,
};
use serde_json::Value;

const HEADER: &str = "NAME\tHOST\tSSH\tPICOCLAW\tDETAILS";

/// Puts one of the stand-ins where deploy puts the agent.
fn install(server: &Sshd, agent: &str) {
    let from = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/agents");
    program(
        server,
        "picoclaw",
        &fs::read_to_string(from.join(agent)).unwrap(),
    );
}

fn program(server: &Sshd, name: &str, script: &str) {
    let bin = server.home().join(".local/bin");
    fs::create_dir_all(&bin).unwrap();
    fs::write(bin.join(name), script).unwrap();
    fs::set_permissions(bin.join(name), PermissionsExt::from_mode(0o755)).unwrap();
}

fn row<'t>(table: &'t str, name: &str) -> Vec<&'t str> {
    let line = table
        .lines()
        .find(|line| line.starts_with(&format!("{name}\t")));
    line.unwrap_or_else(|| panic!("no row {name} in:\n{table}"))
        .split('\t')
        .collect()
}

#[test]
fn healthy_hosts_have_the_words_of_the_table() {
    if !require_sshd() {
        return;
    }
    let world = World::new();
    let (ready, bare, impostor) = (
        world.sshd().start(),
        world.sshd().start(),
        world.sshd().start(),
    );
    install(&ready, "picoclaw");
    install(&impostor, "picoclaw-impostor");
    for server in [&ready, &bare, &impostor] {
        world.trust(server);
    }
    world.fleet(&[
        ready.fleet_host("ready"),
        bare.fleet_host("bare"),
        impostor.fleet_host("other"),
    ]);
    let ran = world.skyclaw(&["fleet", "status"]).expect_code(0);
    let out = ran.out();
    assert_eq!(out.lines().next(), Some(HEADER));
    assert_eq!(
        out.lines().nth(1),
        Some("ready\t127.0.0.1\treachable\tinstalled\tready"),
        "file order"
    );
    assert_eq!(
        row(&out, "bare"),
        [
            "bare",
            "127.0.0.1",
            "reachable",
            "missing",
            "run fleet deploy"
        ]
    );
    let other = row(&out, "other");
    assert_eq!(other[2..4], ["reachable", "unknown"]);
    assert!(
        other[4].contains("another program") && other[4].contains("fleet deploy"),
        "{ran}"
    );
    assert_eq!(ran.err(), "", "nothing but the table off a terminal");

    world
        .skyclaw(&["fleet", "status", "--require-installed"])
        .expect_code(10);
    world
        .skyclaw(&["fleet", "status", "--require-installed", "ready"])
        .expect_code(0);
    world.skyclaw(&["fleet", "status", "nobody"]).expect_code(2);
}

#[test]
fn a_mixed_fleet_names_every_reason_and_the_healthy_ones() {
    if !require_sshd() {
        return;
    }
    let world = World::new();
    let healthy = world.sshd().start();
    install(&healthy, "picoclaw");
    let locked = world.sshd().user_auth_rejecting().start();
    let mut rebuilt = world.sshd().start();
    world.trust(&rebuilt);
    rebuilt.replace_host_key_and_restart();
    let (mute, refusing, closing, http, hole) = (
        MuteHost::start(),
        RefusingPort::start(),
        CloseAfterBanner::start(),
        WrongBanner::start(),
        BlackholeHost::start(),
    );
    world.fleet(&[
        FleetHost::new("mute", "127.0.0.1", mute.port()),
        FleetHost::new("refusing", "127.0.0.1", refusing.port()),
        FleetHost::new("closing", "127.0.0.1", closing.port()),
        FleetHost::new("http", "127.0.0.1", http.port()),
        FleetHost::new("hole", "127.0.0.1", hole.port()),
        locked.fleet_host("locked"),
        rebuilt.fleet_host("rebuilt"),
        healthy.fleet_host("healthy"),
    ]);
    let ran = world
        .skyclaw(&["fleet", "status", "--connect-timeout", "4s", "-f", "2"])
        .expect_code(4);
    let out = ran.out();
    assert_eq!(
        row(&out, "healthy")[2..],
        ["reachable", "installed", "ready"]
    );
    let reasons = [
        ("mute", "no SSH banner came"),
        ("refusing", "is sshd running"),
        ("closing", "closed the connection"),
        ("http", "not an SSH server"),
        ("hole", "no answer to TCP connect"),
        ("locked", "may not log in"),
        ("rebuilt", "known_hosts"),
    ];
    for (name, reason) in reasons {
        let cells = row(&out, name);
        assert_eq!(cells[2..4], ["unreachable", "unknown"], "{name}");
        assert!(cells[4].starts_with("ssh failed: "), "{name}: {}", cells[4]);
        assert!(cells[4].contains(reason), "{name}: {}", cells[4]);
    }
    // A host that is not there outweighs nothing: one without the agent does.
    let locked_only = world
        .skyclaw(&["fleet", "status", "--json", "locked", "healthy"])
        .expect_code(4);
    let document = locked_only.json();
    assert_eq!(document["schema"], 1);
    assert_eq!(document["hosts"][0]["error"]["kind"], "auth");
    assert!(
        document["hosts"][0]["error"]["hint"].is_string(),
        "{document}"
    );
    assert_eq!(document["hosts"][1]["version"], "0.2.9");
    assert_eq!(document["summary"]["reachable"], 1);
    let bare = world.sshd().start();
    world.fleet(&[locked.fleet_host("locked"), bare.fleet_host("bare")]);
    world
        .skyclaw(&["fleet", "status", "--require-installed"])
        .expect_code(10);
}

#[test]
fn noise_and_other_login_shells_change_nothing() {
    if !require_sshd() {
        return;
    }
    let world = World::new();
    let mut servers = vec![
        (
            "noisy",
            world
                .sshd()
                .banner("Welcome!\n")
                .rc_noise("motd=1\npicoclaw=there\nlogin\n")
                .start(),
        ),
        (
            "unfinished",
            world.sshd().rc_noise("no newline here").start(),
        ),
    ];
    let shells = [
        ("dash", Shell::Dash),
        ("busybox", Shell::Busybox),
        ("fish", Shell::Fish),
        ("zsh", Shell::Zsh),
        ("tcsh", Shell::Tcsh),
    ];
    for (name, shell) in shells {
        if require_program(shell.program()) {
            servers.push((name, world.sshd().shell(shell).start()));
        }
    }
    for (_, server) in &servers {
        install(server, "picoclaw");
    }
    let hosts: Vec<FleetHost> = servers
        .iter()
        .map(|(name, server)| server.fleet_host(name))
        .collect();
    world.fleet(&hosts);
    let out = world
        .skyclaw(&["fleet", "status", "--wide"])
        .expect_code(0)
        .out();
    for (name, _) in &servers {
        assert_eq!(
            row(&out, name)[2..6],
            ["reachable", "installed", "ready", "0.2.9"],
            "{name}"
        );
    }
}

#[test]
fn an_agent_that_hangs_or_floods_costs_its_version_only() {
    if !require_sshd() {
        return;
    }
    let world = World::new();
    let (hangs, floods) = (world.sshd().start(), world.sshd().start());
    program(
        &hangs,
        "picoclaw",
        "#!/bin/sh\nread -r answer\nexec sleep 300\n",
    );
    program(&floods, "picoclaw", "#!/bin/sh\nexec yes picoclaw\n");
    world.fleet(&[hangs.fleet_host("hangs"), floods.fleet_host("floods")]);
    let ran = world.skyclaw(&["fleet", "status"]).expect_code(0);
    let out = ran.out();
    assert!(
        row(&out, "hangs")[4].contains("does not tell its version"),
        "{ran}"
    );
    assert!(row(&out, "floods")[4].contains("another program"), "{ran}");
    assert!(ran.took < Duration::from_secs(12), "{ran}");
    // Nothing of it stays behind.
    common::eventually(DEADLINE, || {
        hangs.session_processes().is_empty() && floods.session_processes().is_empty()
    });
}

/// A process that looks like one of a task of ours.
struct Task(Child);

impl Task {
    fn start(word: &str) -> Self {
        let mut command = Command::new("sleep");
        command
            .arg("300")
            .env("SKYCLAW_TASK", word)
            .stdout(Stdio::null());
        Self(command.spawn().unwrap())
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn wide_columns_and_json_tell_what_the_host_is_like() {
    if !require_sshd() {
        return;
    }
    let world = World::new();
    let server = world.sshd().start();
    install(&server, "picoclaw");
    program(&server, "skyclaw", "#!/bin/sh\necho skyclaw 0.1.0\n");
    fs::create_dir_all(server.home().join(".picoclaw")).unwrap();
    fs::write(server.home().join(".picoclaw/config.json"), "{}").unwrap();
    fs::create_dir_all(server.home().join(".local/state/skyclaw")).unwrap();
    fs::write(
        server.home().join(".local/state/skyclaw/last-task"),
        "task 7 exit 0\n",
    )
    .unwrap();
    world.fleet(&[server.fleet_host("one")]);
    let before = world
        .skyclaw(&["fleet", "status", "--json"])
        .expect_code(0)
        .json();
    let running = before["hosts"][0]["runningTasks"].as_u64().unwrap();
    // Two processes of one task and one of another are two tasks.
    let words = [
        format!("skyclaw-a{}", std::process::id()),
        format!("skyclaw-b{}", std::process::id()),
    ];
    let _tasks = [
        Task::start(&words[0]),
        Task::start(&words[0]),
        Task::start(&words[1]),
    ];
    let document = world
        .skyclaw(&["fleet", "status", "--json"])
        .expect_code(0)
        .json();
    let host = &document["hosts"][0];
    assert!(
        host["runningTasks"].as_u64().unwrap() >= 2,
        "{running} before, {host}"
    );
    assert_eq!(host["version"], "0.2.9");
    assert_eq!(host["hasConfig"], true);
    assert_eq!(host["hasKey"], false);
    assert_eq!(host["daemon"]["version"], "0.1.0");
    assert_eq!(host["daemon"]["state"], "installed");
    assert_eq!(host["lastTask"], "task 7 exit 0");
    for number in [
        "load1",
        "cpus",
        "freeMemoryBytes",
        "freeDiskBytes",
        "latencyMs",
    ] {
        assert!(host[number].is_number(), "{number}: {host}");
    }
    // The same machine has the same clock; half of the round trip is the most it can be off.
    assert!(
        host["clockOffsetMs"].as_i64().unwrap().abs() < 1000,
        "{host}"
    );
    let wide = world
        .skyclaw(&["fleet", "status", "--wide"])
        .expect_code(0)
        .out();
    assert_eq!(
        wide.lines().next(),
        Some(
            "NAME\tHOST\tSSH\tPICOCLAW\tDETAILS\tVERSION\tCONFIG\tDAEMON\tTASKS\tLOAD\tMEMORY\tDISK\tLATENCY\tCLOCK\tLAST TASK"
        )
    );
    assert_eq!(
        row(&wide, "one")[5..8],
        ["0.2.9", "no key", "installed 0.1.0"]
    );
}

#[test]
fn one_connection_and_one_command_per_host() {
    if !require_sshd() {
        return;
    }
    let world = World::new();
    let server = world.sshd().start();
    install(&server, "picoclaw");
    world.fleet(&[server.fleet_host("one")]);
    world.skyclaw(&["fleet", "status", "--wide"]).expect_code(0);
    common::eventually(DEADLINE, || server.log().contains("Starting session"));
    let log = server.log();
    assert_eq!(log.matches("Accepted publickey").count(), 1, "{log}");
    assert_eq!(log.matches("Starting session").count(), 1, "{log}");
}

#[test]
fn ndjson_has_one_event_per_host_and_a_summary() {
    if !require_sshd() {
        return;
    }
    let world = World::new();
    let (server, refusing) = (world.sshd().start(), RefusingPort::start());
    world.fleet(&[
        server.fleet_host("up"),
        FleetHost::new("down", "127.0.0.1", refusing.port()),
    ]);
    let ran = world
        .skyclaw(&["fleet", "status", "--ndjson"])
        .expect_code(4);
    let events: Vec<Value> = ran
        .out()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(events.len(), 3, "{ran}");
    assert!(events.iter().all(|event| event["schema"] == 1));
    assert!(events[..2].iter().all(|event| event["event"] == "host"));
    assert_eq!(events[2]["event"], "summary");
    assert_eq!(events[2]["unreachable"], 1);
}

#[test]
fn watch_goes_on_until_it_is_stopped() {
    if !require_sshd() {
        return;
    }
    let world = World::new();
    let server = world.sshd().start();
    world.fleet(&[server.fleet_host("one")]);
    let running = world.spawn(&["fleet", "status", "--watch", "50ms"]);
    common::eventually(DEADLINE, || {
        running.stdout_so_far().matches(HEADER).count() >= 3
    });
    running.interrupt();
    let ran = running.wait(DEADLINE).expect_code(130);
    assert!(ran.out().contains("run fleet deploy\n\nNAME\t"), "{ran}");
    assert!(!ran.out().contains('\u{1b}'), "{ran}");

    let running = world.spawn(&["fleet", "status", "--watch", "50ms", "--ndjson"]);
    common::eventually(DEADLINE, || {
        running.stdout_so_far().matches("\"summary\"").count() >= 2
    });
    running.terminate();
    let ran = running.wait(DEADLINE).expect_code(143);
    for line in ran.out().lines() {
        serde_json::from_str::<Value>(line).unwrap();
    }
    world
        .skyclaw(&["fleet", "status", "--watch", "1s", "--json"])
        .expect_code(2);
}

#[test]
fn ctrl_c_ends_a_look_at_a_silent_host() {
    let world = World::new();
    let mute = MuteHost::start();
    world.fleet(&[FleetHost::new("mute", "127.0.0.1", mute.port())]);
    let running = world.spawn(&[
        "-vv",
        "fleet",
        "status",
        "--connect-timeout",
        "0",
        "--ndjson",
    ]);
    // It is connecting once the kernel shows its socket to that port.
    let port = format!("0100007F:{:04X} 01", mute.port());
    common::eventually(DEADLINE, || {
        fs::read_to_string("/proc/net/tcp").unwrap().contains(&port)
    });
    running.interrupt();
    running.wait(DEADLINE).expect_code(130);
}

#[test]
fn help_is_as_shown() {
    let world = World::new();
    let ran = world.skyclaw(&["fleet", "status", "--help"]).expect_code(0);
    insta::assert_snapshot!("help_fleet_status", ran.out());
}
