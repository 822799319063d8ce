//! Supervised commands against a real sshd: bytes, exit codes, and that nothing survives.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Shell, Sshd, World, eventually, require_sshd};
use skyclaw::fleet::capture::Capture;
use skyclaw::fleet::remote::{Command, Input, Value, Word};
use skyclaw::fleet::supervise::{self, Ended, Finished, Limits, NotStarted, Sink};
use skyclaw::ssh::auth::Identities;
use skyclaw::ssh::known_hosts::KnownHosts;
use skyclaw::ssh::{Connection, Exit, HostKeyPolicy, Settings, Target, connect};
use skyclaw::support::shutdown::{self, Cause, Trigger};

struct Bed {
    world: World,
    server: Sshd,
}

impl Bed {
    fn new() -> Option<Self> {
        require_sshd().then(|| {
            let world = World::new();
            let server = world.sshd().start();
            Self { world, server }
        })
    }

    async fn connect(&self) -> Connection {
        let target = Target {
            host: self.server.host(),
            port: self.server.port(),
            user: common::world::user_name(),
            keys: vec![self.world.key()],
            pinned: None,
        };
        let settings = Settings {
            connect_timeout: Some(Duration::from_secs(20)),
            known_hosts: Arc::new(KnownHosts::load(
                HostKeyPolicy::AcceptNew,
                Some(self.world.known_hosts()),
                &[],
            )),
            identities: Arc::new(Identities::new(None, Box::new(|_| None))),
            keepalive: None,
            throttle: Arc::default(),
        };
        connect::connect(&target, &settings, || async {})
            .await
            .unwrap()
    }
}

