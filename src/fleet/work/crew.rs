//! The workers of all hosts: started, replaced when the fleet file changes, stopped together.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use super::claim;
use super::core::Core;
use super::roll::Roll;
use super::view::View;
use super::{Means, worker};
use crate::client::holder::{Report, Stop};
use crate::fleet::file::{Host, HostName};
use crate::fleet::seat::ControllerId;
use crate::support::parts::Parts;
use crate::support::shutdown::{self, Cause, Shutdown, Trigger, Urgency};

/// How long the last of a stopped crew are waited for beyond the time jobs get.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a host is left alone whose worker's task has failed.
const FAILED: Duration = Duration::from_secs(1);

/// The workers.
pub struct Crew {
    means: Arc<Means>,
    parts: Parts,
    roll: Arc<Roll>,
    controller: ControllerId,
    members: BTreeMap<HostName, Member>,
    /// Told when all stop; their hosts are still in the fleet.
    end: Trigger,
    ending: Shutdown,
    /// Workers of hosts that are no more, until what they have is over. Who comes back waits for them.
    leaving: BTreeMap<HostName, JoinHandle<()>>,
}

/// Shows how hosts stand.
#[derive(Debug)]
pub struct Window(Vec<watch::Receiver<View>>);

impl Window {
    /// Returns how every host stands, by name.
    pub fn views(&self) -> Vec<View> {
        self.0.iter().map(|view| view.borrow().clone()).collect()
    }
}

struct Member {
    /// What the fleet file says of it.
    settings: Arc<watch::Sender<Arc<Host>>>,
    view: watch::Receiver<View>,
    trigger: Trigger,
    again: Arc<Notify>,
    task: JoinHandle<()>,
}

impl std::fmt::Debug for Crew {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Crew")
            .field("members", &self.members.len())
            .finish_non_exhaustive()
    }
}

/// Works for a host until it is told to stop, over the failure of a worker's task too: what is wrong in one place
/// of this program must not take the host away for good.
async fn lives(
    (mut core, mut inbox): (Arc<Core>, UnboundedReceiver<Report>),
    again: &Arc<Notify>,
    shutdown: &Shutdown,
) {
    loop {
        let working = worker::run(
            Arc::clone(&core),
            inbox,
            Arc::clone(again),
            shutdown.clone(),
        );
        match tokio::spawn(working).await {
            Err(error) if error.is_panic() => {}
            Ok(()) | Err(_) => return,
        }
        tracing::error!(host = %core.name, "its worker failed; another one takes its place");
        // Nobody takes their results any more, and their jobs are about to be given to others.
        core.table.stop_all(&Stop::Now);
        let idle = core.until(|core| core.table.running() == 0);
        let _ = tokio::time::timeout(PATIENCE, idle).await;
        let fresh = core.renewed();
        (core, inbox) = (Arc::new(fresh.0), fresh.1);
        tokio::time::sleep(FAILED).await;
    }
}

impl Crew {
    /// Returns a crew without workers.
    pub fn new(means: Means, controller: ControllerId) -> Self {
        let (end, ending) = shutdown::manual();
        Self {
            means: Arc::new(means),
            parts: Parts::default(),
            roll: Arc::default(),
            controller,
            members: BTreeMap::new(),
            end,
            ending,
            leaving: BTreeMap::new(),
        }
    }

    /// Returns what tells when the crew cannot go on: a worker that fails is replaced, who replaces it is not.
    pub const fn parts(&self) -> &Parts {
        &self.parts
    }

    /// Works for exactly these hosts from now on. Workers of others let what they have end, however long it takes.
    /// Those of hosts that are different now go by that from the next job on. Who waits to connect again does so at
    /// once. Returns how many are new or changed, and how many gone or changed.
    pub fn work_for(&mut self, hosts: &[Arc<Host>]) -> (usize, usize) {
        let (mut came, mut went) = (0, 0);
        self.leaving.retain(|_, task| !task.is_finished());
        let gone: Vec<HostName> = self
            .members
            .keys()
            .filter(|name| !hosts.iter().any(|host| host.name == **name))
            .cloned()
            .collect();
        for name in gone {
            if let Some(member) = self.members.remove(&name) {
                member.trigger.ask(Cause::Terminate);
                self.leaving.insert(name, member.task);
                went += 1;
            }
        }
        for host in hosts {
            if let Some(member) = self.members.get(&host.name) {
                let is_new = |known: &mut Arc<Host>| {
                    let changed = known != host;
                    known.clone_from(host);
                    changed
                };
                let changed = usize::from(member.settings.send_if_modified(is_new));
                came += changed;
                went += changed;
                member.again.notify_one();
                continue;
            }
            came += 1;
            let slots = claim::slots(host);
            if u32::from(slots) < host.slots {
                tracing::warn!(host = %host.name, asked = host.slots, "where jobs are pushed, slots count as {slots} at most");
            }
            let before = self.leaving.remove(&host.name);
            self.members
                .insert(host.name.clone(), self.member(host, before));
        }
        (came, went)
    }

