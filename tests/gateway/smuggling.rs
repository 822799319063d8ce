//! Every known way to hide a request in another one, against services of other makes that say what arrived.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::common::http::Http;
use crate::raw::Caller;
use crate::site::Site;

const NODE: &str = r#"
const seen = [];
const server = require('http').createServer((ask, answer) => {
  let length = 0;
  ask.on('data', (data) => { length += data.length; });
  ask.on('end', () => {
    if (ask.url === '/seen') return answer.end(JSON.stringify(seen));
    if (ask.url !== '/health') seen.push(`${ask.method} ${ask.url} ${length}`);
    answer.end(ask.url);
  });
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
"#;

const PYTHON: &str = r#"
import http.server, json, sys
seen = []
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def answer(self):
        length = int(self.headers.get('content-length') or 0)
        if self.headers.get('transfer-encoding'):
            length = 0
            while True:
                size = int(self.rfile.readline().split(b';')[0], 16)
                self.rfile.read(size)
                length += size
                if size == 0:
                    while self.rfile.readline().strip(): pass
                    break
                self.rfile.readline()
        else:
            self.rfile.read(length)
        if self.path not in ('/seen', '/health'):
            seen.append('%s %s %d' % (self.command, self.path, length))
        body = json.dumps(seen) if self.path == '/seen' else self.path
        self.send_response(200)
        self.send_header('content-length', str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())
    do_GET = do_POST = do_PUT = do_HEAD = answer
    def log_message(self, *words): pass
server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
"#;

/// A service of another make, killed on drop.
struct Foreign(Child, SocketAddr);

impl Foreign {
    fn start(program: &str, flag: &str, script: &str) -> Self {
        let mut child = Command::new(program)
            .args([flag, script])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        lines.read_line(&mut line).unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], line.trim().parse().unwrap()));
        Self(child, address)
    }

    fn seen(&self) -> Vec<String> {
        let mut http = Http::connect(self.1).unwrap();
        let seen: Value = http.send("GET", "/seen", b"").unwrap().json();
        let seen = seen.as_array().unwrap().iter();
        seen.map(|one| one.as_str().unwrap().to_owned()).collect()
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What stands in a head, and what follows it; `HIDDEN` is the hidden request.
const SHAPES: [(&str, &str); 26] = [
    (
        "content-length: 5\r\ntransfer-encoding: chunked\r\n",
        "0\r\n\r\nHIDDEN",
    ),
    (
        "transfer-encoding: chunked\r\ncontent-length: 5\r\n",
        "0\r\n\r\nHIDDEN",
    ),
    (
        "content-length: 0\r\ntransfer-encoding: chunked\r\n",
        "0\r\n\r\nHIDDEN",
    ),
    (
        "content-length: 5\r\ntransfer-encoding: xchunked\r\n",
        "0\r\n\r\nHIDDEN",
    ),
    (
        "content-length: 5\r\ntransfer-encoding : chunked\r\n",
        "0\r\n\r\nHIDDEN",
    ),
    (
        "content-length: 5\r\n transfer-encoding: chunked\r\n",
        "0\r\n\r\nHIDDEN",
    ),
    (
        "content-length: 5\r\na: b\ntransfer-encoding: chunked\r\n",
        "0\r\n\r\nHIDDEN",
    ),
    (
        "content-length: 5\r\na: b\rtransfer-encoding: chunked\r\n",
        "0\r\n\r\nHIDDEN",
    ),
    (
        "content-length: 5\r\n\x0btransfer-encoding: chunked\r\n",
        "0\r\n\r\nHIDDEN",
    ),
    (
        "content-length: 5\r\ntransfer_encoding: chunked\r\n",
        "0\r\n\r\n",
    ),
    (
        "content-length: 5\r\ntransfer-encoding:\x0bchunked\r\n",
        "0\r\n\r\nHIDDEN",
    ),
    (
        "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n",
        "0\r\n\r\nHIDDEN",
    ),
    (
        "transfer-encoding: identity\r\ntransfer-encoding: chunked\r\n",
        "0\r\n\r\nHIDDEN",
    ),
    (
        "transfer-encoding: identity, chunked\r\n",
        "0\r\n\r\nHIDDEN",
    ),
    (
        "transfer-encoding: chunked, identity\r\ncontent-length: 5\r\n",
        "0\r\n\r\nHIDDEN",
    ),
    (
        "transfer-encoding: \"chunked\"\r\ncontent-length: 5\r\n",
        "0\r\n\r\nHIDDEN",
    ),
    (
        "content-length: 5\r\ncontent-length: 0\r\n",
        "0\r\n\r\nHIDDEN",
    ),
    (
        "content-length: 0\r\ncontent-length: 5\r\n",
        "0\r\n\r\nHIDDEN",
    ),
    ("content-length: 0, 5\r\n", "0\r\n\r\nHIDDEN"),
    ("content-length: +5\r\n", "0\r\n\r\nHIDDEN"),
    ("content-length: 5\x0c\r\n", "0\r\n\r\nHIDDEN"),
    ("transfer-encoding: chunked\r\n", "3\nabc\n0\n\nHIDDEN"),
    ("transfer-encoding: chunked\r\n", "0;\nx\r\n\r\nHIDDEN"),
    ("transfer-encoding: chunked\r\n", "0x0\r\n\r\nHIDDEN"),
    (
        "transfer-encoding: chunked\r\n",
        "3\r\nabcHIDDEN\r\n0\r\n\r\n",
    ),
    (
        "transfer-encoding: chunked\r\n",
        "ffffffffffffffff0\r\n\r\nHIDDEN",
    ),
];

const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nhost: x\r\n\r\n";

fn is_never_fooled(service: &Foreign) {
    let site = Site::new();
    site.service("api", &[&format!("http://{}", service.1)]);
    let gateway = site.gateway(&["--retries", "0"]);
    let mut answered = 0;
    for method in ["POST", "GET"] {
        for (number, (head, body)) in SHAPES.iter().enumerate() {
            let body = body.replace("HIDDEN", HIDDEN);
            let mut caller = Caller::to(gateway.address);
            let bytes = format!(
                "{method} /v1/gateway/api/{number} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{head}\r\n{body}"
            );
            let _ = caller.0.get_mut().write_all(bytes.as_bytes());
            let all = caller.rest();
            let answers = all.matches("HTTP/1.1 ").count();
            assert!(answers <= 1, "{method} {head:?} {body:?}: {all}");
            answered += usize::from(all.starts_with("HTTP/1.1 200 "));
            assert!(!all.contains("hidden"), "{method} {head:?}: {all}");
        }
        // Whoever asks now gets their own answers.
        for number in 0..10 {
            let path = format!("/plain{number}");
            assert_eq!(gateway.text(&format!("/v1/gateway/api{path}")), path);
            answered += 1;
        }
    }
    let seen = service.seen();
    assert!(!seen.iter().any(|one| one.contains("hidden")), "{seen:?}");
    assert_eq!(seen.len(), answered, "{seen:?}");
    // Few of the shapes have one meaning only: one name that is no encoding's, and no others.
    let shapes = seen.iter().filter(|one| !one.contains("plain"));
    assert!(shapes.count() <= 4, "{seen:?}");
}

#[test]
fn a_service_in_node_sees_what_was_asked_for_and_nothing_else() {
    is_never_fooled(&Foreign::start("node", "-e", NODE));
}

#[test]
fn a_service_in_python_sees_what_was_asked_for_and_nothing_else() {
    is_never_fooled(&Foreign::start("python3", "-c", PYTHON));
}
