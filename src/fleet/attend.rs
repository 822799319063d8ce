//! Attends to a host around its tasks: installs the agent first where it is missing, and puts the host
//! back to how it was afterwards where that was asked for.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::fleet::deploy::observe::AtPath;
use crate::fleet::deploy::{Before, DeployError, Deployer, restore};
use crate::fleet::file::{Host, HostName};
use crate::ssh::Connection;

/// Installs before, and restores after.
pub struct Attendant {
    deployer: Deployer,
    put_back: bool,
    /// How each host was before we touched it. A host is only in here if we did.
    befores: Mutex<HashMap<HostName, Before>>,
}

impl Attendant {
    /// Returns an attendant that installs what `deployer` has been prepared for. With `put_back` it
    /// leaves no trace of that afterwards.
    pub fn new(deployer: Deployer, put_back: bool) -> Self {
        Self {
            deployer,
            put_back,
            befores: Mutex::default(),
        }
    }

    /// Installs the agent unless there is one: what was there before is never touched.
    ///
    /// # Errors
    /// When the host cannot be looked at or the agent cannot be installed.
    pub async fn arrive(&self, connection: &Connection, host: &Host) -> Result<(), DeployError> {
        let planned = self.deployer.plan_on(connection, host, &|_| {}).await?;
        let before = planned.before();
        if before
            .programs
            .iter()
            .any(|(_, found)| *found != AtPath::Nothing)
        {
            return Ok(());
        }
        // Remembered before the first write, so that half a deploy is taken back too. After a lost
        // connection we come again, and then the host is no longer how it was.
        self.lock().entry(host.name.clone()).or_insert(before);
        self.deployer.execute(connection, planned, &|_| {}).await?;
        Ok(())
    }

    /// Puts the host back, if we changed it and that was asked for.
    ///
    /// # Errors
    /// When the host refuses or the connection dies; something of ours is then still there.
    pub async fn leave(&self, connection: &Connection, host: &Host) -> Result<(), DeployError> {
        let before = self
            .lock()
            .get(&host.name)
            .filter(|_| self.put_back)
            .cloned();
        match before {
            Some(before) => {
                restore(connection, &before).await?;
                self.lock().remove(&host.name);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Tells whether something of ours is still on `host` that should not be.
    pub fn owes(&self, host: &Host) -> bool {
        self.put_back && self.lock().contains_key(&host.name)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<HostName, Before>> {
        self.befores.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
