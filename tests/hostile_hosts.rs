//! Hosts and tasks that, by accident or on purpose, get in the way of the supervisor itself.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test may panic and say why it skips"
)]

mod common;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use common::{Sshd, World, eventually, processes_with, require_sshd, scan_files};

struct Bed {
    world: World,
    server: Sshd,
}

impl Bed {
    fn new() -> Option<Self> {
        require_sshd().then(|| {
            let world = World::new();
            let server = world.sshd().start();
            world.fleet(&[server.fleet_host("a")]);
            Self { world, server }
        })
    }

    fn with_rc(rc: &str) -> Option<Self> {
        let bed = Self::new()?;
        // What bash reads for a command over ssh.
        fs::write(bed.server.home().join(".bashrc"), rc).unwrap();
        let bash = bed.world.ssh(&bed.server, &["echo $BASH_VERSION"]).out();
        if bash.trim().is_empty() {
            eprintln!("SKIP: the login shell is not bash");
            return None;
        }
        Some(bed)
    }

    fn tasks(&self) -> usize {
        let marker = self.server.marker();
        processes_with(&marker)
            .iter()
            .filter(|p| p.contains("SKYCLAW_TASK="))
            .count()
    }

    fn left_in_cache(&self) -> Vec<PathBuf> {
        let cache = self.server.home().join(".cache/skyclaw");
        fs::read_dir(cache).map_or_else(
            |_| Vec::new(),
            |dir| dir.flatten().map(|e| e.path()).collect(),
        )
    }
}

#[test]
fn variables_of_the_task_never_reach_the_supervisor() {
    let Some(bed) = Bed::new() else { return };
    let precious = bed.server.home().join("precious");
    fs::write(&precious, "keep").unwrap();
    let path = precious.to_str().unwrap();
    for name in ["i", "j", "k", "m", "n", "p", "c", "g", "l", "w", "s"] {
        let set = format!("{name}={path}");
        let script = format!("echo \"${name}\"; cat");
        let got = bed
            .world
            .skyclaw(&["fleet", "exec", "a", "--env", &set, "--shell", &script])
            .expect_code(0);
        assert_eq!(got.out(), format!("{path}\n"), "{name}");
    }
    assert!(precious.exists());
    let reserved = bed
        .world
        .skyclaw(&["fleet", "exec", "a", "--env", "_j=x", "--", "true"]);
    reserved.expect_code(2);
}

#[test]
fn after_a_timeout_nothing_is_left_even_if_only_the_leader_heeds_term() {
    let Some(bed) = Bed::new() else { return };
    for script in [
        "sh -c 'trap \"\" TERM; while :; do sleep 1; done' >/dev/null 2>&1 & wait",
        "setsid sleep 300 >/dev/null 2>&1 & wait",
        "setsid sleep 300 & wait",
    ] {
        let got = bed.world.skyclaw(&[
            "fleet",
            "exec",
            "a",
            "--timeout",
            "1s",
            "--grace",
            "1s",
            "--shell",
            script,
        ]);
        got.expect_code(124);
        eventually(Duration::from_secs(8), || bed.tasks() == 0);
    }
}

#[test]
fn what_holds_the_pipe_from_a_session_of_its_own_is_ended_as_said() {
    let Some(bed) = Bed::new() else { return };
    let got = bed
        .world
        .skyclaw(&[
            "fleet",
            "exec",
            "a",
            "--shell",
            "setsid sleep 300 & echo done",
        ])
        .expect_code(0);
    assert_eq!(got.out(), "done\n");
    assert!(got.err().contains("pipe held"), "{}", got.err());
    eventually(Duration::from_secs(5), || bed.tasks() == 0);
}

