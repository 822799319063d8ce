//! A command comes out of a runner as it comes out of a session of its own.

use skyclaw::fleet::remote::{Command, Input, Value, Word};
use skyclaw::fleet::supervise::NotStarted;
use skyclaw::ssh::Exit;

use crate::bed::{Bed, STARTER, run, shell};

/// Runs each command first in a session, then in a runner, and compares.
async fn compare(bed: &Bed, commands: &[Command]) {
    let with_runner = bed.connect_to_runner().await;
    for command in commands {
        let without = bed.connect().await;
        let expected = run(&without, command).await.outcome();
        let got = run(&with_runner, command).await.outcome();
        assert_eq!(got, expected, "{command}");
        let next = run(&with_runner, &shell(STARTER)).await;
        assert_eq!(next.text(), "perl\n", "it serves on after {command}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_commands_take_two_sessions() {
    let Some(bed) = Bed::new() else { return };
    let connection = bed.connect().await;
    for n in 0..200 {
        let got = run(
            &connection,
            &shell(&format!("echo {n}; echo e{n} >&2; exit {}", n % 5)),
        )
        .await;
        assert_eq!(got.stdout, format!("{n}\n").as_bytes());
        assert_eq!(got.stderr, format!("e{n}\n").as_bytes());
        assert_eq!(got.finished.exit, Some(Exit::Code(n % 5)));
    }
    assert_eq!(bed.sessions(), 2, "one for the first, one for all others");
    assert_eq!(bed.runners().len(), 1);
    drop(connection);
    crate::bed::until("the runner ends with its connection", || {
        bed.runners().is_empty()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_codes_signals_and_streams_are_the_same() {
    let Some(bed) = Bed::new() else { return };
    let scripts = [
        "echo out; echo err >&2; exit 7",
        "exit 0",
        "exit 255",
        "kill -TERM $$",
        "kill -SEGV $$",
        "kill -KILL $$",
        "kill -USR1 $$",
        "printf 'no newline'",
        "exec >&-; exec 2>&-; sleep 0.2; exit 9",
        // Were SIGPIPE ignored, as Perl has it, `yes` would complain.
        "yes | head -n 1",
        "cat; echo end",
        "head -c 3000000 /dev/zero | tr '\\0' '\\377'; printf x >&2",
    ];
    compare(&bed, &scripts.map(shell)).await;
    // What others write after its end counts as well, for a while.
    let late = shell("(sleep 0.3; echo late) & echo first");
    let got = run(&bed.connect_to_runner().await, &late).await.outcome();
    assert_eq!(got, run(&bed.connect().await, &late).await.outcome());
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_environment_directory_and_input_are_the_same() {
    let Some(bed) = Bed::new() else { return };
    std::fs::create_dir(bed.server.home().join("a dir")).unwrap();
    let script = bed.server.home().join("no first line");
    std::fs::write(&script, "echo \"script $1\"\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&script, mode).unwrap();
    let hostile = b"a'b\"c $(id) `id` \\ ! -n\n\nnew \xff\xfe ~ \xf0\x9f\xa6\x9e".to_vec();
    // All of the environment but the word of the task, the port of the connection and what names the shell before.
    let everything =
        "env | grep -v -e ^SKYCLAW_TASK= -e ^_= -e ^SSH_C | sort; pwd; umask; ulimit -a";
    let mut commands = vec![
        shell(everything),
        Command {
            words: vec![
                "sh".into(),
                "-c".into(),
                "printf %s \"$1\"; printf %s \"$V\" >&2; cat; pwd".into(),
                "-".into(),
                Word::Plain(hostile.clone()),
            ],
            env: vec![
                ("V".into(), Value::Open("it's $HOME\n`x`".into())),
                ("V".into(), Value::Open("the last one counts\n\n".into())),
            ],
            input: Input::Text(hostile),
            ..Command::default()
        },
        Command {
            env: vec![("HOME".into(), Value::Open("/usr".into()))],
            unset: vec!["LANG".into(), "LOGNAME".into()],
            ..shell(everything)
        },
        Command {
            words: vec![Word::InHome("no first line".into()), "".into()],
            ..Command::default()
        },
        Command {
            input: Input::Text(vec![b'x'; 3_000_000]),
            ..shell("wc -c")
        },
        Command {
            input: Input::Text(vec![b'x'; 300_000]),
            ..shell("exec <&-; echo does not read")
        },
    ];
    for directory in [
        "/",
        "/usr/",
        "/usr/../usr/bin",
        "~/a dir",
        "~/",
        "a dir",
        ".",
    ] {
        commands.push(Command {
            directory: Some(directory.into()),
            ..shell("pwd; echo \"$PWD\"; ls -d .")
        });
    }
    compare(&bed, &commands).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_start_is_the_same() {
    let Some(bed) = Bed::new() else { return };
    let installed = |program: &str| Command {
        words: vec![program.into()],
        must_be_installed: true,
        ..Command::default()
    };
    let commands = [
        installed("/no/such"),
        installed("no-such-program"),
        installed("env"),
        Command {
            words: vec![Word::InHome(".local/bin/nothing".into())],
            must_be_installed: true,
            ..Command::default()
        },
        Command {
            directory: Some("/no/such".into()),
            ..shell("true")
        },
        Command {
            directory: Some("~/no such".into()),
            ..shell("true")
        },
    ];
    let with_runner = bed.connect_to_runner().await;
    for command in &commands {
        let without = bed.connect().await;
        let expected = run(&without, command).await.finished.not_started;
        let got = run(&with_runner, command).await.finished.not_started;
        assert_eq!(got, expected, "{command}");
    }
    let nowhere = run(&with_runner, &commands[4]).await;
    let nowhere = nowhere.finished.not_started;
    assert_eq!(nowhere, Some(NotStarted::NoDirectory("/no/such".into())));
    for (program, code) in [
        ("/no/such/program", 127),
        ("no-such-program", 127),
        ("/etc/passwd", 126),
        ("/etc", 126),
    ] {
        let command = Command {
            words: vec![program.into(), "argument".into()],
            ..Command::default()
        };
        let got = run(&with_runner, &command).await;
        assert_eq!(got.finished.exit, Some(Exit::Code(code)), "{program}");
        let without = run(&bed.connect().await, &command).await;
        assert_eq!(got.outcome(), without.outcome(), "{program}");
        assert!(String::from_utf8_lossy(&got.stderr).contains(program));
    }
    assert_eq!(run(&with_runner, &shell(STARTER)).await.text(), "perl\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn large_output_arrives_whole_while_nobody_waits_for_it() {
    let Some(bed) = Bed::new() else { return };
    let connection = bed.connect_to_runner().await;
    let got = run(
        &connection,
        &shell("head -c 67108864 /dev/zero | tr '\\0' '\\377'; exit 3"),
    )
    .await;
    assert_eq!(got.finished.exit, Some(Exit::Code(3)));
    assert_eq!(got.stdout.len(), 64 << 20);
    assert!(got.stdout.iter().all(|b| *b == 0xff));
    assert_eq!(run(&connection, &shell(STARTER)).await.text(), "perl\n");
}
