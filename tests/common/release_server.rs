//! A release server on a port of its own: the release API and the files, with the failures that real
//! ones have. It speaks plain HTTP/1.1 over `std`, so that it can also break a transfer off.
//!
//! Include it with `#[path = "common/release_server.rs"] mod release_server;`.
#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

/// A program that any Linux or macOS host can run.
pub const PROGRAM: &str = "#!/bin/sh\necho '\u{1f99e} picoclaw 1.2 (git: fake)'\n";

/// How the server behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// `picoclaw-linux-amd64` and its like, with `sha256sums.txt`.
    BareNames,
    /// `skyclaw-linux-amd64` and its like, with `sha256sums.txt`: what skyclaw's own releases offer.
    OwnNames,
    /// `picoclaw_Linux_x86_64.tar.gz` and its like, with `picoclaw_1.2_checksums.txt` and API digests.
    TarballNames,
    /// Archives with API digests and no checksum file.
    DigestOnly,
    /// The checksum file is for other content.
    WrongChecksum,
    /// The API's digests are for other content; there is no checksum file.
    WrongDigest,
    /// Only assets that are of no use to us.
    MissingAsset,
    /// There is no such release.
    NotFound,
    /// 403 with the headers of a used-up rate limit.
    RateLimited,
    /// Asset transfers break off in the middle.
    CutTransfer,
    /// No checksum file, no API digests.
    NoChecksum,
    /// The asset that the API lists is gone.
    AssetGone,
    /// Assets are redirected to the address given by [`ReleaseServer::redirect_to`].
    Redirect,
    /// The answer of the API is a web page.
    NotJson,
}

/// A request that came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Its path.
    pub path: String,
    /// Its `Authorization` header.
    pub authorization: Option<String>,
}

struct Shared {
    mode: Mode,
    base: String,
    tag: String,
    program: Vec<u8>,
    requests: Mutex<Vec<Request>>,
    redirect: Mutex<Option<String>>,
    failures: AtomicUsize,
    stop: AtomicBool,
}

/// The server. It stops when it is dropped.
pub struct ReleaseServer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl ReleaseServer {
    /// Starts a server of release `v1.2` that contains [`PROGRAM`].
    pub fn start(mode: Mode) -> Self {
        Self::serving(mode, "v1.2", PROGRAM.as_bytes())
    }

    /// Starts a server of release `tag` that contains `program` for every target.
    pub fn serving(mode: Mode, tag: &str, program: &[u8]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let shared = Arc::new(Shared {
            mode,
            base: format!("http://{}", listener.local_addr().unwrap()),
            tag: tag.to_owned(),
            program: program.to_vec(),
            requests: Mutex::default(),
            redirect: Mutex::default(),
            failures: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
        });
        let for_thread = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if for_thread.stop.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let shared = Arc::clone(&for_thread);
                std::thread::spawn(move || serve(&shared, stream));
            }
        });
        Self {
            shared,
            thread: Some(thread),
        }
    }

    /// The address of the release API; assets are below it too.
    pub fn base(&self) -> &str {
        &self.shared.base
    }

    /// Makes the next `times` requests fail with 503.
    pub fn fail_next(&self, times: usize) {
        self.shared.failures.store(times, Ordering::SeqCst);
    }

    /// Sets where [`Mode::Redirect`] sends those who ask for an asset; the path is kept.
    pub fn redirect_to(&self, base: &str) {
        *self.shared.redirect.lock().unwrap() = Some(base.to_owned());
    }

    /// Returns all requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// Returns how many requests had a path that contains `part`.
    pub fn count(&self, part: &str) -> usize {
        let requests = self.requests();
        requests
            .iter()
            .filter(|request| request.path.contains(part))
            .count()
    }
}

impl Drop for ReleaseServer {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        // Wakes the thread out of its wait for a connection.
        let _ = TcpStream::connect(self.shared.base.trim_start_matches("http://"));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Packs `program` the way releases are packed: with a second program beside it.
pub fn tarball(program: &[u8]) -> Vec<u8> {
    let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
    for (name, content) in [
        ("README.md", &b"read me\n"[..]),
        ("picoclaw-launcher", b"#!/bin/sh\nexit 9\n"),
        ("picoclaw", program),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o755);
        builder.append_data(&mut header, name, content).unwrap();
    }
    builder.into_inner().unwrap().finish().unwrap()
}

