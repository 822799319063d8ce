//! `fleet dispatch`: tasks for agents, one or many, on one host or many.
//! Rows 4.1, 4.2, 4.3, 4.12, 4.14, 4.26, 9.9, 13.7.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "helpers of tests fail by panicking, as tests do"
)]

mod common;

use common::{Bed, Output, SOON, World, bed, require_sshd};
use serde_json::Value;

fn dispatch(bed: &Bed, args: &[&str]) -> Output {
    bed.run(&[&["fleet", "dispatch"], args].concat())
}

fn statuses(document: &Value) -> Vec<(String, String)> {
    let results = document["results"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    results
        .iter()
        .map(|result| (text(&result["host"]), text(&result["status"])))
        .collect()
}

#[test]
fn any_text_reaches_picoclaw_byte_for_byte() {
    let Some(bed) = Bed::one() else { return };
    bed.install_picoclaw();
    bed.install(
        ".local/bin/picoclaw",
        "#!/bin/sh\n[ \"$2\" = --help ] || printf '%s' \"$3\"\n",
    );
    let long = "0123456789abcdef".repeat(100 * 1024 / 16);
    for text in [
        "plain",
        "it's \"quoted\" `id` $(id) $HOME ${IFS} \\ \\n \\\\",
        "two\nlines\r\nand three\n",
        "\n\nleading and trailing\n\n",
        "-m -x --help",
        "--",
        "!history !! * ? [a-z] ~ # ; & | < >",
        "ünïcödé 🦞 \u{202e} \u{0} "
            .trim_end_matches('\u{0}')
            .split('\u{0}')
            .next()
            .unwrap(),
        "{name} {host} {index} {task}",
        "\t \x07\x1b[31m\x7f",
        &long,
    ] {
        let done = dispatch(&bed, &["--", text]).expect_code(0);
        assert_eq!(done.out(), text, "{done}");
    }
}

#[test]
fn one_host_prints_what_the_agent_printed_and_nothing_else() {
    let Some(bed) = Bed::one() else { return };
    bed.install_picoclaw();
    let done = dispatch(&bed, &["hello"]).expect_code(0);
    assert!(
        done.out().starts_with("██████╗ ██╗\n") && done.out().ends_with("🦞 hello\n"),
        "{done}"
    );
    assert!(done.out().contains("WRN context nearly full"), "{done}");
    let done = dispatch(&bed, &["hello", "--strip"]).expect_code(0);
    assert_eq!(
        (done.out().as_str(), done.err().as_str()),
        ("hello", ""),
        "{done}"
    );
    let done = dispatch(&bed, &["badutf8", "--strip"]).expect_code(0);
    assert_eq!(done.stdout, b"\xff\xfe bytes", "{done}");
    let done = dispatch(&bed, &["nonewline"]).expect_code(0);
    assert!(done.out().ends_with("🦞 no newline"), "{done}");
    let document = dispatch(&bed, &["hello", "--strip", "--json"])
        .expect_code(0)
        .json();
    let result = &document["results"][0];
    assert_eq!(result["answer"], "hello", "{document}");
    assert!(
        result["stdout"].as_str().unwrap().contains("██"),
        "{document}"
    );
    let huge = dispatch(&bed, &["huge", "--strip"]).expect_code(0);
    assert_eq!(huge.stdout, vec![b'x'; 3_000_000]);
}

#[test]
fn each_task_has_a_session_of_its_own_where_the_agent_knows_sessions() {
    let Some(bed) = Bed::one() else { return };
    bed.install_picoclaw();
    for _ in 0..2 {
        assert_eq!(
            dispatch(&bed, &["recall", "--strip"]).expect_code(0).out(),
            "1"
        );
    }
    let daily = ["recall", "--strip", "--session", "daily"];
    assert_eq!(dispatch(&bed, &daily).expect_code(0).out(), "1");
    assert_eq!(dispatch(&bed, &daily).expect_code(0).out(), "2");
    // A version without the flag must not be given it; `-m` and the text is all it gets.
    bed.install(
        ".local/bin/picoclaw",
        "#!/bin/sh\n[ \"$2\" = --help ] && { echo 'usage: picoclaw agent -m'; exit 1; }\nfor word; do echo \"<$word>\"; done\n",
    );
    let done = dispatch(&bed, &["hi", "--session", "daily"]).expect_code(0);
    assert_eq!(done.out(), "<agent>\n<-m>\n<hi>\n");
    bed.install(
        ".local/bin/picoclaw",
        "#!/bin/sh\n[ \"$2\" = --help ] && { echo '  -s, --session KEY'; exit 0; }\nfor word; do echo \"<$word>\"; done\n",
    );
    let done = dispatch(&bed, &["hi", "--session", "daily"]).expect_code(0);
    assert_eq!(
        done.out(),
        "<agent>\n<-m>\n<hi>\n<-s>\n<agent:main:skyclaw:daily>\n"
    );
}

#[test]
fn what_cannot_be_sent_is_refused_before_any_contact() {
    let Some(bed) = Bed::one() else { return };
    bed.install_picoclaw();
    // Too long for one argument of this test as well: it comes from a file.
    let list = bed.world.dir().join("tasks");
    let long = "x".repeat(121 * 1024);
    std::fs::write(&list, serde_json::to_vec(&[&long]).unwrap()).unwrap();
    let path = list.display().to_string();
    let done = dispatch(&bed, &["--tasks", &path]).expect_code(2);
    assert!(done.err().contains("--task-stdin"), "{done}");
    std::fs::write(&list, "[\"a\\u0000b\"]").unwrap();
    let done = dispatch(&bed, &["--tasks", &path]).expect_code(2);
    assert!(done.err().contains("NUL"), "{done}");
    for bad in ["[1, 2]", "[\"a\"", "", "\n \n"] {
        std::fs::write(&list, bad).unwrap();
        dispatch(&bed, &["--tasks", &path]).expect_code(2);
    }
    dispatch(&bed, &["--tasks", "/no/such/file"]).expect_code(2);
    assert!(!bed.server.log().contains("Connection from"));

    // Standard input takes what no argument can.
    std::fs::write(&list, serde_json::to_vec(&[&long]).unwrap()).unwrap();
    bed.install("agent", "#!/bin/sh\nwc -c\n");
    let done = dispatch(&bed, &["--tasks", &path, "--agent", "~/agent"]).expect_code(0);
    assert_eq!(done.out().trim(), long.len().to_string());
}

#[test]
fn hostile_host_names_are_refused_with_the_fleet_file() {
    if !require_sshd() {
        return;
    }
    let world = World::new();
    for (field, value) in [
        ("name", "-oProxyCommand=id"),
        ("name", "a b"),
        ("name", "a;id"),
        ("name", "../x"),
        ("name", "$(id)"),
        ("host", "-oProxyCommand=id"),
        ("host", "a b"),
        ("host", "a\nb"),
        ("host", "$(id)"),
        ("user", "-l"),
    ] {
        let host = common::FleetHost::new("web1", "127.0.0.1", 9).with(field, value);
        world.fleet(&[host]);
        let done = world.skyclaw(&["fleet", "dispatch", "t"]);
        assert_eq!(done.code, 2, "{field} {value:?}: {done}");
    }
}

#[test]
fn a_host_in_place_of_a_task_is_a_slip() {
    let Some(bed) = Bed::many(2) else { return };
    let done = dispatch(&bed, &["task", "web1"]).expect_code(2);
    assert!(
        done.err().contains("`web1` is a host, not a task"),
        "{done}"
    );
    assert!(done.err().contains("--on web1"), "{done}");
    let done = dispatch(&bed, &["task", "web*"]).expect_code(2);
    assert!(
        done.err().contains("`web*` selects hosts") && done.err().contains("--on 'web*'"),
        "{done}"
    );
    assert!(!bed.server.log().contains("Connection from"));
}

#[test]
fn a_missing_agent_is_missing() {
    let Some(bed) = Bed::one() else { return };
    let done = dispatch(&bed, &["t"]).expect_code(10);
    assert!(
        done.err().contains("web1: missing: ") && done.err().contains("fleet deploy"),
        "{done}"
    );
    let done = dispatch(&bed, &["t", "--agent", "openclaw", "--json"])
        .expect_code(10)
        .json();
    assert_eq!(done["results"][0]["status"], "missing");
    let done = dispatch(&bed, &["t", "--agent", "/opt/no/such {task}"]).expect_code(10);
    assert!(done.out().is_empty());
}

#[test]
fn one_host_without_the_agent_does_not_eat_the_tasks_of_the_others() {
    let Some(bed) = Bed::named(&["with"]) else {
        return;
    };
    let without = bed.world.sshd().start();
    bed.world
        .fleet(&[without.fleet_host("without"), bed.server.fleet_host("with")]);
    // Slow enough that a host that fails at once could take all the rest.
    bed.install("agent", "#!/bin/sh\nsleep 0.3; echo \"did $1\"\n");
    let mut args = vec!["--agent", "~/agent {task}", "--json"];
    let tasks: Vec<String> = (1..=8).map(|n| format!("task {n}")).collect();
    args.extend(tasks.iter().map(String::as_str));
    let document = dispatch(&bed, &args).expect_code(10).json();
    assert_eq!(document["summary"]["ok"], 8, "{document}");
    assert_eq!(document["hostsDown"][0]["host"], "without", "{document}");
    assert_eq!(document["hostsDown"][0]["status"], "missing", "{document}");
    let done = dispatch(
        &bed,
        &["--agent", "~/agent {task}", "--on", "without", "a", "b"],
    )
    .expect_code(10);
    assert!(
        done.err().contains("2 skipped") && done.err().contains("another --agent"),
        "{done}"
    );
}

#[test]
fn a_task_that_comes_back_late_is_run_by_a_host_that_had_left() {
    let Some(bed) = Bed::named(&["with"]) else {
        return;
    };
    let without = bed.world.sshd().start();
    bed.world.fleet(&[
        without
            .fleet_host("without")
            .with("agent", "~/agent {task}"),
        bed.server
            .fleet_host("with")
            .with("agent", "~/agent {task}"),
    ]);
    // Whichever host comes first, no task may be left over.
    bed.install("agent", "#!/bin/sh\necho \"did $1\"\n");
    for _ in 0..5 {
        let document = dispatch(&bed, &["1", "2", "--json"]).json();
        assert_eq!(document["summary"]["ok"], 2, "{document}");
    }
}

#[test]
fn openclaw_and_own_agents_take_tasks() {
    let Some(bed) = Bed::one() else { return };
    let fixture = include_str!("fixtures/agents/openclaw");
    bed.install("bin/openclaw", fixture);
    let path = format!("PATH={}/bin:/usr/bin:/bin", bed.server.home().display());
    let text = "it's $(id)\nsecond line";
    let done = dispatch(&bed, &[text, "--agent", "openclaw", "--env", &path]).expect_code(0);
    assert_eq!(done.out(), format!("{text}\n"), "{done}");
    dispatch(&bed, &["fail", "--agent", "openclaw", "--env", &path]).expect_code(1);
    bed.install("own", "#!/bin/sh\nfor word; do echo \"<$word>\"; done\n");
    let done = dispatch(
        &bed,
        &[
            "a 'b' $c",
            "--agent",
            "~/own run {task} --on={name} {index}",
        ],
    )
    .expect_code(0);
    assert_eq!(
        done.out(),
        "<run>\n<a 'b' $c>\n<--on=web1>\n<0>\n",
        "{done}"
    );
    bed.world.fleet(&[bed
        .server
        .fleet_host("web1")
        .with("agent", "~/own said {task}")]);
    assert_eq!(dispatch(&bed, &["x"]).expect_code(0).out(), "<said>\n<x>\n");
}

#[test]
fn the_exit_code_of_one_host_is_passed_on() {
    let Some(bed) = Bed::one() else { return };
    bed.install("agent", "#!/bin/sh\nexit \"$1\"\n");
    for code in [0, 1, 2, 7, 10, 42, 124, 127, 255] {
        let code_text = code.to_string();
        dispatch(&bed, &[&code_text, "--agent", "~/agent {task}"]).expect_code(code);
    }
    bed.install_picoclaw();
    dispatch(&bed, &["exit1"]).expect_code(1);
}

/// Records every task it gets in the host's home and says which.
const RECORDER: &str = "#!/bin/sh\nprintf '%s\\n' \"$1\" >> \"$HOME/ran\"\necho \"did $1\"\n";

#[test]
fn several_tasks_run_once_each_wherever_there_is_room() {
    let Some(bed) = Bed::on(&[], |sshd| sshd) else {
        return;
    };
    let servers: Vec<_> = (0..3).map(|_| bed.world.sshd().start()).collect();
    let mut hosts = Vec::new();
    for (n, server) in servers.iter().enumerate() {
        bed::install(server.home(), "agent", RECORDER);
        hosts.push(
            server
                .fleet_host(&format!("web{n}"))
                .with("slots", 2)
                .with("agent", "~/agent {task}"),
        );
    }
    bed.world.fleet(&hosts);
    let ran = || -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        for server in &servers {
            let file = server.home().join("ran");
            all.extend(
                std::fs::read_to_string(&file)
                    .unwrap_or_default()
                    .lines()
                    .map(str::to_owned),
            );
            let _none = std::fs::remove_file(file);
        }
        all.sort();
        all
    };
    let list = bed.world.dir().join("tasks");
    let tasks: Vec<String> = (100..160).map(|n| format!("task {n} it's")).collect();
    std::fs::write(&list, tasks.join("\n")).unwrap();
    let path = list.display().to_string();
    let document = dispatch(&bed, &["--tasks", &path, "--json"])
        .expect_code(0)
        .json();
    assert_eq!(document["summary"]["ok"], 60, "{document}");
    assert_eq!(ran(), tasks);

    let array = serde_json::to_vec(&["two\nlines", "b"]).unwrap();
    let done = bed
        .world
        .skyclaw_with_stdin(&["fleet", "dispatch", "--tasks", "-"], &array)
        .expect_code(0);
    assert_eq!(ran(), ["b", "lines", "two"], "{done}");

    dispatch(&bed, &["one", "two", "three"]).expect_code(0);
    assert_eq!(ran(), ["one", "three", "two"]);

    dispatch(&bed, &["on {name} {index}", "two", "--each"]).expect_code(0);
    assert_eq!(
        ran(),
        ["on web0 0", "on web1 1", "on web2 2", "two", "two", "two"]
    );

    // A single task is for every host and goes as it is.
    dispatch(&bed, &["on {name}"]).expect_code(0);
    assert_eq!(ran(), ["on {name}"; 3]);
}

