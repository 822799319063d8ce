//! What a gateway must keep to itself, and how it gets hold of it: as a coordinator does, see
//! [`super::super::coordinator`].

use serde::{Deserialize, Serialize};

use super::super::error::Failure;
use super::super::given::Given;
use super::super::shed::{self, HANDED};
use super::Args;
use crate::gateway::keys::Keys;

/// What must not be seen.
pub struct Secrets {
    /// Who may call.
    pub keys: Keys,
    token: zeroize::Zeroizing<String>,
}

/// The variables as they were given.
#[derive(Default, Serialize, Deserialize)]
struct Texts {
    token: String,
    keys: String,
}

impl Secrets {
    /// Reads them from the environment and from files. If any are in the environment, this process starts again
    /// without them first.
    ///
    /// # Errors
    /// When a file cannot be read, there is no key in the one for keys, or a key is malformed.
    pub fn read(args: &Args) -> Result<Self, Failure> {
        let texts = match variable(HANDED) {
            None => Texts {
                token: variable(shed::TOKEN).unwrap_or_default(),
                keys: variable(shed::GATEWAY_KEYS).unwrap_or_default(),
            }
            .shed(),
            Some(_) => shed::handed()?,
        };
        let mut keys = texts.keys;
        if let Some(path) = Given::of(&args.api_keys_file) {
            let file = std::fs::read_to_string(path).map_err(|error| {
                Failure::usage(format!("read the API keys {}", path.display())).because(error)
            })?;
            if Keys::parse(&file).is_ok_and(|keys| keys.is_empty()) {
                // Without this, an empty file would let everybody in.
                return Err(Failure::usage(format!(
                    "there is no API key in {}",
                    path.display()
                )));
            }
            keys = format!("{keys}\n{file}");
        }
        let keys = Keys::parse(&keys).map_err(|error| Failure::usage(error.to_string()))?;
        Ok(Self {
            keys,
            token: texts.token.into(),
        })
    }

    /// Returns a variable, also one that is no longer in the environment.
    pub fn variable(&self, name: &str) -> Option<String> {
        match name {
            shed::TOKEN if !self.token.is_empty() => Some(self.token.to_string()),
            name => std::env::var(name).ok(),
        }
    }
}

impl Texts {
    /// Returns itself if nothing secret is in the environment; otherwise this process becomes a new one.
    fn shed(self) -> Self {
        let secret = shed::names(|name| shed::is_secret(name) && variable(name).is_some());
        shed::hand_over(&self, &secret);
        self
    }
}

fn variable(name: &str) -> Option<String> {
    let value = std::env::var_os(name)?.to_string_lossy().into_owned();
    (!value.is_empty()).then_some(value)
}
