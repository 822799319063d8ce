//! beanstalkd with a log that is synced after each write, driven by a client as small as ours.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::process::Command;

use crate::process::{Process, program};
use crate::rates::{LONGEST, Load};

const PAYLOAD: &str = r#"{"kind":"shell","command":"true"}"#;

/// How to measure it.
pub struct Beanstalk;

impl Beanstalk {
    /// Returns where it is installed.
    pub fn program() -> Option<PathBuf> {
        program("beanstalkd", &[])
    }

    /// Returns how many jobs per second `callers` put in, or take and delete, if it is installed.
    pub async fn rate(place: &Path, load: Load, callers: usize) -> Option<f64> {
        let program = Self::program()?;
        let dir = tempfile::tempdir_in(place).unwrap();
        let near = tempfile::tempdir().unwrap();
        let socket = near.path().join("socket");
        let process = start(&program, dir.path(), &socket).await;
        if let Load::ClaimAndComplete(_) = load {
            // Each is synced alone, so more than a second can use up would only take time.
            Client::open(&socket).await.put_many(12_000).await;
        }
        let mut clients = Vec::new();
        for _ in 0..callers {
            clients.push(Client::open(&socket).await);
        }
        let start = Instant::now();
        let tasks: Vec<_> = clients
            .into_iter()
            .map(|client| tokio::spawn(client.drive(load, start)))
            .collect();
        let mut done = 0_u64;
        for task in tasks {
            done += task.await.unwrap();
        }
        let rate = done as f64 / start.elapsed().as_secs_f64();
        process.stop(Signal::TERM).await;
        Some(rate)
    }
}

/// Starts it on a socket in `dir`, whose path must be short.
async fn start(program: &Path, dir: &Path, socket: &Path) -> Process {
    let mut command = Command::new(program);
    // Over TCP it sends an answer in two pieces and waits for the acknowledgement of the first.
    command.arg("-l").arg(format!("unix:{}", socket.display()));
    command.arg("-b").arg(dir).arg("-f0");
    let process = Process::start(&mut command, dir.join("log"));
    for _ in 0..500 {
        if UnixStream::connect(socket).await.is_ok() {
            return process;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("beanstalkd does not start");
}

struct Client {
    stream: BufReader<UnixStream>,
    line: Vec<u8>,
}

impl Client {
    async fn open(socket: &Path) -> Self {
        Self {
            stream: BufReader::new(UnixStream::connect(socket).await.unwrap()),
            line: Vec::new(),
        }
    }

    /// Returns the words of the answer.
    async fn ask(&mut self, request: &str) -> Vec<String> {
        self.stream.write_all(request.as_bytes()).await.unwrap();
        self.answer().await
    }

    async fn answer(&mut self) -> Vec<String> {
        self.line.clear();
        self.stream.read_until(b'\n', &mut self.line).await.unwrap();
        let line = String::from_utf8_lossy(&self.line);
        line.split_whitespace().map(str::to_owned).collect()
    }

    async fn put(&mut self) {
        let request = format!("put 0 0 60 {}\r\n{PAYLOAD}\r\n", PAYLOAD.len());
        assert_eq!(self.ask(&request).await[0], "INSERTED");
    }

    /// Puts jobs in without waiting for each answer.
    async fn put_many(&mut self, count: usize) {
        const AT_ONCE: usize = 500;
        let one = format!("put 0 0 60 {}\r\n{PAYLOAD}\r\n", PAYLOAD.len());
        let requests = one.repeat(AT_ONCE);
        for _ in 0..count / AT_ONCE {
            self.stream.write_all(requests.as_bytes()).await.unwrap();
            for _ in 0..AT_ONCE {
                assert_eq!(self.answer().await[0], "INSERTED");
            }
        }
    }

    async fn take_and_delete(&mut self) -> bool {
        let reserved = self.ask("reserve-with-timeout 0\r\n").await;
        if reserved[0] != "RESERVED" {
            return false;
        }
        let mut body = vec![0; reserved[2].parse::<usize>().unwrap() + 2];
        self.stream.read_exact(&mut body).await.unwrap();
        let deleted = self.ask(&format!("delete {}\r\n", reserved[1])).await;
        deleted[0] == "DELETED"
    }

    async fn drive(mut self, load: Load, start: Instant) -> u64 {
        let mut done = 0;
        while start.elapsed() < LONGEST {
            match load {
                Load::Submit(_) => self.put().await,
                Load::ClaimAndComplete(_) => {
                    if !self.take_and_delete().await {
                        break;
                    }
                }
            }
            done += 1;
        }
        done
    }
}
