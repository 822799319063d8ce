//! `fleet exec`: any command, its arguments, input, environment, directory, user and exit code.
//! Rows 4.20, 4.22, 4.23, 9.9; the exit codes of single-host runs.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "helpers of tests fail by panicking, as tests do"
)]

mod common;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use common::{Bed, Output, Running, SOON, Shell, require_program};

fn exec(bed: &Bed, args: &[&str]) -> Output {
    bed.run(&[&["fleet", "exec"], args].concat())
}

/// Runs `printf %s WORD` with a word that need not be UTF-8.
fn print_word(bed: &Bed, word: &[u8]) -> Output {
    let mut command = bed.world.command(&["fleet", "exec", "--", "printf", "%s"]);
    command.arg(OsStr::from_bytes(word));
    Running::start(command, None).wait(SOON)
}

#[test]
fn arguments_arrive_byte_for_byte() {
    let Some(bed) = Bed::one() else { return };
    let long = vec![b'y'; 100 * 1024];
    for word in [
        &b"it's \"q\" `id` $(id) ${IFS} $HOME \\ \\n ! * ? ~ # ; & | < >"[..],
        b"\n\nlines\r\n\n",
        b"-n",
        b"--help",
        b"",
        b"{name} {host} {index}",
        "ünïcödé 🦞 \u{202e}".as_bytes(),
        b"\xff\xfe\x80 not \xc3( utf-8 \xf0\x9f",
        b"\x01\x02\x1b]0;title\x07\x7f",
        &long,
    ] {
        let done = print_word(&bed, word).expect_code(0);
        assert_eq!(done.stdout, word, "{done}");
    }
    let done = exec(
        &bed,
        &[
            "--",
            "sh",
            "-c",
            "echo $#; printf '<%s>' \"$@\"",
            "sh",
            "a b",
            "",
            "-x",
            "'",
        ],
    );
    assert_eq!(done.expect_code(0).out(), "4\n<a b><><-x><'>");
}

#[test]
fn every_login_shell_passes_arguments_on_unchanged() {
    if !common::require_sshd() {
        return;
    }
    for shell in [
        Shell::Dash,
        Shell::Busybox,
        Shell::Zsh,
        Shell::Fish,
        Shell::Tcsh,
    ] {
        if !require_program(shell.program()) {
            continue;
        }
        let bed = Bed::on(&["web1"], |sshd| sshd.shell(shell)).unwrap();
        let word = b"it's $(id) \\ ! \xff\n`x` *";
        let done = print_word(&bed, word).expect_code(0);
        assert_eq!(done.stdout, word, "{shell:?}: {done}");
        bed.shell(&["--env", "V=it's !$x"], "[ \"$V\" = \"it's !\\$x\" ]")
            .expect_code(0);
    }
}

#[test]
fn what_no_command_can_take_is_refused_before_any_contact() {
    let Some(bed) = Bed::one() else { return };
    let long = "z".repeat(121 * 1024);
    let list = bed.world.dir().join("tasks");
    for bad in [format!("[\"{long}\"]"), "[\"a\\u0000b\"]".to_owned()] {
        std::fs::write(&list, bad).unwrap();
        exec(&bed, &["--tasks", &list.display().to_string()]).expect_code(2);
    }
    let done = exec(&bed, &["--", "echo", &long]).expect_code(2);
    assert!(
        done.err().contains("limit") && done.err().len() < 1000,
        "{done}"
    );
    exec(&bed, &["--env", "A;id=x", "--", "true"]).expect_code(2);
    exec(&bed, &["--sudo=-x", "--", "true"]).expect_code(2);
    exec(&bed, &["--sudo=a;id", "--", "true"]).expect_code(2);
    exec(
        &bed,
        &["--cwd", "x", "--stdin", "/no/such/file", "--", "true"],
    )
    .expect_code(2);
    exec(&bed, &["nobody", "--", "true"]).expect_code(2);
    exec(&bed, &["--timeout", "soon", "--", "true"]).expect_code(2);
    exec(&bed, &["web1"]).expect_code(2);
    assert!(
        !bed.server.log().contains("Connection from"),
        "{}",
        bed.server.log()
    );
}

#[test]
fn exit_codes_and_signals_of_one_host_are_passed_on() {
    let Some(bed) = Bed::one() else { return };
    for code in [0, 1, 2, 4, 7, 10, 69, 124, 130, 255] {
        bed.shell(&[], &format!("exit {code}")).expect_code(code);
    }
    exec(&bed, &["--", "/no/such/program"]).expect_code(127);
    bed.install("not-executable", "x");
    exec(&bed, &["--", "chmod", "-x", "not-executable"]).expect_code(0);
    let file = bed
        .server
        .home()
        .join("not-executable")
        .display()
        .to_string();
    exec(&bed, &["--", &file]).expect_code(126);
    for (signal, number) in [
        ("SEGV", 11),
        ("KILL", 9),
        ("TERM", 15),
        ("HUP", 1),
        ("USR1", 10),
        ("USR2", 12),
    ] {
        let done = bed
            .shell(&["--json"], &format!("kill -{signal} $$"))
            .expect_code(128 + number);
        assert_eq!(done.json()["results"][0]["signal"], signal, "{done}");
    }
}

