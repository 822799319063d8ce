//! Brings back the program that the last deploy replaced. Twice is back where it was.

use std::time::Duration;

use crate::fleet::ask::ask;
use crate::fleet::deploy::daemon::Service;
use crate::fleet::deploy::error::Undone;
use crate::fleet::deploy::lock::Lock;
use crate::fleet::deploy::observe::{DaemonFiles, observe};
use crate::fleet::deploy::{Change, Component, DeployError, Deployed, trial};
use crate::ssh::shell::Code;
use crate::ssh::upload::path_word;
use crate::ssh::{Connection, Error};
use crate::support::mask::Masker;

const TEMPLATE: &str = include_str!("../../templates/rollback.sh");
const LIMIT: Duration = Duration::from_secs(60);

/// Swaps `components` with their predecessors; a host daemon that is one of them is started anew.
///
/// # Errors
/// [`DeployError::NoFormer`] when one has none, and nothing was changed; [`DeployError::SelfTest`] when the former program
/// does not run there any more, and the swap was taken back; else as a deploy.
pub async fn run_on(
    connection: &Connection,
    components: &[Component],
) -> Result<Deployed, DeployError> {
    let mut lock = Some(Lock::take(connection).await?);
    let taken_over = lock.as_ref().and_then(|lock| lock.taken_over.clone());
    let mut swapped = swap(connection, components).await;
    if let Err(DeployError::Ssh(Error::ChannelRefused { .. })) = swapped
        && let Some(lock) = lock.take()
    {
        // This server allows no command beside the one that holds the lock.
        lock.release().await;
        swapped = swap(connection, components).await;
    }
    let done = match swapped {
        Ok(()) => test_and_start(connection, components).await,
        Err(error) => Err(error),
    };
    if let Some(lock) = lock {
        lock.release().await;
    }
    let mut deployed = done?;
    let notice = taken_over.map(|owner| format!("took over a lock that was left there by {owner}"));
    deployed.warnings.extend(notice);
    Ok(deployed)
}

async fn test_and_start(
    connection: &Connection,
    components: &[Component],
) -> Result<Deployed, DeployError> {
    let mut versions = Vec::new();
    for component in components {
        let masker = Masker::new(None);
        match trial::version(connection, *component, &masker).await? {
            Ok(version) => versions.push((*component, version)),
            Err(why) => {
                let after = match swap(connection, components).await {
                    Ok(()) => Undone::Restored,
                    Err(error) => Undone::Failed(error.to_string()),
                };
                return Err(DeployError::SelfTest {
                    component: *component,
                    why,
                    after,
                });
            }
        }
    }
    let mut service = None;
    if components.contains(&Component::Host) {
        service = match observe(connection, &[], true).await?.daemon {
            Some(files) => restart(connection, &files).await?,
            None => None,
        };
    }
    let paths = components.iter().map(|c| format!("~/{}", c.path()));
    Ok(Deployed {
        change: Change::RolledBack,
        versions,
        had_binary_before: true,
        had_config_before: true,
        service,
        created: Vec::new(),
        replaced: paths.collect(),
        warnings: Vec::new(),
    })
}

async fn restart(
    connection: &Connection,
    files: &DaemonFiles,
) -> Result<Option<Service>, DeployError> {
    match Service::installed(files) {
        Some(manager) => Service::start_again(connection, files, manager)
            .await
            .map(Some),
        None => Ok(None),
    }
}

async fn swap(connection: &Connection, components: &[Component]) -> Result<(), DeployError> {
    let mut code = Code::new().raw("set --");
    for component in components {
        code = path_word(code.raw(" "), &format!("~/{}", component.path()));
    }
    let answer = ask(connection, TEMPLATE, code, LIMIT).await?;
    let (word, path) = answer.words.split_once(' ').unwrap_or((&answer.words, ""));
    match word {
        "ok" => Ok(()),
        "none" => Err(DeployError::NoFormer {
            path: path.to_owned(),
        }),
        _ => {
            let stderr = answer.stderr.trim();
            Err(DeployError::PutBack {
                path: path.to_owned(),
                why: stderr
                    .lines()
                    .last()
                    .unwrap_or("no reason given")
                    .to_owned(),
            })
        }
    }
}
