//! What a host must have, or be, to run a job.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wildmatch::WildMatch;

/// Conditions on a host; all of them must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Requirement {
    /// What the host must be able to do. Always written, because readers of the older form expect it.
    pub required_capabilities: Vec<String>,
    /// Labels the host must carry with these values.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Names or patterns (`*`, `?`) of which one must fit the host; empty means any host.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
}

impl Requirement {
    /// Returns the demand for exactly the host called `name`.
    pub fn pinned(name: impl Into<String>) -> Self {
        Self {
            hosts: vec![name.into()],
            ..Self::default()
        }
    }

    /// Returns the same conditions in the one form that equal conditions share: trimmed, sorted, unique.
    #[must_use]
    pub fn normalized(self) -> Self {
        Self {
            required_capabilities: tidy(self.required_capabilities),
            labels: self.labels,
            hosts: tidy(self.hosts),
        }
    }

    /// Returns the host's name if the conditions name exactly one host and no pattern.
    pub fn pin(&self) -> Option<&str> {
        match self.hosts.as_slice() {
            [name] if !name.contains(['*', '?']) => Some(name),
            _ => None,
        }
    }

    /// Tells whether a host with these names, capabilities and labels meets the conditions.
    pub fn is_met_by<'a>(
        &self,
        names: impl Iterator<Item = &'a str> + Clone,
        capabilities: &[String],
        labels: &BTreeMap<String, String>,
    ) -> bool {
        let capable = self
            .required_capabilities
            .iter()
            .all(|wanted| capabilities.contains(wanted));
        let labelled = self
            .labels
            .iter()
            .all(|(key, value)| labels.get(key) == Some(value));
        let named = self.hosts.is_empty()
            || self.hosts.iter().any(|pattern| {
                let pattern = WildMatch::new(pattern);
                names.clone().any(|name| pattern.matches(name))
            });
        capable && labelled && named
    }
}

fn tidy(words: Vec<String>) -> Vec<String> {
    let mut words: Vec<String> = words
        .into_iter()
        .map(|word| word.trim().to_owned())
        .filter(|word| !word.is_empty())
        .collect();
    words.sort();
    words.dedup();
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_trimmed_sorted_unique() {
        let wanted = Requirement {
            required_capabilities: vec![" shell".into(), "gpu".into(), "shell".into(), " ".into()],
            ..Requirement::default()
        }
        .normalized();
        assert_eq!(wanted.required_capabilities, ["gpu", "shell"]);
        assert_eq!(
            serde_json::to_string(&wanted).unwrap(),
            r#"{"requiredCapabilities":["gpu","shell"]}"#
        );
    }

    #[test]
    fn every_condition_must_hold() {
        let wanted = Requirement {
            required_capabilities: vec!["shell".into()],
            labels: BTreeMap::from([("zone".into(), "eu".into())]),
            hosts: vec!["web*".into(), "db1".into()],
        };
        let labels = BTreeMap::from([("zone".to_owned(), "eu".to_owned())]);
        let met = |name: &str, capabilities: &[&str], labels: &BTreeMap<String, String>| {
            let capabilities: Vec<String> = capabilities.iter().map(|c| (*c).to_owned()).collect();
            wanted.is_met_by([name].into_iter(), &capabilities, labels)
        };
        assert!(met("web7", &["gpu", "shell"], &labels));
        assert!(met("db1", &["shell"], &labels));
        assert!(!met("db2", &["shell"], &labels));
        assert!(!met("web7", &["gpu"], &labels));
        assert!(!met("web7", &["shell"], &BTreeMap::new()));
        assert_eq!(wanted.pin(), None);
        assert_eq!(Requirement::pinned("db1").pin(), Some("db1"));
        assert_eq!(Requirement::pinned("db*").pin(), None);
    }
}