#[test]
fn several_hosts_fold_into_one_code() {
    let Some(bed) = Bed::many(2) else { return };
    let odd = "[ \"$0\" ] && mkdir first 2>/dev/null && exit 7; exit 0";
    let done = bed.shell(&[], odd).expect_code(1);
    assert!(done.err().contains("failed (exit 7)"), "{done}");
    assert!(done.err().contains("1 ok, 1 failed in "), "{done}");
    bed.shell(&[], "true").expect_code(0);
    bed.shell(
        &["--timeout", "1s", "--grace", "1s"],
        "mkdir second && sleep 300; exit 0",
    )
    .expect_code(124);
}

#[test]
fn standard_input_is_closed_or_a_file() {
    let Some(bed) = Bed::many(3) else { return };
    // Closed: `cat` ends at once even though the controller's own input stays open.
    let done = bed.shell(&["web1"], "cat; echo end").expect_code(0);
    assert_eq!(done.out(), "end\n");
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let input = bed.world.dir().join("input");
    std::fs::write(&input, &bytes).unwrap();
    let path = input.display().to_string();
    let done = exec(&bed, &["web1", "--stdin", &path, "--", "cat"]).expect_code(0);
    assert!(done.stdout == bytes, "{} bytes", done.stdout.len());
    let done = exec(&bed, &["--stdin", &path, "--", "wc", "-c"]).expect_code(0);
    assert_eq!(done.out().matches("] 3000000\n").count(), 3, "{done}");
    std::fs::write(&input, "").unwrap();
    let done = exec(&bed, &["web1", "--stdin", &path, "--", "wc", "-c"]).expect_code(0);
    assert_eq!(done.out().trim(), "0");
    let left = bed.server.home().join(".cache/skyclaw");
    assert_eq!(
        std::fs::read_dir(left).unwrap().count(),
        0,
        "the copies are gone"
    );
}

#[test]
fn environment_and_directory_are_as_asked() {
    let Some(bed) = Bed::one() else { return };
    std::fs::create_dir(bed.server.home().join("it's here")).unwrap();
    let home = bed.server.home().display().to_string();
    assert_eq!(
        bed.shell(&[], "pwd").expect_code(0).out(),
        format!("{home}\n")
    );
    for (cwd, expected) in [
        ("~/it's here", format!("{home}/it's here\n")),
        ("/", "/\n".to_owned()),
        ("it's here", format!("{home}/it's here\n")),
    ] {
        assert_eq!(
            bed.shell(&["--cwd", cwd], "pwd").expect_code(0).out(),
            expected
        );
    }
    let done = bed
        .shell(&["--cwd", "/no/$(id)/such", "--json"], "true")
        .expect_code(1)
        .json();
    let result = &done["results"][0];
    assert_eq!(result["status"], "failed");
    assert!(
        result["error"].as_str().unwrap().contains("/no/$(id)/such"),
        "{done}"
    );
    assert!(result["hint"].as_str().unwrap().contains("--cwd"), "{done}");
    let value = "it's `id` $HOME\nsecond \\ line";
    let done = bed.shell(
        &["--env", &format!("V={value}"), "--env", "EMPTY="],
        "printf '%s|%s' \"$V\" \"${EMPTY-unset}\"",
    );
    assert_eq!(done.expect_code(0).out(), format!("{value}|"));
    bed.world.fleet(&[bed
        .server
        .fleet_host("web1")
        .with("workdir", "/tmp")
        .with("env", serde_json::json!({ "A": "fleet", "B": "fleet" }))]);
    let done = bed
        .shell(&["--env", "B=flag"], "echo $A $B; pwd")
        .expect_code(0);
    assert_eq!(done.out(), "fleet flag\n/tmp\n");
}

