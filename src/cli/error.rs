//! Errors on their way to the user: which exit code they mean and what to do next.

use std::fmt;

use super::exit::Exit;
use crate::client;
use crate::fleet::{file, select};

/// An error that knows its exit code and may give hints.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    message: String,
    hints: Vec<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Failure {
    /// Makes an error that ends the process with `exit`.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            hints: Vec::new(),
            source: None,
        }
    }

    /// Makes an error of usage or configuration (code 2).
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// Adds what the user can do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Adds the cause, which is shown after the message.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.source {
            Some(source) => Some(source.as_ref()),
            None => None,
        }
    }
}

/// Returns the exit code an error means and the hints it gives.
///
/// Errors of other rooms that mean the same wherever they come up are classed here, once.
pub fn classify(error: &anyhow::Error) -> (Exit, Vec<String>) {
    if let Some(failure) = error.downcast_ref::<Failure>() {
        return (failure.exit, failure.hints.clone());
    }
    if let Some(error) = error.downcast_ref::<file::Error>() {
        return (Exit::Usage, file_hints(error));
    }
    if let Some(error) = error.downcast_ref::<file::KeyError>() {
        return (Exit::Usage, vec![error.hint()]);
    }
    if let Some(error) = error.downcast_ref::<select::Error>() {
        return (Exit::Usage, error.hint().into_iter().collect());
    }
    if let Some(error) = error.downcast_ref::<client::Error>() {
        return client_class(error);
    }
    if error.is::<client::SettingsError>() {
        return (Exit::Usage, Vec::new());
    }
    (Exit::Failed, Vec::new())
}

fn client_class(error: &client::Error) -> (Exit, Vec<String>) {
    let exit = match error {
        client::Error::NoCoordinator { .. } => Exit::NoCoordinator,
        client::Error::Token | client::Error::Address { .. } => Exit::Usage,
        client::Error::Refused { .. }
        | client::Error::Answer { .. }
        | client::Error::File { .. }
        | client::Error::Request(_)
        | client::Error::Build(_) => Exit::Failed,
    };
    (exit, error.hints())
}

fn file_hints(error: &file::Error) -> Vec<String> {
    match error {
        file::Error::Missing { .. } => {
            vec!["run `skyclaw fleet init` to write a template there".to_owned()]
        }
        file::Error::Invalid { path, .. } => {
            vec![format!(
                "edit {}, then run `skyclaw fleet validate`",
                path.display()
            )]
        }
        file::Error::Read { .. }
        | file::Error::Environment { .. }
        | file::Error::NoHome
        | file::Error::Template(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn class_and_hints_survive_context() {
        let failure = Failure::usage("no `-y`").hint("give -y").because("why");
        let error = Err::<(), _>(failure).context("deploy").unwrap_err();
        assert_eq!(format!("{error:#}"), "deploy: no `-y`: why");
        assert_eq!(classify(&error), (Exit::Usage, vec!["give -y".to_owned()]));
        assert_eq!(classify(&anyhow::anyhow!("x")).0, Exit::Failed);
    }
}
