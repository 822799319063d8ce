//! Which services there are and where they answer: made anew from each list of a coordinator, with the endpoints
//! that stay taken over as they are.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use super::endpoint::{Endpoint, Identity};
use super::metrics::Counts;
use super::retry::Budget;
use crate::protocol::api::{Assignment, ServiceRecord, ServiceStatus};

/// A service and its endpoints.
#[derive(Debug)]
pub struct Service {
    /// Its id.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// What is asked for to see whether it is well, if the service says so.
    pub health: Option<String>,
    /// Where it answers.
    pub endpoints: Vec<Arc<Endpoint>>,
    /// What outlives this list.
    pub life: Arc<Life>,
}

/// What is remembered of a service from one list to the next.
#[derive(Debug, Default)]
pub struct Life {
    /// Whose turn it is.
    pub(super) turn: AtomicUsize,
    /// How many retries there may be.
    pub budget: Budget,
    /// What happened.
    pub counts: Counts,
}

/// Every service. Never changed: a new one takes its place.
#[derive(Debug, Default)]
pub struct Table {
    by_id: HashMap<String, Arc<Service>>,
    /// Of services that share a name the oldest that has an endpoint, else the oldest.
    by_name: HashMap<String, Arc<Service>>,
}

impl Table {
    /// Returns the table that a coordinator's list (oldest first) makes of the one before.
    pub fn after(before: &Self, list: &[ServiceRecord]) -> Self {
        let mut table = Self::default();
        for record in list {
            let service = Arc::new(service(record, before.by_id.get(&record.id)));
            table
                .by_name
                .entry(service.name.clone())
                .and_modify(|known| {
                    if known.endpoints.is_empty() && !service.endpoints.is_empty() {
                        *known = Arc::clone(&service);
                    }
                })
                .or_insert_with(|| Arc::clone(&service));
            table.by_id.insert(record.id.clone(), service);
        }
        table
    }

    /// Marks those of its endpoints that `next` does not have: they never come back.
    pub fn retire_absent(&self, next: &Self) {
        for service in self.services() {
            let kept = next.by_id.get(&service.id);
            let is_kept = |endpoint| {
                let mut listed = kept.iter().flat_map(|service| &service.endpoints);
                listed.any(|known| Arc::ptr_eq(known, endpoint))
            };
            for endpoint in &service.endpoints {
                if !is_kept(endpoint) {
                    endpoint.retire();
                }
            }
        }
    }

    /// Returns the service with this id, else with this name.
    pub fn find(&self, name_or_id: &str) -> Option<&Arc<Service>> {
        self.by_id
            .get(name_or_id)
            .or_else(|| self.by_name.get(name_or_id))
    }

