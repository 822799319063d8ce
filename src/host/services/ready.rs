//! Finds out whether a service answers, and then, now and again, whether it still does: on a thread of its own, so that
//! nothing else waits for a slow answer.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::two;
use crate::protocol::api::service::Speaks;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(1);
/// How long an answer may take: programs are slow in their first second.
const ANSWER: Duration = Duration::from_secs(3);
/// A service that answered is believed until so many questions in a row came to nothing.
const FALL: u32 = 3;
/// How much sooner than usual one that gave no answer is asked once more.
const SOONER: u32 = 5;
/// How much of an answer is read for its status.
const LONGEST_LINE: usize = 1024;

/// Asks the service. Dropping it ends that.
pub(super) struct Probe(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    ready: bool,
    ended: bool,
    /// Why it is not ready.
    last: Option<String>,
}

/// What is asked.
pub(super) struct Question {
    pub port: u16,
    /// The path that must answer 2xx; without it a connection is enough.
    pub path: Option<String>,
    /// How that is asked.
    pub speaks: Speaks,
    /// The pause between two tries until it answers.
    pub every: Duration,
    /// The pause between two questions after that; nothing is asked any more without.
    pub again: Option<Duration>,
}

impl Probe {
    /// Begins to ask. `wake` gets a byte whenever the service begins or ceases to answer.
    pub(super) fn start(question: Question, wake: Arc<UnixStream>) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let theirs = Arc::clone(&shared);
        std::thread::Builder::new()
            .name(format!("probe-{}", question.port))
            .spawn(move || theirs.ask(&question, &wake))?;
        Ok(Self(shared))
    }

    /// Tells whether it answers.
    pub(super) fn is_ready(&self) -> bool {
        self.0.state().ready
    }

    /// Returns why it was not ready at the last try.
    pub(super) fn last(&self) -> Option<String> {
        self.0.state().last.clone()
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.0.state().ended = true;
        self.0.changed.notify_all();
    }
}

