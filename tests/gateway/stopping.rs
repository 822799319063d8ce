//! How a gateway ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::Signal;

use crate::backend::{Backend, text};
use crate::common::{SOON, eventually};
use crate::site::{Site, error};

#[test]
fn it_says_that_it_goes_then_takes_nothing_new_and_lets_open_requests_end() {
    let free = Arc::new(AtomicBool::new(false));
    let gate = Arc::clone(&free);
    let backend = Backend::with(move |seen| {
        if seen.target == "/slow" {
            eventually(SOON, || gate.load(Ordering::SeqCst));
        }
        text(200, "done")
    });
    let site = Site::new();
    site.service("api", &[&backend.url()]);
    let mut gateway = site.gateway(&[]);
    let mut open = gateway.connect();
    let open = std::thread::spawn(move || open.send("GET", "/v1/gateway/api/slow", b"").unwrap());
    eventually(SOON, || !backend.seen().is_empty());
    gateway.signal(Signal::TERM);
    eventually(SOON, || gateway.get("/health").status == 503);
    gateway.get("/v1/gateway/api/").expect(200);
    eventually(SOON, || gateway.get("/v1/gateway/api/").status == 503);
    let refused = gateway.get("/v1/gateway/api/").expect(503);
    assert_eq!(error(&refused), "the gateway is stopping");
    assert_eq!(refused.header("connection"), Some("close"));
    assert!(gateway.is_running());
    free.store(true, Ordering::SeqCst);
    open.join().unwrap().expect(200);
    assert_eq!(gateway.ended(), Some(0));
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let site = Site::new();
    let gateway = site.gateway(&[]);
    let idle = gateway.connect();
    gateway.signal(Signal::INT);
    eventually(SOON, || gateway.get("/health").status == 503);
    gateway.signal(Signal::INT);
    assert_eq!(gateway.ended(), Some(0));
    drop(idle);
}
