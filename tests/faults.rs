//! Hosts that fail in every known way, together with hosts that do not.
//! Rows 2.4, 2.15, 2.16, 4.10, 4.14; pitfalls 4, 6, 7, 10.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "helpers of tests fail by panicking, as tests do"
)]

mod common;

use std::time::Duration;

use common::{
    Bed, BlackholeHost, CloseAfterBanner, Door, Doorkeeper, FleetHost, MuteHost, RefusingPort,
    SOON, World, WrongBanner, require_mounts, require_sshd,
};
use serde_json::Value;

fn result<'d>(document: &'d Value, name: &str) -> &'d Value {
    let results = document["results"].as_array().unwrap();
    let mine: Vec<_> = results.iter().filter(|r| r["host"] == name).collect();
    assert_eq!(mine.len(), 1, "{name} is in the result once: {document}");
    mine[0]
}

#[test]
fn every_fault_has_its_own_word_and_stops_nobody_else() {
    if !require_sshd() {
        return;
    }
    let world = World::new();
    let good = world.sshd().start();
    let noisy = world
        .sshd()
        .rc_noise("WELCOME\n\x1b[31mno newline")
        .banner("keep out\n")
        .start();
    let changed = world.sshd().start();
    let imposter = world.sshd().start();
    let wrong_line = format!("[127.0.0.1]:{} {}\n", changed.port(), imposter.host_key());
    world.add_known_hosts(&wrong_line);
    let closed = world.sshd().user_auth_rejecting().start();
    let (dead, hole, mute) = (
        RefusingPort::start(),
        BlackholeHost::start(),
        MuteHost::start(),
    );
    let (closing, web) = (CloseAfterBanner::start(), WrongBanner::start());
    let at = |name: &str, port: u16| FleetHost::new(name, "127.0.0.1", port);
    world.fleet(&[
        at("hole", hole.port()),
        at("mute", mute.port()),
        at("dead", dead.port()),
        at("closing", closing.port()),
        at("web", web.port()),
        changed.fleet_host("changed"),
        closed.fleet_host("closed"),
        good.fleet_host("good")
            .with("user", Value::Null)
            .with("user", common::world::user_name()),
        good.fleet_host("stranger")
            .with("host", "no-such-host.invalid"),
        noisy.fleet_host("noisy"),
    ]);
    let exec = |format: &str, tail: &[&str]| {
        let head = ["fleet", "exec", "--connect-timeout", "6s", format, "--"];
        world.skyclaw(&[&head[..], tail].concat())
    };
    let done = exec("--json", &["echo", "fine"]).expect_code(4).json();
    for (name, status, error, hint) in [
        (
            "hole",
            "unreachable",
            "no answer to TCP connect",
            "firewall",
        ),
        ("mute", "unreachable", "no SSH banner", "--connect-timeout"),
        ("dead", "unreachable", "refused", "sshd"),
        ("closing", "unreachable", "closed", "MaxStartups"),
        ("web", "unreachable", "not an SSH server", "port"),
        ("stranger", "unreachable", "resolve", "fleet file"),
        ("changed", "host-key", "SHA256:", "known_hosts"),
        ("closed", "auth", "", "ssh-copy-id"),
    ] {
        let got = result(&done, name);
        assert_eq!(got["status"], status, "{got}");
        let said = got["error"].as_str().unwrap();
        assert!(said.contains(error), "{name}: {said}");
        let next = got["hint"].as_str().unwrap_or_default();
        assert!(next.contains(hint), "{name}: {next}");
    }
    for name in ["good", "noisy"] {
        let got = result(&done, name);
        assert_eq!(
            (&got["status"], &got["stdout"]),
            (&"ok".into(), &"fine\n".into()),
            "{got}"
        );
    }
    assert_eq!(done["summary"]["unreachable"], 6, "{done}");

    // At their own speed: the good ones end before the silent ones have used up their time.
    let events = exec("--ndjson", &["echo", "fine"]).expect_code(4).out();
    let end_of = |name: &str| {
        let is_end = |line: &str| {
            line.contains(r#""event":"end""#) && line.contains(&format!(r#""host":"{name}""#))
        };
        events
            .lines()
            .position(is_end)
            .unwrap_or_else(|| panic!("no end of {name}: {events}"))
    };
    for good in ["good", "noisy", "dead"] {
        for slow in ["hole", "mute"] {
            assert!(end_of(good) < end_of(slow), "{events}");
        }
    }

    // A task that fails outranks hosts that could not be reached.
    let failed = exec("--json", &["false"]).expect_code(1).json();
    assert_eq!(result(&failed, "good")["status"], "failed");

    // For people: each is named with its word and a next step, on stderr.
    let shown = exec("--color=never", &["echo", "fine"]).expect_code(4);
    for (name, word) in [
        ("dead", "unreachable"),
        ("changed", "host-key"),
        ("closed", "auth"),
    ] {
        let start = format!("skyclaw: {name}: {word}: ");
        assert!(
            shown
                .err()
                .lines()
                .any(|line| line.starts_with(&start) && line.contains("; ")),
            "{shown}"
        );
    }
    let mut lines: Vec<_> = shown.out().lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["[good] fine", "[noisy] fine"], "{shown}");
}

