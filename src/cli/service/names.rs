//! Names for ids: which service a word means, and what the hosts of a service are called.

use std::collections::BTreeMap;

use crate::cli::error::Failure;
use crate::cli::exit::Exit;
use crate::client::Client;
use crate::protocol::HostId;
use crate::protocol::api::{Assignment, ServiceRecord};

/// How much of an assignment's id tells it from another one of the same host.
const SHORT: usize = 6;

/// Finds the service that `word` names: by its id, else by its name.
///
/// # Errors
/// When there is none, several have the name, or the coordinator cannot be asked.
pub async fn find(client: &Client, word: &str) -> anyhow::Result<ServiceRecord> {
    let services = client.services().await?;
    Ok(meant(services, word)?)
}

fn meant(services: Vec<ServiceRecord>, word: &str) -> Result<ServiceRecord, Failure> {
    if let Some(service) = services.iter().find(|service| service.id == word) {
        return Ok(service.clone());
    }
    let mut found: Vec<ServiceRecord> = services;
    found.retain(|service| service.name == word);
    if found.iter().any(|service| !service.removing) {
        // One that is on its way out has left its name to whoever took it since.
        found.retain(|service| !service.removing);
    }
    let mut found = found.into_iter();
    match (found.next(), found.next()) {
        (Some(service), None) => Ok(service),
        (None, _) => Err(
            Failure::new(Exit::Failed, format!("there is no service `{word}`"))
                .hint("`skyclaw service list` shows them"),
        ),
        (Some(first), Some(second)) => {
            let ids: Vec<String> = [first, second]
                .into_iter()
                .chain(found)
                .map(|service| service.id)
                .collect();
            Err(
                Failure::usage(format!("several services are called `{word}`"))
                    .hint(format!("name one by its id: {}", ids.join(", "))),
            )
        }
    }
}

/// What hosts are called.
#[derive(Debug, Default)]
pub struct HostNames(BTreeMap<HostId, String>);

impl HostNames {
    /// Asks for the names of the hosts that `services` run on. A host that is not in the list goes by its id, and so
    /// do all where the list cannot be had.
    pub async fn learn(&mut self, client: &Client, services: &[ServiceRecord]) {
        let unknown: Vec<HostId> = services
            .iter()
            .flat_map(|service| &service.assignments)
            .filter(|assignment| !self.0.contains_key(&assignment.host_id))
            .map(|assignment| assignment.host_id.clone())
            .collect();
        if unknown.is_empty() {
            return;
        }
        match client.hosts().await {
            Ok(hosts) => {
                let named = hosts.into_iter().map(|host| (host.id, host.name));
                self.0.extend(named);
            }
            Err(error) => tracing::debug!(%error, "the names of hosts are not known"),
        }
        for id in unknown {
            let name = id.to_string();
            self.0.entry(id).or_insert(name);
        }
    }

    /// Returns what a host is called.
    pub fn of<'n>(&'n self, id: &'n HostId) -> &'n str {
        self.0.get(id).map_or(id.as_str(), String::as_str)
    }

    /// Returns what tells one host's part from the others: the host's name, and if it has several parts the end of
    /// the assignment's id.
    pub fn replica(&self, service: &ServiceRecord, one: &Assignment) -> String {
        let several = service
            .assignments
            .iter()
            .filter(|other| other.host_id == one.host_id)
            .count()
            > 1;
        match several {
            true => format!("{}/{}", self.of(&one.host_id), short(&one.id)),
            false => self.of(&one.host_id).to_owned(),
        }
    }

    /// Tells whether `word` is the id or the name of this host.
    pub fn is_called(&self, id: &HostId, word: &str) -> bool {
        id.as_str() == word || self.of(id) == word
    }
}

/// Returns the end of an assignment's id: the beginning of one that is ordered by time is the same for many.
pub fn short(id: &str) -> &str {
    let from = id.len().saturating_sub(SHORT);
    id.get(from..).unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use super::super::samples::service;
    use super::*;

    #[test]
    fn ids_win_over_names_and_two_of_a_name_are_told() {
        let mut services = vec![service("svc_1", "api"), service("svc_2", "web")];
        services.push(service("svc_3", "svc_1"));
        let found = |services: &[ServiceRecord], word: &str| {
            meant(services.to_vec(), word).map(|service| service.id)
        };
        assert_eq!(found(&services, "web").unwrap(), "svc_2");
        assert_eq!(found(&services, "svc_1").unwrap(), "svc_1");
        services[1].removing = true;
        services.push(service("svc_5", "web"));
        assert_eq!(found(&services, "web").unwrap(), "svc_5");
        services[1].removing = false;
        services[3].id = "svc_4".to_owned();
        let several = anyhow::Error::from(found(&services, "web").unwrap_err());
        let (exit, hints) = crate::cli::error::classify(&several);
        assert_eq!(exit, Exit::Usage);
        assert!(hints[0].contains("svc_2, svc_4"), "{hints:?}");
        let none = anyhow::Error::from(found(&services, "nobody").unwrap_err());
        assert_eq!(crate::cli::error::classify(&none).0, Exit::Failed);
    }
}
