//! Callers that go on calling over connections that they keep, and write down what went wrong.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::common::http::Http;
use crate::story::{Gateway, Story};

/// Between two requests of a caller.
const PAUSE: Duration = Duration::from_millis(10);

/// Some callers at work.
pub struct Load {
    shared: Arc<Shared>,
    callers: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    over: AtomicBool,
    done: AtomicUsize,
    failed: Mutex<Vec<String>>,
}

impl Load {
    /// Two callers at each gateway that read.
    pub fn of_gets(story: &Story) -> Self {
        Self::start(&story.gateways, &[false, false])
    }

    /// At each gateway one that reads and one that writes.
    pub fn of_all(story: &Story) -> Self {
        Self::start(&story.gateways, &[false, true])
    }

    fn start(gateways: &[Gateway], kinds: &[bool]) -> Self {
        let shared = Arc::<Shared>::default();
        let mut callers = Vec::new();
        for gateway in gateways {
            for writes in kinds {
                let (shared, to, writes) = (Arc::clone(&shared), gateway.address, *writes);
                callers.push(std::thread::spawn(move || shared.call(to, writes)));
            }
        }
        Self { shared, callers }
    }

    /// How many requests were answered well so far.
    pub fn done(&self) -> usize {
        self.shared.done.load(Ordering::SeqCst)
    }

    /// Ends it; none may have failed. Returns how many there were.
    #[track_caller]
    pub fn end_without_failure(mut self) -> usize {
        self.shared.over.store(true, Ordering::SeqCst);
        for caller in self.callers.drain(..) {
            caller.join().unwrap();
        }
        let failed = self.shared.failed.lock().unwrap();
        let done = self.done();
        assert!(failed.is_empty(), "{} of {done}: {failed:#?}", failed.len());
        assert!(done > 100, "only {done} requests");
        done
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
    }
}

impl Shared {
    fn call(&self, to: SocketAddr, writes: bool) {
        let began = Instant::now();
        let mut open: Option<Http> = None;
        for number in 0.. {
            if self.over.load(Ordering::SeqCst) {
                return;
            }
            match one(&mut open, to, writes, number) {
                Ok(()) => {
                    self.done.fetch_add(1, Ordering::SeqCst);
                }
                Err(why) => {
                    open = None;
                    let at = began.elapsed();
                    let verb = if writes { "POST" } else { "GET" };
                    let mut failed = self.failed.lock().unwrap();
                    failed.push(format!("{verb} after {at:?}: {why}"));
                }
            }
            std::thread::sleep(PAUSE);
        }
    }
}

fn one(open: &mut Option<Http>, to: SocketAddr, writes: bool, number: usize) -> Result<(), String> {
    let http = match open {
        Some(http) => http,
        None => open.insert(Http::connect(to).map_err(|error| error.to_string())?),
    };
    let said = format!("number {number}");
    let reply = if writes {
        http.send("POST", "/v1/gateway/api/echo", said.as_bytes())
    } else {
        http.send("GET", "/v1/gateway/api/who", b"")
    };
    let reply = reply.map_err(|error| error.to_string())?;
    if reply.status != 200 || writes && reply.body != said.as_bytes() {
        return Err(reply.to_string());
    }
    Ok(())
}