#[test]
fn slots_are_how_many_tasks_a_host_does_at_once() {
    let Some(bed) = Bed::one() else { return };
    // Each waits until as many as there are slots have begun: with fewer at once this never ends.
    bed.install(
        "agent",
        "#!/bin/sh\ntouch begun-$1\nuntil [ $(ls -d begun-* | wc -l) -ge 3 ]; do sleep 0.05; done\necho ok\n",
    );
    let host = bed
        .server
        .fleet_host("web1")
        .with("slots", 3)
        .with("agent", "~/agent {task}");
    bed.world.fleet(&[host]);
    dispatch(&bed, &["1", "2", "3", "--timeout", "30s"]).expect_code(0);
}

#[test]
fn a_host_that_dies_mid_run_loses_no_other_task() {
    let Some(mut bed) = Bed::one() else { return };
    let other = bed.world.sshd().start();
    let agent = "#!/bin/sh\nprintf '%s\\n' \"$1\" >> ran\nuntil [ -e go ]; do sleep 0.05; done\n";
    bed.install("agent", agent);
    bed::install(other.home(), "agent", agent);
    let with_agent = |host: common::FleetHost| host.with("agent", "~/agent {task}");
    bed.world.fleet(&[
        with_agent(bed.server.fleet_host("dies")),
        with_agent(other.fleet_host("lives")),
    ]);
    let running = bed.world.spawn(&[
        "fleet",
        "dispatch",
        "1",
        "2",
        "3",
        "4",
        "5",
        "--json",
        "--connect-timeout",
        "3s",
    ]);
    let (dies, lives) = (bed.server.home().join("ran"), other.home().join("ran"));
    common::eventually(SOON, || dies.exists() && lives.exists());
    bed.server.stop();
    std::fs::write(other.home().join("go"), "").unwrap();
    let document = running.wait(SOON).expect_code(1).json();
    let count = |word: &str| {
        statuses(&document)
            .iter()
            .filter(|(_, status)| status == word)
            .count()
    };
    assert_eq!((count("lost"), count("ok")), (1, 4), "{document}");
    assert_eq!(std::fs::read_to_string(&lives).unwrap().lines().count(), 4);
}

