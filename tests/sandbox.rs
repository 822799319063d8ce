//! The sandbox: its SSH server against OpenSSH's client and against ours, and that nothing of it stays.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use common::procs::assert_no_process_within;
use common::{Output, Running, World, eventually, processes_with, require_program};
use rustix::process::Signal;
use sha2::{Digest, Sha256};
use skyclaw::fleet::capture::Capture;
use skyclaw::fleet::file::{Fleet, Overrides};
use skyclaw::fleet::link::target_of;
use skyclaw::fleet::remote::Command;
use skyclaw::fleet::sandbox::{Error, Options, Sandbox};
use skyclaw::fleet::supervise::{self, Ended, Finished, Limits, Sink};
use skyclaw::ssh::auth::Identities;
use skyclaw::ssh::known_hosts::KnownHosts;
use skyclaw::ssh::upload::Upload;
use skyclaw::ssh::{Connection, Exit, HostKeyPolicy, Settings, connect};
use skyclaw::support::ids::hex;
use skyclaw::support::shutdown;

const DEADLINE: Duration = Duration::from_secs(60);
/// A task that ignores TERM, and grandchildren that do so too, one of them in a session of its own.
const STUBBORN: &str = "trap '' TERM; echo begun; (trap '' TERM; while :; do sleep 0.2; done) & setsid sleep 300 & while :; do sleep 0.2; done";

async fn sandbox(hosts: usize) -> Sandbox {
    Sandbox::start(Options {
        hosts,
        ..Options::default()
    })
    .await
    .unwrap()
}

/// OpenSSH's client on a sandbox host.
fn ssh(world: &World, sandbox: &Sandbox, host: &str, command: &str) -> common::world::OwnedCommand {
    let mut ssh = world.clean("ssh");
    ssh.arg("-F").arg(sandbox.ssh_config());
    ssh.args(["-o", "BatchMode=yes", host, command]);
    ssh
}

fn run_ssh(world: &World, sandbox: &Sandbox, command: &str, stdin: Option<Vec<u8>>) -> Output {
    Running::start(ssh(world, sandbox, "sandbox1", command), stdin).wait(DEADLINE)
}

/// Our own client, with what the fleet file says.
async fn connect_to(sandbox: &Sandbox, position: usize) -> Connection {
    let fleet = Fleet::load(sandbox.fleet_path(), &Overrides::default()).unwrap();
    let settings = Settings {
        connect_timeout: Some(Duration::from_secs(20)),
        // No known_hosts: the pinned key alone decides.
        known_hosts: Arc::new(KnownHosts::load(HostKeyPolicy::Strict, None, &[])),
        identities: Arc::new(Identities::new(None, Box::new(|_| None))),
        keepalive: None,
        throttle: Arc::default(),
    };
    let target = target_of(&fleet.hosts[position]);
    connect::connect(&target, &settings, || async {})
        .await
        .unwrap()
}

fn mark(sandbox: &Sandbox) -> String {
    format!("SKYCLAW_SANDBOX={}/", sandbox.dir().display())
}

fn tasks(mark: &str) -> usize {
    let of_tasks = processes_with(mark);
    of_tasks
        .iter()
        .filter(|process| process.contains("SKYCLAW_TASK"))
        .count()
}

async fn run(connection: &Connection, script: &str, limit: Duration) -> (Finished, Vec<u8>) {
    let (_trigger, mut stop) = shutdown::manual();
    let dir = tempfile::tempdir().unwrap();
    let mut sink = Sink {
        stdout: Capture::new(None, dir.path().join("out")),
        stderr: Capture::new(None, dir.path().join("err")),
        live: None,
    };
    let command = Command {
        words: vec!["sh".into(), "-c".into(), script.into()],
        ..Command::default()
    };
    let limits = Limits {
        timeout: Some(limit),
        deadline: None,
        grace: Duration::from_secs(1),
    };
    let finished = supervise::run(connection, &command, limits, &mut sink, &mut stop).await;
    let stdout = sink.stdout.read_all().unwrap();
    (finished, stdout)
}

