//! Services that speak HTTP/2: many requests on one connection, none held up by another.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use hyper::{HeaderMap, Request};
use tokio::net::TcpStream;
use tokio::sync::{Barrier, Notify, mpsc};

use crate::common::{SOON, eventually};
use crate::raw::{Caller, head};
use crate::site::{Gateway, Site, error};
use crate::two_backend::{Manner, Turn, Two};

/// Has each of so many callers ask once, all at the same time.
fn at_once(gateway: &Gateway, count: usize, method: &str) -> Vec<u16> {
    std::thread::scope(|scope| {
        let asking: Vec<_> = (0..count)
            .map(|_| scope.spawn(|| gateway.send(method, "/v1/gateway/api/a?b=c", b"x").status))
            .collect();
        asking.into_iter().map(|one| one.join().unwrap()).collect()
    })
}

/// How many threads a gateway may have here, each with connections of its own.
fn workers() -> usize {
    std::thread::available_parallelism().unwrap().get()
}

#[test]
fn requests_of_many_callers_share_a_connection_and_look_as_they_should() {
    let together = Arc::new(Barrier::new(24));
    let backend = Two::new(Manner::default(), move |mut turn: Turn| {
        let together = Arc::clone(&together);
        async move {
            let (body, _) = turn.all().await;
            // Nobody is answered before all are here.
            together.wait().await;
            assert_eq!(body, b"x");
            let uri = &turn.head.uri;
            assert_eq!((uri.path(), uri.query()), ("/a", Some("b=c")));
            assert_eq!(uri.scheme_str(), Some("http"));
            let headers = &turn.head.headers;
            assert_eq!(headers["x-forwarded-host"], "x");
            assert_eq!(headers["content-length"], "1");
            let of_one = ["host", "connection", "transfer-encoding", "upgrade"];
            assert!(
                !of_one.iter().any(|name| headers.contains_key(*name)),
                "{headers:?}"
            );
            let authority = uri.authority().unwrap().to_string();
            turn.say(authority);
        }
    });
    let (_site, gateway) = Site::alone(&backend.url(), &[]);
    assert_eq!(at_once(&gateway, 24, "POST"), [200; 24]);
    assert!(
        backend.connections() <= workers(),
        "{}",
        backend.connections()
    );
    let before = backend.connections();
    assert_eq!(at_once(&gateway, 24, "PUT"), [200; 24]);
    assert!(backend.connections() <= before.max(workers()));
    // One for each probe, and over the same protocol.
    eventually(SOON, || !backend.probes().is_empty());
    let asked = format!("http://{}/health", backend.address);
    assert!(backend.probes().iter().all(|probe| *probe == asked));
}

#[test]
fn another_connection_is_opened_when_the_first_is_full_and_not_before() {
    let together = Arc::new(Barrier::new(9));
    let mut manner = Manner::default();
    manner.builder.max_concurrent_streams(3);
    let backend = Two::new(manner, move |mut turn: Turn| {
        let together = Arc::clone(&together);
        async move {
            if turn.path() == "/a" {
                together.wait().await;
            }
            turn.say("here");
        }
    });
    let (_site, gateway) = Site::alone(&backend.url(), &[]);
    // By now it is known how many streams there may be.
    for _ in 0..4 {
        gateway.get("/v1/gateway/api/first").expect(200);
    }
    assert_eq!(at_once(&gateway, 9, "POST"), [200; 9]);
    let opened = backend.connections();
    assert!((3..=9).contains(&opened), "{opened}");
    assert_eq!(gateway.failures(), 0);
}

#[test]
fn what_the_service_did_nothing_about_is_sent_again_also_if_it_may_not_happen_twice() {
    let done = Arc::new(AtomicUsize::new(0));
    let counts = Arc::clone(&done);
    let backend = Two::new(Manner::default(), move |mut turn: Turn| {
        let counts = Arc::clone(&counts);
        async move {
            if turn.path() == "/never" || turn.before.is_multiple_of(2) {
                turn.respond.send_reset(Reason::REFUSED_STREAM);
                return;
            }
            turn.all().await;
            counts.fetch_add(1, Ordering::SeqCst);
            turn.say("done");
        }
    });
    let (_site, gateway) = Site::alone(&backend.url(), &["--retries", "0"]);
    for _ in 0..5 {
        let reply = gateway.send("POST", "/v1/gateway/api/", b"x").expect(200);
        assert_eq!(reply.body, b"done");
    }
    assert_eq!((backend.served(), done.load(Ordering::SeqCst)), (10, 5));
    let reply = gateway
        .send("POST", "/v1/gateway/api/never", b"x")
        .expect(503);
    assert_eq!(error(&reply), "service api: it does not take the request");
    assert_eq!(backend.served(), 12, "twice and no more");
}

