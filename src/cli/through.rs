//! Which way a run goes: through a running `fleet up`, or from this process.

use std::path::Path;

use super::connect::{CONNECT_TIMEOUT, ConnectArgs};
use crate::client::Client;
use crate::fleet::controller;
use crate::fleet::follow::{Course, Place, Reason};
use crate::fleet::run::Plan;
use crate::protocol::GroupId;

/// Returns the running `fleet up` if a run on hosts of this fleet file can be handed to it. Says under -v
/// why not.
pub async fn controller(
    fleet: &Path,
    connect: &ConnectArgs,
    travels: impl FnOnce() -> Result<(), Reason>,
) -> Option<Client> {
    let client = controller::find().await?;
    let stays = if controller::works_with(fleet) {
        connect
            .own()
            .map_or_else(travels, |flag| Err(Reason::Flag(flag)))
    } else {
        tracing::info!("`fleet up` works with another fleet file: this process runs it");
        return None;
    };
    match stays {
        Ok(()) => {
            tracing::info!("`fleet up` runs it");
            Some(client)
        }
        Err(reason) => {
            tracing::info!(%reason, "this process runs it, not `fleet up`");
            None
        }
    }
}

/// Returns how a run is followed that was planned here.
pub fn course(plan: &Plan, group: GroupId, places: Vec<Place>, connect: &ConnectArgs) -> Course {
    Course {
        group,
        places,
        names: plan.hosts.iter().map(|host| host.name.clone()).collect(),
        deadline: plan.deadline,
        grace: plan.grace,
        connect: connect
            .connect_timeout
            .map_or(Some(CONNECT_TIMEOUT), |limit| limit.0),
        max_output: plan.max_output,
        directory: plan.directory.clone(),
        live: plan.live,
    }
}
