//! What a coordinator must keep to itself, and how it gets hold of it.
//!
//! What was given in the environment does not stay there: jobs of a host on the same machine could
//! read it. See [`shed`].

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::super::error::Failure;
use super::super::given::Given;
use super::super::shed::{self, HANDED};
use super::Args;
use crate::coordinator::{Keys, Tokens};
use crate::support::mask;
use crate::support::secret::Secret;

/// What must not be seen.
pub struct Secrets {
    /// What callers must show.
    pub tokens: Tokens,
    /// Who may use the public API.
    pub keys: Keys,
    /// What the webhook's bodies are signed with.
    pub webhook: Option<Secret>,
    /// What the members of a cluster share, if it is not made of the tokens.
    pub cluster: Option<Secret>,
}

/// The same as it was given.
#[derive(Default, Serialize, Deserialize)]
struct Texts {
    tokens: String,
    keys: String,
    webhook: Option<String>,
    #[serde(default)]
    cluster: String,
}

impl Secrets {
    /// Reads them from the environment and from files. If any are in the environment, this process
    /// starts again without them first.
    ///
    /// # Errors
    /// When a file cannot be read, the token's is empty, or a key is malformed.
    pub fn read(args: &Args) -> Result<Self, Failure> {
        let token_file = Given::of(&args.token_file).map(PathBuf::as_path);
        let texts = if variable(HANDED).is_empty() {
            let texts = Texts::given(token_file, args)?;
            texts.shed();
            texts
        } else {
            shed::handed()?
        };
        let tokens = Tokens::parse(&texts.tokens);
        if let Some(path) = token_file.filter(|_| tokens.is_empty()) {
            // Without this, an empty file would let everybody in.
            return Err(Failure::usage(format!(
                "the token file {} is empty",
                path.display()
            )));
        }
        if let Some(path) = Given::of(&args.cluster_secret_file)
            && texts.cluster.trim().is_empty()
        {
            // Without this, an empty file would let everybody become a member.
            return Err(Failure::usage(format!(
                "the file with the cluster's secret {} is empty",
                path.display()
            )));
        }
        let keys = Keys::parse(&texts.keys)
            .map_err(|error| Failure::usage(format!("{}: {error}", shed::KEYS)))?;
        Ok(Self {
            tokens,
            keys,
            webhook: texts.webhook.map(Secret::new),
            cluster: Some(texts.cluster)
                .filter(|secret| !secret.trim().is_empty())
                .map(Secret::new),
        })
    }
}

impl Texts {
    fn given(token_file: Option<&Path>, args: &Args) -> Result<Self, Failure> {
        let webhook = args.webhook.is_some();
        let tokens = match token_file {
            None => variable(shed::TOKEN),
            Some(path) => std::fs::read_to_string(path).map_err(|error| {
                Failure::usage(format!("read the token file {}", path.display())).because(error)
            })?,
        };
        let cluster = match Given::of(&args.cluster_secret_file) {
            None => variable(shed::CLUSTER_SECRET),
            Some(path) => std::fs::read_to_string(path).map_err(|error| {
                let text = format!("read the file with the cluster's secret {}", path.display());
                Failure::usage(text).because(error)
            })?,
        };
        let file = variable("SKYCLAW_WEBHOOK_SECRET_FILE");
        let webhook = match file.trim() {
            "" => None,
            _ if !webhook => None,
            path => {
                let text = std::fs::read_to_string(path).map_err(|error| {
                    Failure::usage(format!("read the webhook secret {path}")).because(error)
                })?;
                Some(text.trim().to_owned())
            }
        };
        Ok(Self {
            tokens,
            keys: variable(shed::KEYS),
            webhook,
            cluster,
        })
    }

    /// Returns if nothing secret is in the environment; otherwise this process becomes a new one.
    fn shed(&self) {
        let secret = shed::names(|name| is_ours(name) && !variable(name).is_empty());
        shed::hand_over(self, &secret);
    }
}

/// Others' secrets stay: the command for ended jobs may need them.
fn is_ours(name: &str) -> bool {
    name == shed::TOKEN
        || name == shed::KEYS
        || name == shed::CLUSTER_SECRET
        || (name.starts_with("SKYCLAW_WEBHOOK") && mask::is_secret_name(name))
}

fn variable(name: &str) -> String {
    std::env::var_os(name)
        .map(|value| value.to_string_lossy().into_owned())
        .unwrap_or_default()
}
