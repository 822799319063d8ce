//! What connections are served by: the room in office, or, in a member of a cluster that does not lead, the way to
//! the one that does.

use std::cell::RefCell;
use std::sync::{Arc, Weak};

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::cluster::{self, Ending, Membership};
use super::connections;
use super::doors::Doors;
use super::means::Means;
use super::office::Office;
use super::{Deps, Error, queue};
use crate::support::parts::Parts;
use crate::support::shutdown::{Shutdown, Urgency};

/// A coordinator that is ready to be served with [`super::serve`].
pub struct Front {
    means: Means,
    /// Who serves here.
    office: watch::Sender<Option<Arc<Office>>>,
    /// Connections end after the request that they are in.
    closing: watch::Sender<bool>,
}

/// What a connection remembers of the office that served it last, so that it need not look for it with each request.
/// Weak, because a connection may be silent for long after that office is over.
pub type Known = RefCell<Weak<Office>>;

impl Front {
    pub(super) async fn open(deps: Deps) -> Result<Self, queue::Error> {
        let means = Means::new(deps);
        let office = if means.is_lone() {
            Some(Arc::new(means.load().await?))
        } else {
            // The seat sees to it once this leads.
            None
        };
        Ok(Self {
            means,
            office: watch::Sender::new(office),
            closing: watch::Sender::new(false),
        })
    }

    pub(super) fn parts(&self) -> Parts {
        self.means.parts.clone()
    }

    pub(super) const fn means(&self) -> &Means {
        &self.means
    }

    /// Returns what makes this a member of a cluster.
    pub(super) const fn membership(&self) -> Option<&Membership> {
        self.means.cluster.as_ref()
    }

    /// Returns the office that serves here.
    pub(super) fn office(&self) -> Option<Arc<Office>> {
        self.office.borrow().clone()
    }

    /// Returns a look at which office serves here.
    pub(super) fn offices(&self) -> watch::Receiver<Option<Arc<Office>>> {
        self.office.subscribe()
    }

    /// Has an office serve here.
    pub(super) fn occupy(&self, office: Arc<Office>) {
        office.start();
        self.office.send_replace(Some(office));
    }

    /// Has none serve here. Returns the one that did, to be ended.
    pub(super) fn vacate(&self) -> Option<Arc<Office>> {
        self.office.send_replace(None)
    }

    /// Returns the office that serves here, and looks only where the connection does not know it.
    pub(super) fn office_of(&self, known: &Known) -> Option<Arc<Office>> {
        let last = known.borrow().upgrade();
        if let Some(office) = last.filter(|office| !office.is_over()) {
            return Some(office);
        }
        let office = self.office();
        known.replace(office.as_ref().map(Arc::downgrade).unwrap_or_default());
        office
    }

    /// Becomes true when nothing new is begun any more.
    pub(super) fn closing(&self) -> watch::Receiver<bool> {
        self.closing.subscribe()
    }
}

/// Serves whoever comes, until `shutdown`, then lets open requests finish.
///
/// # Errors
/// When it must not go on as the member that it was.
pub(super) async fn serve(front: Front, doors: Doors, mut shutdown: Shutdown) -> Result<(), Error> {
    let front = Arc::new(front);
    let members = front
        .membership()
        .and_then(|membership| membership.members.clone());
    if let Some(members) = &members {
        shutdown = members.or_end(shutdown);
    }
    if let Some(office) = front.office() {
        office.start();
    }
    let mut tasks = JoinSet::new();
    if let Some(membership) = front.membership() {
        let parts = front.parts();
        let (cluster, links) = (membership.cluster.clone(), membership.links.clone());
        let status = cluster.watch();
        let seat = cluster::front::seat::run(Arc::clone(&front), cluster);
        tasks.spawn(parts.watched("what follows the cluster", seat));
        let letting_go = cluster::front::seat::let_go(status, links);
        tasks.spawn(parts.watched("what lets former leaders go", letting_go));
        if let Some(members) = &members {
            cluster::start(members, &parts, &mut tasks);
        }
    }
    let connections = connections::accept(&front, doors, shutdown.clone()).await;
    // Before the office: none may be opened any more.
    tasks.shutdown().await;
    front.closing.send_replace(true);
    let office = front.office();
    if let Some(office) = &office {
        office.close();
    }
    tokio::select! {
        () = connections::finish(connections) => {}
        () = shutdown.reached(Urgency::Now) => {}
    }
    if let Some(office) = office {
        office.end().await;
    }
    match members.and_then(|members| members.ending()) {
        Some(Ending::Failed(why)) => Err(Error::Cluster { why }),
        Some(Ending::Left) | None => Ok(()),
    }
}
