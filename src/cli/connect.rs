//! The flags of every verb that connects, and the connections they lead to.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, ValueEnum};

use super::error::Failure;
use super::output::Output;
use crate::fleet::file::{Fleet, Host};
use crate::fleet::link::{self, Links};
use crate::fleet::select::{Selection, select};
use crate::ssh::auth::Identities;
use crate::ssh::config::KEEPALIVE;
use crate::ssh::known_hosts::KnownHosts;
use crate::ssh::{HostKeyPolicy, Settings};
use crate::support::secret::Secret;
use crate::support::span::{Limit, parse_limit};

/// How hosts are connected to.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Connection options")]
pub struct ConnectArgs {
    /// Limit for TCP, key exchange and login together; 0 waits for ever [default: 8s; status: 6s]
    #[arg(long, value_name = "SPAN", value_parser = parse_limit)]
    pub connect_timeout: Option<Limit>,
    /// Ask a silent host for a sign of life this often; the fourth time in vain it is lost; 0 never asks [default: 15s]
    #[arg(long, value_name = "SPAN", value_parser = parse_limit)]
    pub keepalive: Option<Limit>,
    /// What to do with an unknown host key; a changed one is always refused [default: accept-new]
    #[arg(
        long,
        value_name = "POLICY",
        value_enum,
        default_value_t,
        hide_default_value = true
    )]
    pub host_key: HostKeyArg,
    /// How many hosts at once
    #[arg(short = 'f', long, value_name = "N", default_value_t = FANOUT, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub fanout: u32,
}

/// What to do with an unknown host key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum HostKeyArg {
    /// Remember it and go on
    #[default]
    AcceptNew,
    /// Refuse it
    Yes,
    /// Go on and remember nothing
    No,
}

impl ConnectArgs {
    /// Returns the flag that says something about connections of our own, if one was given.
    pub fn own(&self) -> Option<&'static str> {
        let given = [
            (self.host_key != HostKeyArg::default(), "--host-key"),
            (self.keepalive.is_some(), "--keepalive"),
            (self.fanout != FANOUT, "--fanout"),
        ];
        given
            .into_iter()
            .find_map(|(given, flag)| given.then_some(flag))
    }

    /// Returns the connections of this run. `usual` is the connect timeout where none was given.
    pub fn links(&self, usual: Duration) -> Links {
        let policy = match self.host_key {
            HostKeyArg::AcceptNew => HostKeyPolicy::AcceptNew,
            HostKeyArg::Yes => HostKeyPolicy::Strict,
            HostKeyArg::No => HostKeyPolicy::Off,
        };
        let agent = std::env::var_os("SSH_AUTH_SOCK").filter(|socket| !socket.is_empty());
        let settings = Settings {
            connect_timeout: self.connect_timeout.map_or(Some(usual), |limit| limit.0),
            keepalive: self.keepalive.map_or(Some(KEEPALIVE), |limit| limit.0),
            known_hosts: Arc::new(KnownHosts::load_default(policy)),
            identities: Arc::new(Identities::new(
                agent.map(PathBuf::from),
                Box::new(ask_passphrase),
            )),
            throttle: Arc::default(),
        };
        let wanted = usize::try_from(self.fanout).unwrap_or(usize::MAX);
        let links = Links::new(settings, wanted);
        if links.fanout() < wanted {
            tracing::warn!(
                fanout = links.fanout(),
                "fewer hosts at once: the limit of open files (ulimit -n) allows no more"
            );
        }
        links
    }
}

/// How many hosts at once where nobody says.
const FANOUT: u32 = 32;

/// The connect timeout of verbs that change or run something.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(8);

fn ask_passphrase(key: &std::path::Path) -> Option<Secret> {
    if !(std::io::stdin().is_terminal() && std::io::stderr().is_terminal()) {
        return None;
    }
    let prompt = format!("Passphrase for key {}: ", key.display());
    rpassword::prompt_password(prompt).ok().map(Secret::new)
}

/// Returns the selected hosts, ready to be connected to; says which named ones are left out.
///
/// # Errors
/// When nothing is selected, or a host asks for a way of connecting there is not.
pub fn selected(
    fleet: &Fleet,
    selection: &Selection,
    output: &Output,
) -> anyhow::Result<Vec<Arc<Host>>> {
    let selected = select(fleet, selection)?;
    for note in &selected.notes {
        output.note(note);
    }
    let hosts: Vec<Arc<Host>> = selected.hosts.into_iter().cloned().map(Arc::new).collect();
    link::check(&hosts)
        .map_err(|error| Failure::usage(error.to_string()))
        .context("connect")?;
    Ok(hosts)
}
