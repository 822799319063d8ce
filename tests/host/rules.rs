//! What jobs may not do, and what they cannot see.

use std::collections::BTreeMap;

use skyclaw::protocol::Reason;
use skyclaw::protocol::api::JobKind;

use crate::bed::{Bed, SOON, TOKEN, assert_done, assert_failed, error, out, with_program};
use crate::common::{Running, scan_files};

fn command(program: &str, args: &[&str]) -> JobKind {
    JobKind::Shell {
        command: program.into(),
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        cwd: None,
        env: BTreeMap::new(),
        timeout_ms: None,
        grace_ms: None,
        argv_b64: Vec::new(),
        stdin: None,
        agent: None,
    }
}

#[test]
fn no_job_sees_the_token() {
    let bed = Bed::new();
    let passed = [
        ("SKYCLAW_ENV_PASS", "LENT"),
        ("LENT", "yes"),
        ("OTHER_SECRET", "hidden-value"),
    ];
    let host = bed.host("lab", &passed);
    let job = bed.run(
        "cat /proc/self/environ /proc/$PPID/environ /proc/$PPID/cmdline | tr '\\0' '\\n'; \
         for pid in /proc/[0-9]*; do grep -q host-watch $pid/cmdline 2>/dev/null && tr '\\0' '\\n' < $pid/environ; done; echo end",
    );
    assert_done(&job);
    let text = out(&job);
    assert!(text.contains("SKYCLAW_JOB_ID=job_") && text.contains("SKYCLAW_ATTEMPT=1"));
    assert!(text.contains("LENT=yes") && text.ends_with("end\n"));
    assert!(!text.contains(TOKEN), "{text}");
    assert!(!text.contains("hidden-value"), "{text}");
    assert_eq!(
        scan_files(&bed.state_dir("lab"), TOKEN),
        Vec::<std::path::PathBuf>::new()
    );
    assert!(!host.stdout_so_far().contains(TOKEN) && !host.stderr_so_far().contains(TOKEN));
}

#[test]
fn only_listed_commands_run_and_only_as_the_owner_found_them() {
    let bed = Bed::new();
    let path = with_program(bed.dir.path(), "tool", "#!/bin/sh\necho the tool\n");
    let vars = [
        ("SKYCLAW_ALLOWED_COMMANDS", "tool,gone"),
        ("PATH", path.as_str()),
    ];
    let host = bed.host("lab", &vars);
    host.wait_for_line("not on this machine: gone", SOON);
    assert_eq!(
        out(&bed.wait(bed.submit(&command("tool", &[])))),
        "the tool\n"
    );
    let file = bed.file("bin/tool");
    assert_done(&bed.wait(bed.submit(&command(&file, &[]))));
    for refused in ["sh", "/bin/sh", "./tool", "../bin/tool"] {
        let job = bed.wait(bed.submit(&command(refused, &["-c", "true"])));
        assert_failed(&job, Reason::NotAllowed);
        assert_eq!(error(&job), format!("command not allowed: {refused}"));
        assert_eq!(job.result.unwrap().exit_code, Some(126));
    }
    host.wait_for_line(": command not allowed: /bin/sh", SOON);
    let gone = bed.wait(bed.submit(&command("gone", &[])));
    assert_failed(&gone, Reason::Spawn);
    assert_eq!(error(&gone), "spawn gone ENOENT");
}

#[test]
fn whole_commands_can_be_listed() {
    let bed = Bed::new();
    let rules = r#"[["sh","-c","echo fine"]]"#;
    let host = bed.host("lab", &[("SKYCLAW_ALLOWED_ARGV", rules)]);
    assert_done(&bed.wait(bed.submit(&command("sh", &["-c", "echo fine"]))));
    let job = bed.wait(bed.submit(&command("sh", &["-c", "echo else"])));
    assert_failed(&job, Reason::NotAllowed);
    assert!(!host.stdout_so_far().contains("jobs may run anything"));
}

#[test]
fn a_payload_may_not_decide_which_code_runs() {
    let bed = Bed::new();
    let _host = bed.host("lab", &[("SKYCLAW_ENV_ALLOW", "LD_LIBRARY_PATH")]);
    let with = |name: &str| {
        let mut kind = command("sh", &["-c", "env"]);
        if let JobKind::Shell { env, .. } = &mut kind {
            env.insert(name.to_owned(), "x".to_owned());
        }
        bed.wait(bed.submit(&kind))
    };
    for name in [
        "PATH",
        "LD_PRELOAD",
        "NODE_OPTIONS",
        "BASH_ENV",
        "SKYCLAW_TOKEN",
    ] {
        let job = with(name);
        assert_failed(&job, Reason::NotAllowed);
        assert!(error(&job).contains(name));
    }
    assert!(out(&with("LD_LIBRARY_PATH")).contains("LD_LIBRARY_PATH=x"));
    assert!(out(&with("MINE")).contains("MINE=x"));
}

