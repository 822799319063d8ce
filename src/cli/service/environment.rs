//! The variables of a service: open ones from flags and files, secret ones never from a command line.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::error::Failure;
use crate::ssh::shell::is_variable_name;

/// What is added to the environment of a service.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Service options")]
pub struct EnvironmentArgs {
    /// Set a variable for it; repeat for more. Everybody who lists services sees it
    #[arg(long = "env", value_name = "NAME=VALUE")]
    pub env: Vec<String>,
    /// Set the variables that a file has as lines NAME=VALUE; # begins a comment line
    #[arg(long, value_name = "FILE")]
    pub env_file: Vec<PathBuf>,
    /// Hand over a variable of this machine as a secret: only its hosts see it; repeat for more
    #[arg(long, value_name = "NAME")]
    pub secret_env: Vec<String>,
    /// Hand over as secrets what a file has as lines NAME=VALUE
    #[arg(long, value_name = "FILE")]
    pub secret_env_file: Vec<PathBuf>,
}

/// Names and values.
pub type Variables = BTreeMap<String, String>;

impl EnvironmentArgs {
    /// Returns the open and the secret variables. A flag wins over a file.
    ///
    /// # Errors
    /// When a file cannot be used, a variable is not set here, or a name is none. No message holds a value.
    pub fn read(&self) -> Result<(Variables, Variables), Failure> {
        let mut open = files("--env-file", &self.env_file)?;
        for text in &self.env {
            let (name, value) = pair(text).ok_or_else(|| {
                Failure::usage("--env: write NAME=VALUE, the name without blanks")
            })?;
            insert("--env", &mut open, name, value)?;
        }
        let mut secret = files("--secret-env-file", &self.secret_env_file)?;
        for name in &self.secret_env {
            if name.contains('=') {
                // The value is in the process list by now, but at least it goes no further.
                return Err(
                    Failure::usage("--secret-env takes a name without a value").hint(
                        "put the value into this process's environment, or use --secret-env-file",
                    ),
                );
            }
            let value = std::env::var(name)
                .ok()
                .filter(|_| is_variable_name(name))
                .ok_or_else(|| {
                    Failure::usage(format!(
                        "--secret-env {name}: this variable is not set here"
                    ))
                    .hint(format!("export {name}, or use --secret-env-file"))
                })?;
            insert("--secret-env", &mut secret, name, &value)?;
        }
        match secret.keys().find(|name| open.contains_key(*name)) {
            Some(name) => Err(Failure::usage(format!(
                "{name} is given both openly and as a secret"
            ))),
            None => Ok((open, secret)),
        }
    }
}

fn files(flag: &str, paths: &[PathBuf]) -> Result<Variables, Failure> {
    let mut all = Variables::new();
    for path in paths {
        let text = std::fs::read_to_string(path).map_err(|error| {
            Failure::usage(format!("{flag}: read {}", path.display())).because(error)
        })?;
        lines(flag, path, &text, &mut all)?;
    }
    Ok(all)
}

fn lines(flag: &str, path: &Path, text: &str, into: &mut Variables) -> Result<(), Failure> {
    for (number, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.trim_start().starts_with('#') {
            continue;
        }
        let (name, value) = pair(line).ok_or_else(|| {
            let place = format!("{flag}: {}:{}", path.display(), number + 1);
            Failure::usage(format!("{place}: write NAME=VALUE"))
        })?;
        insert(flag, into, name, value)?;
    }
    Ok(())
}

fn pair(text: &str) -> Option<(&str, &str)> {
    let (name, value) = text.split_once('=')?;
    let name = name.trim();
    is_variable_name(name).then_some((name, value))
}

fn insert(flag: &str, into: &mut Variables, name: &str, value: &str) -> Result<(), Failure> {
    if value.contains('\0') {
        return Err(Failure::usage(format!("{flag}: {name} holds a NUL byte")));
    }
    into.insert(name.to_owned(), value.to_owned());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_win_over_files_and_no_message_holds_a_value() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("env");
        std::fs::write(&file, "# a comment\n\nA=1\n B = x=y \n").unwrap();
        let args = EnvironmentArgs {
            env: vec!["A=2".into()],
            env_file: vec![file.clone()],
            secret_env_file: Vec::new(),
            secret_env: Vec::new(),
        };
        let (open, secret) = args.read().unwrap();
        assert_eq!(open["A"], "2");
        assert_eq!(open["B"], " x=y ");
        assert!(secret.is_empty());
        let both = EnvironmentArgs {
            secret_env_file: vec![file.clone()],
            ..args.clone()
        };
        assert!(
            both.read()
                .unwrap_err()
                .to_string()
                .contains("A is given both")
        );
        std::fs::write(&file, "A=1\nhunter2 and more\n").unwrap();
        let broken = EnvironmentArgs {
            secret_env_file: vec![file],
            ..EnvironmentArgs::default()
        };
        let text = format!("{:?}", broken.read().unwrap_err());
        assert!(
            text.contains("env:2") && !text.contains("hunter2"),
            "{text}"
        );
        let on_command_line = EnvironmentArgs {
            secret_env: vec!["TOKEN=hunter2".into()],
            ..EnvironmentArgs::default()
        };
        let text = format!("{:?}", on_command_line.read().unwrap_err());
        assert!(!text.contains("hunter2"), "{text}");
    }
}
