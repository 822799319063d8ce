//! What passes between a host and its coordinator: news at once, output for readers, and nothing at all for a while.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use skyclaw::protocol::api::{Phase, WantedLogs};

use super::get;
use super::script::{Script, host, record, sh, web};
use crate::bed::{Bed, SOON};
use crate::common::{eventually, processes_with};

#[test]
fn nothing_stops_while_the_coordinator_is_away() {
    let bed = Bed::without_coordinator();
    let script = Script::serve(&bed);
    let host = host(&bed, &[]);
    script.want(web("web"));
    let port = script.until_phase("web", Phase::Ready).port.unwrap();
    let pids = || -> Vec<i32> {
        let found = processes_with("TEST_SERVICE=web");
        found.iter().map(|process| process.pid).collect()
    };
    let before = pids();
    script.go_away(true);
    host.wait_for_line("no coordinator could be reached", SOON);
    assert_eq!(get(port, "/health"), "well");
    let syncs = script.state().syncs;
    script.go_away(false);
    eventually(SOON, || script.state().syncs > syncs);
    assert_eq!(script.report("web").unwrap().phase, Phase::Ready);
    assert_eq!(pids(), before);
}

#[test]
fn news_do_not_wait_for_a_request_that_waits() {
    let bed = Bed::without_coordinator();
    let script = Script::serve(&bed);
    let _host = host(&bed, &[]);
    script.want(web("web"));
    script.until_phase("web", Phase::Ready);
    // A request without news waits for ten seconds.
    let syncs = || script.state().syncs;
    let mut known = syncs();
    let mut since = Instant::now();
    eventually(SOON, || {
        if syncs() != known {
            (known, since) = (syncs(), Instant::now());
        }
        since.elapsed() > Duration::from_millis(300)
    });
    let killed_at = Instant::now();
    processes_with("TEST_SERVICE=web")[0].kill9();
    let report = script.until_phase("web", Phase::Backoff);
    assert_eq!(report.error.as_deref(), Some("ended by signal 9"));
    assert!(killed_at.elapsed() < Duration::from_secs(7));
    script.until_phase("web", Phase::Ready);
}

#[test]
fn readers_get_the_last_lines_and_what_follows() {
    let bed = Bed::without_coordinator();
    let script = Script::serve(&bed);
    let _host = host(&bed, &[]);
    script.want(web("web"));
    let port = script.until_phase("web", Phase::Ready).port.unwrap();
    for line in ["first", "second", "third"] {
        get(port, &format!("/say?{line}"));
    }
    let log = bed.state_dir("lab").join("services/web-web/log");
    eventually(SOON, || {
        std::fs::read_to_string(&log).is_ok_and(|text| text.contains("third"))
    });
    let mode = std::fs::metadata(&log).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let logs = |request, tail, follow| WantedLogs {
        request,
        tail,
        follow,
    };
    script.read_logs("web", logs(1, 2, false));
    let (text, end) = script.until_output("web", 1, "third");
    assert_eq!((text.as_str(), end), ("second\nthird\n", true));
    script.read_logs("web", logs(2, 1, true));
    let (text, end) = script.until_output("web", 2, "third");
    assert_eq!((text.as_str(), end), ("third\n", false));
    get(port, "/say?fourth");
    let (text, _) = script.until_output("web", 2, "fourth");
    assert_eq!(text, "third\nfourth\n");
    script.drain("web");
    script.until_phase("web", Phase::Stopped);
    eventually(SOON, || script.until_output("web", 2, "fourth").1);
    // Also of one that has ended.
    script.read_logs("web", logs(3, 1, true));
    eventually(SOON, || script.until_output("web", 3, "fourth").1);
    assert_eq!(script.until_output("web", 3, "fourth").0, "fourth\n");
}

#[test]
fn a_coordinator_of_the_original_is_served_in_its_own_ways() {
    let bed = Bed::without_coordinator();
    let script = Script::serve(&bed);
    let form = |version, text: &str| {
        let wanted = sh("old", &format!("TEST_SERVICE={text} exec $WEB"));
        record(version, "sh", &wanted.args[1])
    };
    // The last one first.
    script.state().claims = Some(vec![form(1, "first")]);
    let url = ("SKYCLAW_SERVICE_HOST_PUBLIC_BASE_URL", "http://127.0.0.1");
    let _host = host(&bed, &[url, ("SKYCLAW_POLL_MS", "50")]);
    let runs = |text: &str| {
        let state = script.state();
        let last = state.told.last().cloned().unwrap_or_default();
        drop(state);
        let endpoint = last["endpoint"].as_str().unwrap_or_default().to_owned();
        let port = endpoint
            .rsplit(':')
            .next()
            .and_then(|port| port.parse().ok());
        last["status"] == "running"
            && port.is_some_and(|port| get(port, "/env?TEST_SERVICE") == text)
    };
    eventually(SOON, || runs("first"));
    assert_eq!(script.state().told[0]["hostId"], "lab-1");
    // Another form of it takes the place of the first.
    script.state().claims = Some(vec![form(2, "second")]);
    eventually(SOON, || runs("second"));
    eventually(SOON, || processes_with("TEST_SERVICE=first").is_empty());
}