#[test]
fn a_connection_that_takes_no_more_is_followed_by_another_and_costs_nobody_a_request() {
    let manner = Manner {
        last_after: Some(3),
        ..Manner::default()
    };
    let backend = Two::new(manner, |mut turn: Turn| async move {
        turn.all().await;
        turn.say("done");
    });
    let (_site, gateway) = Site::alone(&backend.url(), &["--retries", "0"]);
    let mut http = gateway.connect();
    for _ in 0..20 {
        http.send("POST", "/v1/gateway/api/", b"x")
            .unwrap()
            .expect(200);
    }
    assert_eq!(at_once(&gateway, 12, "POST"), [200; 12]);
    assert!(backend.connections() >= 4, "{}", backend.connections());
    assert_eq!((backend.served(), gateway.failures()), (32, 0));
}

#[test]
fn what_was_begun_is_not_sent_again_when_the_service_breaks_it_off() {
    let read = Arc::new(Notify::new());
    let half_read = Arc::clone(&read);
    let backend = Two::new(Manner::default(), move |mut turn: Turn| {
        let half_read = Arc::clone(&half_read);
        async move {
            match turn.path() {
                "/half" => {
                    let mut to = turn.begin(200);
                    to.send_data(Bytes::from_static(b"half"), false).unwrap();
                    half_read.notified().await;
                    to.send_reset(Reason::CANCEL);
                }
                "/whole" => turn.say("whole"),
                _ => turn.respond.send_reset(Reason::INTERNAL_ERROR),
            }
        }
    });
    let (_site, gateway) = Site::alone(&backend.url(), &["--cooldown-ms", "1000"]);
    let reply = gateway.send("POST", "/v1/gateway/api/", b"").expect(502);
    assert!(error(&reply).ends_with("it broke the request off without an answer"));
    assert_eq!((backend.served(), gateway.failures()), (1, 1));
    let mut caller = Caller::to(gateway.address);
    caller.say(head("GET", "/half", ""));
    caller.until("half");
    read.notify_one();
    let rest = caller.rest();
    assert!(!rest.ends_with("0\r\n\r\n"), "{rest}");
    eventually(SOON, || gateway.failures() == 2);
    // The connection is as good as before.
    gateway.get("/v1/gateway/api/whole").expect(200);
}

#[test]
fn who_leaves_is_heard_of_and_so_is_who_sends_half_a_body() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let backend = Two::new(Manner::default(), move |mut turn: Turn| {
        let tell = tell.clone();
        async move {
            if turn.path() == "/streams" {
                let mut to = turn.begin(200);
                to.send_data(Bytes::from_static(b"x"), false).unwrap();
                tell.send(None).unwrap();
                let reset = std::future::poll_fn(|context| to.poll_reset(context)).await;
                tell.send(Some(reset.unwrap())).unwrap();
                return;
            }
            tell.send(None).unwrap();
            let mut respond = turn.respond;
            let reset = std::future::poll_fn(|context| respond.poll_reset(context)).await;
            tell.send(Some(reset.unwrap())).unwrap();
        }
    });
    let (_site, gateway) = Site::alone(&backend.url(), &[]);
    let mut next = || {
        let mut heard = None;
        eventually(SOON, || {
            heard = told.try_recv().ok();
            heard.is_some()
        });
        heard.unwrap()
    };
    for path in ["/waits", "/streams"] {
        let mut caller = Caller::to(gateway.address);
        caller.say(head("GET", path, ""));
        assert_eq!(next(), None, "{path}");
        drop(caller);
        assert_eq!(next(), Some(Reason::CANCEL), "{path}");
    }
    let mut caller = Caller::to(gateway.address);
    caller.say(head("POST", "/waits", "content-length: 9\r\n"));
    caller.say("half");
    assert_eq!(next(), None);
    drop(caller);
    assert!(next().is_some());
    assert_eq!(gateway.failures(), 0);
}

