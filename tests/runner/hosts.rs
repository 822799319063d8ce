//! Runners on hosts of all kinds, and hosts that have none.

use std::os::unix::fs::{PermissionsExt, symlink};

use skyclaw::fleet::remote::{Command, Input, Sudo, Value};
use skyclaw::ssh::Exit;
use skyclaw::support::secret::Secret;

use crate::bed::{Bed, STARTER, run, shell, until};
use crate::common::{self, Shell, ps_snapshot, scan_files};

#[tokio::test(flavor = "multi_thread")]
async fn every_login_shell_and_noisy_login_scripts_will_do() {
    for shell_kind in [
        Shell::Bash,
        Shell::Dash,
        Shell::Busybox,
        Shell::Zsh,
        Shell::Fish,
        Shell::Tcsh,
    ] {
        if common::require::on_path(shell_kind.program()).is_none() {
            eprintln!("SKIP {}: not installed", shell_kind.program());
            continue;
        }
        let set_up = |builder: common::SshdBuilder| {
            builder.shell(shell_kind).rc_noise("WELCOME\nno newline")
        };
        let Some(bed) = Bed::on(set_up) else { return };
        let connection = bed.connect_to_runner().await;
        let got = run(&connection, &shell("echo \"$0 it's\"; echo e >&2; exit 4")).await;
        assert_eq!(got.finished.exit, Some(Exit::Code(4)), "{shell_kind:?}");
        assert_eq!(got.text(), "sh it's\n", "{shell_kind:?}");
        assert_eq!(got.stderr, b"e\n", "{shell_kind:?}");
    }
}

/// A folder for `PATH` with what the tests call, and this as its `perl`.
fn programs(perl: Option<&str>) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in ["sh", "bash", "cat", "grep", "sleep", "rm", "echo"] {
        let path = common::require::on_path(name).unwrap();
        symlink(path, dir.path().join(name)).unwrap();
    }
    if let Some(script) = perl {
        let path = dir.path().join("perl");
        std::fs::write(&path, script).unwrap();
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
    }
    dir
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_without_perl_or_with_a_strange_one_has_sessions() {
    for perl in [
        None,
        Some("#!/bin/sh\necho I am no Perl\n"),
        Some("#!/bin/sh\necho broken >&2\nexit 2\n"),
        Some("#!/bin/sh\nexec cat\n"),
    ] {
        let dir = programs(perl);
        let path = dir.path().display().to_string();
        let Some(bed) = Bed::on(|builder| builder.env("PATH", &path)) else {
            return;
        };
        let connection = bed.connect().await;
        for n in 0..6 {
            let got = run(
                &connection,
                &shell(&format!("echo {n}; {STARTER}; exit {n}")),
            )
            .await;
            assert!(
                got.text().starts_with(&format!("{n}\nsshd")),
                "{perl:?}: {}",
                got.text()
            );
            assert_eq!(got.finished.exit, Some(Exit::Code(n)), "{perl:?}");
        }
        assert_eq!(bed.sessions(), 7, "it was tried once: {perl:?}");
        assert!(bed.runners().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_whose_perl_takes_everything_for_utf8_has_runners_that_do_not() {
    for (name, value) in [("PERL_UNICODE", "SDA"), ("PERL5OPT", "-CSDA")] {
        let Some(bed) = Bed::on(|builder| builder.env(name, value)) else {
            return;
        };
        let connection = bed.connect_to_runner().await;
        let bytes = b"\xff\xfe \xc3\xa9".to_vec();
        let echo = Command {
            input: Input::Text(bytes.clone()),
            ..shell("cat; cat /proc/$PPID/comm >&2")
        };
        let got = run(&connection, &echo).await;
        assert_eq!(
            (got.stdout, got.stderr),
            (bytes, b"perl\n".to_vec()),
            "{name}"
        );
        let missing = Command {
            words: vec!["skyclaw-no-such-program".into()],
            ..Command::default()
        };
        let got = run(&connection, &missing).await;
        assert_eq!(got.finished.exit, Some(Exit::Code(127)), "{name}");
        assert_eq!(bed.runners().len(), 1, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_whose_perl_starts_nothing_has_sessions() {
    let Some(bed) = Bed::on(|builder| builder.env("PERL5OPT", "-T")) else {
        return;
    };
    let connection = bed.connect().await;
    for _ in 0..3 {
        let got = run(&connection, &shell(STARTER)).await;
        assert!(got.text().starts_with("sshd"), "{}", got.text());
    }
    assert!(bed.runners().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_prints_between_the_words_of_a_runner_costs_one_command_at_most() {
    let Some(bed) = Bed::new() else { return };
    let connection = bed.connect_to_runner().await;
    let stray = run(
        &connection,
        &shell("echo stray >/proc/$PPID/fd/1; sleep 300"),
    )
    .await;
    assert_eq!(stray.finished.exit, None, "{:?}", stray.finished);
    until("nothing of it is left", || bed.tasks().is_empty()).await;
    assert_eq!(run(&connection, &shell("echo on")).await.text(), "on\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_runner_cannot_do_has_a_session() {
    let Some(bed) = Bed::new() else { return };
    let connection = bed.connect_to_runner().await;
    std::fs::write(bed.server.home().join("input"), "from a file\n").unwrap();
    let file = Command {
        input: Input::File("~/input".into()),
        ..shell(&format!("cat; {STARTER}"))
    };
    let got = run(&connection, &file).await;
    assert!(
        got.text().starts_with("from a file\nsshd"),
        "{}",
        got.text()
    );
    let offered = Command {
        if_offered: Some(("no such flag", vec!["x".into()])),
        ..shell(STARTER)
    };
    assert!(run(&connection, &offered).await.text().starts_with("sshd"));
    if common::require::on_path("sudo").is_some() {
        let sudo = Command {
            sudo: Some(Sudo::default()),
            ..shell("id -u")
        };
        assert_eq!(run(&connection, &sudo).await.text(), "0\n");
    }
    assert_eq!(run(&connection, &shell(STARTER)).await.text(), "perl\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_seen_by_its_command_alone() {
    const SECRET: &str = "s3cr3t-runner-value";
    let Some(bed) = Bed::new() else { return };
    let connection = bed.connect_to_runner().await;
    let command = Command {
        env: vec![("KEY".into(), Value::Hidden(Secret::new(SECRET.into())))],
        ..shell("printf %s \"$KEY\" | wc -c; sleep 0.3")
    };
    let sampler = ps_snapshot();
    let got = run(&connection, &command).await;
    assert_eq!(got.text().trim(), SECRET.len().to_string());
    let next = run(
        &connection,
        &shell("env; cat /proc/$PPID/environ /proc/$PPID/cmdline"),
    )
    .await;
    assert!(next.text().contains("perl"), "{}", next.text());
    assert!(!next.text().contains(SECRET), "it is gone with its command");
    for proc in sampler.stop() {
        assert!(!proc.cmdline.contains(SECRET), "{}", proc.cmdline);
        let of_task = proc.environ.contains("SKYCLAW_TASK=");
        assert!(
            of_task || !proc.environ.contains(SECRET),
            "{}",
            proc.cmdline
        );
    }
    let files = scan_files(bed.server.home(), SECRET);
    assert!(files.is_empty(), "{files:?}");
    assert!(!bed.server.log().contains(SECRET));
}
