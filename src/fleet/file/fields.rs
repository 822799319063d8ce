//! The fields a host can have, as one layer of the file says them: a host, a group or the defaults.
//!
//! Reads values, checks them one by one and reports every problem; puts no layers together.

use std::collections::BTreeMap;
use std::path::PathBuf;

use jsonc_parser::ast::{Object, Value};

use super::key::KeySource;
use super::names::{Address, HostName, is_variable, nearest, word};
use super::route;
use super::values::Reader;
use crate::fleet::target::Arch;
use crate::support::mask;
use crate::support::span::Limit;

/// What one layer says about a host. What it does not say is left to the layers below.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields {
    /// The address, or an alias of the SSH configuration.
    pub host: Option<Address>,
    /// The login name.
    pub user: Option<String>,
    /// The SSH port.
    pub port: Option<u16>,
    /// The processor family.
    pub arch: Option<Arch>,
    /// Private keys to log in with.
    pub ssh_key: Option<Vec<PathBuf>>,
    /// Words to select the host by; merged with those of the layers below.
    pub labels: BTreeMap<String, String>,
    /// What it can do, instead of what is found there.
    pub capabilities: Option<Vec<String>>,
    /// The groups it is in.
    pub groups: Option<Vec<String>>,
    /// Hosts to go through, as `ProxyJump` writes them.
    pub jump: Option<String>,
    /// An alias of the SSH configuration to take the connection from.
    pub via: Option<String>,
    /// Variables for tasks; merged with those of the layers below.
    pub env: BTreeMap<String, String>,
    /// Directory for tasks.
    pub workdir: Option<String>,
    /// The command that runs a task.
    pub agent: Option<String>,
    /// How many tasks at once.
    pub slots: Option<u32>,
    /// Share of the work, relative to other hosts.
    pub weight: Option<u32>,
    /// Whether the host is left out.
    pub disabled: Option<bool>,
    /// Whether the host may submit jobs and read all through its tunnel.
    pub tunnel_submit: Option<bool>,
    /// Limit of one task.
    pub timeout: Option<Limit>,
    /// Fingerprint of the host key, instead of known_hosts.
    pub host_key: Option<String>,
    /// The model provider.
    pub provider: Option<String>,
    /// The model.
    pub model: Option<String>,
    /// Base URL of the provider's API.
    pub api_base: Option<String>,
    /// Where the API key comes from.
    pub key: Option<KeySource>,
}

/// Which layer an object of the file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layer {
    Host,
    Group,
    Defaults,
}

pub(super) const KEYS: [&str; 26] = [
    "name",
    "host",
    "user",
    "port",
    "arch",
    "ssh_key",
    "labels",
    "capabilities",
    "groups",
    "jump",
    "via",
    "env",
    "workdir",
    "agent",
    "slots",
    "weight",
    "disabled",
    "tunnel_submit",
    "timeout",
    "host_key",
    "provider",
    "model",
    "api_base",
    "api_key_env",
    "api_key_file",
    "api_key_cmd",
];

/// More tasks at once than this on one host is a slip of the finger.
const MOST_SLOTS: u32 = 4096;

