//! A full disk where the controller says who it is.

use std::io::Write;
use std::path::PathBuf;

use rustix::process::Signal;

use crate::common::require::{mount_tmpfs, require_mounts, unmount};
use crate::place::{Place, SOON};

/// A file system of its own, gone with this value.
struct Disk(PathBuf);

impl Disk {
    /// Fills it to the last byte.
    fn fill(&self) {
        let mut file = std::fs::File::create(self.0.join("filler")).unwrap();
        for size in [64 << 10, 512, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
    }

    fn empty(&self) {
        std::fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        unmount(&self.0);
    }
}

#[test]
fn a_controller_that_cannot_say_who_it_is_does_not_start_and_one_that_did_is_found() {
    if !require_mounts() {
        return;
    }
    let Some(mut place) = Place::with(&["web1"], 1) else {
        return;
    };
    let at = place.state("");
    std::fs::create_dir_all(&at).unwrap();
    assert!(mount_tmpfs(&at, "24m"));
    let disk = Disk(at);
    disk.fill();
    let up = place.bed.run(&["fleet", "up", "--port", "0"]);
    assert_eq!(up.code, 1, "{up}");
    let said = up.err();
    assert!(
        said.contains("controller.lock") && said.contains("No space left"),
        "{said}"
    );
    let down = place.bed.run(&["fleet", "down"]);
    assert_eq!(down.code, 0, "{down}");
    assert!(down.out().contains("no controller runs"), "{down}");

    disk.empty();
    place.up(&[]);
    place.wait_for_hosts(1);
    disk.fill();
    // What it says again has the room that it had before.
    let controller = place.controller.take().unwrap();
    controller.signal(Signal::HUP);
    controller.wait_for_line("fleet file read again: 1 hosts", SOON);
    let down = place.bed.run(&["fleet", "down"]);
    assert_eq!(down.code, 0, "{down}");
    assert!(down.out().contains("has ended"), "{down}");
    assert_eq!(controller.wait(SOON).code, 0);
    disk.empty();
}
