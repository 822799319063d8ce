//! Clients that come in by other doors than the port.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;
use skyclaw::coordinator::{Caller, Said, Visitor};
use skyclaw::protocol::JobId;
use tokio::net::UnixListener;

use crate::harness::{Got, Room};

/// A client that comes in by another door than the port.
pub struct Guest(Client);

impl Guest {
    fn at(socket: &Path) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = Client::builder().timeout(Duration::from_secs(60));
        Self(builder.unix_socket(socket).build().unwrap())
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.0.request(method, format!("http://localhost{path}"))
    }

    pub async fn get(&self, path: &str) -> Got {
        Got::of(self.request(Method::GET, path)).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Got {
        Got::of(self.request(Method::POST, path).body(body.to_string())).await
    }

    pub async fn post_keyed(&self, path: &str, key: &str, body: &Value) -> Got {
        let request = self.request(Method::POST, path).body(body.to_string());
        Got::of(request.header("x-idempotency-key", key)).await
    }
}

/// Returns who comes through the tunnel of the host called `name`.
pub fn host(name: &str) -> Caller {
    Caller::Host {
        name: name.to_owned(),
        may_submit: false,
        said: None,
        token: None,
    }
}

/// Returns the same where labels and slots are not for the host to say.
pub fn labelled(name: &str, labels: &[(&str, &str)], slots: u16) -> Caller {
    let labels = labels.iter();
    let labels = labels.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Caller::Host {
        name: name.to_owned(),
        may_submit: false,
        said: Some(Said {
            labels: labels.collect(),
            capabilities: None,
            slots,
            weight: 1,
        }),
        token: None,
    }
}

/// Returns the same for a host that may submit jobs.
pub fn submitting(name: &str) -> Caller {
    Caller::Host {
        name: name.to_owned(),
        may_submit: true,
        said: None,
        token: None,
    }
}

impl Room {
    /// Returns a client that comes in by the owner's socket.
    pub fn owner(&self) -> Guest {
        Guest::at(&Self::socket(&self.dir()))
    }

    /// Returns a client whose connections are handed over as those of `caller`.
    pub fn guest(&self, caller: &Caller) -> Guest {
        Guest::at(&self.relay(caller))
    }

    /// Returns a socket whose connections are handed over as those of `caller`.
    pub fn relay(&self, caller: &Caller) -> PathBuf {
        let path = self.dir().join(format!("{}.sock", JobId::fresh()));
        let listener = UnixListener::bind(&path).unwrap();
        let (streams, caller) = (self.streams.clone(), caller.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let visitor = Visitor {
                    stream: Box::new(stream),
                    caller: caller.clone(),
                };
                if streams.send(visitor).await.is_err() {
                    return;
                }
            }
        });
        path
    }
}
