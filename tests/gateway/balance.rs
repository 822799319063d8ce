//! Which endpoint answers, also when some do not.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::json;

use crate::backend::{Backend, text};
use crate::common::{SOON, eventually};
use crate::site::{Gateway, Site, error};

/// Who answers how often.
fn spread(gateway: &Gateway, times: usize) -> BTreeMap<String, usize> {
    let mut answers = BTreeMap::new();
    for _ in 0..times {
        *answers.entry(gateway.text("/v1/gateway/api/")).or_default() += 1;
    }
    answers
}

#[test]
fn requests_take_turns_and_none_is_lost_when_an_endpoint_dies() {
    let (one, two) = (Backend::named("one"), Backend::named("two"));
    let site = Site::new();
    site.service("api", &[&one.url(), &two.url()]);
    let gateway = site.gateway(&["--cooldown-ms", "1000"]);
    let even = BTreeMap::from([("one".to_owned(), 10), ("two".to_owned(), 10)]);
    assert_eq!(spread(&gateway, 20), even);
    let address = two.address;
    drop(two);
    // Whatever the method: nothing was sent to it.
    for method in ["GET", "POST"] {
        for _ in 0..10 {
            let reply = gateway.send(method, "/v1/gateway/api/", b"x").expect(200);
            assert_eq!(reply.body, b"one");
        }
    }
    let again = Backend::at(address, |_| text(200, "two"));
    eventually(SOON, || spread(&gateway, 4).len() == 2);
    drop(again);
}

#[test]
fn what_may_have_had_an_effect_is_not_sent_twice() {
    let (bad, good) = (Backend::with(|_| text(503, "bad")), Backend::named("good"));
    let site = Site::new();
    site.service("api", &[&bad.url(), &good.url()]);
    let gateway = site.gateway(&["--health-path", "/", "--probe-ms", "3600000"]);
    let before = bad.seen().len();
    for _ in 0..2 {
        assert_eq!(
            gateway.text("/v1/gateway/api/"),
            "good",
            "read from the other"
        );
    }
    let mut statuses: Vec<u16> = (0..2)
        .map(|_| gateway.send("POST", "/v1/gateway/api/", b"x").status)
        .collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 503]);
    let mut keyed = gateway.connect().with("idempotency-key", "1");
    for _ in 0..2 {
        let reply = keyed.send("POST", "/v1/gateway/api/", b"x").unwrap();
        assert_eq!(reply.expect(200).body, b"good");
    }
    assert!(bad.seen().len() > before);
    assert!(
        bad.seen()
            .iter()
            .filter(|seen| seen.method == "POST")
            .all(|seen| seen.body == b"x")
    );
}

#[test]
fn when_all_fail_the_caller_hears_what_the_service_said() {
    let bad = |status| Backend::with(move |_| text(status, "sorry"));
    let (one, two) = (bad(500), bad(500));
    let site = Site::new();
    site.service("api", &[&one.url(), &two.url()]);
    let gateway = site.gateway(&[]);
    for _ in 0..10 {
        let reply = gateway.get("/v1/gateway/api/").expect(500);
        assert_eq!(reply.body, b"sorry");
    }
}

#[test]
fn probes_take_out_what_is_unwell_but_a_missing_path_proves_nothing() {
    let well = Arc::new(AtomicBool::new(true));
    let switch = Arc::clone(&well);
    let sick = Backend::with(move |seen| match seen.target.as_str() {
        "/health" if !switch.load(Ordering::SeqCst) => text(500, ""),
        _ => text(200, "sick"),
    });
    let plain = Backend::with(|seen| match seen.target.as_str() {
        "/health" => text(404, ""),
        _ => text(200, "plain"),
    });
    let site = Site::new();
    site.service("api", &[&sick.url(), &plain.url()]);
    let gateway = site.gateway(&[]);
    eventually(SOON, || plain.probes() > 3);
    assert_eq!(spread(&gateway, 4).len(), 2);
    well.store(false, Ordering::SeqCst);
    eventually(SOON, || {
        spread(&gateway, 4) == BTreeMap::from([("plain".to_owned(), 4)])
    });
    well.store(true, Ordering::SeqCst);
    eventually(SOON, || spread(&gateway, 4).len() == 2);
}

