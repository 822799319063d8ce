//! The coordinator goes away and comes back while a run is followed.

use crate::bed::{Bed, SOON};

#[test]
fn a_restart_of_the_coordinator_costs_nothing() {
    let mut bed = Bed::new(&["web1", "web2"]);
    let _hosts = [bed.host("web1", &[]), bed.host("web2", &[])];
    let gate = bed.file("gate");
    let line = format!("echo begun; while [ ! -e {gate} ]; do sleep 0.1; done; echo over");
    let running = bed.world.spawn(&["fleet", "exec", "--shell", &line]);
    running.wait_for_line("[web1] begun", SOON);
    running.wait_for_line("[web2] begun", SOON);
    bed.kill_coordinator();
    // It ends while nobody is there to be told.
    std::fs::write(&gate, "").unwrap();
    bed.start_coordinator();
    let done = running.wait(SOON).expect_code(0);
    for host in ["web1", "web2"] {
        for word in ["begun", "over"] {
            let line = format!("[{host}] {word}");
            assert_eq!(done.out().matches(&line).count(), 1, "{done}");
        }
    }
    assert!(done.err().contains("2 ok in"), "{done}");
}

#[test]
fn a_task_whose_host_is_gone_is_lost_and_not_run_again() {
    let bed = Bed::new(&["web1"]);
    let host = bed.host("web1", &[]);
    let count = bed.file("count");
    let line = format!("echo x >> {count}; echo begun; sleep 300");
    let running = bed
        .world
        .spawn(&["fleet", "exec", "web1", "--shell", &line]);
    running.wait_for_line("begun", SOON);
    host.kill9();
    let _again = bed.host("web1", &[]);
    let done = running.wait(SOON).expect_code(255);
    assert!(done.err().contains("web1: lost"), "{done}");
    assert_eq!(std::fs::read_to_string(&count).unwrap(), "x\n");
}
