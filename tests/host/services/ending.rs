//! How services end, and that nothing of them is left.

use std::net::{Ipv4Addr, SocketAddr};

use skyclaw::protocol::api::{Phase, WantedAssignment};

use super::script::{Script, host, sh, web};
use super::{get, is_free};
use crate::bed::{Bed, SOON};
use crate::common::http::Http;
use crate::common::procs::assert_no_process_within;
use crate::common::{eventually, processes_with};

/// Sends a request that is answered once the file is there.
fn open_request(port: u16, file: &str) -> Http {
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut http = Http::connect(to).unwrap();
    http.raw(format!("GET /when?{file} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes())
        .unwrap();
    http
}

fn phases(script: &Script, id: &str) -> Vec<Phase> {
    let state = script.state();
    let of = |(known, phase): &(String, Phase)| (known == id).then_some(*phase);
    state.course.iter().filter_map(of).collect()
}

#[test]
fn who_is_to_end_answers_what_was_asked_first_and_its_port_is_free_then() {
    let bed = Bed::without_coordinator();
    let script = Script::serve(&bed);
    let _host = host(&bed, &[]);
    script.want(web("web"));
    let port = script.until_phase("web", Phase::Ready).port.unwrap();
    let go = bed.file("go");
    let mut open = open_request(port, &go);
    script.drain("web");
    let report = script.until_phase("web", Phase::Draining);
    assert_eq!(report.port, Some(port));
    std::fs::write(&go, "").unwrap();
    assert_eq!(open.reply().unwrap().expect(200).body, b"done");
    drop(open);
    let report = script.until_phase("web", Phase::Stopped);
    assert_eq!((report.port, report.error), (None, None));
    assert!(is_free(port));
    assert!(!phases(&script, "web").contains(&Phase::Backoff));
    // Its log stays for as long as the coordinator speaks of it.
    let log = bed.state_dir("lab").join("services/web-web/log");
    assert!(log.exists());
    script.forget("web");
    script.until_forgotten("web");
    eventually(SOON, || !log.parent().unwrap().exists());
}

#[test]
fn who_keeps_a_connection_open_for_ever_is_left_behind() {
    let bed = Bed::without_coordinator();
    let script = Script::serve(&bed);
    let _host = host(&bed, &[]);
    script.want(WantedAssignment {
        drain_ms: 300,
        ..web("web")
    });
    let port = script.until_phase("web", Phase::Ready).port.unwrap();
    let mut open = open_request(port, &bed.file("never"));
    script.drain("web");
    script.until_phase("web", Phase::Stopped);
    assert!(open.reply().is_err());
}

#[test]
fn what_is_wanted_no_more_ends_with_all_that_it_started() {
    let bed = Bed::without_coordinator();
    let script = Script::serve(&bed);
    let _host = host(&bed, &[]);
    script.want(web("neighbour"));
    script.until_phase("neighbour", Phase::Ready);
    let ready = bed.file("away");
    let text = format!(
        "sh -c 'trap \"\" TERM; while :; do sleep 1; done; : mk-svc child' & \
         setsid sh -c 'trap \"\" TERM; touch {ready}; while :; do sleep 1; done; : mk-svc away' & \
         exec $WEB"
    );
    script.want(WantedAssignment {
        drain_ms: 100,
        ..sh("family", &text)
    });
    let port = script.until_phase("family", Phase::Ready).port.unwrap();
    bed.made("away");
    assert!(!processes_with("mk-svc").is_empty());
    script.forget("family");
    script.until_forgotten("family");
    assert_no_process_within(SOON, "mk-svc");
    assert!(is_free(port));
    // Who looked for what it left behind did not take others for it.
    assert_eq!(
        phases(&script, "neighbour"),
        [Phase::Starting, Phase::Ready]
    );
}

#[test]
fn a_service_that_is_to_end_before_it_runs_again_ends_at_once() {
    let bed = Bed::without_coordinator();
    let script = Script::serve(&bed);
    let _host = host(&bed, &[]);
    script.want(sh("shaky", "exit 1"));
    // A pause of some seconds by now.
    script.until("shaky", |report| report.restarts >= 3);
    script.drain("shaky");
    script.until_phase("shaky", Phase::Stopped);
}

#[test]
fn a_killed_daemon_leaves_nothing_and_the_next_one_begins_anew() {
    let bed = Bed::without_coordinator();
    let script = Script::serve(&bed);
    let first = host(&bed, &[]);
    script.want(web("web"));
    let port = script.until_phase("web", Phase::Ready).port.unwrap();
    first.kill9();
    first.wait(SOON);
    assert_no_process_within(SOON, "TEST_SERVICE=web");
    eventually(SOON, || is_free(port));
    script.state().course.clear();
    let _second = host(&bed, &[]);
    eventually(SOON, || phases(&script, "web").contains(&Phase::Starting));
    let again = script.until_phase("web", Phase::Ready);
    assert_eq!(again.port, Some(port));
    assert_eq!(get(port, "/env?TEST_SERVICE"), "web");
}

#[test]
fn who_leaves_serves_until_another_one_does() {
    let bed = Bed::without_coordinator();
    let script = Script::serve(&bed);
    script.state().keeps = true;
    let host = host(&bed, &[]);
    for name in ["web", "other"] {
        script.want(WantedAssignment {
            // Less than a drain takes otherwise, so that gateways have heard of it: it is done twice here.
            drain_ms: 300,
            ..web(name)
        });
    }
    let port = script.until_phase("web", Phase::Ready).port.unwrap();
    script.until_phase("other", Phase::Ready);
    host.terminate();
    eventually(SOON, || script.state().leaving);
    // What may go goes, and only that.
    script.drain("other");
    script.until_phase("other", Phase::Stopped);
    assert_eq!(script.report("web").unwrap().phase, Phase::Ready);
    assert_eq!(get(port, "/env?TEST_SERVICE"), "web");
    script.drain("web");
    script.until_phase("web", Phase::Stopped);
    host.wait(SOON).expect_code(0);
}

#[test]
fn who_leaves_does_not_wait_for_ever_for_another_one() {
    let bed = Bed::without_coordinator();
    let script = Script::serve(&bed);
    script.state().keeps = true;
    let host = host(&bed, &[("SKYCLAW_DRAIN_MS", "500")]);
    script.want(web("web"));
    script.until_phase("web", Phase::Ready);
    host.terminate();
    host.wait(SOON).expect_code(0);
    assert_no_process_within(SOON, "TEST_SERVICE=web");
}

#[test]
fn a_daemon_that_stops_says_so_and_lets_services_finish() {
    let bed = Bed::without_coordinator();
    let script = Script::serve(&bed);
    let host = host(&bed, &[]);
    script.want(web("web"));
    let port = script.until_phase("web", Phase::Ready).port.unwrap();
    let go = bed.file("go");
    let mut open = open_request(port, &go);
    host.terminate();
    script.until_phase("web", Phase::Draining);
    assert!(script.state().leaving);
    std::fs::write(&go, "").unwrap();
    assert_eq!(open.reply().unwrap().expect(200).body, b"done");
    drop(open);
    host.wait(SOON).expect_code(0);
    assert_eq!(phases(&script, "web").last(), Some(&Phase::Stopped));
    assert_no_process_within(SOON, "TEST_SERVICE=web");
    assert!(is_free(port));
}

#[test]
fn a_second_signal_ends_services_at_once() {
    let bed = Bed::without_coordinator();
    let script = Script::serve(&bed);
    let host = host(&bed, &[("SKYCLAW_DRAIN_MS", "600000")]);
    script.want(WantedAssignment {
        drain_ms: 600_000,
        ..sh("deaf", "trap '' TERM; $WEB & wait; : mk-svc-deaf")
    });
    let port = script.until_phase("deaf", Phase::Ready).port.unwrap();
    let _open = open_request(port, &bed.file("never"));
    host.terminate();
    script.until_phase("deaf", Phase::Draining);
    host.terminate();
    host.wait(SOON).expect_code(0);
    assert_no_process_within(SOON, "TEST_SERVICE=deaf");
}

#[test]
fn what_a_former_life_ran_is_said_to_have_ended() {
    let bed = Bed::without_coordinator();
    let script = Script::serve(&bed);
    let stranger = bed.state_dir("lab").join("services/old-one");
    std::fs::create_dir_all(&stranger).unwrap();
    script.want(web("gone"));
    script.drain("gone");
    let _host = host(&bed, &[]);
    script.until_phase("gone", Phase::Stopped);
    eventually(SOON, || !stranger.exists());
}
