//! Callers of HTTP/2 that mean no good: what they send costs little and ends, and others are served meanwhile.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::Duration;

use crate::common::{SOON, eventually};
use crate::raw::{Caller, Raw, head, ok};
use crate::site::{Gateway, Site};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// More than a gateway may grow by under any of this.
const MUCH: usize = 48 << 20;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// Returns the fields of a request to the service, packed.
fn fields(method: u8) -> Vec<u8> {
    let path = b"/v1/gateway/api/x";
    let mut block = vec![method, 0x86, 0x01, 1, b'x', 0x04, path.len() as u8];
    block.extend_from_slice(path);
    block
}

const GET: u8 = 0x82;
const POST: u8 = 0x83;

/// A connection that is written to as long as anybody reads.
struct Flood(TcpStream);

impl Flood {
    fn to(gateway: &Gateway, settings: &[u8]) -> Self {
        let stream = TcpStream::connect(gateway.address).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream
            .set_write_timeout(Some(Duration::from_secs(2)))
            .unwrap();
        let mut flood = Self(stream);
        flood.say(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        flood.say(&frame(SETTINGS, 0, 0, settings));
        flood
    }

    /// Sends this; `false` if nobody takes it.
    fn say(&mut self, bytes: &[u8]) -> bool {
        self.0.write_all(bytes).is_ok()
    }

    /// Sends it so often, or until nobody takes it.
    fn repeat(&mut self, count: usize, mut bytes: impl FnMut(usize) -> Vec<u8>) {
        let mut swarm = Vec::new();
        for number in 0..count {
            swarm.extend(bytes(number));
            if swarm.len() > 32 << 10 {
                if !self.say(&swarm) {
                    return;
                }
                swarm.clear();
            }
        }
        self.say(&swarm);
    }

    /// Reads until a frame of this kind came.
    fn until(&mut self, kind: u8) -> bool {
        let mut head = [0; 9];
        while self.0.read_exact(&mut head).is_ok() {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            if self.0.read_exact(&mut vec![0; length]).is_err() {
                return false;
            }
            if head[3] == kind {
                return true;
            }
        }
        false
    }

    /// Reads until the other end closes; `false` if it does not.
    fn ends(&mut self) -> bool {
        let mut scrap = vec![0; 64 << 10];
        loop {
            match self.0.read(&mut scrap) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return error.kind() == std::io::ErrorKind::ConnectionReset,
            }
        }
    }
}

fn setting() -> (Raw, Site, Gateway) {
    let backend = Raw::new(|talk| talk.say(ok("served")));
    let site = Site::new();
    site.service("api", &[&backend.url()]);
    let gateway = site.gateway(&[]);
    (backend, site, gateway)
}

/// Tells how much more memory there was at the highest, and has others served.
fn costs(gateway: &Gateway, attack: impl FnOnce()) -> usize {
    for _ in 0..4 {
        assert_eq!(gateway.text("/v1/gateway/api/"), "served");
    }
    let before = gateway.memory("VmRSS");
    attack();
    for _ in 0..4 {
        assert_eq!(gateway.text("/v1/gateway/api/"), "served");
    }
    gateway.memory("VmHWM").saturating_sub(before)
}

#[test]
fn requests_that_are_taken_back_at_once_end_the_connection() {
    let (backend, _site, gateway) = setting();
    let grown = costs(&gateway, || {
        let mut flood = Flood::to(&gateway, &[]);
        flood.repeat(20_000, |number| {
            let stream = 1 + 2 * number as u32;
            let mut both = frame(HEADERS, END_STREAM | END_HEADERS, stream, &fields(GET));
            both.extend(frame(RESET, 0, stream, &8u32.to_be_bytes()));
            both
        });
        assert!(flood.ends());
    });
    assert!(grown < MUCH, "{grown}");
    assert!(backend.served() < 2000, "{}", backend.served());
}

