//! A server that opens channels nobody asked for. OpenSSH's does not, so this one is made for it.

use std::sync::Arc;
use std::time::Duration;

use russh::server::{Auth, Config, Handler, Session, VerifiedPublicKey, run_stream};
use skyclaw::fleet::file::{Fleet, Overrides};
use skyclaw::ssh::forward::{Limits, Place};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};

use crate::common::{FleetHost, World, link};
use crate::{accept, soon};

/// The port that it says it listens on.
const PORT: u32 = 40_000;

/// Opens channels of every kind once its forward is known, and tells which were accepted. Until a client has heard which
/// port was chosen for it, any may be.
struct Intruder {
    known: Arc<Notify>,
    told: mpsc::Sender<Vec<&'static str>>,
}

impl Handler for Intruder {
    type Error = russh::Error;

    async fn auth_publickey(
        &mut self,
        _: &str,
        _: VerifiedPublicKey<'_>,
    ) -> Result<Auth, russh::Error> {
        Ok(Auth::Accept)
    }

    async fn tcpip_forward(
        &mut self,
        _: &str,
        port: &mut u32,
        session: &mut Session,
    ) -> Result<bool, russh::Error> {
        *port = PORT;
        let (handle, told) = (session.handle(), self.told.clone());
        let known = Arc::clone(&self.known);
        tokio::spawn(async move {
            known.notified().await;
            let us = "127.0.0.1";
            let tried = [
                ("session", handle.channel_open_session().await),
                ("agent", handle.channel_open_agent().await),
                ("x11", handle.channel_open_x11(us, 1).await),
                (
                    "direct",
                    handle.channel_open_direct_tcpip(us, 22, us, 1).await,
                ),
                (
                    "direct socket",
                    handle.channel_open_direct_streamlocal("/run/x").await,
                ),
                (
                    "other socket",
                    handle.channel_open_forwarded_streamlocal("/x").await,
                ),
                (
                    "other port",
                    handle.channel_open_forwarded_tcpip(us, 22, us, 1).await,
                ),
                (
                    "from the network",
                    handle
                        .channel_open_forwarded_tcpip(us, PORT, "10.0.0.9", 1)
                        .await,
                ),
                (
                    "asked for",
                    handle
                        .channel_open_forwarded_tcpip(us, PORT, "::1", 1)
                        .await,
                ),
            ];
            let mut open = Vec::new();
            for (name, channel) in tried {
                if let Ok(channel) = channel {
                    open.push(name);
                    channel.data_bytes(&b"hello"[..]).await.unwrap();
                    channel.eof().await.unwrap();
                }
            }
            told.send(open).await.unwrap();
        });
        Ok(true)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_opens_unasked_is_refused() {
    let world = World::new();
    let key = world.dir().join("host_key");
    crate::common::world::keygen(&key, "host");
    let config = Arc::new(Config {
        keys: vec![russh::keys::load_secret_key(&key, None).unwrap()],
        auth_rejection_time: Duration::ZERO,
        ..Config::default()
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (told, mut hear) = mpsc::channel(1);
    let known = Arc::new(Notify::new());
    let intruder = Intruder {
        known: Arc::clone(&known),
        told,
    };
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let session = run_stream(config, stream, intruder).await.unwrap();
        let _ = session.await;
    });
    let path = world.fleet(&[FleetHost::new("intruder", "127.0.0.1", port)]);
    let fleet = Fleet::load(&path, &Overrides::default()).unwrap();
    let links = link::links(&world, None);
    let link = soon(links.open(&fleet.hosts[0])).await.unwrap();
    let asked = link.connection.forward_port(0, Limits::default());
    let mut forward = soon(asked).await.unwrap();
    assert_eq!(forward.place(), &Place::Port(40_000));
    known.notify_one();
    assert_eq!(soon(hear.recv()).await.unwrap(), ["asked for"]);
    let mut got = String::new();
    let mut stream = accept(&mut forward).await;
    soon(stream.read_to_string(&mut got)).await.unwrap();
    assert_eq!(got, "hello");
}