#[test]
fn a_close_before_login_is_tried_three_times_and_a_full_server_for_longer() {
    if !require_sshd() {
        return;
    }
    let world = World::new();
    let server = world.sshd().start();
    let first = |count: usize, door: Door| move |n| if n <= count { door } else { Door::Open };
    let always = usize::MAX;
    for (keeper, status, seen) in [
        (
            Doorkeeper::before(server.port(), first(2, Door::Shut)),
            "ok",
            3,
        ),
        (
            Doorkeeper::before(server.port(), first(always, Door::Shut)),
            "unreachable",
            3,
        ),
        (
            Doorkeeper::before(server.port(), first(5, Door::Full)),
            "ok",
            6,
        ),
    ] {
        world.fleet(&[server.fleet_host("web1").with("port", keeper.port())]);
        let done = world.skyclaw(&["fleet", "exec", "--json", "--", "true"]);
        assert_eq!(result(&done.json(), "web1")["status"], status, "{done}");
        assert_eq!(keeper.seen(), seen, "{done}");
    }
}

#[test]
fn a_refused_login_and_another_key_are_not_tried_again() {
    if !require_sshd() {
        return;
    }
    let world = World::new();
    let (server, imposter) = (world.sshd().start(), world.sshd().start());
    let closed = world.sshd().user_auth_rejecting().start();
    let refusing = Doorkeeper::before(closed.port(), |_| Door::Open);
    let other = Doorkeeper::before(server.port(), |_| Door::Open);
    let line = format!("[127.0.0.1]:{} {}\n", other.port(), imposter.host_key());
    world.add_known_hosts(&line);
    world.fleet(&[
        closed.fleet_host("closed").with("port", refusing.port()),
        server.fleet_host("other").with("port", other.port()),
    ]);
    let done = world.skyclaw(&["fleet", "exec", "--json", "--", "true"]);
    let document = done.json();
    assert_eq!(result(&document, "closed")["status"], "auth", "{done}");
    assert_eq!(result(&document, "other")["status"], "host-key", "{done}");
    assert_eq!((refusing.seen(), other.seen()), (1, 1), "{done}");
}