/// Returns the SHA-256 of `bytes` as text.
pub fn sha256(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Shared {
    fn files(&self) -> HashMap<String, Vec<u8>> {
        let bare = [
            "picoclaw-linux-amd64",
            "picoclaw-linux-arm64",
            "picoclaw-linux-riscv64",
            "picoclaw-darwin-arm64",
        ];
        let own = [
            "skyclaw-linux-amd64",
            "skyclaw-linux-arm64",
            "skyclaw-linux-riscv64",
            "skyclaw-darwin-arm64",
        ];
        let packed = [
            "picoclaw_Linux_x86_64.tar.gz",
            "picoclaw_Linux_arm64.tar.gz",
            "picoclaw_Linux_riscv64.tar.gz",
            "picoclaw_Darwin_arm64.tar.gz",
        ];
        let named = |names: [&str; 4], content: &[u8]| -> HashMap<String, Vec<u8>> {
            let file = |name: &str| (name.to_owned(), content.to_vec());
            names.into_iter().map(file).collect()
        };
        let mut files = match self.mode {
            Mode::BareNames => named(bare, &self.program),
            Mode::OwnNames => named(own, &self.program),
            Mode::MissingAsset => HashMap::from([("picoclaw_x.deb".to_owned(), b"deb".to_vec())]),
            _ => named(packed, &tarball(&self.program)),
        };
        let version = self.tag.trim_start_matches('v');
        let sums = match self.mode {
            Mode::BareNames | Mode::OwnNames => "sha256sums.txt".to_owned(),
            Mode::TarballNames | Mode::WrongChecksum | Mode::CutTransfer | Mode::Redirect => {
                format!("picoclaw_{version}_checksums.txt")
            }
            _ => return files,
        };
        let of = |content: &[u8]| match self.mode {
            Mode::WrongChecksum => sha256(b"something else"),
            _ => sha256(content),
        };
        let lines: String = files
            .iter()
            .map(|(name, content)| format!("{}  {name}\n", of(content)))
            .collect();
        files.insert(sums, lines.into_bytes());
        files
    }

    fn release(&self) -> String {
        let asset = |(name, content): (&String, &Vec<u8>)| {
            let digest = match self.mode {
                Mode::TarballNames | Mode::DigestOnly => {
                    Some(format!("sha256:{}", sha256(content)))
                }
                Mode::WrongDigest => Some(format!("sha256:{}", sha256(b"something else"))),
                _ => None,
            };
            serde_json::json!({
                "name": name,
                "browser_download_url": format!("{}/EricGrill/picoclaw/releases/download/{}/{name}", self.base, self.tag),
                "digest": digest,
                "size": content.len(),
            })
        };
        let assets: Vec<_> = self.files().iter().map(asset).collect();
        serde_json::json!({"tag_name": self.tag, "draft": false, "assets": assets}).to_string()
    }
}

fn serve(shared: &Shared, mut stream: TcpStream) {
    let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
    let Some(request) = read_request(&stream) else {
        return;
    };
    let path = request.path.clone();
    shared.requests.lock().unwrap().push(request);
    let take_one = |left: usize| left.checked_sub(1);
    let failing = shared
        .failures
        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, take_one);
    if failing.is_ok() {
        return answer(&mut stream, "503 Service Unavailable", "", b"busy");
    }
    match path.split_once("/releases/download/") {
        Some((_, file)) => serve_file(shared, &mut stream, &path, file),
        None => serve_api(shared, &mut stream, &path),
    }
}

fn read_request(stream: &TcpStream) -> Option<Request> {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let path = lines.next()?.split(' ').nth(1)?.to_owned();
    let authorization = lines
        .take_while(|line| !line.is_empty())
        .filter_map(|line| {
            line.split_once(": ")
                .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        })
        .find_map(|(name, value)| (name == "authorization").then_some(value));
    Some(Request {
        path,
        authorization,
    })
}

fn serve_api(shared: &Shared, stream: &mut TcpStream, path: &str) {
    let known = path.ends_with("/releases/latest")
        || path.ends_with(&format!("/releases/tags/{}", shared.tag));
    match shared.mode {
        Mode::RateLimited => answer(
            stream,
            "403 Forbidden",
            "x-ratelimit-remaining: 0\r\n",
            br#"{"message":"API rate limit exceeded"}"#,
        ),
        Mode::NotJson => answer(stream, "200 OK", "", b"<html>sign in</html>"),
        Mode::NotFound => answer(stream, "404 Not Found", "", b"{}"),
        _ if !known => answer(stream, "404 Not Found", "", b"{}"),
        _ => answer(stream, "200 OK", "", shared.release().as_bytes()),
    }
}

fn serve_file(shared: &Shared, stream: &mut TcpStream, path: &str, file: &str) {
    let name = file.rsplit('/').next().unwrap_or_default();
    let is_sums = name.ends_with(".txt");
    let Some(content) = shared.files().remove(name) else {
        return answer(stream, "404 Not Found", "", b"");
    };
    match shared.mode {
        Mode::AssetGone => answer(stream, "404 Not Found", "", b""),
        Mode::CutTransfer if !is_sums => {
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n",
                content.len()
            );
            let _ = stream.write_all(head.as_bytes());
            let _ = stream.write_all(&content[..content.len() / 2]);
        }
        Mode::Redirect => {
            let base = shared.redirect.lock().unwrap().clone().unwrap_or_default();
            answer(
                stream,
                "302 Found",
                &format!("location: {base}{path}\r\n"),
                b"",
            );
        }
        _ => answer(stream, "200 OK", "", &content),
    }
}

fn answer(stream: &mut TcpStream, status: &str, headers: &str, body: &[u8]) {
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n",
        body.len()
    );
    let _ = stream.write_all(head.as_bytes());
    let _ = stream.write_all(body);
}