impl Fields {
    /// Returns what the environment says, asked through `variable`.
    ///
    /// # Errors
    /// When `API_KEY_ENV` is not the name of a variable. Its value is not repeated: it may be a key.
    pub fn from_environment(
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, super::Error> {
        let given = |name| variable(name).filter(|value| !value.is_empty());
        let key = match given("API_KEY_ENV") {
            Some(name) if !is_variable(&name) => {
                return Err(super::Error::Environment {
                    variable: "API_KEY_ENV",
                    why: "must hold the name of a variable, not a key",
                });
            }
            name => name.map(KeySource::Env),
        };
        let provider = given("PROVIDER");
        if provider.as_deref().is_some_and(|name| word(name).is_err()) {
            return Err(super::Error::Environment {
                variable: "PROVIDER",
                why: "must be one plain word, such as anthropic",
            });
        }
        Ok(Self {
            provider,
            key,
            ..Self::default()
        })
    }

    /// Reads one layer.
    pub(super) fn read(
        reader: &mut Reader<'_>,
        object: &Object<'_>,
        at: &str,
        layer: Layer,
    ) -> Self {
        let mut fields = Self::default();
        for (name, value, at) in reader.members(object, at) {
            fields.take(reader, name, value, &at, layer);
        }
        fields
    }

    fn take(
        &mut self,
        reader: &mut Reader<'_>,
        name: &str,
        value: &Value<'_>,
        at: &str,
        layer: Layer,
    ) {
        match name {
            "name" if layer == Layer::Host => {} // read by the caller, who knows the other names
            "name" => reader.error(value, at, "only a host has a name"),
            "groups" if layer == Layer::Group => {
                reader.error(value, at, "a group is in no other group");
            }
            "host" => self.host = reader.parsed(value, at, Address::new),
            "user" => self.user = reader.checked(value, at, plain),
            "port" => {
                self.port = reader
                    .number(value, at, 1, u32::from(u16::MAX))
                    .and_then(|port| u16::try_from(port).ok())
            }
            "arch" => self.arch = read_arch(reader, value, at),
            "ssh_key" => self.ssh_key = reader.paths(value, at),
            "labels" => self.labels = read_labels(reader, value, at),
            "capabilities" => self.capabilities = reader.words(value, at),
            "groups" => self.groups = reader.words(value, at),
            "jump" => self.jump = reader.checked(value, at, hops),
            "via" => self.via = reader.parsed(value, at, word),
            "env" => self.env = read_env(reader, value, at),
            "workdir" => self.workdir = reader.checked(value, at, text),
            "agent" => self.agent = reader.checked(value, at, text),
            "slots" => self.slots = reader.number(value, at, 1, MOST_SLOTS),
            "weight" => self.weight = reader.number(value, at, 1, u32::MAX),
            "disabled" => self.disabled = reader.boolean(value, at),
            "tunnel_submit" => self.tunnel_submit = reader.boolean(value, at),
            "timeout" => self.timeout = reader.limit(value, at),
            "host_key" => self.host_key = reader.checked(value, at, fingerprint),
            "provider" => self.provider = reader.parsed(value, at, word),
            "model" => self.model = reader.checked(value, at, text),
            "api_base" => self.api_base = reader.checked(value, at, url),
            "api_key_env" => {
                let source = reader.checked(value, at, variable).map(KeySource::Env);
                self.take_key(reader, value, at, source);
            }
            "api_key_file" => {
                let source = reader.path(value, at).map(KeySource::File);
                self.take_key(reader, value, at, source);
            }
            "api_key_cmd" => {
                let source = reader.checked(value, at, text).map(KeySource::Cmd);
                self.take_key(reader, value, at, source);
            }
            unknown if is_literal_key(unknown) => {} // refused for the whole file at once
            unknown => reader.unknown_key(unknown, value, at, &KEYS),
        }
    }

    fn take_key(
        &mut self,
        reader: &mut Reader<'_>,
        value: &Value<'_>,
        at: &str,
        source: Option<KeySource>,
    ) {
        if self.key.is_some() && source.is_some() {
            reader.error(
                value,
                at,
                "only one of api_key_env, api_key_file and api_key_cmd can be given here",
            );
        }
        self.key = source.or_else(|| self.key.take());
    }
}

/// Reads the name of a host.
pub(super) fn read_name(reader: &mut Reader<'_>, value: &Value<'_>, at: &str) -> Option<HostName> {
    reader.parsed(value, at, HostName::new)
}

/// Tells whether a key of this name holds an API key itself, whatever its spelling.
pub(super) fn is_literal_key(name: &str) -> bool {
    let letters: String = name
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .collect();
    letters == "apikey" || letters == "apikeys"
}

fn read_arch(reader: &mut Reader<'_>, value: &Value<'_>, at: &str) -> Option<Arch> {
    let name = reader.string(value, at)?;
    let arch = Arch::from_name(name);
    if arch.is_none() {
        let names = Arch::ALL.map(Arch::as_str);
        let meant = Arch::from_machine(name)
            .map(Arch::as_str)
            .or_else(|| nearest(name, names));
        reader.error_with(
            value,
            at,
            format!(
                "unknown architecture `{}`: use {}",
                name.escape_debug(),
                names.join(", ")
            ),
            meant.map(|meant| format!("did you mean `{meant}`?")),
        );
    }
    arch
}

fn read_labels(reader: &mut Reader<'_>, value: &Value<'_>, at: &str) -> BTreeMap<String, String> {
    reader.map(value, at, |label, text| {
        word(label).map_err(|why| format!("label `{}`: {why}", label.escape_debug()))?;
        // Empty is fine: a label may be there just to be there.
        if !text.is_empty() {
            word(text).map_err(|why| format!("value of label `{label}`: {why}"))?;
        }
        Ok(None)
    })
}

fn read_env(reader: &mut Reader<'_>, value: &Value<'_>, at: &str) -> BTreeMap<String, String> {
    reader.map(value, at, |name, text| {
        if !is_variable(name) {
            return Err(format!(
                "`{}` is no name of a variable",
                name.escape_debug()
            ));
        }
        if text.contains('\0') {
            return Err(format!("value of {name} contains a zero byte"));
        }
        if mask::is_secret_name(name) && !text.is_empty() {
            return Ok(Some(format!(
                "{name} looks like a secret in plain text: every task on this host can read it"
            )));
        }
        Ok(None)
    })
}

fn text(text: &str) -> Result<(), &'static str> {
    if text.trim().is_empty() {
        return Err("must not be empty");
    }
    if text.contains(char::is_control) {
        return Err("must not have a control character");
    }
    Ok(())
}

fn plain(word: &str) -> Result<(), &'static str> {
    text(word)?;
    if word.starts_with('-') {
        return Err("must not begin with `-`");
    }
    if word.contains(char::is_whitespace) {
        return Err("must not have white space");
    }
    Ok(())
}

fn hops(list: &str) -> Result<(), &'static str> {
    plain(list)?;
    route::check(list)
}

fn variable(name: &str) -> Result<(), &'static str> {
    if is_variable(name) {
        Ok(())
    } else {
        // The value is not repeated: it may well be the key itself.
        Err("must be the name of a variable (letters, digits, `_`), not a key")
    }
}

fn fingerprint(text: &str) -> Result<(), &'static str> {
    let digest = text.strip_prefix("SHA256:").unwrap_or_default();
    let digits = digest.trim_end_matches('=');
    let base64 = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/';
    // 32 bytes are 43 digits.
    if digits.len() == 43 && digits.bytes().all(base64) {
        Ok(())
    } else {
        Err("must be a fingerprint as `ssh-keygen -l` prints it: SHA256:…")
    }
}

fn url(address: &str) -> Result<(), &'static str> {
    plain(address)?;
    let rest = address
        .strip_prefix("https://")
        .or_else(|| address.strip_prefix("http://"));
    match rest {
        Some(rest) if !rest.is_empty() => Ok(()),
        _ => Err("must begin with https:// or http://"),
    }
}
