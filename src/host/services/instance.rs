//! One assignment on this host: how it stands and what is wanted of it. Its own thread sees to it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::keeper::Keeper;
use super::logfile;
use super::means::Means;
use super::orders::{Order, Orders};
use super::output::Output;
use crate::host::notice::Notice;
use crate::protocol::api::{AssignmentReport, Phase, WantedAssignment};

/// How much of a name is part of a directory's.
const LONGEST_NAME: usize = 60;
/// How much of an id tells one assignment from another: ids begin with the time.
const SHORT_ID: usize = 12;

/// An assignment as everybody but its own thread sees it: without its secrets.
pub(super) struct Instance {
    pub id: String,
    pub name: String,
    pub output: Output,
    /// Where its files are.
    pub dir: PathBuf,
    drain: Duration,
    status: Mutex<Status>,
    orders: Arc<Orders>,
}

/// How it stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Status {
    pub phase: Phase,
    pub port: Option<u16>,
    pub error: Option<String>,
    pub last_output: Option<String>,
    pub restarts: u32,
    /// Its process is gone and none will come.
    pub over: bool,
}

impl Instance {
    /// Begins to see to an assignment, with its files below `home`.
    pub(super) fn start(wanted: WantedAssignment, home: &Path, means: &Arc<Means>) -> Arc<Self> {
        let name = wanted.name.clone();
        let (id, drain) = (wanted.assignment_id.clone(), wanted.drain_ms);
        let begin = || -> io::Result<Arc<Self>> {
            let (orders, wake) = Orders::with_waker()?;
            let instance = Arc::new(Self::new(&id, &name, drain, home, orders));
            let keeper = Keeper::new(wanted, Arc::clone(&instance), Arc::clone(means), wake);
            std::thread::Builder::new()
                .name("service".to_owned())
                .spawn(move || keeper.keep())?;
            Ok(instance)
        };
        begin().unwrap_or_else(|error| {
            let instance = Arc::new(Self::new(&id, &name, drain, home, Orders::unheard()));
            let text = format!("start a thread for it: {error}");
            instance.set(Status::over(Phase::Failed, Some(text)), means);
            instance
        })
    }

    /// Returns one that has ended already: this life of the daemon never ran it.
    pub(super) fn ended(wanted: &WantedAssignment, home: &Path, means: &Means) -> Arc<Self> {
        let (id, name) = (&wanted.assignment_id, &wanted.name);
        let instance = Arc::new(Self::new(
            id,
            name,
            wanted.drain_ms,
            home,
            Orders::unheard(),
        ));
        instance.set(Status::over(Phase::Stopped, None), means);
        instance.output.close();
        instance
    }

    /// Returns one that is over and forgotten, for what may be left of its output.
    pub(super) fn forgotten(id: &str, name: &str, home: &Path) -> Arc<Self> {
        let instance = Self::new(id, name, 0, home, Orders::unheard());
        instance.output.close();
        Arc::new(instance)
    }

    fn new(id: &str, name: &str, drain: u64, home: &Path, orders: Orders) -> Self {
        let dir = home.join(directory(name, id));
        Self {
            id: id.to_owned(),
            name: name.to_owned(),
            output: Output::new(&dir, logfile::SIZE),
            dir,
            drain: Duration::from_millis(drain),
            status: Mutex::default(),
            orders: Arc::new(orders),
        }
    }

    /// Returns what is wanted of it.
    pub(super) fn orders(&self) -> &Orders {
        &self.orders
    }

    /// Lets it end once its clients have left it, which may take as long as it says, but no longer than `most`.
    pub(super) fn drain(&self, most: Duration) {
        let since = Instant::now();
        let until = since + self.drain.min(most);
        self.orders.give(Order::Drain { until, since });
    }

    /// Ends it at once.
    pub(super) fn end(&self) {
        self.orders.give(Order::Now);
    }

    /// Returns how it stands.
    pub(super) fn status(&self) -> Status {
        self.state().clone()
    }

    /// Tells whether its process is gone and none will come.
    pub(super) fn is_over(&self) -> bool {
        self.state().over
    }

    /// Notes how it stands, for the coordinator and whoever looks at the daemon's output.
    pub(super) fn set(&self, status: Status, means: &Means) {
        let mut state = self.state();
        if *state == status {
            return;
        }
        let moved = state.phase != status.phase;
        state.clone_from(&status);
        drop(state);
        means.news.bump();
        if moved {
            (means.tell)(Notice::Service {
                service: self.name.clone(),
                assignment: self.id.clone(),
                phase: status.phase,
                port: status.port,
                why: status.error,
            });
        }
    }

    /// Returns what the coordinator is told. `base` is the start of the address at which others reach this host.
    pub(super) fn report(&self, base: Option<&str>) -> AssignmentReport {
        let status = self.status();
        let endpoint = base.zip(status.port);
        AssignmentReport {
            assignment_id: self.id.clone(),
            // Its thread has yet to begin.
            phase: match status.phase {
                Phase::Assigned => Phase::Starting,
                phase => phase,
            },
            port: status.port,
            endpoint: endpoint.map(|(base, port)| format!("{base}:{port}")),
            error: status.error,
            last_output: status.last_output,
            restarts: status.restarts,
        }
    }

    fn state(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Status {
    /// Returns how it stands once nothing of it runs.
    pub(super) fn over(phase: Phase, error: Option<String>) -> Self {
        Self {
            phase,
            error,
            over: true,
            ..Self::default()
        }
    }
}

/// Returns the name of an assignment's directory.
fn directory(name: &str, id: &str) -> String {
    let plain = |text: &str| -> String {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        text.chars()
            .map(|c| if plain(c) { c } else { '_' })
            .collect()
    };
    let (name, id) = (plain(name), plain(id));
    let name = name.get(..LONGEST_NAME).unwrap_or(&name);
    let id = id.get(id.len().saturating_sub(SHORT_ID)..).unwrap_or(&id);
    format!("{name}-{id}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_have_harmless_names_of_their_own() {
        let id = "asg_0199a0b2-3c4d-7e5f-8a9b-0c1d2e3f4a5b";
        assert_eq!(directory("web", id), "web-0c1d2e3f4a5b");
        assert_eq!(directory("../a b", "x"), "___a_b-x");
        assert!(directory(&"é".repeat(300), id).len() < 80);
    }
}
