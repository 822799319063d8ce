//! A worker's shared part whose host and coordinator are not there.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;

use super::Means;
use super::core::Core;
use super::view::Hook;
use crate::client::holder::Report;
use crate::client::{Client, Settings, parse_url};
use crate::fleet::file::{Fleet, Host, Overrides};
use crate::fleet::link::Links;
use crate::fleet::seat::ControllerId;
use crate::fleet::tunnel::Outlets;
use crate::protocol::api::{Instance, LeaseName};
use crate::protocol::{AttemptNo, JobId, LeaseToken};
use crate::ssh::auth::Identities;
use crate::ssh::known_hosts::KnownHosts;
use crate::ssh::{self, HostKeyPolicy};
use crate::support::shutdown;

pub fn means(tell: Hook) -> Means {
    let ssh = ssh::Settings {
        connect_timeout: Some(Duration::from_secs(5)),
        known_hosts: Arc::new(KnownHosts::load(HostKeyPolicy::AcceptNew, None, &[])),
        identities: Arc::new(Identities::new(None, Box::new(|_| None))),
        keepalive: None,
        throttle: Arc::default(),
    };
    let nowhere = parse_url("http://127.0.0.1:9").unwrap();
    Means {
        client: Client::new(Settings::new(vec![nowhere])).unwrap(),
        links: Links::new(ssh, 1),
        instance: Instance {
            state_id: "state".into(),
            process_id: "process".into(),
        },
        drain: Duration::ZERO,
        visits: None,
        outlets: Outlets::default(),
        tell,
    }
}

pub fn controller() -> ControllerId {
    let dir = tempfile::tempdir().unwrap();
    ControllerId::in_dir(dir.path()).unwrap()
}

pub fn host() -> Arc<Host> {
    let text = r#"{ "hosts": [{ "name": "gone1", "host": "127.0.0.1", "port": 9 }] }"#;
    let fleet = Fleet::parse("fleet.json".as_ref(), text, &Overrides::default()).unwrap();
    Arc::new(fleet.hosts[0].clone())
}

pub fn core() -> (Arc<Core>, UnboundedReceiver<Report>) {
    let (_, ending) = shutdown::manual();
    let settings = Arc::new(watch::Sender::new(host()));
    let means = Arc::new(means(Box::new(|_| {})));
    let (core, inbox) = Core::new((means, Arc::default()), controller(), settings, ending);
    (Arc::new(core), inbox)
}

pub fn lease() -> LeaseName {
    LeaseName {
        job_id: JobId::fresh(),
        attempt: AttemptNo::new(1),
        lease_token: LeaseToken::fresh(),
    }
}
