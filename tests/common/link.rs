//! Connections made by the library itself, as the fleet's verbs make them.

use std::sync::Arc;
use std::time::Duration;

use skyclaw::fleet::file::{Fleet, Host, Overrides};
use skyclaw::fleet::link::Links;
use skyclaw::ssh::auth::Identities;
use skyclaw::ssh::known_hosts::KnownHosts;
use skyclaw::ssh::{HostKeyPolicy, Settings};

use super::sshd::Sshd;
use super::world::World;

/// Returns links with the key and the known hosts of this world, and how often they ask silent hosts.
pub fn links(world: &World, keepalive: Option<Duration>) -> Links {
    let known = Some(world.known_hosts());
    let settings = Settings {
        connect_timeout: Some(Duration::from_secs(20)),
        known_hosts: Arc::new(KnownHosts::load(HostKeyPolicy::AcceptNew, known, &[])),
        identities: Arc::new(Identities::new(None, Box::new(|_| None))),
        keepalive,
        throttle: Arc::default(),
    };
    Links::new(settings, 8)
}

/// Returns a fleet's host that leads to this server.
pub fn host(world: &World, server: &Sshd, name: &str) -> Arc<Host> {
    let path = world.fleet(&[server.fleet_host(name)]);
    let fleet = Fleet::load(&path, &Overrides::default()).expect("load the fleet file");
    Arc::new(fleet.hosts[0].clone())
}
