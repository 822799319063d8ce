//! What a deploy will do to a host. Pure: what was observed and what is wanted go in, steps come out.
//!
//! `--dry-run` prints these steps and a real run executes them.

use std::fmt;

use super::Component;
use super::Supply;
use super::daemon::Daemon;
use super::error::{DeployError, in_the_way};
use super::observe::{AtPath, File, Files, Found, Observed};
use crate::fleet::agent::config::merge_config;
use crate::fleet::agent::env_file::merge_env;
use crate::fleet::agent::picoclaw;
use crate::fleet::agent::security::merge_security;
use crate::fleet::release::Digest;
use crate::fleet::seat;
use crate::support::secret::Secret;

/// What a file system needs beside a program to still be usable, in bytes.
const HEADROOM: u64 = 64 << 10;

/// What a host should have.
#[derive(Debug, Clone)]
pub struct Desired {
    /// Programs, in the order in which they were observed.
    pub programs: Vec<(Component, Supply)>,
    /// How PicoClaw reaches its model, if PicoClaw is deployed.
    pub provider: Option<Provider>,
    /// How the host daemon is to run, if it is deployed and is to.
    pub daemon: Option<Daemon>,
    /// Install programs that are there already.
    pub force: bool,
}

/// How PicoClaw reaches its model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provider {
    /// Its name in the fleet file.
    pub name: String,
    /// The variable that holds the key in `.env`.
    pub key_name: String,
    /// The key.
    pub key: Secret,
    /// Model and address.
    pub settings: picoclaw::Settings,
}

/// What becomes of the program that stood there before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Former {
    /// There was none.
    None,
    /// It is kept as `….prev`.
    Kept,
    /// It is the same program; keeping it would push out a real predecessor.
    Same,
}

/// One thing that is done to a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Put a program in place.
    Install {
        /// Which.
        component: Component,
        /// The program.
        supply: Supply,
        /// What becomes of the former one.
        former: Former,
    },
    /// See whether the program runs and is what it should be.
    SelfTest {
        /// Which.
        component: Component,
        /// What to do if it is not.
        former: Option<Former>,
    },
    /// Let PicoClaw write its first configuration.
    Onboard,
    /// Merge our settings into a file.
    Merge(File),
    /// Merge the settings of the host daemon.
    DaemonSettings,
    /// Put the daemon's service in place and start it; anew if it runs.
    DaemonStart,
}

impl Step {
    /// Tells whether the step changes something on the host.
    pub fn changes(&self) -> bool {
        match self {
            Self::Install { .. }
            | Self::Onboard
            | Self::Merge(_)
            | Self::DaemonSettings
            | Self::DaemonStart => true,
            Self::SelfTest { .. } => false,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Install {
                component,
                supply,
                former,
            } => {
                let path = component.path();
                write!(f, "install {} as ~/{path}", supply.source())?;
                if let Supply::There(_) = supply {
                    f.write_str(", downloaded by the host")?;
                }
                match former {
                    Former::None => Ok(()),
                    Former::Kept => write!(f, " (the old one is kept as ~/{path}.prev)"),
                    Former::Same => f.write_str(" (again)"),
                }
            }
            Self::SelfTest { component, .. } => {
                let argument = component.version_argument();
                write!(f, "test ~/{} {argument}", component.path())
            }
            Self::Onboard => write!(f, "run ~/{} onboard", picoclaw::PROGRAM),
            Self::Merge(file) => write!(f, "merge provider, model and key into {}", file.path()),
            Self::DaemonSettings => {
                write!(f, "merge the daemon's settings into ~/{}", seat::SETTINGS)
            }
            Self::DaemonStart => write!(
                f,
                "start {} anew, or its stand-in where there is no systemd; running jobs may end first",
                seat::UNIT
            ),
        }
    }
}