    fn member(&self, host: &Arc<Host>, before: Option<JoinHandle<()>>) -> Member {
        let settings = Arc::new(watch::Sender::new(Arc::clone(host)));
        let (core, inbox) = Core::new(
            (Arc::clone(&self.means), Arc::clone(&self.roll)),
            self.controller.clone(),
            Arc::clone(&settings),
            self.ending.clone(),
        );
        let (trigger, shutdown) = shutdown::manual();
        let again = Arc::new(Notify::new());
        let view = core.view.subscribe();
        let ending = self.ending.clone();
        let wakes = Arc::clone(&again);
        let working = async move {
            if let Some(before) = before {
                // Two workers would speak for one host.
                let _ = before.await;
            }
            // Nobody may want it any more.
            if shutdown.urgency() == Urgency::Running && ending.urgency() == Urgency::Running {
                lives((Arc::new(core), inbox), &wakes, &shutdown).await;
            }
        };
        let task = tokio::spawn(self.parts.watched("what keeps up a worker", working));
        Member {
            settings,
            view,
            trigger,
            again,
            task,
        }
    }

    /// Takes hosts out of the coordinator's list that are in it since a former life and not among these: their
    /// fleet file has changed meanwhile.
    pub async fn forget_others(&self, hosts: &[Arc<Host>]) {
        let known = match self.means.client.hosts().await {
            Ok(known) => known,
            Err(error) => {
                tracing::warn!(%error, "cannot look which hosts there were");
                return;
            }
        };
        for host in known {
            // A daemon has an id of its own and speaks for itself.
            let pushed = host.id.as_str() == host.name;
            let still = hosts.iter().any(|one| one.name.as_str() == host.name);
            if pushed
                && !still
                && let Err(error) = self.means.client.deregister(&host.id).await
            {
                tracing::warn!(host = %host.name, %error, "cannot take a host out of the list");
            }
        }
    }

    /// Returns what shows how every host of now stands, also while the crew stops.
    pub fn window(&self) -> Window {
        let members = self.members.values();
        Window(members.map(|member| member.view.clone()).collect())
    }

    /// Ends all workers: what runs may end, for as long as jobs are given; less if `shutdown` is urgent.
    pub async fn stop(mut self, mut shutdown: Shutdown) {
        self.end.ask(Cause::Terminate);
        let members = std::mem::take(&mut self.members).into_values();
        let leaving = std::mem::take(&mut self.leaving).into_values();
        let tasks: Vec<_> = members.map(|member| member.task).chain(leaving).collect();
        let all = async {
            for task in tasks {
                let _ = task.await;
            }
        };
        tokio::pin!(all);
        tokio::select! {
            _ = tokio::time::timeout(self.means.drain + PATIENCE, &mut all) => return,
            () = shutdown.reached(Urgency::Now) => {}
        }
        self.end.ask(Cause::Terminate);
        let _ = tokio::time::timeout(PATIENCE, all).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::sync::mpsc;

    use super::super::fixture;
    use super::super::view::{Happened, State};
    use super::*;

    #[tokio::test]
    async fn a_worker_that_fails_is_replaced() {
        let (tell, mut told) = mpsc::unbounded_channel();
        let failed = AtomicBool::new(false);
        let means = fixture::means(Box::new(move |happened| {
            let down = matches!(
                happened,
                Happened::Host {
                    state: State::Down { .. },
                    ..
                }
            );
            if down {
                assert!(failed.swap(true, Ordering::Relaxed), "once, on purpose");
                let _ = tell.send(());
            }
        }));
        let mut crew = Crew::new(means, fixture::controller());
        crew.work_for(&[fixture::host()]);
        told.recv().await.unwrap();
        assert_eq!(crew.window().views().len(), 1);
        assert!(matches!(crew.window().views()[0].state, State::Down { .. }));
    }
}