#[test]
fn tasks_for_a_fleet_that_cannot_be_reached_are_skipped() {
    if !require_sshd() {
        return;
    }
    let world = World::new();
    let dead = common::RefusingPort::start();
    let hosts = ["a", "b"].map(|name| common::FleetHost::new(name, "127.0.0.1", dead.port()));
    world.fleet(&hosts);
    let document = world
        .skyclaw(&["fleet", "dispatch", "x", "y", "--json"])
        .expect_code(4)
        .json();
    assert_eq!(document["summary"]["skipped"], 2, "{document}");
    assert_eq!(
        document["hostsDown"].as_array().unwrap().len(),
        2,
        "{document}"
    );
}

#[test]
fn two_runs_at_once_share_the_queue_file() {
    let Some(bed) = Bed::many(2) else { return };
    bed.install("agent", RECORDER);
    let list = |from: usize| {
        let path = bed.world.dir().join(format!("tasks-{from}"));
        let tasks: Vec<String> = (from..from + 30).map(|n| n.to_string()).collect();
        std::fs::write(&path, tasks.join("\n")).unwrap();
        path.display().to_string()
    };
    let start = |path: &str| {
        bed.world.spawn(&[
            "fleet",
            "dispatch",
            "--agent",
            "~/agent {task}",
            "--json",
            "--tasks",
            path,
        ])
    };
    let (first, second) = (start(&list(100)), start(&list(200)));
    for running in [first, second] {
        let document = running.wait(SOON).expect_code(0).json();
        assert_eq!(document["summary"]["ok"], 30, "{document}");
    }
    let mut ran: Vec<usize> = std::fs::read_to_string(bed.server.home().join("ran"))
        .unwrap()
        .lines()
        .map(|line| line.parse().unwrap())
        .collect();
    ran.sort_unstable();
    assert_eq!(ran, (100..130).chain(200..230).collect::<Vec<_>>());
    let runs = bed.run(&["fleet", "runs", "--json"]).expect_code(0).json();
    assert_eq!(runs["runs"].as_array().unwrap().len(), 2, "{runs}");
}