#[tokio::test(flavor = "multi_thread")]
async fn openssh_gets_exit_codes_signals_and_both_streams() {
    if !require_program("ssh") {
        return;
    }
    let (world, sandbox) = (World::new(), sandbox(1).await);
    let got = run_ssh(&world, &sandbox, "echo out; echo err >&2; exit 7", None).expect_code(7);
    assert_eq!((got.out().as_str(), got.err().as_str()), ("out\n", "err\n"));
    run_ssh(&world, &sandbox, "true", None).expect_code(0);
    // ssh(1) ends with 255 when the command died of a signal, and says which only at -v.
    let mut command = world.clean("ssh");
    command.arg("-v").arg("-F").arg(sandbox.ssh_config());
    command.args(["sandbox1", "kill -KILL $$"]);
    let killed = Running::start(command, None)
        .wait(DEADLINE)
        .expect_code(255);
    assert!(killed.err().contains("exit-signal"), "{killed}");
    let home = run_ssh(
        &world,
        &sandbox,
        "pwd; echo $HOME; cut -d' ' -f5,6 /proc/$$/stat; echo $$",
        None,
    );
    let lines: Vec<String> = home.out().lines().map(str::to_owned).collect();
    let own = sandbox.hosts()[0].home.display().to_string();
    assert_eq!(lines[..2], [own.clone(), own]);
    assert_eq!(
        lines[2],
        format!("{0} {0}", lines[3]),
        "it leads its process group and its session"
    );
    sandbox.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn openssh_input_ends_where_it_should() {
    if !require_program("ssh") {
        return;
    }
    let (world, sandbox) = (World::new(), sandbox(1).await);
    let input: Vec<u8> = (0..5_u32 << 20)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let digest = hex(&Sha256::digest(&input));
    let got = run_ssh(&world, &sandbox, "sha256sum", Some(input.clone())).expect_code(0);
    assert_eq!(got.out(), format!("{digest}  -\n"));
    // Through and back: neither direction may wait for the other.
    let got = run_ssh(&world, &sandbox, "cat", Some(input.repeat(8))).expect_code(0);
    assert_eq!(Sha256::digest(&got.stdout), Sha256::digest(input.repeat(8)));
    // A command that reads nothing ends all the same, however much is sent.
    run_ssh(&world, &sandbox, "exit 3", Some(input.repeat(8))).expect_code(3);
    // End of file comes through while the command runs.
    let got = run_ssh(&world, &sandbox, "cat; echo more", Some(b"x".to_vec())).expect_code(0);
    assert_eq!(got.out(), "xmore\n");
    sandbox.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn openssh_gets_large_binary_output_unchanged() {
    if !require_program("ssh") {
        return;
    }
    let (world, sandbox) = (World::new(), sandbox(1).await);
    let script = "head -c 67108864 /dev/urandom | tee data; exit 5";
    let got = run_ssh(&world, &sandbox, script, None).expect_code(5);
    let sent = std::fs::read(sandbox.hosts()[0].home.join("data")).unwrap();
    assert_eq!(got.stdout.len(), 64 << 20);
    assert!(got.stdout == sent, "other bytes arrived");
    sandbox.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_with_another_key_or_name_is_refused() {
    if !require_program("ssh") {
        return;
    }
    let (world, sandbox) = (World::new(), sandbox(1).await);
    let port = sandbox.hosts()[0].port;
    let mut other_key = world.ssh_client("127.0.0.1", port);
    other_key.arg("true");
    let refused = Running::start(other_key, None)
        .wait(DEADLINE)
        .expect_code(255);
    assert!(
        refused.err().contains("Permission denied (publickey)"),
        "{refused}"
    );
    let mut other_name = world.clean("ssh");
    other_name.arg("-F").arg(sandbox.ssh_config());
    other_name.args([
        "-o",
        "BatchMode=yes",
        "-l",
        "somebody-else",
        "sandbox1",
        "true",
    ]);
    Running::start(other_name, None)
        .wait(DEADLINE)
        .expect_code(255);
    sandbox.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_takes_its_command_with_it() {
    if !require_program("ssh") {
        return;
    }
    let (world, sandbox) = (World::new(), sandbox(1).await);
    let marker = mark(&sandbox);
    // It reads no input and ignores what sshd would send, so only the last resort ends it.
    let client = Running::start(
        ssh(
            &world,
            &sandbox,
            "sandbox1",
            "trap '' HUP PIPE TERM; echo up; while :; do sleep 0.2; done",
        ),
        None,
    );
    client.wait_for_line("up", DEADLINE);
    client.kill9();
    assert_no_process_within(Duration::from_secs(20), &marker);
    sandbox.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn our_supervisor_ends_a_task_on_a_sandbox_host() {
    let sandbox = sandbox(1).await;
    let marker = mark(&sandbox);
    let connection = connect_to(&sandbox, 0).await;
    let (finished, stdout) = run(&connection, "echo hi; exit 9", DEADLINE).await;
    assert_eq!(finished.exit, Some(Exit::Code(9)), "{finished:?}");
    assert_eq!(stdout, b"hi\n");
    let (finished, _) = run(&connection, "kill -SEGV $$", DEADLINE).await;
    assert_eq!(finished.exit, Some(Exit::Signal("SEGV".into())));
    let (finished, stdout) = run(&connection, STUBBORN, Duration::from_millis(500)).await;
    assert_eq!(finished.ended, Some(Ended::TimedOut), "{finished:?}");
    assert_eq!(stdout, b"begun\n");
    eventually(Duration::from_secs(5), || tasks(&marker) == 0);
    sandbox.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_connection_leaves_no_process() {
    let sandbox = sandbox(1).await;
    let marker = mark(&sandbox);
    let connection = connect_to(&sandbox, 0).await;
    let begun = async {
        while tasks(&marker) < 3 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        _ = run(&connection, STUBBORN, DEADLINE) => panic!("it ended by itself"),
        () = begun => {}
    }
    drop(connection);
    assert_no_process_within(Duration::from_secs(15), &marker);
    sandbox.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_goes_up_whole() {
    let sandbox = sandbox(1).await;
    let connection = connect_to(&sandbox, 0).await;
    let contents: Vec<u8> = (0..24_000_000_u32).map(|n| (n % 251) as u8).collect();
    let upload = Upload::of_bytes("~/bin/it's", 0o755, &contents);
    connection
        .upload(&upload, &mut contents.as_slice())
        .await
        .unwrap();
    assert!(std::fs::read(sandbox.hosts()[0].home.join("bin/it's")).unwrap() == contents);
    sandbox.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_host_is_gone_and_the_others_are_not() {
    let mut sandbox = sandbox(12).await;
    let marker = mark(&sandbox);
    let first = connect_to(&sandbox, 0).await;
    let second = connect_to(&sandbox, 10).await;
    let leave = "setsid sleep 300 >/dev/null 2>&1 & sleep 300";
    let running = async {
        while tasks(&marker) < 6 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let survivor = run(&second, leave, DEADLINE);
    tokio::pin!(survivor);
    let lost = async {
        tokio::join!(run(&first, leave, DEADLINE), async {
            running.await;
            assert!(sandbox.kill_host("sandbox1").await);
            assert!(!sandbox.kill_host("sandbox1").await);
            assert!(!sandbox.kill_host("nobody").await);
        })
    };
    let ((finished, _), ()) = tokio::select! {
        lost = lost => lost,
        _ = &mut survivor => panic!("another host's task ended too"),
    };
    assert!(finished.lost.is_some(), "{finished:?}");
    let homes: Vec<PathBuf> = sandbox
        .hosts()
        .iter()
        .map(|host| host.home.clone())
        .collect();
    let of = |home: &Path| processes_with(&format!("SKYCLAW_SANDBOX={}/", home.display())).len();
    assert_eq!(of(&homes[0]), 0);
    // sandbox11 begins like sandbox1.
    assert!(of(&homes[10]) >= 3);
    let port = sandbox.hosts()[0].port;
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
    sandbox.stop().await.unwrap();
    assert_eq!(processes_with(&marker).len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_hosts_answer_at_once() {
    let sandbox = sandbox(100).await;
    let asked = (0..100).map(|position| {
        let sandbox = &sandbox;
        async move {
            let connection = connect_to(sandbox, position).await;
            let got = connection.run("pwd", Vec::new(), 4096).await.unwrap();
            String::from_utf8(got.stdout).unwrap()
        }
    });
    let answers = join_all(asked.map(Box::pin).collect()).await;
    for (host, answer) in sandbox.hosts().iter().zip(&answers) {
        assert_eq!(answer.trim(), host.home.display().to_string());
    }
    sandbox.stop().await.unwrap();
}

/// Polls all futures together.
async fn join_all<T>(mut futures: Vec<std::pin::Pin<Box<impl Future<Output = T>>>>) -> Vec<T> {
    let mut results: Vec<Option<T>> = futures.iter().map(|_| None).collect();
    std::future::poll_fn(|cx| {
        for (future, result) in futures.iter_mut().zip(&mut results) {
            if result.is_none()
                && let std::task::Poll::Ready(value) = future.as_mut().poll(cx)
            {
                *result = Some(value);
            }
        }
        if results.iter().all(Option::is_some) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    results.into_iter().flatten().collect()
}

#[tokio::test]
async fn a_thousand_hosts_fit() {
    let sandbox = sandbox(1000).await;
    assert_eq!(sandbox.hosts().len(), 1000);
    let dir = sandbox.dir().to_owned();
    sandbox.stop().await.unwrap();
    assert!(!dir.exists());
}

#[tokio::test]
async fn directories_of_others_are_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("precious");
    std::fs::write(&file, "x").unwrap();
    let options = |dir: &Path, keep| Options {
        hosts: 1,
        dir: Some(dir.to_owned()),
        keep,
        ..Options::default()
    };
    let error = Sandbox::start(options(dir.path(), false))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::NotEmpty(_)), "{error}");
    let error = Sandbox::start(Options {
        hosts: 1,
        config_out: Some(file.clone()),
        ..Options::default()
    })
    .await
    .unwrap_err();
    assert!(matches!(error, Error::Exists(_)), "{error}");
    assert!(file.exists());
    // Kept, taken up again with the same keys, and then removed.
    let kept = dir.path().join("kept");
    let first = Sandbox::start(options(&kept, true)).await.unwrap();
    first.stop().await.unwrap();
    let key = std::fs::read(kept.join("id_ed25519")).unwrap();
    let second = Sandbox::start(options(&kept, false)).await.unwrap();
    assert_eq!(std::fs::read(kept.join("id_ed25519")).unwrap(), key);
    second.stop().await.unwrap();
    assert_eq!(std::fs::read_dir(&kept).unwrap().count(), 0);
}

/// Starts the verb and returns it with what it printed as JSON.
fn serve(world: &World, more: &[&str]) -> (Running, serde_json::Value) {
    let mut args = vec!["fleet", "sandbox", "--hosts", "2", "--json"];
    args.extend(more);
    let running = world.spawn(&args);
    eventually(DEADLINE, || running.stdout_so_far().ends_with("}\n"));
    let shown = serde_json::from_str(&running.stdout_so_far()).unwrap();
    (running, shown)
}

#[test]
fn a_stopped_sandbox_leaves_no_process_and_no_file() {
    let world = World::new();
    for signal in [Signal::INT, Signal::TERM] {
        let out = world.home().join("my-fleet.json");
        let (running, shown) = serve(&world, &["--config-out", out.to_str().unwrap()]);
        assert_eq!(shown["fleet"], out.to_str().unwrap());
        let dir = PathBuf::from(shown["dir"].as_str().unwrap());
        let marker = format!("SKYCLAW_SANDBOX={}/", dir.display());
        world
            .skyclaw(&["fleet", "validate", "--config", out.to_str().unwrap()])
            .expect_code(0);
        let client = if require_program("ssh") {
            let mut ssh = world.clean("ssh");
            ssh.arg("-F").arg(shown["ssh_config"].as_str().unwrap());
            ssh.args([
                "sandbox2",
                "trap '' TERM INT HUP PIPE; setsid sleep 300 & sleep 300",
            ]);
            let client = Running::start(ssh, None);
            eventually(DEADLINE, || processes_with(&marker).len() >= 3);
            Some(client)
        } else {
            None
        };
        running.signal(signal);
        running.wait(Duration::from_secs(10)).expect_code(0);
        assert_eq!(processes_with(&marker).len(), 0);
        assert!(!dir.exists() && !out.exists());
        if let Some(client) = client {
            client.wait(DEADLINE).expect_code(255);
        }
    }
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_made() {
    let world = World::new();
    world
        .skyclaw(&["fleet", "sandbox", "--hosts", "0"])
        .expect_code(2);
    world
        .skyclaw(&["fleet", "sandbox", "--hosts", "1001"])
        .expect_code(2);
    let home = world.home();
    world
        .skyclaw(&["fleet", "sandbox", "--dir", home.to_str().unwrap()])
        .expect_code(2);
}
