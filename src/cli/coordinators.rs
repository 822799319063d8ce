//! Which coordinators a verb talks to, and the flags for it.

use std::path::PathBuf;

use clap::Args;

use crate::client::{Client, Given, Settings};

/// Which coordinators.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Coordinator options")]
pub struct CoordinatorArgs {
    /// Coordinator to talk to; repeat for those to try next [default: $SKYCLAW_COORDINATOR_URLS, else
    /// $SKYCLAW_COORDINATOR_URL, else http://127.0.0.1:8787]
    #[arg(long = "coordinator", value_name = "URL")]
    pub coordinators: Vec<String>,
    /// File with the coordinator's token [default: $SKYCLAW_TOKEN, else the file $SKYCLAW_TOKEN_FILE]
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
}

impl CoordinatorArgs {
    /// Returns a client for the coordinators that flags and variables name. Nothing is contacted yet.
    ///
    /// # Errors
    /// When an address or the token cannot be used.
    pub fn client(&self) -> anyhow::Result<Client> {
        let given = Given {
            urls: &self.coordinators,
            token_file: self.token_file.as_deref(),
        };
        let settings = Settings::read(given, |name| std::env::var(name).ok())?;
        Ok(Client::new(settings)?)
    }
}