#[test]
fn one_host_that_cannot_be_reached_is_255_as_with_ssh() {
    if !require_sshd() {
        return;
    }
    let world = World::new();
    let changed = world.sshd().start();
    let imposter = world.sshd().start();
    world.add_known_hosts(&format!(
        "[127.0.0.1]:{} {}\n",
        changed.port(),
        imposter.host_key()
    ));
    let closed = world.sshd().user_auth_rejecting().start();
    let dead = RefusingPort::start();
    world.fleet(&[
        FleetHost::new("dead", "127.0.0.1", dead.port()),
        changed.fleet_host("changed"),
        closed.fleet_host("closed"),
    ]);
    for name in ["dead", "changed", "closed"] {
        let done = world
            .skyclaw(&["fleet", "exec", name, "--", "true"])
            .expect_code(255);
        assert!(done.out().is_empty() && done.err().contains(name), "{done}");
        world
            .skyclaw(&["fleet", "dispatch", "t", "--on", name])
            .expect_code(255);
    }
}

#[test]
fn a_full_disk_stops_only_what_needs_the_disk() {
    if !(require_sshd() && require_mounts()) {
        return;
    }
    let world = World::new();
    let (full, good) = (world.sshd().full_disk().start(), world.sshd().start());
    world.fleet(&[full.fleet_host("full"), good.fleet_host("good")]);
    world
        .skyclaw(&["fleet", "exec", "--", "echo", "fine"])
        .expect_code(0);
    let input = world.dir().join("input");
    std::fs::write(&input, vec![b'x'; 300_000]).unwrap();
    let input = input.display().to_string();
    let done = world
        .skyclaw(&[
            "fleet", "exec", "--json", "--stdin", &input, "--", "wc", "-c",
        ])
        .expect_code(1)
        .json();
    assert_eq!(result(&done, "good")["stdout"], "300000\n", "{done}");
    let got = result(&done, "full");
    assert_eq!(got["status"], "failed", "{got}");
    assert!(
        got["error"].as_str().unwrap().contains("No space left"),
        "{got}"
    );
}

