//! The controller dies or sleeps, servers are restarted, daemons come and go.

use rustix::process::Signal;

use crate::common::eventually;
use crate::site::{SOON, Site, assert_done};

#[test]
fn a_killed_controller_costs_nothing_on_pull_hosts() {
    let Some(mut site) = Site::new(1, 1) else {
        return;
    };
    site.up(&[]);
    let (began, go) = (site.file("began"), site.file("go"));
    let script = format!("echo x >>{began}; while [ ! -e {go} ]; do sleep 0.05; done");
    let running = site.sh(Some("pull1"), &script);
    site.made("began");
    let waits = site.sh(Some("push1"), "sleep 0.2");
    site.kill_controller();
    // It ends while nobody is there to be told.
    std::fs::write(&go, "").unwrap();
    site.up(&[]);
    assert_done(&site.wait(running), 1);
    assert!(site.wait(waits).status.is_final());
    assert_eq!(std::fs::read_to_string(&began).unwrap(), "x\n");
    assert_done(&site.wait(site.sh(Some("push1"), "true")), 1);
}

#[test]
fn a_controller_that_slept_past_the_lease_costs_nothing_on_pull_hosts() {
    let Some(mut site) = Site::new(0, 1) else {
        return;
    };
    site.up(&["--lease-ms", "3000"]);
    let (began, asleep) = (site.file("began"), site.file("asleep"));
    let (late, go) = (site.file("late"), site.file("go"));
    let script = format!(
        "echo x >>{began}; while [ ! -e {asleep} ]; do sleep 0.05; done; \
         i=0; while [ $i -lt 160 ]; do sleep 0.05; i=$((i+1)); done; echo x >{late}; \
         while [ ! -e {go} ]; do sleep 0.05; done"
    );
    let running = site.sh(Some("pull1"), &script);
    site.made("began");
    let controller = site.controller.as_ref().unwrap();
    controller.signal(Signal::STOP);
    std::fs::write(&asleep, "").unwrap();
    site.made("late");
    controller.signal(Signal::CONT);
    // Long enough for what is due to happen before the job ends.
    assert_done(&site.wait(site.sh(Some("pull1"), "sleep 3")), 1);
    std::fs::write(&go, "").unwrap();
    assert_done(&site.wait(running), 1);
    assert_eq!(std::fs::read_to_string(&began).unwrap(), "x\n");
}

#[test]
fn the_tunnel_comes_back_after_sshd_was_restarted_and_after_the_socket_was_left() {
    let Some(mut site) = Site::new(0, 1) else {
        return;
    };
    site.up(&[]);
    let tunnel = site.members[0]
        .server
        .home()
        .join(".local/state/skyclaw/tunnel");
    let socket = || {
        let entries = std::fs::read_dir(&tunnel).into_iter().flatten().flatten();
        entries
            .filter(|entry| entry.path().extension().is_some_and(|end| end == "sock"))
            .count()
    };
    assert_eq!(socket(), 1);
    // The daemon is none of sshd's: it goes on while the machine's server is gone.
    site.members[0].server.stop();
    let job = site.sh(None, "true");
    site.members[0].server.start_again();
    assert_done(&site.wait(job), 1);
    eventually(SOON, || site.ready() == 1);
    site.kill_controller();
    site.up(&[]);
    assert_done(&site.wait(site.sh(None, "true")), 1);
    let down = site.world.skyclaw(&["fleet", "down"]);
    down.expect_code(0);
    eventually(SOON, || socket() == 0);
}