/// Returns what has to be done, in order; only tests when everything is as it should be.
///
/// # Errors
/// When the host cannot become as desired; nothing has been changed then.
pub fn plan(observed: &Observed, desired: &Desired) -> Result<Vec<Step>, DeployError> {
    let mut steps = Vec::new();
    for (index, (component, supply)) in desired.programs.iter().enumerate() {
        let there = observed.programs.get(index).copied();
        let there = there.unwrap_or(AtPath::Nothing);
        let former = former(*component, there, supply.digest(), desired.force)?;
        if let Some(former) = former {
            check_space(*component, supply, observed.free)?;
            steps.push(Step::Install {
                component: *component,
                supply: supply.clone(),
                former,
            });
        }
        steps.push(Step::SelfTest {
            component: *component,
            former,
        });
    }
    if let Some(provider) = &desired.provider {
        steps.extend(agent_steps(observed, provider)?);
    }
    // Last: the daemon looks for agents when it starts.
    if let Some(daemon) = &desired.daemon {
        let ours = |step: &Step| {
            matches!(
                step,
                Step::Install {
                    component: Component::Host,
                    ..
                }
            )
        };
        let needs = daemon.needs(steps.iter().any(ours));
        steps.extend(needs.settings.then_some(Step::DaemonSettings));
        steps.extend(needs.start.then_some(Step::DaemonStart));
    }
    Ok(steps)
}

fn agent_steps(observed: &Observed, provider: &Provider) -> Result<Vec<Step>, DeployError> {
    let mut steps = Vec::new();
    // Even where onboard comes first: a file that cannot be merged is found before anything changes.
    let changed = files_to_write(&observed.files, provider)?;
    if *observed.file(File::Config) == Found::Nothing {
        steps.push(Step::Onboard);
        steps.extend(File::ALL.map(Step::Merge));
    } else {
        steps.extend(changed.into_iter().map(|(file, _)| Step::Merge(file)));
    }
    Ok(steps)
}

/// Returns whether the program is to be sent, and what becomes of what is there.
fn former(
    component: Component,
    there: AtPath,
    wanted: Option<Digest>,
    force: bool,
) -> Result<Option<Former>, DeployError> {
    match there {
        AtPath::Nothing => Ok(Some(Former::None)),
        AtPath::File(Some(digest)) if Some(digest) == wanted => Ok(force.then_some(Former::Same)),
        AtPath::File(_) => Ok(Some(Former::Kept)),
        AtPath::Other => Err(DeployError::InTheWay {
            path: format!("~/{}", component.path()),
            why: "it is no regular file",
        }),
    }
}

fn check_space(
    component: Component,
    supply: &Supply,
    free: Option<u64>,
) -> Result<(), DeployError> {
    let needed = supply.size().unwrap_or(0);
    match free {
        Some(free) if free < needed.saturating_add(HEADROOM.min(needed)) => {
            Err(DeployError::NoSpace {
                component,
                needed,
                free,
            })
        }
        Some(_) | None => Ok(()),
    }
}

/// Returns the files that are not as they should be, each with its new text.
///
/// # Errors
/// When a file is there that our settings cannot be merged into.
pub fn files_to_write(
    files: &Files,
    provider: &Provider,
) -> Result<Vec<(File, Secret)>, DeployError> {
    let mut changed = Vec::new();
    for (file, found) in File::ALL.into_iter().zip(files) {
        if let Found::Unusable(why) = found {
            return Err(in_the_way(file, why));
        }
        let merged = merged(file, found.text(), provider)?;
        let fits = match found {
            // These files hold keys: nobody else may read them.
            Found::Text { text, mode } => says_the_same(file, text, &merged) && mode & 0o077 == 0,
            Found::Nothing | Found::Unusable(_) => false,
        };
        if !fits {
            changed.push((file, merged));
        }
    }
    Ok(changed)
}

/// JSON that differs in white space only is not written anew.
fn says_the_same(file: File, old: &Secret, new: &Secret) -> bool {
    let value = |text: &Secret| serde_json::from_str::<serde_json::Value>(text.expose()).ok();
    match file {
        File::Config => value(old) == value(new),
        File::Env | File::Security => old == new,
    }
}

fn merged(file: File, existing: Option<&str>, provider: &Provider) -> Result<Secret, DeployError> {
    Ok(match file {
        File::Env => merge_env(existing, &provider.name, &provider.key_name, &provider.key)?,
        File::Config => Secret::new(merge_config(existing, &provider.settings)?),
        File::Security => merge_security(existing, &provider.key)?,
    })
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
