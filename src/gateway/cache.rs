//! The last list of services on disk, so that a gateway that starts while all coordinators are away knows where to go.
//!
//! Only what it takes to get there is kept: no environment, no arguments.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use crate::protocol::api::{ServiceRecord, ServiceStatus, Services};
use crate::support::paths;

/// Where the list is kept.
#[derive(Debug)]
pub struct Cache {
    path: PathBuf,
    /// What stands there, so that it is not written again.
    kept: Mutex<Vec<u8>>,
}

impl Cache {
    /// Keeps it in this file.
    pub const fn at(path: PathBuf) -> Self {
        Self {
            path,
            kept: Mutex::new(Vec::new()),
        }
    }

    /// Returns the list that was kept, if there is one.
    pub fn load(&self) -> Option<Vec<ServiceRecord>> {
        let bytes = match std::fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "the last list of services cannot be read");
                return None;
            }
        };
        match serde_json::from_slice::<Services>(&bytes) {
            Ok(list) => Some(list.services),
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "the last list of services is not understood");
                None
            }
        }
    }

    /// Keeps this list. Failing to is no reason to stop.
    pub fn save(&self, list: &[ServiceRecord]) {
        let services = list.iter().map(needed).collect();
        let Ok(bytes) = serde_json::to_vec(&Services { services }) else {
            return;
        };
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if *kept == bytes {
            return;
        }
        match paths::write_private(&self.path, &bytes) {
            Ok(()) => *kept = bytes,
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "the list of services cannot be kept");
            }
        }
    }
}

/// Returns what it takes to send requests there.
fn needed(record: &ServiceRecord) -> ServiceRecord {
    let mut record = record.clone();
    record.command.clear();
    record.args.clear();
    (record.cwd, record.env, record.secret_env) = (None, None, None);
    (record.update_error, record.update_waits, record.version) = (None, None, 0);
    record.updated_at = record.created_at;
    record
        .assignments
        .retain(|assignment| assignment.status == ServiceStatus::Running);
    for assignment in &mut record.assignments {
        (assignment.error, assignment.last_output) = (None, None);
        // Or each report would be a change.
        assignment.updated_at = record.created_at;
    }
    record
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::table::Table;
    use super::super::table::tests::record;
    use super::*;

    #[test]
    fn what_is_kept_leads_to_the_same_endpoints_and_holds_no_secret() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("list");
        let cache = Cache::at(path.clone());
        assert!(cache.load().is_none());
        let hosts = [
            ("a", "running", "http://a:1"),
            ("b", "failed", "http://b:1"),
        ];
        let mut one = record("svc_1", "api", &hosts);
        one.env = Some(BTreeMap::from([("K".to_owned(), "geheim".to_owned())]));
        one.args = vec!["geheim".to_owned()];
        one.health = Some("/ready".to_owned());
        cache.save(&[one.clone()]);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains("geheim"), "{text}");
        let table = Table::after(&Table::default(), &cache.load().unwrap());
        let fresh = Table::after(&table, &[one.clone()]);
        let (kept, fresh) = (table.find("api").unwrap(), fresh.find("api").unwrap());
        assert!(std::sync::Arc::ptr_eq(
            &kept.endpoints[0],
            &fresh.endpoints[0]
        ));
        std::fs::write(&path, "rubbish").unwrap();
        assert!(cache.load().is_none());
        cache.save(&[one]);
        assert!(cache.load().is_none(), "nothing new, nothing written");
    }
}