#[test]
fn a_path_that_somebody_chose_must_answer_well() {
    let backend = |name: &'static str, ready: u16| {
        Backend::with(move |seen| match seen.target.as_str() {
            "/ready" => text(ready, ""),
            _ => text(200, name),
        })
    };
    let (ready, not) = (backend("ready", 204), backend("not", 404));
    let site = Site::new();
    let own = json!({"health": "/ready"});
    site.service_with("api", &[&ready.url(), &not.url()], own);
    site.service("other", &[&ready.url(), &not.url()]);
    let gateway = site.gateway(&[]);
    let only_ready = BTreeMap::from([("ready".to_owned(), 4)]);
    eventually(SOON, || spread(&gateway, 4) == only_ready);
    let others = |gateway: &Gateway| [(); 4].map(|()| gateway.text("/v1/gateway/other/"));
    assert!(
        others(&gateway).contains(&"not".to_owned()),
        "it says nothing of /ready"
    );
    let chosen = site.gateway(&["--health-path", "/ready"]);
    eventually(SOON, || others(&chosen) == ["ready"; 4]);
}

#[test]
fn an_endpoint_that_fails_three_times_in_a_row_has_a_rest() {
    let bad = Backend::with(|seen| match seen.target.as_str() {
        "/health" => text(200, ""),
        "/well" => text(200, "bad"),
        _ => text(500, "bad"),
    });
    let good = Backend::named("good");
    let site = Site::new();
    site.service("api", &[&bad.url(), &good.url()]);
    let gateway = site.gateway(&["--cooldown-ms", "600000"]);
    let post = |path: &str| gateway.send("POST", path, b"x").status;
    // A good answer in between, and it begins anew.
    for _ in 0..4 {
        assert_eq!(post("/v1/gateway/api/x") + post("/v1/gateway/api/x"), 700);
        let both = [post("/v1/gateway/api/well"), post("/v1/gateway/api/well")];
        assert_eq!(both, [200, 200]);
    }
    let mut failed = 0;
    for _ in 0..20 {
        failed += u32::from(post("/v1/gateway/api/x") == 500);
    }
    assert_eq!(failed, 3);
}

#[test]
fn callers_stay_with_their_endpoint_if_asked_to() {
    let (one, two) = (Backend::named("one"), Backend::named("two"));
    let site = Site::new();
    site.service("api", &[&one.url(), &two.url()]);
    let gateway = site.gateway(&["--sticky", "cookie:sid"]);
    for _ in 0..5 {
        let first = gateway.get("/v1/gateway/api/").expect(200);
        let cookie = first
            .header("set-cookie")
            .unwrap()
            .split(';')
            .next()
            .unwrap();
        let mut http = gateway.connect().with("cookie", cookie);
        for _ in 0..5 {
            let reply = http.send("GET", "/v1/gateway/api/", b"").unwrap();
            assert_eq!(reply.body, first.body);
            assert_eq!(reply.header("set-cookie"), None);
        }
    }
    assert!(
        !one.seen().is_empty() && !two.seen().is_empty()
            || one.seen().len() + two.seen().len() == 30
    );
}

#[test]
fn a_full_endpoint_is_left_alone_until_there_is_room() {
    let (open, gate) = (
        Arc::new(AtomicUsize::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let (inside, free) = (Arc::clone(&open), Arc::clone(&gate));
    let slow = Backend::with(move |seen| {
        if seen.target == "/slow" {
            inside.fetch_add(1, Ordering::SeqCst);
            eventually(SOON, || free.load(Ordering::SeqCst));
        }
        text(200, "done")
    });
    let site = Site::new();
    site.service("api", &[&slow.url()]);
    let gateway = site.gateway(&["--max-in-flight", "2"]);
    let held: Vec<_> = (0..2)
        .map(|_| {
            let mut http = gateway.connect();
            std::thread::spawn(move || http.send("GET", "/v1/gateway/api/slow", b"").unwrap())
        })
        .collect();
    eventually(SOON, || open.load(Ordering::SeqCst) == 2);
    let reply = gateway.get("/v1/gateway/api/").expect(503);
    assert_eq!(reply.header("retry-after"), Some("1"));
    assert_eq!(error(&reply), "all endpoints of service api are busy");
    gate.store(true, Ordering::SeqCst);
    for one in held {
        one.join().unwrap().expect(200);
    }
    eventually(SOON, || gateway.get("/v1/gateway/api/").status == 200);
}
