//! Files that fail end the process with a word and a code, and never leave it serving; the others go on.

use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::common::require::{mount_tmpfs, unmount};
use crate::common::{Output, Running, eventually, require_mounts};
use crate::site::{Node, SOON, all_have, settled};

/// A small disk over the directory of one coordinator.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn over(node: &Node) -> Self {
        let dir = node.db().parent().unwrap().to_owned();
        assert!(mount_tmpfs(&dir, "24m"), "mount a small disk");
        Self(dir)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        unmount(&self.0);
    }
}

/// Submits long jobs through `node` until `other` has ended.
fn until_it_ends(node: &Node, other: &mut Node) -> Output {
    let long = "x".repeat(200_000);
    let body = json!({"payload": {"kind": "shell", "command": "true", "args": [long]}});
    let mut running = other.take();
    eventually(SOON, || {
        let _ = node.try_call("POST", "/v1/jobs", &body);
        !running.is_running()
    });
    running.wait(SOON)
}

/// Three that are one, of whom the last or, if `first`, the first has a small disk.
fn three(first: bool) -> ([Node; 3], SmallDisk) {
    let mut nodes = Node::all(["a", "b", "c"]);
    let disk = SmallDisk::over(&nodes[if first { 0 } else { 2 }]);
    Node::together(&mut nodes);
    (nodes, disk)
}

#[test]
fn a_full_disk_ends_a_follower_and_the_leader_goes_on() {
    if !require_mounts() {
        return;
    }
    let ([a, b, mut c], disk) = three(false);
    let ended = until_it_ends(&a, &mut c).expect_code(1);
    assert!(
        ended
            .err()
            .contains("this member of the cluster cannot go on"),
        "{ended}"
    );
    assert!(ended.err().contains("no room to write"), "{ended}");
    assert!(
        ended.err().contains("coordinator.db"),
        "says where: {ended}"
    );
    let job = a.submit("after");
    all_have(&[&a, &b], &job);
    drop((c, disk));
}

#[test]
fn a_full_disk_ends_the_leader_and_another_leads() {
    if !require_mounts() {
        return;
    }
    let ([mut a, b, c], disk) = three(true);
    let ended = until_it_ends(&b, &mut a).expect_code(1);
    assert!(ended.err().contains("no room to write"), "{ended}");
    let job = b.submit("after");
    all_have(&[&b, &c], &job);
    drop((a, disk));
}

#[test]
fn a_disk_that_has_become_read_only_is_said_at_the_start() {
    if !require_mounts() {
        return;
    }
    let ([a, b, mut c], disk) = three(false);
    c.kill();
    // A system that finds its disk broken mounts it so; while it is written to, nobody else may.
    let remount = |how: &str| {
        let mut mount = Command::new("mount");
        let done = mount.args(["-o", how]).arg(&disk.0).status();
        assert!(done.unwrap().success(), "{how}");
    };
    remount("remount,ro");
    let ended = Running::start(c.command(), None).wait(SOON).expect_code(1);
    let said = ended.err();
    assert!(said.contains("coordinator.db"), "{ended}");
    assert!(said.to_lowercase().contains("read"), "{ended}");
    let job = a.submit("meanwhile");
    remount("remount,rw");
    c.start();
    all_have(&[&a, &b, &c], &job);
    drop((c, disk));
}

/// Overwrites everything behind the first page.
fn damage(file: &Path) {
    let mut bytes = std::fs::read(file).unwrap();
    assert!(bytes.len() > 8192, "{} is too short", bytes.len());
    bytes[4096..].fill(0x5a);
    std::fs::write(file, bytes).unwrap();
}

fn refuses(node: &Node, needles: &[&str]) {
    let ended = Running::start(node.command(), None)
        .wait(SOON)
        .expect_code(1);
    for needle in needles {
        assert!(ended.err().contains(needle), "{needle}: {ended}");
    }
}

#[test]
fn damaged_files_are_refused_with_words_and_the_member_can_join_anew() {
    let [a, mut b, c] = Node::three();
    let jobs: Vec<String> = (0..20).map(|at| a.submit(&at.to_string())).collect();
    all_have(&[&b, &c], &jobs[19]);
    b.stop();
    let log = b.db().with_file_name("coordinator.db-raft");
    let whole = std::fs::read(&log).unwrap();
    damage(&log);
    refuses(&b, &["coordinator.db-raft", "damaged"]);
    std::fs::write(&log, whole).unwrap();
    let whole = std::fs::read(b.db()).unwrap();
    damage(&b.db());
    refuses(&b, &["coordinator.db", "damaged"]);
    std::fs::write(b.db(), whole).unwrap();
    b.start();
    settled(&[&a, &b, &c], 3, 3);
    // What was deleted under it is gone when it ends; it does not come back with less than it promised.
    b.kill();
    for ending in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{ending}", b.db().display()));
    }
    refuses(&b, &["coordinator.db-raft", "does not fit the queue"]);
    b.wipe();
    b.told_of(&[&a.url()]).start();
    settled(&[&a, &b, &c], 3, 3);
    all_have(&[&b], &jobs[0]);
}
