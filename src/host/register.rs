//! Introduces this host to the coordinator, again whenever the coordinator has forgotten it.

use std::time::Duration;

use super::core::Core;
use super::error::Error;
use super::facts;
use super::notice::Notice;
use crate::client::holder::Session;
use crate::protocol::api::{Code, Register};
use crate::support::backoff::Backoff;

/// How long to wait at most before the next try. A daemon does not give up: machines come and go.
const LONGEST: Duration = Duration::from_secs(30);

/// Keeps this host registered. Ends only when it can never be.
pub(super) async fn keep(core: &Core) -> Result<(), Error> {
    let mut sessions = core.session.subscribe();
    loop {
        if sessions.borrow_and_update().is_none() {
            let session = register(core).await?;
            core.session.send_replace(Some(session));
            core.beat.notify_one();
        } else if sessions.changed().await.is_err() {
            return Ok(());
        }
    }
}

async fn register(core: &Core) -> Result<Session, Error> {
    let mut backoff = Backoff::new(Duration::from_secs(1), core.longest_wait(LONGEST));
    loop {
        let sent_at = core.steady.now();
        match core.client.register(&request(core)).await {
            Ok(reply) => {
                core.works();
                core.table.told(&reply.leases, sent_at);
                core.tell(Notice::HostRegistered {
                    host: reply.host.id.clone(),
                    name: reply.host.name.clone(),
                });
                return Ok(reply.into());
            }
            Err(source) if source.code() == Some(Code::HostIdInUse) => {
                let id = core.id.clone();
                return Err(Error::IdInUse { id, source });
            }
            Err(error) if core.settings.once => return Err(Error::Once(error)),
            Err(error) => core.failed(&error),
        }
        backoff.wait().await;
    }
}

fn request(core: &Core) -> Register {
    let settings = &core.settings;
    Register {
        name: settings.name.clone(),
        host_id: Some(core.id.clone()),
        capabilities: Some(core.capabilities.clone()),
        max_parallel: Some(settings.max_parallel),
        // For the controller's fleet file to say.
        weight: None,
        labels: settings.labels.clone(),
        instance: Some(core.state.instance().clone()),
        leases: Some(core.table.leases()),
        blocked: core.block.borrow().why(),
        facts: Some(facts::gather(
            &core.state.scratch(),
            core.profile.borrow().clone(),
        )),
        now: Some(core.wall.now()),
    }
}
