//! A backend that says byte for byte what a test says, also what no proper server would.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long either side waits for the other before a test fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// One request on a backend's connection.
pub struct Talk {
    stream: BufReader<TcpStream>,
    /// The head as it came, up to and with the empty line.
    pub head: String,
}

impl Talk {
    /// Sends bytes; `false` if nobody takes them.
    pub fn say(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.get_mut().write_all(bytes.as_ref()).is_ok()
    }

    /// Reads one line.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        let _ = self.stream.read_line(&mut line);
        line
    }

    /// Reads this many bytes.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// Reads until the other end has nothing more to say; tells how much that was.
    pub fn rest(&mut self) -> usize {
        let mut scrap = vec![0; 64 << 10];
        let mut total = 0;
        while let Ok(count @ 1..) = self.stream.read(&mut scrap) {
            total += count;
        }
        total
    }

    /// The socket, for what is not here.
    pub fn socket(&self) -> &TcpStream {
        self.stream.get_ref()
    }

    fn next(stream: TcpStream) -> Option<Self> {
        let mut talk = Self {
            stream: BufReader::new(stream),
            head: String::new(),
        };
        while !talk.head.ends_with("\r\n\r\n") {
            let line = talk.line();
            if line.is_empty() {
                return None;
            }
            talk.head.push_str(&line);
        }
        Some(talk)
    }
}

/// A running backend. Probes are answered well.
pub struct Raw {
    pub address: SocketAddr,
    served: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl Raw {
    /// Has `serve` answer each request, which says whether another may follow on the connection.
    pub fn new(serve: impl Fn(&mut Talk) -> bool + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (over, served) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let (ends, counts, serve) = (Arc::clone(&over), Arc::clone(&served), Arc::new(serve));
        let accepting = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if ends.load(Ordering::SeqCst) {
                    return;
                }
                let (serve, counts) = (Arc::clone(&serve), Arc::clone(&counts));
                std::thread::spawn(move || converse(stream.unwrap(), &*serve, &counts));
            }
        });
        Self {
            address,
            served,
            over,
            accepting: Some(accepting),
        }
    }

    /// Answers every request with these bytes and closes.
    pub fn saying(bytes: &'static str) -> Self {
        Self::new(move |talk| {
            talk.say(bytes);
            false
        })
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns how many requests came, without probes.
    pub fn served(&self) -> usize {
        self.served.load(Ordering::SeqCst)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        let _ = self.accepting.take().unwrap().join();
    }
}

fn converse(stream: TcpStream, serve: &dyn Fn(&mut Talk) -> bool, served: &AtomicUsize) {
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    while let Some(mut talk) = Talk::next(stream.try_clone().unwrap()) {
        if talk.head.starts_with("GET /health ") {
            talk.say("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
            continue;
        }
        served.fetch_add(1, Ordering::SeqCst);
        if !serve(&mut talk) {
            return;
        }
    }
}

/// A caller's connection.
pub struct Caller(pub BufReader<TcpStream>);

impl Caller {
    pub fn to(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(BufReader::new(stream))
    }

    /// Sends bytes as they are.
    pub fn say(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.get_mut().write_all(bytes.as_ref()).unwrap();
    }

    /// Reads until this text came; returns all up to and with it.
    pub fn until(&mut self, text: &str) -> String {
        let mut seen = Vec::new();
        let mut one = [0];
        while !seen.ends_with(text.as_bytes()) {
            match self.0.read(&mut one) {
                Ok(1) => seen.push(one[0]),
                other => panic!("{other:?} after {:?}", String::from_utf8_lossy(&seen)),
            }
        }
        String::from_utf8(seen).unwrap()
    }

    /// Reads until the other end closes.
    pub fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        let _ = self.0.read_to_end(&mut rest);
        String::from_utf8_lossy(&rest).into_owned()
    }
}

/// Returns the head of a request to the service `api`.
pub fn head(method: &str, path: &str, headers: &str) -> String {
    format!("{method} /v1/gateway/api{path} HTTP/1.1\r\nhost: x\r\n{headers}\r\n")
}

/// Returns an answer with this body.
pub fn ok(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}
