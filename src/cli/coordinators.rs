//! Which coordinators a verb talks to, and the flags for it.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use clap::Args;

use crate::client::{self, Client, Given, Settings};
use crate::support::paths;

/// Which coordinators.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Coordinator options")]
pub struct CoordinatorArgs {
    /// Coordinator to talk to, http://… or unix:/socket; repeat for those to try next [default:
    /// $SKYCLAW_COORDINATOR_URLS, else $SKYCLAW_COORDINATOR_URL, else your running `fleet up`, else
    /// http://127.0.0.1:8787]
    #[arg(long = "coordinator", value_name = "URL")]
    pub coordinators: Vec<String>,
    /// File with the coordinator's token [default: $SKYCLAW_TOKEN, else the file $SKYCLAW_TOKEN_FILE]
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
}

impl CoordinatorArgs {
    /// Returns a client for the coordinators that flags and variables name, else for the user's own.
    /// Nothing is asked yet.
    ///
    /// # Errors
    /// When an address or the token cannot be used.
    pub fn client(&self) -> anyhow::Result<Client> {
        Ok(Client::new(
            self.settings(|name| std::env::var(name).ok())?,
        )?)
    }

    /// Returns the settings of that client, from flags and these variables.
    ///
    /// # Errors
    /// When an address or the token cannot be used.
    pub fn settings(
        &self,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Settings, client::SettingsError> {
        let given = Given {
            urls: &self.coordinators,
            token_file: self.token_file.as_deref(),
        };
        Settings::read_or(given, variable, own)
    }
}

/// Returns the address of the user's own `fleet up` if it runs. A socket that a killed one left does
/// not answer.
fn own() -> Option<client::Url> {
    let socket = paths::controller_socket().ok()?;
    UnixStream::connect(&socket).ok()?;
    client::unix_url(&socket)
}