#[test]
fn a_run_is_remembered_and_shown() {
    let Some(bed) = Bed::many(2) else { return };
    bed.install(
        "agent",
        "#!/bin/sh\nprintf 'out \\377'; echo err >&2; exit 3\n",
    );
    let args = ["summarize\nmore", "--agent", "~/agent {task}", "--json"];
    let run = dispatch(&bed, &args).expect_code(1).json()["run"]
        .as_str()
        .unwrap()
        .to_owned();
    let shown = bed
        .run(&["fleet", "show", &run, "--json"])
        .expect_code(0)
        .json();
    assert_eq!(
        statuses(&shown),
        [
            ("web1".into(), "failed".into()),
            ("web2".into(), "failed".into())
        ]
    );
    assert_eq!(shown["results"][0]["exit"], 3, "{shown}");
    let output = bed.run(&["fleet", "show", "--on", "web2"]).expect_code(0);
    assert_eq!(
        (output.stdout.as_slice(), output.err().as_str()),
        (&b"out \xff"[..], "err\n")
    );
    let beginning = run.get(..20).unwrap();
    bed.run(&["fleet", "show", beginning]).expect_code(0);
    bed.run(&["fleet", "show", "nonsense"]).expect_code(2);
    bed.run(&["fleet", "show", "last", "--on", "nobody"])
        .expect_code(2);
    let runs = bed.run(&["fleet", "runs"]).expect_code(0);
    assert!(
        runs.out().contains(&run) && runs.out().contains("summarize"),
        "{runs}"
    );
}

