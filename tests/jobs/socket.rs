//! The owner's socket: who finds it, when, and what works over it.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use skyclaw::client::unix_url;

use crate::common::coordinator::{Coordinator, Plan};
use crate::common::{Output, Running};
use crate::place::{SOON, bare};

/// Where `fleet up` of the user with this home has its socket.
fn own(home: &Path) -> PathBuf {
    home.join(".local/state/skyclaw/controller.sock")
}

/// A coordinator that lets nobody in by its port, with a socket.
fn start(home: &Path, socket: &Path) -> Coordinator {
    let plan = Plan::new(home).env("SKYCLAW_TOKEN", "nobody-knows");
    plan.args(&["--socket", socket.to_str().unwrap()]).start()
}

fn run(mut command: Command) -> Output {
    Running::start(&mut command, None).wait(SOON)
}

#[test]
fn the_users_own_is_found_unless_another_is_named() {
    let home = tempfile::tempdir().unwrap();
    let socket = own(home.path());
    let coordinator = start(home.path(), &socket);
    // No address, no token.
    for args in [
        &["queue", "show"][..],
        &["enqueue-shell", "true"],
        &["job", "list"],
        &["host", "list"],
    ] {
        run(bare(home.path(), args)).expect_code(0);
    }
    let named = |name: &str, value: &str| {
        let mut command = bare(home.path(), &["queue", "show"]);
        command.env(name, value);
        run(command)
    };
    named("SKYCLAW_COORDINATOR_URL", " ").expect_code(0);
    for name in ["SKYCLAW_COORDINATOR_URL", "SKYCLAW_COORDINATOR_URLS"] {
        let refused = named(name, &coordinator.url()).expect_code(1);
        assert!(refused.err().contains("answered 401"), "{refused}");
    }
    let url = coordinator.url();
    let flag = ["queue", "show", "--coordinator", &url];
    run(bare(home.path(), &flag)).expect_code(1);
    // A left-over socket is not taken for a coordinator.
    coordinator.kill();
    assert!(socket.exists());
    let gone = run(bare(home.path(), &["queue", "show", "--coordinator", &url]));
    gone.expect_code(69);
    let usual = run(bare(home.path(), &["-vvv", "queue", "show"]));
    assert!(!usual.err().contains("controller.sock"), "{usual}");
    assert!(usual.err().contains("127.0.0.1:8787") || usual.code == 0);
}

#[test]
fn a_host_and_a_followed_job_work_over_a_socket() {
    let home = tempfile::tempdir().unwrap();
    let socket = home.path().join("50% here.sock");
    let _coordinator = start(home.path(), &socket);
    let url = unix_url(&socket).unwrap();
    let over = |args: &[&str]| {
        let mut command = bare(home.path(), args);
        command.env("SKYCLAW_COORDINATOR_URL", url.as_str());
        command
    };
    let host = Running::start(&mut over(&["host", "--name", "lab"]), None);
    host.wait_for_line("host registered", SOON);
    let script = "echo one; echo two >&2; exit 3";
    let done = run(over(&["enqueue-shell", "--follow", "sh", "-c", script])).expect_code(3);
    assert!(
        done.out().contains("one") && done.err().contains("two"),
        "{done}"
    );
}

#[test]
fn a_socket_is_opened_closed_and_kept_from_others() {
    let home = tempfile::tempdir().unwrap();
    let (socket, other) = (home.path().join("c.sock"), home.path().join("other"));
    std::fs::create_dir(&other).unwrap();
    let coordinator = start(home.path(), &socket);
    let file = std::fs::metadata(&socket).unwrap();
    assert!(file.file_type().is_socket());
    assert_eq!(file.permissions().mode() & 0o777, 0o600);
    let refused = |path: &Path| {
        let plan = Plan::new(&other).env("SKYCLAW_COORDINATOR_SOCKET", path.to_str().unwrap());
        run(plan.command()).expect_code(1)
    };
    let taken = refused(&socket);
    let text = taken.err();
    assert!(text.contains("is served by another coordinator"), "{taken}");
    assert!(text.contains("hint: "), "{taken}");
    let text = refused(&home.path().join("coordinator.db")).err();
    assert!(text.contains("is no socket: it was not touched"), "{text}");
    run(bare(
        home.path(),
        &["queue", "show", "--coordinator", "unix:c.sock"],
    ))
    .expect_code(2);
    coordinator.kill();
    assert!(socket.exists());
    // By another way to say it, relative to where it is started.
    let plan = Plan::new(home.path()).env("SKYCLAW_COORDINATOR_SOCKET", "c.sock");
    let running = Running::start(&mut plan.command(), None);
    let line = running.wait_for_line("listening on unix:", SOON);
    let shown = line.rsplit(' ').next().unwrap().to_owned();
    run(bare(
        home.path(),
        &["queue", "show", "--coordinator", &shown],
    ))
    .expect_code(0);
    running.terminate();
    running.wait(SOON).expect_code(0);
    assert!(!socket.exists());
}
