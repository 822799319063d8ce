//! Cables are cut and plugged in again.

use crate::common::eventually;
use crate::site::{SOON, Site, assert_done};

/// A script that says that it runs, and ends when it may.
fn waiting(site: &Site, tag: &str) -> String {
    let (began, go) = (
        site.file(&format!("began-{tag}")),
        site.file(&format!("go-{tag}")),
    );
    let ended = site.file(&format!("ended-{tag}"));
    format!("echo x >>{began}; while [ ! -e {go} ]; do sleep 0.05; done; touch {ended}")
}

#[test]
fn a_pull_host_that_is_cut_off_for_less_than_its_lease_goes_on_and_delivers() {
    let Some(mut site) = Site::new(0, 1) else {
        return;
    };
    site.up(&["--lease-ms", "60000", "--keepalive", "1s"]);
    let job = site.sh(None, &waiting(&site, "short"));
    site.made("began-short");
    site.members[0].cable.blackhole();
    // It ends while nobody can be told, and the controller gives the tunnel up meanwhile.
    std::fs::write(site.file("go-short"), "").unwrap();
    site.made("ended-short");
    let controller = site.controller.as_ref().unwrap();
    controller.wait_for_line("pull1: down", SOON);
    assert!(!site.record(job).status.is_final());
    site.members[0].cable.heal();
    assert_done(&site.wait(job), 1);
    let began = std::fs::read_to_string(site.file("began-short")).unwrap();
    assert_eq!(began, "x\n", "it ran once");
}

#[test]
fn what_a_pull_host_ran_when_its_lease_ran_out_runs_elsewhere_and_its_own_result_is_refused() {
    let Some(mut site) = Site::new(0, 2) else {
        return;
    };
    site.up(&["--lease-ms", "3000", "--keepalive", "1s"]);
    let script = waiting(&site, "long");
    let job = site.sh(None, &script);
    site.made("began-long");
    let holder = site.record(job).assigned_host_id.unwrap();
    let hosts = site.hosts();
    let name = &hosts.iter().find(|host| host.id == holder).unwrap().name;
    let at = usize::from(name == "pull2");
    site.members[at].cable.cut();
    // It begins a second time, on the other host, and there alone: the first has given up by then.
    let began = || std::fs::read_to_string(site.file("began-long")).unwrap();
    eventually(SOON, || began() == "x\nx\n");
    let second = site.record(job);
    assert_ne!(second.assigned_host_id.unwrap(), holder);
    site.members[at].cable.heal();
    eventually(SOON, || site.ready() == 2);
    std::fs::write(site.file("go-long"), "").unwrap();
    assert_done(&site.wait(job), 2);
    assert_eq!(began(), "x\nx\n");
}

#[test]
fn a_push_host_that_is_cut_off_is_said_and_works_again_when_it_is_back() {
    let Some(mut site) = Site::new(2, 0) else {
        return;
    };
    site.up(&[
        "--lease-ms",
        "5000",
        "--keepalive",
        "1s",
        "--connect-timeout",
        "2s",
    ]);
    site.members[0].cable.blackhole();
    eventually(SOON, || site.ready() == 1);
    let blocked = site.hosts().into_iter().find_map(|host| host.blocked);
    assert!(blocked.is_some());
    let job = site.sh(Some("push1"), "true");
    let explained = site
        .world
        .skyclaw(&["job", "explain", &job.to_string()])
        .expect_code(0);
    assert!(explained.out().contains("push1"), "{}", explained.out());
    assert_done(&site.wait(site.sh(None, "true")), 1);
    site.members[0].cable.heal();
    assert_done(&site.wait(job), 1);
}
