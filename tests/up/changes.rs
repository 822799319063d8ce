//! A host that the fleet file describes differently while jobs run there: from the next job on.

use rustix::process::Signal;
use serde_json::json;
use skyclaw::protocol::JobStatus;

use crate::common::{FleetHost, eventually};
use crate::place::{Place, SOON, out};

impl Place {
    /// Has a job of `host` run until there is a file `go`.
    fn hold(&self, host: &str) -> skyclaw::protocol::JobId {
        let (begun, go) = (self.file("begun"), self.file("go"));
        let script = format!(
            "echo x >> {begun}; while [ ! -e {go} ]; do sleep 0.05; done; echo whole $WORD"
        );
        let job = self.sh(Some(host), &script);
        self.made("begun");
        job
    }

    fn change(&self, names: &[&str], with: impl Fn(FleetHost) -> FleetHost) {
        self.fleet(names, with);
        self.controller.as_ref().unwrap().signal(Signal::HUP);
    }

    /// Lets the held job go, and sees that it was one try from its beginning to its end.
    #[track_caller]
    fn assert_whole(&self, job: skyclaw::protocol::JobId, printed: &str) {
        assert_eq!(self.record(job).status, JobStatus::Leased);
        std::fs::write(self.file("go"), "").unwrap();
        let whole = self.wait(job);
        assert_eq!((out(&whole).as_str(), whole.attempts.get()), (printed, 1));
        let begun = std::fs::read_to_string(self.file("begun")).unwrap();
        assert_eq!(begun, "x\n");
    }
}

#[test]
fn what_is_new_counts_for_the_next_job_and_not_for_those_that_run() {
    let Some(mut place) = Place::with(&["web1"], 1) else {
        return;
    };
    place.fleet(&["web1"], |host| host.with("env", json!({ "WORD": "old" })));
    place.up(&[]);
    place.wait_for_hosts(1);
    let held = place.hold("web1");
    let waits = place.sh(Some("web1"), "echo $WORD");
    assert_eq!(place.record(waits).status, JobStatus::Queued);
    place.change(&["web1"], |host| {
        let host = host.with("slots", 2).with("labels", json!({ "zone": "b" }));
        host.with("env", json!({ "WORD": "new" }))
    });
    assert_eq!(out(&place.wait(waits)), "new\n");
    eventually(SOON, || {
        let host = place.hosts().remove(0);
        host.max_parallel == 2 && host.labels.get("zone").is_some_and(|zone| zone == "b")
    });
    // Fewer slots again: what runs stays, and nothing is begun beside it.
    place.change(&["web1"], |host| host.with("slots", 1));
    eventually(SOON, || place.hosts()[0].max_parallel == 1);
    let waits = place.sh(Some("web1"), "echo then");
    assert_eq!(place.record(waits).status, JobStatus::Queued);
    place.assert_whole(held, "whole old\n");
    assert_eq!(out(&place.wait(waits)), "then\n");
}

#[test]
fn a_host_at_another_address_gets_new_jobs_there_while_old_ones_end() {
    let Some(place) = Place::ready(&["web1", "web2"], 1) else {
        return;
    };
    let held = place.hold("web1");
    let name = |host: FleetHost| host.with("slots", 1).with("host", "localhost");
    place.change(&["web1", "web2"], name);
    // A slot of the new machine, by all that is known of it.
    let new = place.wait(place.sh(Some("web1"), "echo there"));
    assert_eq!((out(&new).as_str(), new.attempts.get()), ("there\n", 1));
    place.assert_whole(held, "whole\n");
    // Nothing keeps the old connections any more.
    eventually(SOON, || place.bed.server.connections().len() == 2);
}

#[test]
fn a_host_that_cannot_be_reached_as_the_file_says_now_says_so_and_its_jobs_end_well() {
    let Some(place) = Place::ready(&["web1", "web2"], 2) else {
        return;
    };
    let held = place.hold("web1");
    let dead = crate::common::RefusingPort::start();
    let wrong = FleetHost::new("web1", "127.0.0.1", dead.port()).with("slots", 2);
    let right = place.bed.server.fleet_host("web2").with("slots", 2);
    place.bed.world.fleet(&[wrong, right]);
    place.controller.as_ref().unwrap().signal(Signal::HUP);
    let waits = place.sh(Some("web1"), "echo then");
    eventually(SOON, || {
        let explained = place.block_on(place.client().explain(waits)).unwrap();
        explained.summary.contains("unreachable")
    });
    // The others have nothing to do with it.
    let other = place.wait(place.sh(Some("web2"), "echo other"));
    assert_eq!(out(&other), "other\n");
    place.assert_whole(held, "whole\n");
    place.change(&["web1", "web2"], |host| host.with("slots", 2));
    assert_eq!(out(&place.wait(waits)), "then\n");
}