struct Run {
    finished: Finished,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

fn shell(script: &str) -> Command {
    Command {
        words: vec!["sh".into(), "-c".into(), script.into()],
        ..Command::default()
    }
}

fn limits(timeout_ms: u64) -> Limits {
    Limits {
        timeout: Some(Duration::from_millis(timeout_ms)),
        deadline: None,
        grace: Duration::from_secs(1),
    }
}

async fn run_stoppable(
    connection: &Connection,
    command: &Command,
    limits: Limits,
) -> (Run, Trigger) {
    let (trigger, mut stop) = shutdown::manual();
    let dir = tempfile::tempdir().unwrap();
    let mut sink = Sink {
        stdout: Capture::new(None, dir.path().join("out")),
        stderr: Capture::new(None, dir.path().join("err")),
        live: None,
    };
    let finished = supervise::run(connection, command, limits, &mut sink, &mut stop).await;
    let stdout = sink.stdout.read_all().unwrap();
    let stderr = sink.stderr.read_all().unwrap();
    (
        Run {
            finished,
            stdout,
            stderr,
        },
        trigger,
    )
}

async fn run(connection: &Connection, command: &Command, limits: Limits) -> Run {
    run_stoppable(connection, command, limits).await.0
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_codes_signals_and_streams_come_back_apart() {
    let Some(bed) = Bed::new() else { return };
    let connection = bed.connect().await;
    let ok = run(
        &connection,
        &shell("echo out; echo err >&2; exit 7"),
        limits(20_000),
    )
    .await;
    assert_eq!(ok.finished.exit, Some(Exit::Code(7)), "{:?}", ok.finished);
    assert_eq!(
        (ok.stdout.as_slice(), ok.stderr.as_slice()),
        (&b"out\n"[..], &b"err\n"[..])
    );
    assert!(!ok.finished.pipe_held);
    let killed = run(&connection, &shell("kill -SEGV $$"), limits(20_000)).await;
    assert_eq!(killed.finished.exit, Some(Exit::Signal("SEGV".into())));
    let quiet = run(
        &connection,
        &shell("printf 'no newline'"),
        limits(3_600_000),
    )
    .await;
    assert_eq!(quiet.stdout, b"no newline");
    assert!(
        quiet.finished.took < Duration::from_secs(5),
        "a long limit delays nothing"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_environment_directory_and_input_arrive_byte_for_byte() {
    let Some(bed) = Bed::new() else { return };
    let connection = bed.connect().await;
    let hostile = b"a'b\"c $(id) `id` \\ ! -n\n\nnew \xff\xfe \xf0\x9f\xa6\x9e".to_vec();
    let command = Command {
        words: vec![
            "sh".into(),
            "-c".into(),
            "printf %s \"$1\"; printf %s \"$V\" >&2; cat; pwd".into(),
            "-".into(),
            Word::Plain(hostile.clone()),
        ],
        env: vec![("V".into(), Value::Open("it's $HOME\n`x`".into()))],
        directory: Some("/".into()),
        input: Input::Text(hostile.clone()),
        ..Command::default()
    };
    let got = run(&connection, &command, limits(20_000)).await;
    let mut expected = hostile.repeat(2);
    expected.extend_from_slice(b"/\n");
    assert_eq!(got.stdout, expected);
    assert_eq!(got.stderr, b"it's $HOME\n`x`");
    let home = run(&connection, &shell("pwd"), limits(20_000)).await;
    assert_eq!(
        String::from_utf8(home.stdout).unwrap().trim(),
        bed.server.home().to_str().unwrap()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_start_is_told_apart() {
    let Some(bed) = Bed::new() else { return };
    let connection = bed.connect().await;
    let mut missing = Command {
        words: vec![Word::InHome(".local/bin/nothing".into())],
        ..Command::default()
    };
    missing.must_be_installed = true;
    let got = run(&connection, &missing, limits(20_000)).await;
    assert!(
        matches!(got.finished.not_started, Some(NotStarted::Missing(ref p)) if p.ends_with("/nothing")),
        "{:?}",
        got.finished
    );
    missing.must_be_installed = false;
    let got = run(&connection, &missing, limits(20_000)).await;
    assert_eq!(got.finished.exit, Some(Exit::Code(127)));
    let lost = Command {
        directory: Some("/no/such".into()),
        ..shell("true")
    };
    let got = run(&connection, &lost, limits(20_000)).await;
    assert_eq!(
        got.finished.not_started,
        Some(NotStarted::NoDirectory("/no/such".into()))
    );
}

/// A task that ignores TERM, and a grandchild that ignores it too and holds the pipe.
const STUBBORN: &str = "trap '' TERM; echo begun; (trap '' TERM; while :; do sleep 0.2; done) & setsid sleep 300 & while :; do sleep 0.2; done";

#[tokio::test(flavor = "multi_thread")]
async fn a_timeout_ends_even_those_who_ignore_term_and_keeps_their_output() {
    let Some(bed) = Bed::new() else { return };
    let connection = bed.connect().await;
    let got = run(&connection, &shell(STUBBORN), limits(500)).await;
    assert_eq!(
        got.finished.ended,
        Some(Ended::TimedOut),
        "{:?}",
        got.finished
    );
    assert_eq!(got.stdout, b"begun\n");
    assert!(
        got.finished.took < Duration::from_secs(6),
        "{:?}",
        got.finished.took
    );
    let marker = bed.server.marker();
    eventually(Duration::from_secs(5), || tasks(&marker) == 0);
}

/// Counts processes of tasks, not of the sshd session that is still open.
fn tasks(marker: &str) -> usize {
    common::processes_with(marker)
        .iter()
        .filter(|p| p.contains("SKYCLAW_TASK"))
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_goes_away_takes_the_task_with_it() {
    let Some(bed) = Bed::new() else { return };
    let connection = bed.connect().await;
    let marker = bed.server.marker();
    let command = shell(STUBBORN);
    let begun = async {
        while tasks(&marker) < 3 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        _ = run(&connection, &command, limits(60_000)) => panic!("it ended by itself"),
        () = begun => {}
    }
    drop(connection);
    eventually(Duration::from_secs(8), || {
        common::processes_with(&marker).is_empty()
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn background_output_after_the_end_is_read_for_a_while_and_then_cut() {
    let Some(bed) = Bed::new() else { return };
    let connection = bed.connect().await;
    let late = run(
        &connection,
        &shell("(sleep 0.5; echo late) & echo first"),
        limits(20_000),
    )
    .await;
    assert_eq!(late.stdout, b"first\nlate\n");
    assert_eq!(late.finished.exit, Some(Exit::Code(0)));
    let held = run(
        &connection,
        &shell("(while :; do echo x; sleep 0.05; done) & echo first"),
        limits(20_000),
    )
    .await;
    assert!(held.finished.pipe_held, "{:?}", held.finished);
    assert_eq!(held.finished.ended, None);
    eventually(Duration::from_secs(5), || tasks(&bed.server.marker()) == 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_task_leaves_behind_silently_is_ended_where_asked() {
    let Some(bed) = Bed::new() else { return };
    let connection = bed.connect().await;
    let leave = "sleep 300 >/dev/null 2>&1 & echo done";
    let kept = run(&connection, &shell(leave), limits(20_000)).await;
    assert_eq!(kept.finished.exit, Some(Exit::Code(0)));
    // As with ssh, a silent background command lives on; its shell may need a moment to be gone.
    eventually(Duration::from_secs(5), || tasks(&bed.server.marker()) == 1);
    let strict = Command {
        end_leftovers: true,
        ..shell(leave)
    };
    run(&connection, &strict, limits(20_000)).await;
    eventually(Duration::from_secs(5), || tasks(&bed.server.marker()) == 1);
    for left in common::processes_with(&bed.server.marker()) {
        if left.contains("SKYCLAW_TASK") {
            left.kill9();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn large_and_binary_output_is_unchanged() {
    let Some(bed) = Bed::new() else { return };
    let connection = bed.connect().await;
    let got = run(
        &connection,
        &shell("head -c 67108864 /dev/zero | tr '\\0' '\\377'; exit 3"),
        limits(120_000),
    )
    .await;
    assert_eq!(got.finished.exit, Some(Exit::Code(3)));
    assert_eq!(got.stdout.len(), 64 << 20);
    assert!(got.stdout.iter().all(|b| *b == 0xff));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_login_shell_and_noisy_login_scripts_will_do() {
    if !require_sshd() {
        return;
    }
    let world = World::new();
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
        let server = world
            .sshd()
            .shell(shell_kind)
            .rc_noise("WELCOME\nno newline")
            .start();
        let bed = Bed {
            world: World::new(),
            server,
        };
        bed.server.authorize(&bed.world.public_key());
        let connection = bed.connect().await;
        let got = run(
            &connection,
            &shell("echo \"$0 it's\"; echo e >&2; exit 4"),
            limits(20_000),
        )
        .await;
        assert_eq!(
            got.finished.exit,
            Some(Exit::Code(4)),
            "{shell_kind:?} {:?}",
            got.finished
        );
        assert_eq!(
            String::from_utf8_lossy(&got.stdout),
            "sh it's\n",
            "{shell_kind:?}"
        );
        assert_eq!(
            String::from_utf8_lossy(&got.stderr),
            "e\n",
            "{shell_kind:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_signal_ends_gently_and_keeps_output() {
    let Some(bed) = Bed::new() else { return };
    let connection = bed.connect().await;
    let (trigger, mut stop) = shutdown::manual();
    let dir = tempfile::tempdir().unwrap();
    let (live, mut seen) = tokio::sync::mpsc::channel(8);
    let mut sink = Sink {
        stdout: Capture::new(None, dir.path().join("out")),
        stderr: Capture::new(None, dir.path().join("err")),
        live: Some((0, live)),
    };
    let command = shell("trap 'echo bye; exit 9' TERM; echo begun; while :; do sleep 0.1; done");
    let running = supervise::run(&connection, &command, limits(60_000), &mut sink, &mut stop);
    let stopping = async {
        seen.recv().await;
        trigger.ask(Cause::Interrupt);
        seen.recv().await;
    };
    let (finished, ()) = tokio::join!(running, stopping);
    assert_eq!(
        (finished.ended, finished.exit),
        (Some(Ended::Stopped), Some(Exit::Code(9)))
    );
    assert_eq!(sink.stdout.read_all().unwrap(), b"begun\nbye\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_arrive_whole_or_not_at_all() {
    use skyclaw::ssh::upload::Upload;
    let Some(bed) = Bed::new() else { return };
    let connection = bed.connect().await;
    let contents: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
    let mut upload = Upload::of_bytes("~/.local/bin/it's", 0o755, &contents);
    connection
        .upload(&upload, &mut contents.as_slice())
        .await
        .unwrap();
    let path = bed.server.home().join(".local/bin/it's");
    assert_eq!(std::fs::read(&path).unwrap(), contents);
    // Cut: the host is promised more than comes.
    upload.size += 1;
    let error = connection
        .upload(&upload, &mut &contents[1..])
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("only 2999999 of 3000001 bytes arrived"),
        "{error}"
    );
    // Changed on the way.
    upload.size -= 1;
    let mut other = contents.clone();
    other[5] ^= 1;
    let error = connection
        .upload(&upload, &mut other.as_slice())
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("other bytes arrived"), "{error}");
    assert_eq!(
        std::fs::read(&path).unwrap(),
        contents,
        "the old file is untouched"
    );
    // No more is sent than was promised, whatever the source has become.
    let mut short = Upload::of_bytes("~/.local/bin/it's", 0o755, &contents[..70_000]);
    connection
        .upload(&short, &mut contents.as_slice())
        .await
        .unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), contents[..70_000]);
    short = Upload::of_bytes("~/.local/bin/it's", 0o755, b"");
    connection.upload(&short, &mut &b""[..]).await.unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"");
    let dir: Vec<_> = std::fs::read_dir(path.parent().unwrap()).unwrap().collect();
    assert_eq!(dir.len(), 1, "no temporary file stays");
}
