//! How a gateway ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use std::io::Read;
use std::net::SocketAddr;
use std::time::Duration;

use rustix::process::Signal;

use crate::backend::{Backend, text};
use crate::common::{SOON, eventually};
use crate::raw::{Caller, Raw, head};
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

/// Connects with a window so small that most of an answer waits at the other end.
fn slow_reader(address: SocketAddr) -> Caller {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&address.into()).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    Caller(std::io::BufReader::new(socket.into()))
}

#[test]
fn an_answer_is_whole_also_if_its_last_bytes_wait_for_a_slow_reader() {
    const LENGTH: usize = 6 << 20;
    let backend = Raw::new(|talk| {
        talk.say(format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {LENGTH}\r\n\r\n"
        ));
        talk.say(vec![b'b'; LENGTH])
    });
    let site = Site::new();
    site.service("api", &[&backend.url()]);
    let gateway = site.gateway(&[]);
    let mut caller = slow_reader(gateway.address);
    caller.say(head("GET", "/", ""));
    caller.until("\r\n\r\n");
    gateway.signal(Signal::TERM);
    eventually(SOON, || {
        gateway.get("/v1/gateway/none/").json()["error"] == "the gateway is stopping"
    });
    let (mut came, mut piece) = (0, vec![0; 64 << 10]);
    while came < LENGTH {
        match caller.0.read(&mut piece).unwrap() {
            0 => panic!("{came} of {LENGTH} bytes came"),
            count => came += count,
        }
        // Slow is what this one is.
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(gateway.ended(), Some(0));
}
