//! Which way a run goes: through a running `fleet up`, or from this process.

use std::path::Path;

use super::connect::{CONNECT_TIMEOUT, ConnectArgs};
use crate::client::Client;
use crate::fleet::follow::{self, Course, Place, Reach, Reason};
use crate::fleet::run::Plan;
use crate::protocol::GroupId;

/// Returns the running `fleet up` if this run, on hosts of this fleet file, can be handed to it. Says
/// under -v why not.
pub async fn controller(
    plan: &Plan,
    fleet: &Path,
    connect: &ConnectArgs,
    travels: Result<(), Reason>,
) -> Option<Client> {
    let found = follow::find().await?;
    let stays = match (connect.own(), travels) {
        (Some(flag), _) => Some(Reason::Flag(flag)),
        (None, travels) => travels.err(),
    };
    if let Some(reason) = stays {
        tracing::info!(%reason, "this process runs it, not `fleet up`");
        return None;
    }
    if !found.works_with(fleet) {
        tracing::info!("this process runs it: `fleet up` works with another fleet file");
        return None;
    }
    if let Some(host) = found.lacks(plan.hosts.iter().map(|host| host.name.as_str())) {
        tracing::info!(
            host,
            "this process runs it: `fleet up` does not work for this host"
        );
        return None;
    }
    tracing::info!("`fleet up` runs it");
    Some(found.client)
}

/// Returns how a run is followed that was planned here.
pub fn course(plan: &Plan, group: GroupId, places: Vec<Place>, connect: &ConnectArgs) -> Course {
    Course {
        group,
        places,
        names: plan.hosts.iter().map(|host| host.name.clone()).collect(),
        deadline: plan.deadline,
        grace: plan.grace,
        reach: Some(Reach {
            links: connect.links(CONNECT_TIMEOUT),
            hosts: plan.hosts.clone(),
        }),
        connect: connect
            .connect_timeout
            .map_or(Some(CONNECT_TIMEOUT), |limit| limit.0),
        max_output: plan.max_output,
        directory: plan.directory.clone(),
        live: plan.live,
    }
}
