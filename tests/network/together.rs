//! Push and pull at once: one queue, every job done once.

use std::fmt::Write as _;

use crate::site::{SOON, Site, assert_done};

#[test]
fn a_mixed_fleet_of_five_does_a_thousand_jobs_each_once() {
    let Some(mut site) = Site::new(3, 2) else {
        return;
    };
    site.up(&[]);
    let done = site.file("done");
    let mut lines = String::new();
    for number in 0..1000 {
        writeln!(lines, "{number}").unwrap();
    }
    std::fs::write(site.file("numbers"), lines).unwrap();
    // One line is one write, and those to the end of a file do not mix.
    let script = format!("echo {{item}} >>{done}");
    let numbers = site.file("numbers");
    let asked = [
        "enqueue-shell",
        "--each-line",
        &numbers,
        "--json",
        "--wait",
        "sh",
        "-c",
        &script,
    ];
    let all = site
        .world
        .spawn(&asked)
        .wait(SOON * 3)
        .expect_code(0)
        .json();
    let jobs = all["jobs"].as_array().unwrap();
    assert_eq!(jobs.len(), 1000);
    for job in jobs {
        assert_eq!(job["status"], "completed", "{job}");
    }
    // Not by their attempts: a daemon gives back what it had at hand and could not begin soon.
    let mut ran: Vec<u32> = std::fs::read_to_string(&done)
        .unwrap()
        .lines()
        .map(|line| line.parse().unwrap())
        .collect();
    ran.sort_unstable();
    assert_eq!(ran, (0..1000).collect::<Vec<_>>(), "each ran once");
    // Every host has had its part.
    let said = site.controller.as_ref().unwrap().stdout_so_far();
    for name in ["push1", "push2", "push3"] {
        assert!(said.contains(&format!("{name}: job_")), "{name}");
    }
    for member in site
        .members
        .iter()
        .filter_map(|member| member.daemon.as_ref())
    {
        assert!(member.stdout_so_far().contains("running job_"));
    }
}

#[test]
fn a_host_with_a_daemon_is_not_pushed_to_as_well() {
    let Some(mut site) = Site::new(1, 1) else {
        return;
    };
    site.up(&[]);
    // What stood in for the daemon until it came goes within seconds.
    crate::common::eventually(SOON, || site.hosts().len() == 2);
    for name in ["push1", "pull1"] {
        // A daemon's jobs are in directories of their own, and have the daemon's mark.
        let job = site.wait(site.sh(Some(name), "echo ${SKYCLAW_HOST_MARK:+daemon}"));
        assert_done(&job, 1);
        let out = job.result.unwrap().stdout.bytes;
        assert_eq!(out == b"daemon\n", name == "pull1", "{name}");
    }
}

#[test]
fn a_host_behind_a_jump_host_pulls() {
    let Some(mut site) = Site::behind_the_first(1, 1) else {
        return;
    };
    site.up(&[]);
    assert_done(&site.wait(site.sh(Some("pull1"), "true")), 1);
    // It sees nobody, and nobody listens where another machine could come in.
    let listening = site.wait(site.sh(Some("pull1"), "ip -o -4 route; ss -Hltn"));
    let text = String::from_utf8(listening.result.unwrap().stdout.bytes).unwrap();
    assert!(!text.contains("default"), "{text}");
    assert_eq!(text.matches("LISTEN").count(), 1, "only sshd: {text}");
}
