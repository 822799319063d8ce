//! The workers of all hosts: started, replaced when the fleet file changes, stopped together.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use super::core::Core;
use super::view::View;
use super::{Means, worker};
use crate::fleet::file::{Host, HostName};
use crate::fleet::run::host_id;
use crate::fleet::seat::ControllerId;
use crate::support::shutdown::{self, Cause, Shutdown, Trigger, Urgency};

/// How long the last of a stopped crew are waited for beyond the time jobs get.
const PATIENCE: Duration = Duration::from_secs(60);

/// The workers.
pub struct Crew {
    means: Arc<Means>,
    controller: ControllerId,
    members: BTreeMap<HostName, Member>,
    /// All stop, and their hosts are still in the fleet.
    ending: Arc<AtomicBool>,
    /// Workers of hosts that are no more, or are different now.
    leaving: Vec<JoinHandle<()>>,
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
    host: Arc<Host>,
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

impl Crew {
    /// Returns a crew without workers.
    pub fn new(means: Means, controller: ControllerId) -> Self {
        Self {
            means: Arc::new(means),
            controller,
            members: BTreeMap::new(),
            ending: Arc::default(),
            leaving: Vec::new(),
        }
    }

    /// Works for exactly these hosts from now on. Workers of others finish what they have; of those that
    /// stay as they are, who waits to connect again does so at once. Returns how many came and went.
    pub fn work_for(&mut self, hosts: &[Arc<Host>]) -> (usize, usize) {
        let (mut came, mut went) = (0, 0);
        self.leaving.retain(|task| !task.is_finished());
        let gone: Vec<HostName> = self
            .members
            .keys()
            .filter(|name| !hosts.iter().any(|host| host.name == **name))
            .cloned()
            .collect();
        for name in gone {
            if let Some(member) = self.members.remove(&name) {
                member.trigger.ask(Cause::Terminate);
                self.leaving.push(member.task);
                went += 1;
            }
        }
        for host in hosts {
            let before = match self.members.remove(&host.name) {
                Some(member) if member.host == *host => {
                    member.again.notify_one();
                    self.members.insert(host.name.clone(), member);
                    continue;
                }
                before => before,
            };
            let before = before.map(|member| {
                member.trigger.ask(Cause::Terminate);
                went += 1;
                member.task
            });
            came += 1;
            self.members
                .insert(host.name.clone(), self.member(host, before));
        }
        (came, went)
    }

    fn member(&self, host: &Arc<Host>, before: Option<JoinHandle<()>>) -> Member {
        let id = host_id(host);
        let (core, inbox) = Core::new(
            Arc::clone(&self.means),
            self.controller.clone(),
            Arc::clone(host),
            id,
            Arc::clone(&self.ending),
        );
        let (trigger, shutdown) = shutdown::manual();
        let again = Arc::new(Notify::new());
        let view = core.view.subscribe();
        let working = worker::run(Arc::new(core), inbox, Arc::clone(&again), shutdown);
        let task = tokio::spawn(async move {
            if let Some(before) = before {
                // Two workers would speak for one host.
                let _ = before.await;
            }
            working.await;
        });
        Member {
            host: Arc::clone(host),
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
        self.ending.store(true, Ordering::Relaxed);
        let mut tasks = std::mem::take(&mut self.leaving);
        let mut triggers = Vec::new();
        for (_, member) in std::mem::take(&mut self.members) {
            member.trigger.ask(Cause::Terminate);
            triggers.push(member.trigger);
            tasks.push(member.task);
        }
        let all = async {
            for task in &mut tasks {
                let _ = task.await;
            }
        };
        tokio::pin!(all);
        tokio::select! {
            _ = tokio::time::timeout(self.means.drain + PATIENCE, &mut all) => return,
            () = shutdown.reached(Urgency::Now) => {}
        }
        for trigger in &triggers {
            trigger.ask(Cause::Terminate);
        }
        let _ = tokio::time::timeout(PATIENCE, all).await;
    }
}