#[test]
fn a_server_with_few_places_for_handshakes_serves_thirty_names() {
    let names: Vec<String> = (1..=30).map(|n| format!("web{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let Some(bed) = Bed::on(&names, |sshd| sshd.max_startups("3:100:5")) else {
        return;
    };
    let done = bed.shell(&["--json"], "true").json();
    assert_eq!(done["summary"]["ok"], 30, "{done}");
}

/// One server under many addresses, as a host behind many names has.
fn addresses(count: usize, max_startups: &str) -> Option<Bed> {
    let bed = Bed::on(&[], |sshd| {
        sshd.listen("0.0.0.0").max_startups(max_startups)
    })?;
    let hosts: Vec<FleetHost> = (1..=count)
        .map(|n| {
            FleetHost::new(
                &format!("web{n}"),
                &format!("127.0.1.{n}"),
                bed.server.port(),
            )
        })
        .collect();
    bed.world.fleet(&hosts);
    Some(bed)
}

#[test]
fn a_server_with_few_places_for_handshakes_serves_thirty_addresses() {
    let Some(bed) = addresses(30, "3:100:5") else {
        return;
    };
    let done = bed.shell(&["--json"], "true").json();
    assert_eq!(done["summary"]["ok"], 30, "{done}");
}

#[test]
fn two_hundred_addresses_are_served_with_default_flags() {
    let Some(bed) = addresses(200, "10:30:100") else {
        return;
    };
    let done = bed.shell(&[], "echo $((6*7))").expect_code(0);
    let mut lines: Vec<_> = done.out().lines().map(str::to_owned).collect();
    lines.sort();
    let mut expected: Vec<_> = (1..=200).map(|n| format!("[web{n}] 42")).collect();
    expected.sort();
    assert_eq!(lines, expected);
    assert!(done.err().contains("200 ok in "), "{done}");
}

#[test]
fn a_fan_out_of_one_does_one_host_after_the_other() {
    let Some(bed) = Bed::many(4) else { return };
    let line = "[ ! -e busy ] || echo overlap; touch busy; sleep 0.2; rm busy";
    let done = bed.shell(&["-f", "1"], line).expect_code(0);
    assert_eq!(done.out(), "", "{done}");
}

#[test]
fn a_busy_server_does_not_hold_up_the_others() {
    let Some(bed) = Bed::one() else { return };
    let other = bed.world.sshd().start();
    bed.world
        .fleet(&[bed.server.fleet_host("slow"), other.fleet_host("quick")]);
    let home = bed.server.home().display().to_string();
    let line = format!("[ \"$HOME\" != {home} ] || until [ -e go ]; do sleep 0.1; done; echo done");
    let running = bed.start_shell(&[], &line);
    running.wait_for_line("[quick] done", SOON);
    std::fs::write(bed.server.home().join("go"), "").unwrap();
    let done = running.wait(SOON).expect_code(0);
    assert_eq!(done.out(), "[quick] done\n[slow] done\n");
    assert!(done.took < Duration::from_secs(60), "{done}");
}

#[test]
fn a_low_limit_of_open_files_is_raised_or_lowers_the_fan_out() {
    let Some(bed) = Bed::many(40) else { return };
    for (limit, lowered) in [("ulimit -Sn 40", false), ("ulimit -n 80", true)] {
        let mut shell = bed.world.clean("sh");
        let line = format!("{limit}; exec \"$0\" fleet exec -f 40 --shell 'sleep 0.1'");
        shell.args(["-c", &line, env!("CARGO_BIN_EXE_skyclaw")]);
        let done = common::Running::start(shell, None)
            .wait(SOON)
            .expect_code(0);
        assert!(done.err().contains("40 ok in "), "{limit}: {done}");
        assert_eq!(
            done.err().contains("limit of open files"),
            lowered,
            "{limit}: {done}"
        );
    }
}

#[test]
fn ctrl_c_does_not_wait_for_hosts_that_do_not_answer() {
    if !require_sshd() {
        return;
    }
    let world = World::new();
    let good = world.sshd().start();
    let (hole, mute) = (BlackholeHost::start(), MuteHost::start());
    world.fleet(&[
        FleetHost::new("hole", "127.0.0.1", hole.port()),
        FleetHost::new("mute", "127.0.0.1", mute.port()),
        good.fleet_host("good"),
    ]);
    let args = [
        "fleet",
        "exec",
        "--connect-timeout",
        "0",
        "--json",
        "--",
        "touch",
        "done",
    ];
    let running = world.spawn(&args);
    common::eventually(SOON, || good.home().join("done").exists());
    common::eventually(SOON, || good.session_processes().is_empty());
    running.interrupt();
    let done = running
        .wait(Duration::from_secs(15))
        .expect_code(130)
        .json();
    for name in ["hole", "mute"] {
        assert_eq!(result(&done, name)["status"], "cancelled", "{done}");
    }
    assert_eq!(result(&done, "good")["status"], "ok", "{done}");
}

#[test]
fn the_deadline_does_not_wait_for_hosts_that_do_not_answer() {
    let mute = MuteHost::start();
    let world = World::new();
    world.fleet(&[FleetHost::new("mute", "127.0.0.1", mute.port())]);
    let args = [
        "fleet",
        "exec",
        "--connect-timeout",
        "0",
        "--deadline",
        "1s",
        "--json",
        "--",
        "true",
    ];
    let done = world.skyclaw(&args).expect_code(124).json();
    assert_eq!(result(&done, "mute")["status"], "skipped", "{done}");
}

#[test]
fn a_server_with_few_sessions_still_gets_every_task_done() {
    let Some(bed) = Bed::on(&[], |sshd| sshd.extra("MaxSessions 2")) else {
        return;
    };
    bed.world
        .fleet(&[bed.server.fleet_host("web1").with("slots", 4)]);
    let lines = "sleep 0.1; echo done\n".repeat(12);
    let args = ["fleet", "exec", "--tasks", "-", "--json"];
    let done = bed
        .world
        .skyclaw_with_stdin(&args, lines.as_bytes())
        .expect_code(0)
        .json();
    assert_eq!(done["summary"]["ok"], 12, "{done}");
}
