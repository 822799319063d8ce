//! More jobs at once than one SSH connection carries.

use std::collections::BTreeSet;

use skyclaw::protocol::{JobId, JobStatus};

use crate::common::eventually;
use crate::place::{Place, SOON, out};

impl Place {
    /// Submits jobs that run until there is a file `go`, each of which leaves a mark when it begins.
    fn crowd(&self, count: usize) -> Vec<JobId> {
        let go = self.file("go");
        let jobs = 0..count;
        jobs.map(|n| {
            let mark = self.file(&format!("at-{n}"));
            let script =
                format!("touch {mark}; while [ ! -e {go} ]; do sleep 0.1; done; echo done {n}");
            self.sh(Some("web1"), &script)
        })
        .collect()
    }

    /// Returns how many of them have begun.
    fn begun(&self) -> usize {
        let marks = std::fs::read_dir(self.bed.server.home()).unwrap();
        let names = marks.map(|mark| mark.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("at-")).count()
    }

    #[track_caller]
    fn assert_all_done(&self, jobs: &[JobId]) {
        std::fs::write(self.file("go"), "").unwrap();
        for (n, job) in jobs.iter().enumerate() {
            let done = self.wait(*job);
            assert_eq!(
                (out(&done), done.attempts.get()),
                (format!("done {n}\n"), 1)
            );
            let attempts = self.block_on(self.client().attempts(*job)).unwrap();
            assert_eq!(attempts.attempts.len(), 1, "{attempts:?}");
        }
    }
}

#[test]
fn sixteen_slots_are_sixteen_jobs_at_once_on_a_server_as_it_comes() {
    let Some(place) = Place::ready(&["web1"], 16) else {
        return;
    };
    let jobs = place.crowd(17);
    eventually(SOON, || place.begun() == 16);
    assert_eq!(place.hosts()[0].max_parallel, 16);
    let waiting = jobs
        .iter()
        .filter(|job| place.record(**job).status == JobStatus::Queued);
    assert_eq!(waiting.count(), 1);
    // Those that share a connection are as many as it carries, and no more connections than that takes.
    assert_eq!(place.bed.server.connections().len(), 2);
    place.assert_all_done(&jobs);
}

#[test]
fn a_server_with_few_sessions_gets_more_connections() {
    let Some(mut place) = Place::on(&["web1"], 5, |sshd| sshd.extra("MaxSessions 2")) else {
        return;
    };
    place.up(&[]);
    place.wait_for_hosts(1);
    let jobs = place.crowd(5);
    eventually(SOON, || place.begun() == 5);
    place.assert_all_done(&jobs);
}

#[test]
fn a_host_without_sessions_to_spare_is_left_alone_for_a_while() {
    let Some(mut place) = Place::on(&["web1", "web2"], 3, |sshd| sshd.extra("MaxSessions 2"))
    else {
        return;
    };
    place.up(&[]);
    place.wait_for_hosts(2);
    // Nobody else gets in.
    place.bed.server.close_the_door();
    let jobs = place.crowd(3);
    let attempts = |job| place.block_on(place.client().attempts(job)).unwrap();
    // Looked at in this order: before it was given it waited, too.
    let given_back = |job: &JobId| {
        !attempts(*job).attempts.is_empty() && place.record(*job).status == JobStatus::Queued
    };
    let mut found = None;
    eventually(SOON, || {
        found = jobs.iter().copied().find(given_back);
        found.is_some()
    });
    let refused = found.unwrap();
    // It would be taken again at once.
    place.wait(place.sh(Some("web2"), "sleep 1"));
    assert_eq!(place.record(refused).status, JobStatus::Queued);
    assert_eq!(attempts(refused).attempts.len(), 1);
    std::fs::write(place.file("go"), "").unwrap();
    let ended: BTreeSet<String> = jobs.iter().map(|job| out(&place.wait(*job))).collect();
    assert_eq!(ended.len(), 3, "{ended:?}");
}
