//! What stands in the controller's way, here and on a host: it says what and where, and goes on when that is gone.

use std::path::Path;

use rustix::process::Signal;

use crate::common::eventually;
use crate::place::{Place, SOON, out};

impl Place {
    /// Waits until a job for `web1` is told that it waits for this.
    #[track_caller]
    fn waits_because(&self, job: skyclaw::protocol::JobId, why: &str) {
        eventually(SOON, || {
            let explained = self.block_on(self.client().explain(job)).unwrap();
            explained.summary.contains(why)
        });
    }

    /// A place whose host has the settings of a daemon.
    fn pulling(
        set_up: impl FnOnce(crate::common::SshdBuilder) -> crate::common::SshdBuilder,
    ) -> Option<Self> {
        let place = Self::on(&["web1"], 1, set_up)?;
        let id = place.state("controller-id");
        std::fs::create_dir_all(id.parent().unwrap()).unwrap();
        std::fs::write(&id, "00c0ffee00c0ffee").unwrap();
        place.seat();
        Some(place)
    }
}

#[test]
fn a_directory_at_the_place_of_its_socket_is_left_alone_and_named() {
    let Some(mut place) = Place::with(&["web1"], 1) else {
        return;
    };
    let socket = place.state("controller.sock");
    std::fs::create_dir_all(socket.join("of somebody")).unwrap();
    let up = place.bed.run(&["fleet", "up", "--port", "0"]);
    assert_eq!(up.code, 1, "{up}");
    let why = format!("{} is there and is no socket", socket.display());
    assert!(up.err().contains(&why), "{up}");
    assert!(socket.join("of somebody").exists());
    std::fs::remove_dir_all(&socket).unwrap();
    place.up(&[]);
    place.wait_for_hosts(1);
}

#[test]
fn a_directory_at_the_place_of_a_tunnels_socket_is_named_to_who_waits() {
    let Some(mut place) = Place::pulling(|sshd| sshd) else {
        return;
    };
    let socket = place.coordinator_file().with_extension("sock");
    std::fs::create_dir_all(&socket).unwrap();
    place.up(&[]);
    let job = place.sh(Some("web1"), "echo there");
    place.waits_because(job, "is there and is no socket; remove it");
    std::fs::remove_dir(&socket).unwrap();
    place.controller.as_ref().unwrap().signal(Signal::USR1);
    place.waits_because(job, "its daemon has not connected");
    assert!(!Path::new(&socket).is_dir());
    let daemon = place.daemon_with(&[]);
    assert_eq!(out(&place.wait(job)), "there\n");
    daemon.terminate();
    assert_eq!(daemon.wait(SOON).code, 0);
}

#[test]
fn a_server_that_forwards_nothing_is_told_to_who_waits() {
    let forbid = |sshd: crate::common::SshdBuilder| {
        let sshd = sshd.extra("AllowStreamLocalForwarding no");
        sshd.extra("AllowTcpForwarding no")
    };
    let Some(mut place) = Place::pulling(forbid) else {
        return;
    };
    place.up(&[]);
    let job = place.sh(Some("web1"), "echo there");
    place.waits_because(job, "unreachable: ");
    place.waits_because(job, "AllowTcpForwarding");
    let controller = place.controller.as_ref().unwrap();
    controller.wait_for_line("web1: down: ", SOON);
    // Without a daemon nothing is forwarded, and nothing is in the way.
    std::fs::remove_file(place.bed.server.home().join(".config/skyclaw/host.env")).unwrap();
    controller.signal(Signal::USR1);
    assert_eq!(out(&place.wait(job)), "there\n");
}