#[test]
fn heads_without_an_end_and_fields_that_unfold_are_refused() {
    let (backend, _site, gateway) = setting();
    let before = backend.served();
    let grown = costs(&gateway, || {
        let mut flood = Flood::to(&gateway, &[]);
        flood.say(&frame(HEADERS, END_STREAM, 1, &fields(GET)));
        // A field that is in no table, again and again.
        let field = [&[0x00, 1, b'a', 0x7f, 0x81, 0x07][..], &[b'b'; 1024]].concat();
        let piece = field.repeat(15);
        flood.repeat(20_000, |_| frame(CONTINUATION, 0, 1, &piece));
        assert!(flood.ends());
        // One that goes into the table, and many that point to it.
        let mut flood = Flood::to(&gateway, &[]);
        let mut block = fields(GET);
        block.extend([0x40, 1, b'a', 0x7f, 0x81, 0x1d]);
        block.extend([b'b'; 3840]);
        block.extend([0xbe; 10_000]);
        flood.say(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &block));
        assert!(flood.until(HEADERS) || flood.ends(), "refused");
    });
    assert!(grown < MUCH, "{grown}");
    assert_eq!(backend.served() - before, 8, "those of others");
}

#[test]
fn what_asks_for_answers_that_nobody_reads_does_not_pile_up() {
    let (_backend, _site, gateway) = setting();
    for (kind, payload) in [(PING, &[0; 8][..]), (SETTINGS, &[0, 4, 0, 1, 0, 0][..])] {
        let grown = costs(&gateway, || {
            let mut flood = Flood::to(&gateway, &[]);
            flood.repeat(2_000_000, |_| frame(kind, 0, 0, payload));
        });
        assert!(grown < MUCH, "{kind}: {grown}");
    }
}

#[test]
fn pieces_of_a_body_that_are_empty_are_not_kept() {
    let (_backend, _site, gateway) = setting();
    let grown = costs(&gateway, || {
        let mut flood = Flood::to(&gateway, &[]);
        let mut block = fields(POST);
        block.extend([0x00, 15]);
        block.extend(b"idempotency-key");
        block.extend([1, b'1']);
        flood.say(&frame(HEADERS, END_HEADERS, 1, &block));
        flood.repeat(2_000_000, |_| frame(DATA, 0, 1, &[]));
    });
    assert!(grown < MUCH, "{grown}");
}

#[test]
fn who_opens_no_window_for_an_answer_does_not_keep_it_for_ever() {
    let (tell, told) = channel();
    let tell = Mutex::new(tell);
    let backend = Raw::new(move |talk| {
        if talk.head.starts_with("GET /x ") {
            let length = 64 << 20;
            talk.say(format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n"
            ));
            talk.say(vec![0; length]);
            talk.rest();
            tell.lock().unwrap().send(()).unwrap();
            return false;
        }
        talk.say(ok("served"))
    });
    let site = Site::new();
    site.service("api", &[&backend.url()]);
    let gateway = site.gateway(&["--idle-ms", "700"]);
    let grown = costs(&gateway, || {
        // SETTINGS_INITIAL_WINDOW_SIZE is 0.
        let mut flood = Flood::to(&gateway, &[0, 4, 0, 0, 0, 0]);
        flood.repeat(30, |number| {
            let stream = 1 + 2 * number as u32;
            frame(HEADERS, END_STREAM | END_HEADERS, stream, &fields(GET))
        });
        for _ in 0..30 {
            told.recv_timeout(SOON).unwrap();
        }
        assert!(flood.until(RESET), "it is told");
    });
    assert!(grown < MUCH, "{grown}");
}

#[test]
fn what_stands_behind_a_body_has_an_end() {
    let (_backend, _site, gateway) = setting();
    let grown = costs(&gateway, || {
        let mut caller = Caller::to(gateway.address);
        caller.say(head("POST", "/", "transfer-encoding: chunked\r\n"));
        caller.say("1\r\nx\r\n0\r\n");
        let lines = "a: bbbbbbbbbbbbbbbbbbbbbbbb\r\n".repeat(1000);
        for _ in 0..1000 {
            if caller.0.get_mut().write_all(lines.as_bytes()).is_err() {
                break;
            }
        }
    });
    assert!(grown < MUCH, "{grown}");
    eventually(SOON, || gateway.get("/health").status == 200);
}