#[test]
fn tasks_are_shell_lines_that_run_once_each() {
    let Some(bed) = Bed::many(3) else { return };
    let lines: String = (0..20)
        .map(|n| format!("echo {n} >> ran; echo '{n}'\n"))
        .collect();
    let done = bed
        .world
        .skyclaw_with_stdin(
            &["fleet", "exec", "--tasks", "-", "--json"],
            lines.as_bytes(),
        )
        .expect_code(0)
        .json();
    assert_eq!(done["summary"]["ok"], 20, "{done}");
    let mut ran: Vec<u32> = std::fs::read_to_string(bed.server.home().join("ran"))
        .unwrap()
        .lines()
        .map(|line| line.parse().unwrap())
        .collect();
    ran.sort_unstable();
    assert_eq!(ran, (0..20).collect::<Vec<_>>());
    let done = bed
        .world
        .skyclaw_with_stdin(
            &["fleet", "exec", "--tasks", "-", "--each"],
            b"echo {name}\n",
        )
        .expect_code(0);
    let mut lines: Vec<_> = done.out().lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(
        lines,
        ["[web1] web1", "[web2] web2", "[web3] web3"],
        "{done}"
    );
}

#[test]
fn sudo_becomes_another_user_and_is_still_ended() {
    let Some(bed) = Bed::one() else { return };
    if !(require_program("sudo") && common::is_root()) {
        eprintln!("SKIP: sudo is not there, or this is not root");
        return;
    }
    let done = bed
        .shell(
            &["--sudo=nobody", "--cwd", "/", "--env", "V=kept"],
            "id -un; echo $V; exit 7",
        )
        .expect_code(7);
    assert_eq!(done.out(), "nobody\nkept\n");
    // sudo takes the server's mark out of the environment, so the task carries one in its text.
    let mark = format!("sudo-mark-{}", std::process::id());
    let stubborn = format!("trap '' TERM; echo begun; while :; do : {mark}; sleep 0.2; done");
    let flags = ["--sudo", "--timeout", "2s", "--grace", "1s"];
    let done = bed.shell(&flags, &stubborn).expect_code(124);
    assert_eq!(done.out(), "begun\n");
    common::procs::assert_no_process_within(Duration::from_secs(12), &mark);
    let running = bed.start_shell(&["--sudo", "--grace", "1s"], &stubborn);
    running.wait_for_line("begun", SOON);
    running.kill9();
    running.wait(SOON);
    common::procs::assert_no_process_within(Duration::from_secs(12), &mark);
    bed.shell(&["--sudo=no-such-user"], "true").expect_code(1);
}

#[test]
fn the_history_keeps_the_newest_runs() {
    let Some(bed) = Bed::one() else { return };
    for _ in 0..3 {
        bed.shell(&[], "true").expect_code(0);
    }
    let runs = bed.run(&["fleet", "runs", "--json"]).expect_code(0).json();
    assert_eq!(runs["runs"].as_array().unwrap().len(), 3);
    // Small output lives in the queue alone; only large output leaves a directory.
    let dirs = bed.world.home().join(".local/state/skyclaw/runs");
    assert!(!dirs.exists() || std::fs::read_dir(&dirs).unwrap().count() == 0);
    bed.shell(&[], "head -c 2000000 /dev/zero").expect_code(0);
    assert_eq!(std::fs::read_dir(&dirs).unwrap().count(), 1);
    let shown = bed
        .run(&["fleet", "show", "last", "--on", "web1"])
        .expect_code(0);
    assert!(shown.out().starts_with("\0\0") && shown.out().ends_with("\0\0"));
    assert!(shown.out().contains("[output truncated]"));
    assert!(shown.err().contains("runs/"), "{}", shown.err());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_runs_are_remembered_and_the_output_of_older_ones_goes() {
    use skyclaw::protocol::{GroupId, JobId, Payload};
    use skyclaw::queue::{Cancel, IntoGroup, NewGroup, NewJob, Options, Queue, Submit};
    let Some(bed) = Bed::one() else { return };
    bed.shell(&[], "head -c 2000000 /dev/zero").expect_code(0);
    let state = bed.world.home().join(".local/state/skyclaw");
    let kept = || std::fs::read_dir(state.join("runs")).unwrap().count();
    assert_eq!(kept(), 1);
    // What two hundred more runs leave in the queue, without the runs.
    let queue = Queue::open(Options::new(state.join("queue.db"))).unwrap();
    for _ in 0..200 {
        let id = GroupId::fresh();
        let group = NewGroup {
            id,
            kind: "exec".into(),
            title: "filler".into(),
            parent: None,
            meta: Payload::empty(),
        };
        let job = NewJob {
            id: JobId::fresh(),
            ..NewJob::new(Payload::empty())
        };
        let submit = Submit {
            group: Some(IntoGroup::New(group)),
            jobs: vec![job],
        };
        queue.submit(submit, None).await.unwrap();
        queue.cancel(Cancel::Group(id), None).await.unwrap();
    }
    drop(queue);
    bed.shell(&[], "true").expect_code(0);
    let runs = bed.run(&["fleet", "runs", "--json"]).expect_code(0).json();
    assert_eq!(runs["runs"].as_array().unwrap().len(), 200);
    assert_eq!(kept(), 0);
}
