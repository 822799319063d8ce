//! Where a secret must never show: process tables, output of every format, records, logs.
//! Rows 4.22, 4.25, 9.7; pitfall 11.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "helpers of tests fail by panicking, as tests do"
)]

mod common;

use common::{Bed, SOON, ps_snapshot, require_program, scan_files};

const SECRET: &str = "s3cr3t-c0ffee-value";

/// The bed with the secret in the controller's environment.
fn bed() -> Option<Bed> {
    let mut bed = Bed::one()?;
    bed.world.set_env("MY_SECRET", SECRET);
    Some(bed)
}

fn digest_of(text: &str) -> String {
    use sha2::Digest;
    let digest = sha2::Sha256::digest(text.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_variable_handed_over_shows_nowhere_but_in_the_task() {
    let Some(bed) = bed() else { return };
    let out = bed.world.dir().join("out").display().to_string();
    // Waits so that the process tables are sampled while it runs; proves that the value arrived.
    let line = "printf %s \"$MY_SECRET\" | sha256sum; sleep 0.5";
    let digest = digest_of(SECRET);
    let sampler = ps_snapshot();
    for format in [&[][..], &["--json"], &["--ndjson"], &["--group"], &["-vvv"]] {
        let mut flags = vec!["--env-from", "MY_SECRET", "--output-dir", &out];
        flags.extend(format);
        let done = bed.shell(&flags, line).expect_code(0);
        assert!(done.out().contains(&digest), "the value arrived: {done}");
        assert!(!done.out().contains(SECRET), "{format:?}: {done}");
        assert!(!done.err().contains(SECRET), "{format:?}: {done}");
    }
    for proc in sampler.stop() {
        assert!(
            !proc.cmdline.contains(SECRET),
            "on a command line: {}",
            proc.cmdline
        );
        // On the host only the task itself has it; here only we, whose environment it came from.
        let host_side = proc.environ.contains(&bed.server.marker());
        let of_task = proc.environ.contains("SKYCLAW_TASK=");
        assert!(
            !host_side || of_task || !proc.environ.contains(SECRET),
            "{}",
            proc.cmdline
        );
    }
    for show in [
        &["fleet", "show"][..],
        &["fleet", "show", "--json"],
        &["fleet", "runs", "--json"],
        &["fleet", "show", "--on", "web1"],
    ] {
        let shown = bed.run(show).expect_code(0);
        assert!(
            !shown.out().contains(SECRET) && !shown.err().contains(SECRET),
            "{shown}"
        );
    }
    assert_eq!(
        scan_files(bed.world.dir(), SECRET),
        [] as [std::path::PathBuf; 0],
        "files of the controller"
    );
    assert_eq!(
        scan_files(bed.server.home(), SECRET),
        [] as [std::path::PathBuf; 0],
        "files of the host"
    );
    assert!(!bed.server.log().contains(SECRET));
}

#[test]
fn an_agent_gets_the_variable_and_nobody_else_does() {
    let Some(bed) = bed() else { return };
    bed.install(
        "agent",
        "#!/bin/sh\nprintf %s \"$MY_SECRET\" | wc -c\nsleep 0.3\n",
    );
    let sampler = ps_snapshot();
    let args = [
        "fleet",
        "dispatch",
        "hi",
        "--agent",
        "~/agent {task}",
        "--env-from",
        "MY_SECRET",
        "-vvv",
    ];
    let done = bed.run(&args).expect_code(0);
    assert_eq!(done.out().trim(), SECRET.len().to_string(), "{done}");
    assert!(!done.err().contains(SECRET), "{done}");
    for proc in sampler.stop() {
        assert!(
            !proc.cmdline.contains(SECRET),
            "on a command line: {}",
            proc.cmdline
        );
    }
    assert_eq!(
        scan_files(bed.world.dir(), SECRET),
        [] as [std::path::PathBuf; 0]
    );
}

#[test]
fn a_failing_run_does_not_show_it_either() {
    let Some(bed) = bed() else { return };
    let done = bed
        .shell(
            &["--env-from", "MY_SECRET", "-vvv", "--cwd", "/no/such"],
            "true",
        )
        .expect_code(1);
    assert!(!done.err().contains(SECRET), "{done}");
    let running = bed.start_shell(
        &["--env-from", "MY_SECRET", "-vvv", "--connect-timeout", "2s"],
        "echo begun; sleep 300",
    );
    running.wait_for_line("begun", SOON);
    bed.server.drop_connections();
    let done = running.wait(SOON).expect_code(255);
    assert!(!done.err().contains(SECRET), "{done}");
    assert_eq!(
        scan_files(bed.world.dir(), SECRET),
        [] as [std::path::PathBuf; 0]
    );
}

#[test]
fn a_dry_run_masks_values_and_contacts_nobody() {
    let Some(bed) = bed() else { return };
    for format in [&[][..], &["--json"], &["--ndjson"]] {
        let mut args = vec!["fleet", "exec", "--dry-run", "--env-from", "MY_SECRET"];
        args.extend([
            "--env",
            "API_KEY=k-123",
            "--env",
            "DB_PASSWORD=k-456",
            "--env",
            "PLAIN=seen",
        ]);
        args.extend(format);
        args.extend(["--", "printf", "it's"]);
        let done = bed.run(&args).expect_code(0);
        let all = done.out() + &done.err();
        for hidden in [SECRET, "k-123", "k-456"] {
            assert!(!all.contains(hidden), "{all}");
        }
        for shown in [
            "API_KEY=***",
            "MY_SECRET=***",
            "PLAIN=seen",
            "web1",
            "printf",
        ] {
            assert!(all.contains(shown), "{shown}: {all}");
        }
        assert!(
            all.contains(&format!("@127.0.0.1:{}", bed.server.port())),
            "{all}"
        );
    }
    assert!(
        !bed.server.log().contains("Connection from"),
        "{}",
        bed.server.log()
    );
    assert!(scan_files(bed.world.dir(), "k-123").is_empty());
}

#[test]
fn a_value_with_any_text_error_is_not_shown() {
    let Some(bed) = Bed::one() else { return };
    // `--env NAME` without a value may hold one by mistake: `--env sk-123` is a common slip.
    let done = bed
        .run(&["fleet", "exec", "--env", "sk-123-slip", "--", "true"])
        .expect_code(2);
    assert!(!done.err().contains("sk-123-slip"), "{done}");
    let done = bed
        .run(&["fleet", "exec", "--env", "API-KEY=sk-9-slip", "--", "true"])
        .expect_code(2);
    assert!(!done.err().contains("sk-9-slip"), "{done}");
    assert!(!bed.server.log().contains("Connection from"));
    let done = bed
        .run(&["fleet", "exec", "--env-from", "NOT_SET", "--", "true"])
        .expect_code(2);
    assert!(done.err().contains("NOT_SET"), "{done}");
}

#[test]
fn a_sudo_password_shows_nowhere() {
    let Some(bed) = Bed::one() else { return };
    if !(require_program("sudo") && common::is_root()) {
        eprintln!("SKIP: sudo is not there, or this is not root");
        return;
    }
    // Not the other tests' secret: the whole process table is looked at.
    const PASSWORD: &str = "s3cr3t-sudo-password";
    let file = bed.world.dir().join("password");
    std::fs::write(&file, format!("{PASSWORD}\n")).unwrap();
    let path = file.display().to_string();
    let sampler = ps_snapshot();
    let flags = [
        "--sudo=nobody",
        "--sudo-password-file",
        &path,
        "-vvv",
        "--cwd",
        "/",
    ];
    // Root may become anybody without a password: then nothing reads the line but our own script.
    let done = bed.shell(&flags, "id -un; cat; sleep 0.3").expect_code(0);
    assert_eq!(done.out(), "nobody\n", "{done}");
    assert!(!done.err().contains(PASSWORD), "{done}");
    for proc in sampler.stop() {
        assert!(!proc.contains(PASSWORD), "{}", proc.cmdline);
    }
    std::fs::remove_file(&file).unwrap();
    assert_eq!(
        scan_files(bed.world.dir(), PASSWORD),
        [] as [std::path::PathBuf; 0]
    );
}