#[test]
fn directories_lie_where_the_owner_wants_them() {
    let bed = Bed::new();
    let work = bed.dir.path().join("w");
    std::fs::create_dir_all(work.join("in")).unwrap();
    std::os::unix::fs::symlink("/", work.join("out")).unwrap();
    let vars = [("SKYCLAW_WORKDIR", work.to_str().unwrap())];
    let _host = bed.host("lab", &vars);
    let within = |dir: &str| {
        let mut kind = command("sh", &["-c", "pwd"]);
        if let JobKind::Shell { cwd, .. } = &mut kind {
            *cwd = Some(dir.to_owned());
        }
        bed.wait(bed.submit(&kind))
    };
    let inside = work.join("in").canonicalize().unwrap();
    assert_eq!(out(&within("in")).trim(), inside.to_str().unwrap());
    assert_done(&within(inside.to_str().unwrap()));
    for dir in ["/", "..", "out", "out/tmp", "in/../.."] {
        assert_failed(&within(dir), Reason::NotAllowed);
    }
    assert_failed(&within("nowhere"), Reason::Spawn);
}

#[test]
fn settings_that_cannot_be_used_are_said_before_anything_happens() {
    let bed = Bed::without_coordinator();
    let wrong = [
        ("SKYCLAW_MAX_PARALLEL", "many"),
        ("SKYCLAW_POLL_MS", "12abc"),
        ("SKYCLAW_GRACE_MS", "soon"),
        ("SKYCLAW_ON_LEASE_LOST", "cry"),
        ("SKYCLAW_CLAIM_WHEN", "rainy"),
        ("SKYCLAW_ACCEPT_FROM", "alice=dancing"),
        ("SKYCLAW_ALLOWED_ARGV", "ls"),
        ("SKYCLAW_LABELS", "zone"),
        ("SKYCLAW_COORDINATOR_URL", "nowhere"),
    ];
    for (name, value) in wrong {
        let host = Running::start(&mut bed.host_command("lab", &[(name, value)]), None);
        let output = host.wait(SOON).expect_code(2);
        assert!(!output.err().contains(TOKEN), "{output}");
    }
    let unit = Running::start(&mut bed.skyclaw(&["host", "--print-unit"]), None)
        .wait(SOON)
        .expect_code(0);
    assert!(unit.out().contains("ExecStart=") && !unit.out().contains("SKYCLAW_TOKEN="));
}

#[test]
fn empty_variables_count_as_unset() {
    let bed = Bed::new();
    let vars = [
        ("SKYCLAW_MAX_PARALLEL", ""),
        ("SKYCLAW_HOST_ID", ""),
        ("SKYCLAW_ALLOWED_COMMANDS", ""),
        ("SKYCLAW_WORKDIR", ""),
        ("SKYCLAW_DB_PATH", "/nonexistent/ignored.db"),
    ];
    let _host = bed.host("lab", &vars);
    assert_done(&bed.run("true"));
}

#[test]
fn jobs_do_not_inherit_what_the_daemon_was_started_with() {
    let bed = Bed::new();
    let secret = bed.file("not-for-jobs");
    std::fs::write(&secret, "the owner's own").unwrap();
    let daemon = bed.host_command("lab", &[]);
    let mut command = bed.skyclaw(&[]);
    command = {
        let mut shell = std::process::Command::new("/bin/sh");
        shell
            .args(["-c", "exec \"$0\" host 3<\"$1\" 9<\"$1\""])
            .arg(command.get_program())
            .arg(&secret)
            .env_clear()
            .current_dir(daemon.get_current_dir().unwrap());
        for (name, value) in daemon.get_envs() {
            shell.env(name, value.unwrap());
        }
        shell
    };
    let host = Running::start(&mut command, None);
    host.wait_for_line("host registered", SOON);
    let job = bed.run("for at in 3 9; do cat /proc/self/fd/$at || echo closed; done");
    assert_done(&job);
    assert_eq!(out(&job), "closed\nclosed\n");
}