impl Shared {
    /// Asks until nobody cares any more, or it is ready and that is enough.
    fn ask(&self, question: &Question, wake: &UnixStream) {
        let mut was_ready = false;
        let mut in_vain = 0;
        loop {
            let answer = look(question.port, question.path.as_deref(), question.speaks);
            let mut state = self.state();
            if state.ended {
                return;
            }
            let before = state.ready;
            match answer {
                Ok(()) => {
                    (state.ready, in_vain) = (true, 0);
                    was_ready = true;
                }
                Err(why) => {
                    state.last = Some(why);
                    in_vain += 1;
                    state.ready &= in_vain < FALL;
                }
            }
            if state.ready != before {
                let _ = (&*wake).write(&[1]);
            }
            let pause = match (was_ready, question.again) {
                (false, _) => question.every,
                (true, None) => return,
                (true, Some(again)) if in_vain > 0 => again / SOONER,
                (true, Some(again)) => again,
            };
            let waited = self
                .changed
                .wait_timeout_while(state, pause, |state| !state.ended);
            drop(waited);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks once. The error says what is wrong, in a few words.
fn look(port: u16, path: Option<&str>, speaks: Speaks) -> Result<(), String> {
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let stream = TcpStream::connect_timeout(&to, CONNECT)
        .map_err(|error| format!("port {port}: {}", words(&error)))?;
    let Some(path) = path else { return Ok(()) };
    let (status, version) = match speaks {
        Speaks::Http1 => (status(stream, port, path), "HTTP/1.1"),
        Speaks::H2c => (two::status(stream, port, path, ANSWER), "HTTP/2"),
    };
    let status = status.map_err(|error| format!("GET {path} on port {port}: {}", words(&error)))?;
    match status {
        Some(200..=299) => Ok(()),
        Some(status) => Err(format!("GET {path} on port {port} answered {status}")),
        None => Err(format!(
            "GET {path} on port {port}: the answer is not {version}"
        )),
    }
}

fn words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "no answer in time".to_owned(),
        io::ErrorKind::ConnectionRefused => "nothing listens".to_owned(),
        _ => error.to_string(),
    }
}

fn status(mut stream: TcpStream, port: u16, path: &str) -> io::Result<Option<u16>> {
    let until = Instant::now() + ANSWER;
    stream.set_write_timeout(Some(ANSWER))?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nuser-agent: skyclaw-host\r\n\
         accept: */*\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut head = Vec::new();
    let mut piece = [0; 256];
    while head.len() < LONGEST_LINE && !head.contains(&b'\n') {
        // For all of the line: who sends one byte now and then does not answer either.
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut piece)? {
            0 => break,
            count => head.extend_from_slice(piece.get(..count).unwrap_or_default()),
        }
    }
    Ok(status_of(&head))
}

/// Returns the status in the first line of an answer.
fn status_of(head: &[u8]) -> Option<u16> {
    let line = head.split(|byte| *byte == b'\n').next()?;
    let mut words = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
    let version = words.next()?;
    version
        .starts_with("HTTP/1.")
        .then(|| words.next()?.parse().ok())?
}

/// Tells whether the path can stand in a request.
pub(super) fn is_usable(path: &str) -> bool {
    path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// A server that gives each of the answers once, then the last for ever.
    fn server(answers: &'static [&'static str]) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for number in 0.. {
                let Ok((mut stream, _)) = listener.accept() else {
                    return;
                };
                let mut request = [0; 1024];
                let _ = stream.read(&mut request);
                let answer = answers[number.min(answers.len() - 1)];
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        port
    }

    #[test]
    fn only_a_2xx_of_the_path_counts() {
        let table = [
            ("HTTP/1.1 200 OK\r\n\r\n", None),
            ("HTTP/1.0 204 No Content\r\n\r\n", None),
            ("HTTP/1.1 503 Busy\r\n\r\n", Some("answered 503")),
            ("HTTP/1.1 302 Found\r\n\r\n", Some("answered 302")),
            ("SSH-2.0-x\r\n", Some("not HTTP")),
            ("", Some("not HTTP")),
        ];
        for (answer, wrong) in table {
            let port = server(Box::leak(Box::new([answer])));
            match (look(port, Some("/health"), Speaks::Http1), wrong) {
                (Ok(()), None) => {}
                (Err(why), Some(part)) => assert!(why.contains(part), "{why}"),
                (got, _) => panic!("{answer:?}: {got:?}"),
            }
            assert_eq!(
                look(port, None, Speaks::Http1),
                Ok(()),
                "a connection is enough"
            );
        }
    }

    #[test]
    fn an_answer_that_drips_is_none() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            // As long as anybody listens, and much faster than the limit of one read.
            while stream.write_all(b"H").is_ok() {
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        let why = look(port, Some("/health"), Speaks::Http1).unwrap_err();
        assert!(why.contains("no answer in time"), "{why}");
    }

    #[test]
    fn it_asks_until_the_answer_is_good_and_says_so() {
        let port = server(&["HTTP/1.1 500 X\r\n\r\n", "", "HTTP/1.1 200 OK\r\n\r\n"]);
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let question = Question {
            port,
            path: Some("/".into()),
            speaks: Speaks::Http1,
            every: Duration::from_millis(5),
            again: None,
        };
        let probe = Probe::start(question, Arc::new(ours)).unwrap();
        theirs
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        theirs.read_exact(&mut [0]).unwrap();
        assert!(probe.is_ready());
    }

    #[test]
    fn one_that_answered_is_asked_again_and_one_bad_answer_is_none() {
        const WELL: &str = "HTTP/1.1 200 OK\r\n\r\n";
        const ILL: &str = "HTTP/1.1 500 X\r\n\r\n";
        let port = server(&[WELL, ILL, ILL, WELL, ILL, ILL, ILL, WELL]);
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let question = Question {
            port,
            path: Some("/".into()),
            speaks: Speaks::Http1,
            every: Duration::from_secs(3600),
            again: Some(Duration::from_millis(5)),
        };
        let _probe = Probe::start(question, Arc::new(ours)).unwrap();
        theirs
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        // Ready, not ready, ready; nothing for the two bad answers between good ones.
        theirs.read_exact(&mut [0; 3]).unwrap();
        theirs
            .set_read_timeout(Some(Duration::from_millis(50)))
            .unwrap();
        theirs.read_exact(&mut [0]).unwrap_err();
    }

    #[test]
    fn nobody_is_asked_any_more_once_it_is_dropped() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let question = Question {
            port,
            path: None,
            speaks: Speaks::Http1,
            every: Duration::from_secs(3600),
            again: None,
        };
        let probe = Probe::start(question, Arc::new(ours)).unwrap();
        let until = Instant::now() + Duration::from_secs(20);
        while probe.last().is_none() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(2));
        }
        assert!(probe.last().unwrap().contains("nothing listens"));
        drop(probe);
        // The other end goes when its thread does.
        theirs
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        assert_eq!(theirs.read(&mut [0]).unwrap(), 0);
    }

    #[test]
    fn paths_that_would_change_the_request_are_none() {
        assert!(is_usable("/health?full=1"));
        for path in ["", "health", "/a b", "/x\r\nHost: y", "/é"] {
            assert!(!is_usable(path), "{path}");
        }
    }
}
