//! A coordinator, a host if one is wanted, and the verbs pointed at them.

use std::ops::Deref;
use std::time::Duration;

pub use crate::common::bare;
use crate::common::{Running, Verbs};

/// Long enough for anything that works.
pub const SOON: Duration = Duration::from_secs(60);

pub struct Place {
    // The hosts go before the directory they work in.
    hosts: Vec<Running>,
    pub verbs: Verbs,
}

impl Deref for Place {
    type Target = Verbs;

    fn deref(&self) -> &Verbs {
        &self.verbs
    }
}

impl Place {
    /// A coordinator alone: jobs wait.
    pub fn quiet() -> Self {
        Self::over(tempfile::tempdir().unwrap())
    }

    /// A coordinator over what is in this directory.
    pub fn over(dir: tempfile::TempDir) -> Self {
        Self {
            hosts: Vec::new(),
            verbs: Verbs::over(dir),
        }
    }

    /// A coordinator and a host called `lab` that may run `sh`.
    pub fn working() -> Self {
        let mut place = Self::quiet();
        place.add_host("lab");
        place
    }

    pub fn add_host(&mut self, name: &str) {
        let host = Running::start(&mut self.command(&["host", "--name", name]), None);
        host.wait_for_line("host registered", SOON);
        self.hosts.push(host);
    }
}
