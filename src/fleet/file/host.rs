//! One host with its layers put together: flag, environment, host, group, defaults, built-in.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::Overrides;
use super::fields::Fields;
use super::key::{self, KeySource};
use super::layout::Layout;
use super::names::{Address, HostName};
use super::route::{self, Hop};
use crate::fleet::target::Arch;
use crate::support::secret::Secret;
use crate::support::span::Limit;

const PROVIDER: &str = "anthropic";
const KEY_VARIABLE: &str = "ANTHROPIC_API_KEY";

/// A host as the fleet file and what outranks it describe it.
///
/// What the SSH configuration may still say (`user`, `port`, `ssh_keys`) is left open here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// What we call it.
    pub name: HostName,
    /// Its address, or an alias of the SSH configuration. With `via` alone, that alias.
    pub host: Address,
    /// The SSH port, if given; else the SSH configuration's, else [`Host::DEFAULT_PORT`].
    pub port: Option<u16>,
    /// The login name, if given; else the SSH configuration's, else the local user's.
    pub user: Option<String>,
    /// The processor family, if given; else it is asked of the host.
    pub arch: Option<Arch>,
    /// Private keys, `~` expanded; empty leaves it to agent and SSH configuration.
    pub ssh_keys: Vec<PathBuf>,
    /// Words to select it by.
    pub labels: BTreeMap<String, String>,
    /// What jobs it can run, if given; else it is what is found there.
    pub capabilities: Option<Vec<String>>,
    /// The groups it is in, in the order given.
    pub groups: Vec<String>,
    /// Hosts to go through, as `ProxyJump` writes them; `none` goes straight.
    pub jump: Option<String>,
    /// The machines to go through, the first one first: `jump` with the fleet's own names looked up.
    pub route: Vec<Hop>,
    /// The alias of the SSH configuration to take the connection from.
    pub via: Option<String>,
    /// Variables for its tasks.
    pub env: BTreeMap<String, String>,
    /// Directory of its tasks.
    pub workdir: Option<String>,
    /// The command that runs a task.
    pub agent: Option<String>,
    /// How many tasks at once, at least 1.
    pub slots: u32,
    /// Share of the work relative to other hosts, at least 1.
    pub weight: u32,
    /// Whether it is left out of every selection.
    pub disabled: bool,
    /// Whether it may submit jobs, and read those of all hosts, through the tunnel of `fleet up`.
    pub tunnel_submit: bool,
    /// Limit of one task, if given.
    pub timeout: Option<Limit>,
    /// Fingerprint (`SHA256:…`) that replaces known_hosts.
    pub host_key: Option<String>,
    /// The model provider.
    pub provider: String,
    /// The model, if given.
    pub model: Option<String>,
    /// Base URL of the provider's API, if given.
    pub api_base: Option<String>,
    /// Where the API key comes from.
    pub key: KeySource,
}

impl Host {
    /// The port when neither file nor SSH configuration gives one.
    pub const DEFAULT_PORT: u16 = 22;

    /// Gets the API key from its source. Blocks; see [`KeySource::read`].
    ///
    /// # Errors
    /// When there is no usable key; the error names the source and never the value.
    pub fn api_key(&self) -> Result<Secret, key::Error> {
        self.key.read()
    }
}

/// Puts the layers of every host together.
pub(super) fn resolve(layout: Layout, overrides: &Overrides) -> Vec<Host> {
    let Layout {
        hosts,
        groups,
        defaults,
    } = layout;
    let mut hosts: Vec<Host> = hosts
        .into_iter()
        .filter_map(|(name, own)| {
            let member_of = own
                .groups
                .clone()
                .or_else(|| defaults.groups.clone())
                .unwrap_or_default();
            let mut layers = vec![&overrides.flags, &overrides.environment, &own];
            layers.extend(member_of.iter().filter_map(|group| groups.get(group)));
            layers.push(&defaults);
            combine(name, &Stack(layers), member_of)
        })
        .collect();
    route::lay(&mut hosts);
    hosts
}

/// Layers of fields, the strongest first.
struct Stack<'l>(Vec<&'l Fields>);

impl Stack<'_> {
    fn first<T: Clone>(&self, pick: impl Fn(&Fields) -> &Option<T>) -> Option<T> {
        self.0.iter().find_map(|layer| pick(layer).clone())
    }

    fn merged(
        &self,
        pick: impl Fn(&Fields) -> &BTreeMap<String, String>,
    ) -> BTreeMap<String, String> {
        let weakest_first = self.0.iter().rev();
        weakest_first
            .flat_map(|layer| pick(layer).clone())
            .collect()
    }
}

fn combine(name: HostName, stack: &Stack<'_>, mut groups: Vec<String>) -> Option<Host> {
    let via = stack.first(|layer| &layer.via);
    // The reader has seen to it that one of the two is there.
    let host = stack
        .first(|layer| &layer.host)
        .or_else(|| via.as_deref().and_then(|alias| Address::new(alias).ok()))?;
    let mut seen = std::collections::BTreeSet::new();
    groups.retain(|group| seen.insert(group.clone()));
    Some(Host {
        name,
        host,
        port: stack.first(|layer| &layer.port),
        user: stack.first(|layer| &layer.user),
        arch: stack.first(|layer| &layer.arch),
        ssh_keys: stack.first(|layer| &layer.ssh_key).unwrap_or_default(),
        labels: stack.merged(|layer| &layer.labels),
        capabilities: stack.first(|layer| &layer.capabilities),
        groups,
        jump: stack.first(|layer| &layer.jump),
        route: Vec::new(),
        via,
        env: stack.merged(|layer| &layer.env),
        workdir: stack.first(|layer| &layer.workdir),
        agent: stack.first(|layer| &layer.agent),
        slots: stack.first(|layer| &layer.slots).unwrap_or(1),
        weight: stack.first(|layer| &layer.weight).unwrap_or(1),
        disabled: stack.first(|layer| &layer.disabled).unwrap_or(false),
        tunnel_submit: stack.first(|layer| &layer.tunnel_submit).unwrap_or(false),
        timeout: stack.first(|layer| &layer.timeout),
        host_key: stack.first(|layer| &layer.host_key),
        provider: stack
            .first(|layer| &layer.provider)
            .unwrap_or_else(|| PROVIDER.to_owned()),
        model: stack.first(|layer| &layer.model),
        api_base: stack.first(|layer| &layer.api_base),
        key: stack
            .first(|layer| &layer.key)
            .unwrap_or_else(|| KeySource::Env(KEY_VARIABLE.to_owned())),
    })
}
