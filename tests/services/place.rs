//! A coordinator, hosts that follow a script, and the verbs pointed at them.

use std::ops::Deref;
use std::time::Duration;

use serde_json::{Value, json};

use crate::common::Verbs;
pub use crate::common::bare;
use crate::script::{Act, ScriptedHost};

/// Long enough for anything that works.
pub const SOON: Duration = Duration::from_secs(60);

pub struct Place {
    // Hosts go before the coordinator they talk to.
    pub hosts: Vec<ScriptedHost>,
    verbs: Verbs,
}

impl Deref for Place {
    type Target = Verbs;

    fn deref(&self) -> &Verbs {
        &self.verbs
    }
}

impl Place {
    /// A coordinator without hosts.
    pub fn quiet() -> Self {
        Self {
            hosts: Vec::new(),
            verbs: Verbs::over(tempfile::tempdir().unwrap()),
        }
    }

    /// With hosts of these names that do well.
    pub fn with(names: &[&str]) -> Self {
        let mut place = Self::quiet();
        for name in names {
            let host = ScriptedHost::start(place.coordinator.address, name, Act::Well);
            place.hosts.push(host);
        }
        place
    }

    /// With one host that does this.
    pub fn acting(act: Act) -> Self {
        let mut place = Self::quiet();
        let host = ScriptedHost::start(place.coordinator.address, "lab", act);
        place.hosts.push(host);
        place
    }

    /// All hosts do this with whatever they are given from now on.
    pub fn act(&self, act: Act) {
        for host in &self.hosts {
            host.act(act.clone());
        }
    }

    /// The service of this id as the coordinator shows it.
    pub fn service(&self, id: &str) -> Value {
        self.coordinator.get(&format!("/v1/services/{id}"))["service"].clone()
    }

    /// A service that nobody's command line asked for; its id.
    pub fn posted(&self, name: &str) -> String {
        let body = json!({"name": name, "command": "sh", "args": ["-c", "true"]});
        let made = self.coordinator.post("/v1/services", &body);
        made["service"]["id"].as_str().unwrap().to_owned()
    }
}
