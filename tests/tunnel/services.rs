//! Services on a host behind a tunnel: a gateway beside the controller reaches them.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;

use serde_json::{Value, json};

use crate::common::http::{Http, call};
use crate::common::{Running, SshdBuilder, eventually};
use crate::rig::{Rig, SOON};
use crate::site::{Site, daemon, start};

/// The service: this test binary, told by a variable to answer everything with the variable's text.
#[test]
fn serve() {
    let Ok(text) = std::env::var("TEST_SERVICE") else {
        return;
    };
    let port: u16 = std::env::var("PORT").unwrap().parse().unwrap();
    // Only the host itself gets at it.
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    for stream in listener.incoming().flatten() {
        let text = text.clone();
        std::thread::spawn(move || answer(&stream, &text));
    }
}

/// Answers requests; `/long` with very much.
fn answer(mut stream: &TcpStream, text: &str) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream);
    loop {
        let mut line = String::new();
        lines.read_line(&mut line)?;
        let long = line.contains("/long");
        while line.len() > 2 {
            line.clear();
            lines.read_line(&mut line)?;
        }
        if line.is_empty() {
            return Ok(());
        }
        let body = if long { "x".repeat(LONG) } else { text.into() };
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all(head.as_bytes())?;
        stream.write_all(body.as_bytes())?;
    }
}

/// More than lies in all the buffers on the way.
const LONG: usize = 8 << 20;

/// A host that runs services, behind a tunnel.
struct Scene {
    site: Site,
    host: Running,
    running: crate::rig::Running,
    rig: Rig,
}

impl Scene {
    async fn begin(set_up: impl FnOnce(SshdBuilder) -> SshdBuilder) -> Option<Self> {
        let rig = Rig::with(set_up)?;
        let mut running = rig.start();
        running.up().await;
        let site = Site::reaching(running.take_visits(), running.outlets.clone()).await;
        let own = std::env::current_exe().unwrap();
        let mut command = daemon(rig.server.home(), &rig.file());
        let base = 32_000 - u16::try_from(std::process::id() % 190).unwrap() * 40;
        command
            .env("SKYCLAW_ALLOWED_COMMANDS", own)
            .env("SKYCLAW_SERVICE_BASE_PORT", base.to_string());
        let host = start(command);
        host.wait_for_line("host registered", SOON);
        Some(Self {
            site,
            host,
            running,
            rig,
        })
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        call(self.site.address(), method, path, body)
            .expect(200)
            .json()
    }

    fn deploy(&self, name: &str) -> String {
        let own = std::env::current_exe().unwrap();
        let body = json!({
            "name": name, "command": own.to_str().unwrap(), "replicas": 1, "drainMs": 1000,
            "args": ["--exact", "services::serve", "--nocapture"], "env": {"TEST_SERVICE": name},
        });
        let made = self.ask("POST", "/v1/services", &body);
        made["service"]["id"].as_str().unwrap().to_owned()
    }

    fn assignment(&self, id: &str) -> Value {
        let path = format!("/v1/services/{id}");
        let reply =
            Http::connect(self.site.address()).and_then(|mut http| http.send("GET", &path, b""));
        reply.unwrap().json()["service"]["assignments"][0].clone()
    }

    /// Waits until the service is said to be ready at another address than this one.
    #[track_caller]
    fn endpoint(&self, id: &str, before: Option<SocketAddr>) -> SocketAddr {
        let found = || {
            let one = self.assignment(id);
            let text = one["endpoint"]
                .as_str()?
                .strip_prefix("http://")?
                .to_owned();
            text.parse::<SocketAddr>().ok()
        };
        eventually(SOON, || found().is_some_and(|at| Some(at) != before));
        found().unwrap()
    }

    fn end(self) {
        self.host.terminate();
        self.host.wait(SOON).expect_code(0);
        drop(self.rig);
    }
}

fn get(at: SocketAddr, path: &str) -> Option<Vec<u8>> {
    let reply = Http::connect(at).and_then(|mut http| http.send("GET", path, b""));
    reply
        .ok()
        .filter(|reply| reply.status == 200)
        .map(|reply| reply.body)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_reaches_services_through_the_tunnel_while_they_are_there() {
    let Some(mut scene) = Scene::begin(|builder| builder).await else {
        return;
    };
    let one = scene.deploy("one");
    let at = scene.endpoint(&one, None);
    assert!(at.ip().is_loopback());
    let mut command = Command::new(env!("CARGO_BIN_EXE_skyclaw"));
    command
        .args(["gateway", "--port", "0"])
        .env_clear()
        .env("HOME", scene.rig.world.dir())
        .env(
            "SKYCLAW_COORDINATOR_URL",
            format!("http://{}", scene.site.address()),
        );
    let gateway = start(command);
    let line = gateway.wait_for_line("gateway listening on http://", SOON);
    let gate: SocketAddr = line
        .rsplit("http://")
        .next()
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    let through = |path: &str| get(gate, &format!("/v1/gateway/{path}"));
    eventually(SOON, || through("one/") == Some(b"one".to_vec()));
    assert_eq!(through("one/long").unwrap().len(), LONG);
    // Two services of one host have a port each.
    let two = scene.deploy("two");
    let other = scene.endpoint(&two, None);
    assert_ne!(at, other);
    eventually(SOON, || through("two/") == Some(b"two".to_vec()));
    assert_eq!(get(at, "/"), Some(b"one".to_vec()));
    // The tunnel comes back, and with it a way.
    scene.rig.server.drop_connections();
    scene.running.up_again().await;
    eventually(SOON, || through("one/") == Some(b"one".to_vec()));
    // Nobody listens for what is not there.
    let at = scene.endpoint(&one, None);
    scene.ask(
        "POST",
        &format!("/v1/services/{one}/change"),
        &json!({"action": "stop"}),
    );
    eventually(SOON, || TcpStream::connect(at).is_err());
    eventually(SOON, || through("two/") == Some(b"two".to_vec()));
    scene.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_sshd_that_does_not_forward_is_named_as_the_reason() {
    let remote_alone = |builder: SshdBuilder| builder.extra("AllowTcpForwarding remote");
    let Some(scene) = Scene::begin(remote_alone).await else {
        return;
    };
    let id = scene.deploy("one");
    let error = || {
        scene.assignment(&id)["error"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    eventually(SOON, || error().contains("AllowTcpForwarding"));
    assert_eq!(scene.assignment(&id)["phase"], "ready");
    assert!(scene.assignment(&id)["endpoint"].is_null());
    scene.end();
}