    /// Returns every service, in no order.
    pub fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.by_id.values()
    }

    /// Returns the names and ids under which something answers, sorted.
    pub fn answering(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self
            .services()
            .filter(|service| !service.endpoints.is_empty())
            .flat_map(|service| [service.id.as_str(), service.name.as_str()])
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

fn service(record: &ServiceRecord, before: Option<&Arc<Service>>) -> Service {
    let mut endpoints: Vec<Arc<Endpoint>> = Vec::new();
    for assignment in &record.assignments {
        let Some(identity) = identity(record, assignment) else {
            continue;
        };
        // Two assignments at one address are one place: it would get twice its share.
        if endpoints
            .iter()
            .any(|known| known.identity.url == identity.url)
        {
            continue;
        }
        let kept = before
            .iter()
            .flat_map(|before| &before.endpoints)
            .find(|known| known.identity == identity);
        match kept {
            Some(kept) => endpoints.push(Arc::clone(kept)),
            None => match Endpoint::new(identity) {
                Some(fresh) => endpoints.push(Arc::new(fresh)),
                None => tracing::debug!(
                    service = record.name,
                    host = %assignment.host_id,
                    "an endpoint that is no http address is not used"
                ),
            },
        }
    }
    Service {
        id: record.id.clone(),
        name: record.name.clone(),
        health: record.health.clone(),
        endpoints,
        life: before.map_or_else(Arc::default, |before| Arc::clone(&before.life)),
    }
}

/// Returns what names this assignment's endpoint, if requests may be sent there.
fn identity(record: &ServiceRecord, assignment: &Assignment) -> Option<Identity> {
    if assignment.status != ServiceStatus::Running {
        return None;
    }
    let assignment_id = match assignment.id.as_str() {
        "" => assignment.host_id.as_str(),
        id => id,
    };
    Some(Identity {
        service: record.id.clone(),
        assignment: assignment_id.to_owned(),
        url: assignment.endpoint.as_ref()?.trim().to_owned(),
        health: record.health.clone(),
    })
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    /// Returns a service with these assignments: (host, status, endpoint).
    pub fn record(id: &str, name: &str, assignments: &[(&str, &str, &str)]) -> ServiceRecord {
        let at = "2026-01-01T00:00:00.000Z";
        let assignments: Vec<_> = assignments
            .iter()
            .map(|(host, status, endpoint)| {
                json!({"hostId": host, "status": status, "updatedAt": at, "endpoint": endpoint})
            })
            .collect();
        serde_json::from_value(json!({
            "id": id, "name": name, "command": "node", "replicas": 1, "requiredCapabilities": [],
            "status": "running", "createdAt": at, "updatedAt": at, "updatedBy": "n", "version": 1,
            "assignments": assignments,
        }))
        .unwrap()
    }

    fn urls(table: &Table, name: &str) -> Vec<String> {
        let service = table.find(name).unwrap();
        let urls = service.endpoints.iter();
        urls.map(|endpoint| endpoint.identity.url.clone()).collect()
    }

    #[test]
    fn only_running_assignments_with_an_address_count_and_each_once() {
        let list = [record(
            "svc_1",
            "api",
            &[
                ("a", "running", "http://a:1"),
                ("b", "pending", "http://b:1"),
                ("c", "failed", "http://c:1"),
                ("d", "running", "tunnel:d/api"),
                ("e", "running", "http://a:1"),
                ("f", "running", "https://f:1/x"),
            ],
        )];
        let table = Table::after(&Table::default(), &list);
        assert_eq!(urls(&table, "api"), ["http://a:1", "https://f:1/x"]);
        assert_eq!(table.answering(), ["api", "svc_1"]);
    }

    #[test]
    fn what_stays_keeps_what_is_known_of_it() {
        let two = [
            ("a", "running", "http://a:1"),
            ("b", "running", "http://b:1"),
        ];
        let first = Table::after(&Table::default(), &[record("svc_1", "api", &two)]);
        let kept = Arc::clone(&first.find("api").unwrap().endpoints[1]);
        let other = [
            ("b", "running", "http://b:1"),
            ("c", "running", "http://b:2"),
        ];
        let next = Table::after(&first, &[record("svc_1", "api", &other)]);
        let service = next.find("svc_1").unwrap();
        assert!(Arc::ptr_eq(&kept, &service.endpoints[0]));
        assert!(Arc::ptr_eq(&service.life, &first.find("api").unwrap().life));
        assert_eq!(urls(&next, "api"), ["http://b:1", "http://b:2"]);
        // Another process at the same address has a health of its own.
        let again = [("x", "running", "http://b:1")];
        let last = Table::after(&next, &[record("svc_1", "api", &again)]);
        assert!(!Arc::ptr_eq(&kept, &last.find("api").unwrap().endpoints[0]));
        next.retire_absent(&next);
        assert!(!kept.is_retired());
        next.retire_absent(&last);
        assert!(kept.is_retired());
        assert!(!last.find("api").unwrap().endpoints[0].is_retired());
        assert!(Table::after(&last, &[]).find("api").is_none());
    }

    #[test]
    fn ids_win_over_names_and_of_equal_names_the_oldest_that_answers() {
        let list = [
            record("svc_1", "api", &[]),
            record("svc_2", "api", &[("a", "running", "http://a:1")]),
            record("svc_3", "api", &[("b", "running", "http://b:1")]),
            record("svc_4", "svc_2", &[("c", "running", "http://c:1")]),
            record("svc_5", "idle", &[]),
            record("svc_6", "idle", &[]),
        ];
        let table = Table::after(&Table::default(), &list);
        assert_eq!(urls(&table, "api"), ["http://a:1"]);
        assert_eq!(urls(&table, "svc_3"), ["http://b:1"]);
        assert_eq!(
            urls(&table, "svc_2"),
            ["http://a:1"],
            "the id, not the name"
        );
        assert_eq!(table.find("idle").unwrap().id, "svc_5");
        assert!(table.find("none").is_none());
        assert_eq!(table.answering(), ["api", "svc_2", "svc_3", "svc_4"]);
    }
}
