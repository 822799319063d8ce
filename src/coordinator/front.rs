//! What connections are served by: the room in office.

use std::cell::RefCell;
use std::sync::{Arc, Weak};

use tokio::sync::watch;

use super::connections;
use super::doors::Doors;
use super::means::Means;
use super::office::Office;
use super::{Deps, queue};
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
        let office = means.load().await?;
        Ok(Self {
            means,
            office: watch::Sender::new(Some(Arc::new(office))),
            closing: watch::Sender::new(false),
        })
    }

    pub(super) fn parts(&self) -> Parts {
        self.means.parts.clone()
    }

    /// Returns the office that serves here.
    pub(super) fn office(&self) -> Option<Arc<Office>> {
        self.office.borrow().clone()
    }

    /// Returns the same, and looks only where the connection does not know it.
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
pub(super) async fn serve(front: Front, doors: Doors, mut shutdown: Shutdown) {
    let front = Arc::new(front);
    if let Some(office) = front.office() {
        office.start();
    }
    let connections = connections::accept(&front, doors, shutdown.clone()).await;
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
}
