//! Files and disks that are not as they should be: a clear error, or the right answer, never a dead coordinator.

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::common::coordinator::Plan;
use crate::common::{SOON, holds_within};

fn a_job() -> serde_json::Value {
    json!({"payload": {"kind": "shell", "command": "true", "args": ["x".repeat(2000)]}})
}

/// Runs a command that should end by itself at once.
#[track_caller]
fn refused(mut command: Command) -> std::process::Output {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    if !holds_within(SOON, || child.try_wait().unwrap().is_some()) {
        child.kill().unwrap();
        panic!("it went on: {:?}", child.wait_with_output().unwrap());
    }
    child.wait_with_output().unwrap()
}

#[test]
fn a_damaged_database_is_named_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let db = dir.path().join("coordinator.db");
    std::fs::write(&db, vec![7; 20_000]).unwrap();
    let ended = refused(Plan::new(dir.path()).command());
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(
        said.contains("coordinator.db") && said.contains("backup"),
        "{said}"
    );
    assert_eq!(std::fs::read(&db).unwrap(), vec![7; 20_000]);
}

#[test]
fn a_page_damaged_in_the_middle_is_noticed_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let plan = Plan::new(dir.path());
    let coordinator = plan.start();
    for _ in 0..200 {
        coordinator.post("/v1/jobs", &a_job());
    }
    assert_eq!(coordinator.stop(), Some(0));
    let db = dir.path().join("coordinator.db");
    let mut bytes = std::fs::read(&db).unwrap();
    let middle = bytes.len() / 2;
    for byte in bytes.iter_mut().skip(middle).take(8192) {
        *byte = 0xA5;
    }
    std::fs::write(&db, bytes).unwrap();
    let ended = refused(plan.command());
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains("damaged"), "{said}");
}

#[test]
fn a_place_that_cannot_be_written_is_named() {
    if rustix::process::geteuid().is_root() {
        // Root writes anywhere; a file where a directory should be stops root too.
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, b"").unwrap();
        let mut command = Plan::new(dir.path()).command();
        command.arg("--db").arg(file.join("coordinator.db"));
        let ended = refused(command);
        assert_ne!(ended.status.code(), Some(0));
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let closed = dir.path().join("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::set_permissions(&closed, PermissionsExt::from_mode(0o500)).unwrap();
    let ended = refused(Plan::new(&closed).command());
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains("closed"), "{said}");
}

#[test]
fn a_full_disk_is_503_and_passes() {
    let dir = tempfile::tempdir().unwrap();
    let mounted = rustix::process::geteuid().is_root()
        && Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"])
            .arg(dir.path())
            .status()
            .is_ok_and(|status| status.success());
    if !mounted {
        eprintln!("SKIPPED: a full disk needs the right to mount a small file system");
        return;
    }
    let filler = dir.path().join("filler");
    std::fs::write(&filler, vec![0; 1024 * 1024]).unwrap();
    let coordinator = Plan::new(dir.path()).start();
    let mut accepted = Vec::new();
    let refused = loop {
        let reply = coordinator.call("POST", "/v1/jobs", &a_job());
        match reply.status {
            200 => accepted.push(reply.json()["job"]["id"].as_str().unwrap().to_owned()),
            _ => break reply,
        }
    };
    assert_eq!(refused.status, 503, "{refused}");
    assert_eq!(refused.json()["code"], "unavailable", "{refused}");
    assert_eq!(coordinator.get("/health")["ok"], true);
    std::fs::remove_file(&filler).unwrap();
    coordinator.post("/v1/jobs", &a_job());
    for id in &accepted {
        coordinator.get(&format!("/v1/jobs/{id}"));
    }
    assert_eq!(coordinator.stop(), Some(0));
    Command::new("umount")
        .arg("-l")
        .arg(dir.path())
        .status()
        .unwrap();
}
