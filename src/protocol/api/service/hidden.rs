//! Secrets are for hosts only: what everybody else may see of them, in answers and in debug output.

use std::collections::BTreeMap;
use std::fmt::{self, Debug, Formatter};

use serde::Serialize;

use super::ask::DeployService;
use super::kept::Kept;
use super::record::ServiceRecord;
use super::sync::WantedAssignment;

/// What readers see in place of a secret.
pub const HIDDEN: &str = "***";

fn hide(secrets: &mut BTreeMap<String, String>) {
    for value in secrets.values_mut() {
        HIDDEN.clone_into(value);
    }
}

impl ServiceRecord {
    /// Returns it as readers may see it: the names of secrets without their values, and nothing of what only
    /// coordinators need.
    #[must_use]
    pub fn masked(mut self) -> Self {
        self.secret_env.iter_mut().for_each(hide);
        self.kept = Kept::default();
        self
    }
}

/// Writes `shown` as JSON: no field that is added later can be forgotten.
fn debug(out: &mut Formatter<'_>, name: &str, shown: &impl Serialize) -> fmt::Result {
    let text = serde_json::to_string(shown).map_err(|_| fmt::Error)?;
    write!(out, "{name} {text}")
}

impl Debug for ServiceRecord {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let kept = self.kept.clone();
        debug(out, "ServiceRecord", &self.clone().masked())?;
        write!(out, " {kept:?}")
    }
}

impl Debug for DeployService {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let mut shown = self.clone();
        shown.secret_env.iter_mut().for_each(hide);
        debug(out, "DeployService", &shown)
    }
}

impl Debug for WantedAssignment {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let mut shown = self.clone();
        hide(&mut shown.secret_env);
        debug(out, "WantedAssignment", &shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_has_no_secrets() {
        let ask = DeployService {
            secret_env: Some([("KEY".to_owned(), "hunter2".to_owned())].into()),
            ..DeployService::default()
        };
        let shown = format!("{ask:?}");
        assert!(
            shown.contains("KEY") && !shown.contains("hunter2"),
            "{shown}"
        );
    }
}