#[test]
fn trailers_go_both_ways_and_who_asks_for_another_protocol_is_answered_in_this_one() {
    let backend = Two::new(Manner::default(), |mut turn: Turn| async move {
        let (body, trailers) = turn.all().await;
        let mut to = turn.begin(200);
        to.send_data(Bytes::from(body), false).unwrap();
        let mut behind = HeaderMap::new();
        behind.insert("grpc-status", "0".parse().unwrap());
        if let Some(trailers) = trailers {
            let names: Vec<&str> = trailers.keys().map(|name| name.as_str()).collect();
            behind.insert("x-heard", names.join(",").parse().unwrap());
        }
        to.send_trailers(behind).unwrap();
    });
    let (_site, gateway) = Site::alone(&backend.url(), &[]);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let stream = TcpStream::connect(gateway.address).await.unwrap();
        let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let request = Request::post("http://x/v1/gateway/api/pkg.Greeter/Say")
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        let request = request.body(()).unwrap();
        let (answer, mut to) = sender.send_request(request, false).unwrap();
        to.send_data(Bytes::from_static(b"abc"), false).unwrap();
        let mut behind = HeaderMap::new();
        for name in ["x-sum", "x-api-key", "authorization", "x-skyclaw-token"] {
            behind.insert(name, "7".parse().unwrap());
        }
        to.send_trailers(behind).unwrap();
        let mut body = answer.await.unwrap().into_body();
        assert_eq!(body.data().await.unwrap().unwrap(), "abc");
        assert!(body.data().await.is_none());
        let trailers = body.trailers().await.unwrap().unwrap();
        assert_eq!(trailers["grpc-status"], "0");
        assert_eq!(
            trailers["x-heard"], "x-sum",
            "nobody is named behind a body"
        );
    });
    let mut caller = Caller::to(gateway.address);
    caller.say(head(
        "GET",
        "/",
        "connection: upgrade, close\r\nupgrade: websocket\r\n",
    ));
    assert!(caller.rest().starts_with("HTTP/1.1 200 "));
}

#[test]
fn who_reads_slowly_holds_nobody_up_and_costs_no_memory() {
    const MUCH: usize = 64 << 20;
    let backend = Two::new(Manner::default(), |mut turn: Turn| async move {
        if turn.path() == "/small" {
            turn.say("small");
            return;
        }
        let mut to = turn.begin(200);
        let mut left = MUCH;
        while left > 0 {
            to.reserve_capacity(left.min(64 << 10));
            let Some(Ok(room)) = std::future::poll_fn(|context| to.poll_capacity(context)).await
            else {
                return;
            };
            left -= room;
            to.send_data(Bytes::from(vec![b'x'; room]), left == 0)
                .unwrap();
        }
    });
    let (_site, gateway) = Site::alone(&backend.url(), &[]);
    gateway.get("/v1/gateway/api/small").expect(200);
    let before = gateway.memory("VmRSS");
    let slow: Vec<Caller> = (0..30)
        .map(|_| {
            let mut caller = Caller::to(gateway.address);
            caller.say(head("GET", "/much", ""));
            caller.until("\r\n\r\n");
            caller
        })
        .collect();
    // Long enough to fill whatever can be filled.
    for _ in 0..200 {
        gateway.get("/v1/gateway/api/small").expect(200);
    }
    let grown = gateway.memory("VmHWM").saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes more");
    assert!(backend.connections() <= workers());
    drop(slow);
}

#[test]
fn a_service_whose_probes_fail_over_http_2_is_left_alone() {
    let health = Arc::new(AtomicUsize::new(503));
    let manner = Manner {
        health: Some(Arc::clone(&health)),
        ..Manner::default()
    };
    let ill = Two::new(manner, |mut turn: Turn| async move { turn.say("ill") });
    let wells: Vec<Two> = (0..2)
        .map(|_| {
            Two::new(Manner::default(), |mut turn: Turn| async move {
                turn.say("well")
            })
        })
        .collect();
    let site = Site::new();
    site.service("api", &[&ill.url(), &wells[0].url(), &wells[1].url()]);
    let gateway = site.gateway(&[]);
    let hears = |word: &str| {
        (0..6)
            .filter(|_| gateway.text("/v1/gateway/api/") == word)
            .count()
    };
    eventually(SOON, || hears("ill") == 0);
    health.store(200, Ordering::SeqCst);
    eventually(SOON, || hears("ill") == 2);
}

#[test]
fn no_answer_in_time_is_said_and_an_endless_hint_is_none() {
    let backend = Two::new(Manner::default(), |mut turn: Turn| async move {
        let hint = || hyper::Response::builder().status(103).body(()).unwrap();
        while turn.path() == "/hints" && turn.respond.send_informational(hint()).is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        std::future::pending::<()>().await;
    });
    let (_site, gateway) = Site::alone(
        &backend.url(),
        &["--first-byte-ms", "500", "--retries", "0"],
    );
    for path in ["hints", "silent"] {
        let reply = gateway.get(&format!("/v1/gateway/api/{path}")).expect(504);
        assert_eq!(error(&reply), "service api: it gave no answer in time");
    }
}
