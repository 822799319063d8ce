//! The owner of the machine decides.

use skyclaw::protocol::Reason;
use skyclaw::protocol::api::SubmitJob;

use crate::bed::{Bed, SOON, assert_done, assert_failed, error, job, shell};
use crate::common::eventually;

#[test]
fn the_owner_sees_what_runs_and_ends_it() {
    let bed = Bed::new();
    let _host = bed.host("lab", &[]);
    let ready = bed.file("ready");
    let id = bed.submit_job(&SubmitJob {
        submitted_by: Some("alice".into()),
        ..job(&shell(&format!("touch {ready}; sleep 600")))
    });
    bed.made("ready");
    let shown = bed
        .ask_host("lab", &["jobs", "--json"])
        .expect_code(0)
        .json();
    assert_eq!(shown["jobs"][0]["jobId"], id.to_string());
    assert_eq!(shown["jobs"][0]["submittedBy"], "alice");
    assert!(bed.ask_host("lab", &["jobs"]).out().contains("running"));
    bed.ask_host("lab", &["stop-job", &id.to_string()])
        .expect_code(0);
    let ended = bed.wait(id);
    assert_failed(&ended, Reason::Cancelled);
    assert_eq!(error(&ended), "stopped on the host by its owner");
    bed.ask_host("lab", &["stop-job", &id.to_string()])
        .expect_code(1);
    bed.ask_host("nobody", &["jobs"]).expect_code(1);
}

#[test]
fn a_pause_holds_over_a_restart_and_others_see_it() {
    let bed = Bed::new();
    let host = bed.host("lab", &[("SKYCLAW_HEARTBEAT_MS", "200")]);
    bed.ask_host("lab", &["pause"]).expect_code(0);
    eventually(SOON, || {
        bed.hosts()[0].blocked.as_deref() == Some("paused on the machine")
    });
    let waiting = bed.sh("true");
    host.terminate();
    host.wait(SOON).expect_code(0);
    let again = bed.host("lab", &[("SKYCLAW_HEARTBEAT_MS", "200")]);
    again.wait_for_line("taking no work: paused on the machine", SOON);
    assert_eq!(bed.look(waiting).attempts.get(), 0);
    bed.ask_host("lab", &["resume"]).expect_code(0);
    assert_done(&bed.wait(waiting));
}

#[test]
fn without_spare_capacity_nothing_is_taken() {
    let bed = Bed::new();
    let host = bed.host("lab", &[("SKYCLAW_CLAIM_WHEN", "hours=00-00")]);
    let line = host.wait_for_line("taking no work", SOON);
    assert!(line.contains("outside of hours 00:00-00:00"), "{line}");
    eventually(SOON, || bed.hosts()[0].blocked.is_some());
}

#[test]
fn a_job_that_one_owner_refuses_goes_to_another() {
    let bed = Bed::new();
    let picky = bed.host("picky", &[("SKYCLAW_ACCEPT_FROM", "alice")]);
    let id = bed.submit_job(&SubmitJob {
        submitted_by: Some("bob".into()),
        ..job(&shell("true"))
    });
    picky.wait_for_line(&format!("refused {id} (shell) of bob"), SOON);
    let open = bed.host("open", &[]);
    let done = bed.wait(id);
    assert_done(&done);
    open.wait_for_line(&format!("completed {id}: ok"), SOON);
    let refusals = picky.stdout_so_far().matches("refused").count();
    assert!(refusals < 8, "it does not claim in a loop: {refusals}");
}
