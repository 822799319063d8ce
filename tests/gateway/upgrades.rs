//! Connections that become something else, such as WebSockets.

use std::io::{Read, Write};
use std::net::Shutdown;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::common::{SOON, eventually};
use crate::raw::{Caller, Raw, head, ok};
use crate::site::Site;

const SWITCH: &str =
    "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
const ASKS: &str = "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-key: x\r\n";

/// Echoes until the other side has no more to say, and then says goodbye.
fn echo() -> Raw {
    Raw::new(|talk| {
        if !talk.head.to_lowercase().contains("upgrade: websocket") {
            talk.say(ok("plain"));
            return true;
        }
        talk.say(SWITCH);
        let mut socket = talk.socket();
        let mut bytes = vec![0; 64 << 10];
        while let Ok(count @ 1..) = socket.read(&mut bytes) {
            socket.write_all(&bytes[..count]).unwrap();
        }
        talk.say("goodbye");
        false
    })
}

#[test]
fn an_upgrade_carries_both_ways_and_each_way_ends_by_itself() {
    let backend = echo();
    let site = Site::new();
    site.service("api", &[&backend.url()]);
    let gateway = site.gateway(&[]);
    let mut caller = Caller::to(gateway.address);
    caller.say(head("GET", "/ws", ASKS));
    let answer = caller.until("\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    assert!(answer.contains("upgrade: websocket") && answer.contains("connection: upgrade"));
    let sent: Vec<u8> = (0..400_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let mut writer = caller.0.get_ref().try_clone().unwrap();
    let bytes = sent.clone();
    let writing = std::thread::spawn(move || {
        writer.write_all(&bytes).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let mut echoed = vec![0; sent.len()];
    caller.0.read_exact(&mut echoed).unwrap();
    assert!(echoed == sent);
    writing.join().unwrap();
    assert_eq!(caller.rest(), "goodbye");
}

#[test]
fn who_does_not_ask_for_an_upgrade_gets_none() {
    let backend = Raw::saying(SWITCH);
    let site = Site::new();
    site.service("api", &[&backend.url()]);
    let gateway = site.gateway(&[]);
    gateway.get("/v1/gateway/api/").expect(502);
    let plain = echo();
    site.service("plain", &[&plain.url()]);
    eventually(SOON, || gateway.get("/v1/gateway/plain/").status == 200);
    // Cleartext HTTP/2 would go past every check.
    for headers in [
        "connection: upgrade\r\nupgrade: h2c\r\n",
        "upgrade: websocket\r\n",
    ] {
        let mut caller = Caller::to(gateway.address);
        caller.say(head("GET", "/", headers).replace("/api/", "/plain/"));
        assert!(caller.until("plain").starts_with("HTTP/1.1 200 "));
    }
}

#[test]
fn a_silent_tunnel_ends_and_a_lively_one_does_not() {
    let backend = echo();
    let site = Site::new();
    site.service("api", &[&backend.url()]);
    let gateway = site.gateway(&["--idle-ms", "1500"]);
    let open = || {
        let mut caller = Caller::to(gateway.address);
        caller.say(head("GET", "/ws", ASKS));
        caller.until("\r\n\r\n");
        caller
    };
    let (mut silent, mut lively) = (open(), open());
    let ended = std::thread::spawn(move || silent.rest());
    while !ended.is_finished() {
        lively.say("x");
        lively.until("x");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert_eq!(ended.join().unwrap(), "");
    lively.say("still");
    lively.until("still");
}

#[test]
fn a_thousand_idle_ones_cost_little() {
    let limit = getrlimit(Resource::Nofile);
    let most = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, most).unwrap();
    // The other ends are this process's as well: one thread keeps them.
    let backend = silent::Silent::new(SWITCH);
    let site = Site::new();
    site.service("api", &[&backend.url()]);
    let gateway = site.gateway(&[]);
    let before = gateway.memory("VmRSS");
    let mut open: Vec<Caller> = (0..1000)
        .map(|_| {
            let mut caller = Caller::to(gateway.address);
            caller.say(head("GET", "/ws", ASKS));
            caller.until("\r\n\r\n");
            caller
        })
        .collect();
    gateway.until_counted("skyclaw_gateway_connections 1001");
    let grown = gateway.memory("VmRSS").saturating_sub(before);
    assert!(grown < 30 << 20, "{grown} bytes for 1000 idle tunnels");
    open.truncate(1);
    eventually(SOON, || backend.open() == 1);
}

mod silent {
    //! A backend that agrees to every upgrade and says nothing after it, without a thread for each.

    use std::net::SocketAddr;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::runtime::Runtime;

    pub struct Silent {
        address: SocketAddr,
        open: Arc<AtomicUsize>,
        _runtime: Runtime,
    }

    impl Silent {
        pub fn new(answer: &'static str) -> Self {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .unwrap();
            let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
            let address = listener.local_addr().unwrap();
            let open = Arc::new(AtomicUsize::new(0));
            let counts = Arc::clone(&open);
            runtime.spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(keep(stream, answer, Arc::clone(&counts)));
                }
            });
            Self {
                address,
                open,
                _runtime: runtime,
            }
        }

        pub fn url(&self) -> String {
            format!("http://{}", self.address)
        }

        pub fn open(&self) -> usize {
            self.open.load(Ordering::SeqCst)
        }
    }

    async fn keep(mut stream: TcpStream, answer: &str, open: Arc<AtomicUsize>) {
        let mut head = vec![0; 4096];
        let count = stream.read(&mut head).await.unwrap_or(0);
        if head[..count].starts_with(b"GET /health") {
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                .await;
            return;
        }
        open.fetch_add(1, Ordering::SeqCst);
        let _ = stream.write_all(answer.as_bytes()).await;
        while let Ok(1..) = stream.read(&mut head).await {}
        open.fetch_sub(1, Ordering::SeqCst);
    }
}
