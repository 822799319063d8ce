//! The host daemon in a deploy: what its files should be, what has to be done for it, and whether it lives on.

use std::time::Duration;

use super::desk::Desk;
use super::error::DeployError;
use super::observe::{DaemonFiles, Found};
use super::write::write_into;
use crate::fleet::file::Host;
use crate::fleet::link::Links;
use crate::fleet::seat;
use crate::fleet::service::settings::{self, Asks};
use crate::fleet::service::{self, Manager, Running, Started, lent, texts};
use crate::ssh::Connection;
use crate::support::secret::Secret;

/// What a host's daemon should be like, and what there is of it.
#[derive(Debug, Clone)]
pub struct Daemon {
    /// Its settings, whole.
    settings: Secret,
    /// How long its jobs may go on when it is stopped.
    drain: Duration,
    state_dir: String,
    found: DaemonFiles,
    running: Option<Running>,
}

/// What has to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// Its settings have to be written.
    pub settings: bool,
    /// Its service has to be put in place and started; anew if it runs.
    pub start: bool,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// The daemon, as it was seen last.
    pub running: Running,
    /// Why systemd does not run it, where it does not.
    pub why_no_systemd: Option<String>,
    state_dir: String,
}

impl Daemon {
    /// Puts together what is wanted for `host` and what was found there.
    ///
    /// # Errors
    /// When the settings do not fit, something is in the way of a file, or the connection dies.
    pub(super) async fn of(
        connection: &Connection,
        host: &Host,
        asks: &Asks,
        found: DaemonFiles,
        warnings: &mut Vec<String>,
    ) -> Result<Self, DeployError> {
        let places = [
            (&found.settings, seat::SETTINGS),
            (&found.unit, seat::UNIT_FILE),
            (&found.keeper, seat::KEEPER),
        ];
        for (file, path) in places {
            if let Found::Unusable(why) = file {
                let path = format!("~/{path}");
                return Err(DeployError::InTheWay { path, why });
            }
        }
        let wanted = settings::of(host, &found.home, asks)?;
        warnings.extend(settings::remarks(found.settings.text(), &wanted));
        let lent = lent::of(host);
        warnings.extend(lent.remarks);
        let merged = settings::merge_with(found.settings.text(), &wanted, &lent.variables);
        let state_dir = state_dir(merged.expose());
        let has_service = [&found.unit, &found.keeper]
            .iter()
            .any(|file| file.text().is_some());
        let running = match has_service {
            true => service::look(connection, &state_dir).await?,
            false => None,
        };
        Ok(Self {
            drain: settings::drain(merged.expose()),
            settings: merged,
            state_dir,
            found,
            running,
        })
    }

    /// Returns what has to be done, if the program itself is changed or not. Pure.
    pub(super) fn needs(&self, program_changes: bool) -> Needs {
        let settings = match &self.found.settings {
            Found::Text { text, mode } => *text != self.settings || mode & 0o077 != 0,
            Found::Nothing | Found::Unusable(_) => true,
        };
        let is = |found: &Found, text: &str| found.text() == Some(text);
        let fits = self.running.as_ref().is_some_and(|running| {
            running.answers
                && match running.manager {
                    Manager::Systemd => is(&self.found.unit, &texts::unit(self.drain)),
                    Manager::Launchd | Manager::Keeper => is(&self.found.keeper, texts::keeper()),
                }
        });
        Needs {
            settings,
            start: settings || program_changes || !fits,
        }
    }

    /// Writes its settings. Returns where, and whether nothing stood there.
    pub(super) async fn write_settings(
        &self,
        desk: &mut Desk<'_>,
    ) -> Result<(String, bool), DeployError> {
        put(desk, seat::SETTINGS, &self.settings).await?;
        Ok((
            format!("~/{}", seat::SETTINGS),
            self.found.settings == Found::Nothing,
        ))
    }

    /// Puts its service in place and starts it. Returns the file that was written, if one was, and whether nothing
    /// stood there.
    pub(super) async fn start(
        &self,
        desk: &mut Desk<'_>,
    ) -> Result<(Service, Option<(String, bool)>), DeployError> {
        let choosing =
            desk.beside(|connection| async move { Ok(service::choose(connection).await?) });
        let (manager, why_no_systemd) = choosing.await?;
        let (path, text, found) = match manager {
            Manager::Systemd => (seat::UNIT_FILE, texts::unit(self.drain), &self.found.unit),
            Manager::Launchd | Manager::Keeper => {
                (seat::KEEPER, texts::keeper().to_owned(), &self.found.keeper)
            }
        };
        let mut written = None;
        if found.text() != Some(text.as_str()) {
            put(desk, path, &Secret::new(text)).await?;
            written = Some((format!("~/{path}"), *found == Found::Nothing));
        }
        let again = self.running.is_some();
        let starting = desk.beside(|connection| async move {
            let dir = &self.state_dir;
            Ok(service::start(connection, manager, again, self.drain, dir).await?)
        });
        match starting.await? {
            Started::Up(running) => {
                let state_dir = self.state_dir.clone();
                let service = Service {
                    running,
                    why_no_systemd,
                    state_dir,
                };
                Ok((service, written))
            }
            Started::Down(said) => Err(DeployError::DaemonDown { said }),
        }
    }
}

impl Service {
    /// Returns what runs the daemon by the files that are there.
    pub(in crate::fleet) fn installed(files: &DaemonFiles) -> Option<Manager> {
        match (files.unit.text(), files.keeper.text()) {
            (Some(_), _) => Some(Manager::Systemd),
            (None, Some(_)) => Some(Manager::Keeper),
            (None, None) => None,
        }
    }

    /// Starts a daemon anew whose files are all there.
    ///
    /// # Errors
    /// [`DeployError::DaemonDown`] when it does not come up.
    pub(in crate::fleet) async fn start_again(
        connection: &Connection,
        files: &DaemonFiles,
        manager: Manager,
    ) -> Result<Self, DeployError> {
        let settings = files.settings.text().unwrap_or_default();
        let (drain, state_dir) = (settings::drain(settings), state_dir(settings));
        match service::start(connection, manager, true, drain, &state_dir).await? {
            Started::Up(running) => Ok(Self {
                running,
                why_no_systemd: None,
                state_dir,
            }),
            Started::Down(said) => Err(DeployError::DaemonDown { said }),
        }
    }

    /// Looks over a connection of its own whether the daemon has outlived the one that started it.
    ///
    /// # Errors
    /// [`DeployError::DaemonDown`] when it has not.
    pub async fn outlives(&self, links: &Links, host: &Host) -> Result<(), DeployError> {
        let link = links.open(host).await?;
        match service::look(&link.connection, &self.state_dir).await? {
            Some(running) if running.is(&self.running) && running.answers => Ok(()),
            Some(running) => Err(DeployError::DaemonDown {
                said: format!(
                    "process {} is now process {}",
                    self.running.pid, running.pid
                ),
            }),
            None => {
                let said = service::last_lines(&link.connection).await?;
                Err(DeployError::DaemonDown { said })
            }
        }
    }
}

/// Returns the daemon's directory by its settings.
pub(in crate::fleet) fn state_dir(settings: &str) -> String {
    let given = settings::value(settings, "SKYCLAW_HOST_STATE_DIR");
    given.map_or_else(|| format!("~/{}", seat::STATE), str::to_owned)
}

async fn put(desk: &mut Desk<'_>, path: &str, text: &Secret) -> Result<(), DeployError> {
    let (dir, name) = path.rsplit_once('/').unwrap_or((".", path));
    write_into(desk, dir, &[(name, text)]).await
}