#[test]
fn what_an_agent_leaves_in_a_session_of_its_own_is_ended_too() {
    let Some(bed) = Bed::new() else { return };
    let agent = bed.server.home().join("agent");
    fs::write(
        &agent,
        "#!/bin/sh\nsetsid sleep 300 >/dev/null 2>&1 &\necho done\n",
    )
    .unwrap();
    fs::set_permissions(&agent, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    bed.world
        .skyclaw(&["fleet", "dispatch", "x", "--agent", "~/agent {task}"])
        .expect_code(0);
    eventually(Duration::from_secs(8), || bed.tasks() == 0);
}

#[test]
fn a_login_script_that_prints_our_input_back_gives_no_secret_away() {
    let Some(mut bed) = Bed::with_rc("cat\n") else {
        return;
    };
    bed.world.set_env("TOKX", "sk-never-seen-99");
    let args = [
        "fleet",
        "exec",
        "a",
        "--env-from",
        "TOKX",
        "--timeout",
        "2s",
        "--grace",
        "0s",
        "--json",
        "--",
        "true",
    ];
    let got = bed.world.skyclaw(&args);
    assert_ne!(got.code, 0);
    for text in [got.out(), got.err()] {
        assert!(!text.contains("sk-never-seen-99"), "{text}");
    }
    let state = bed.world.home().join(".local/state");
    assert_eq!(
        scan_files(&state, "sk-never-seen-99"),
        Vec::<PathBuf>::new()
    );
}

#[test]
fn a_login_script_that_leaves_is_a_failure_not_a_success() {
    let Some(bed) = Bed::with_rc("exit 0\n") else {
        return;
    };
    let got = bed
        .world
        .skyclaw(&["fleet", "exec", "a", "--", "true"])
        .expect_code(1);
    assert!(
        got.err().contains("login shell did not run"),
        "{}",
        got.err()
    );
}

#[test]
fn a_wall_of_login_noise_is_neither_in_the_way_nor_shown() {
    let Some(bed) = Bed::with_rc("head -c 3000000 /dev/zero | tr '\\0' x\n") else {
        return;
    };
    bed.world.skyclaw(&["fleet", "status"]).expect_code(0);
    let got = bed
        .world
        .skyclaw(&["fleet", "exec", "a", "--", "echo", "hi"])
        .expect_code(0);
    assert_eq!(got.out(), "hi\n");
}

#[test]
fn the_input_file_is_gone_whether_or_not_the_task_started() {
    let Some(bed) = Bed::new() else { return };
    let input = bed.world.dir().join("input");
    fs::write(&input, b"in\0put").unwrap();
    let input = input.to_str().unwrap();
    let cases: [(&[&str], i32); 4] = [
        (&["fleet", "exec", "a", "--stdin", input, "--", "cat"], 0),
        (
            &[
                "fleet",
                "exec",
                "a",
                "--stdin",
                input,
                "--env",
                "HOME=/tmp",
                "--",
                "cat",
            ],
            0,
        ),
        (
            &[
                "fleet", "exec", "a", "--stdin", input, "--cwd", "/no/such", "--", "cat",
            ],
            1,
        ),
        (&["fleet", "dispatch", "x", "--stdin", input], 10),
    ];
    for (args, code) in cases {
        let got = bed.world.skyclaw(args).expect_code(code);
        if code == 0 {
            assert_eq!(got.stdout, b"in\0put");
        }
        assert_eq!(bed.left_in_cache(), Vec::<PathBuf>::new(), "{args:?}");
    }
}

#[test]
fn a_pipe_is_no_file_for_every_host() {
    let Some(bed) = Bed::new() else { return };
    let pipe = bed.world.dir().join("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    let got = bed
        .world
        .skyclaw(&[
            "fleet",
            "exec",
            "a",
            "--stdin",
            pipe.to_str().unwrap(),
            "--",
            "cat",
        ])
        .expect_code(2);
    assert!(got.err().contains("not a regular file"), "{}", got.err());
}

#[test]
fn usage_errors_are_json_too_for_those_who_asked() {
    let world = World::new();
    let got = world
        .skyclaw(&["fleet", "exec", "--json", "--timeout", "x", "--", "true"])
        .expect_code(2);
    let document = got.json();
    assert_eq!(
        document.pointer("/error/exit"),
        Some(&2.into()),
        "{document}"
    );
}

#[test]
fn files_of_a_run_follow_no_link_and_keep_apart() {
    let Some(bed) = Bed::new() else { return };
    bed.world
        .fleet(&[bed.server.fleet_host("summary"), bed.server.fleet_host("b")]);
    let dir = bed.world.dir().join("out");
    fs::create_dir(&dir).unwrap();
    std::os::unix::fs::symlink(bed.world.dir().join("victim"), dir.join("b.err")).unwrap();
    let dir_text = dir.to_str().unwrap();
    bed.world
        .skyclaw(&["fleet", "exec", "--output-dir", dir_text, "--", "echo", "x"])
        .expect_code(0);
    assert!(!bed.world.dir().join("victim").exists());
    let summary: serde_json::Value =
        serde_json::from_slice(&fs::read(dir.join("summary.json")).unwrap()).unwrap();
    assert_eq!(summary.pointer("/summary/ok"), Some(&2.into()));
    assert_eq!(
        fs::read_to_string(dir.join("summary_2.out")).unwrap(),
        "x\n"
    );
}
