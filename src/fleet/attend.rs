//! Attends to a host around its tasks: installs the agent first where it is missing, and puts the host
//! back to how it was afterwards where that was asked for.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::fleet::deploy::{DeployError, Deployer};
use crate::fleet::ephemeral::{self, Guard, Mark, Whose};
use crate::fleet::file::{Host, HostName};
use crate::ssh::Connection;

/// Installs before, and puts back after.
pub struct Attendant {
    deployer: Deployer,
    /// Under which mark changes are undone; none = they stay.
    mark: Option<Mark>,
    /// Hosts that may have something of ours which should not stay.
    owed: Mutex<HashSet<HostName>>,
}

/// A host that could not be made ready.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The agent could not be installed.
    #[error(transparent)]
    Deploy(#[from] DeployError),
    /// What it is like could not be kept, so nothing was installed.
    #[error(transparent)]
    Ephemeral(#[from] ephemeral::Error),
}

impl Error {
    /// Returns what the user can do next, where that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Deploy(error) => error.hint(),
            Self::Ephemeral(error) => error.hint(),
        }
    }

    /// Returns the failure of the connection, if it is one.
    pub fn connection(&self) -> Option<&crate::ssh::Error> {
        match self {
            Self::Deploy(DeployError::Ssh(error))
            | Self::Ephemeral(ephemeral::Error::Ssh(error)) => Some(error),
            Self::Deploy(_) | Self::Ephemeral(_) => None,
        }
    }
}

impl Attendant {
    /// Returns an attendant that installs what `deployer` has been prepared for. With a mark it leaves
    /// no trace of that afterwards.
    pub fn new(deployer: Deployer, mark: Option<Mark>) -> Self {
        Self {
            deployer,
            mark,
            owed: Mutex::default(),
        }
    }

    /// Installs the agent unless there is one: what was there before is never touched. Whatever comes
    /// of that, `guard` is to be given to [`Attendant::leave`].
    ///
    /// # Errors
    /// When the host cannot be looked at or the agent cannot be installed.
    pub async fn arrive<'c>(
        &self,
        connection: &'c Connection,
        host: &Host,
        guard: &mut Option<Guard<'c>>,
    ) -> Result<(), Error> {
        if let Some(mark) = &self.mark {
            // Before the first write, so that half a deploy is taken back too.
            let armed = ephemeral::arm(connection, mark, host.name.as_str()).await?;
            if let Some(old) = armed.undone {
                tracing::warn!(host = %host.name, "undid what was left there by {old}");
            }
            if armed.guard.is_none() {
                return Ok(());
            }
            *guard = armed.guard;
            self.lock().insert(host.name.clone());
        }
        let planned = self.deployer.plan_on(connection, host, &|_| {}).await?;
        if !planned.finds_program() {
            self.deployer.execute(connection, planned, &|_| {}).await?;
        }
        Ok(())
    }

    /// Puts the host back, if we changed it and that was asked for.
    ///
    /// # Errors
    /// When the host refuses or the connection dies; something of ours may then still be there.
    pub async fn leave(
        &self,
        connection: &Connection,
        host: &Host,
        guard: Option<Guard<'_>>,
    ) -> Result<(), ephemeral::Error> {
        let Some(mark) = self.mark.as_ref().filter(|_| self.owes(host)) else {
            return Ok(());
        };
        let by_guard = match guard {
            Some(guard) => guard.undo().await.is_ok(),
            None => false,
        };
        if !by_guard {
            // It died, or could not; what it would say is said by whoever does it now.
            ephemeral::undo(connection, Whose::Ours(mark, host.name.as_str())).await?;
        }
        self.lock().remove(&host.name);
        Ok(())
    }

    /// Tells whether something of ours may still be on `host` that should not be.
    pub fn owes(&self, host: &Host) -> bool {
        self.lock().contains(&host.name)
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<HostName>> {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