#[test]
fn a_dry_run_shows_who_would_do_what_and_contacts_nobody() {
    let Some(bed) = Bed::many(2) else { return };
    let done = dispatch(&bed, &["it's {name}", "b", "--each", "--dry-run"]).expect_code(0);
    assert_eq!(done.out().lines().count(), 1 + 4, "{done}");
    assert!(
        done.out()
            .contains("~/.local/bin/picoclaw agent -m 'it'\\''s web2'"),
        "{done}"
    );
    let spread = dispatch(&bed, &["a", "b", "--dry-run", "--json"])
        .expect_code(0)
        .json();
    assert_eq!(spread["commands"][1]["host"], "(next free)", "{spread}");
    assert!(!bed.server.log().contains("Connection from"));
    assert_eq!(
        bed.run(&["fleet", "runs", "--json"]).json()["runs"],
        serde_json::json!([])
    );
}

#[test]
fn a_task_on_standard_input_may_be_long_but_only_one_line() {
    let Some(bed) = Bed::one() else { return };
    bed.install(
        ".local/bin/picoclaw",
        "#!/bin/sh\n[ \"$2\" = --help ] || wc -c\n",
    );
    let list = bed.world.dir().join("tasks");
    std::fs::write(&list, "x".repeat(200 * 1024)).unwrap();
    let path = list.display().to_string();
    let done = dispatch(&bed, &["--tasks", &path, "--task-stdin"]).expect_code(0);
    assert_eq!(done.out().trim(), (200 * 1024 + 1).to_string(), "{done}");
    let done = dispatch(&bed, &["two\nlines", "--task-stdin"]).expect_code(2);
    assert!(done.err().contains("one line"), "{done}");
}
