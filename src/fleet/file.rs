//! The fleet file: where it is, what it says, and the hosts that come out of it.
//!
//! Reads one file and changes nothing, except to write the template where there is none. Every
//! problem is reported at once, with its line and JSON pointer.

mod fields;
mod host;
mod key;
mod layout;
mod names;
mod problem;
mod route;
mod values;

#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};

pub use crate::fleet::target::Arch;
pub use fields::Fields;
pub use host::Host;
pub use key::{Error as KeyError, KeySource};
pub use names::{Address, HostName, Invalid, nearest, nearest_few};
pub use problem::{Level, Problem};
pub use route::Hop;

use crate::support::paths;

/// The file written where there is none.
pub const TEMPLATE: &str = include_str!("../../templates/fleet.json");
/// The variable that says where the file is.
pub const PATH_VARIABLE: &str = "SKYCLAW_FLEET_CONFIG";
const DEFAULT_PATH: &str = ".openclaw/workspace/config/picoclaw-fleet.json";

/// A fleet file that cannot be used. Trying again helps only after somebody changed something.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no file.
    #[error("no fleet file at {}", path.display())]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The file cannot be read.
    #[error("read fleet file {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file says things that cannot be.
    #[error("fleet file {} has {}", path.display(), count(problems))]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// Everything wrong with it, warnings included, in the order of the file.
        problems: Vec<Problem>,
    },
    /// A variable says what cannot be.
    #[error("{variable}: {why}")]
    Environment {
        /// Which variable.
        variable: &'static str,
        /// What is wrong with its value.
        why: &'static str,
    },
    /// There is no place for the file.
    #[error("no home directory to look for the fleet file in: set HOME, or give --config")]
    NoHome,
    /// The template cannot be written.
    #[error("write fleet file template")]
    Template(#[source] paths::Error),
}

fn count(problems: &[Problem]) -> String {
    let errors = problems
        .iter()
        .filter(|problem| problem.level == Level::Error)
        .count();
    match errors {
        1 => "1 error".to_owned(),
        more => format!("{more} errors"),
    }
}

/// The hosts of one fleet file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fleet {
    /// Where the file is.
    pub path: PathBuf,
    /// The hosts, in the order of the file, disabled ones included.
    pub hosts: Vec<Host>,
    /// What is odd about the file.
    pub warnings: Vec<Problem>,
}

/// What outranks the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// What flags say.
    pub flags: Fields,
    /// What the environment says.
    pub environment: Fields,
}

impl Overrides {
    /// Returns what the environment of this process says, and no flags.
    ///
    /// # Errors
    /// As [`Fields::from_environment`].
    pub fn from_process() -> Result<Self, Error> {
        let environment = Fields::from_environment(|name| std::env::var(name).ok())?;
        Ok(Self {
            flags: Fields::default(),
            environment,
        })
    }
}

impl Fleet {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// When it is missing, cannot be read, or is invalid.
    pub fn load(path: &Path, overrides: &Overrides) -> Result<Self, Error> {
        let text = match std::fs::read(path) {
            Ok(bytes) => String::from_utf8(bytes).map_err(|bad| Error::Read {
                path: path.to_owned(),
                source: io::Error::new(io::ErrorKind::InvalidData, bad.utf8_error()),
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Error::Missing {
                    path: path.to_owned(),
                });
            }
            Err(source) => {
                return Err(Error::Read {
                    path: path.to_owned(),
                    source,
                });
            }
        };
        Self::parse(path, &text, overrides)
    }

    /// Reads `text` as if it were the file at `path`.
    ///
    /// # Errors
    /// When it is invalid.
    pub fn parse(path: &Path, text: &str, overrides: &Overrides) -> Result<Self, Error> {
        match layout::read(text) {
            Ok((layout, warnings)) => Ok(Self {
                path: path.to_owned(),
                hosts: host::resolve(layout, overrides),
                warnings,
            }),
            Err(problems) => Err(Error::Invalid {
                path: path.to_owned(),
                problems,
            }),
        }
    }

    /// Returns the host of this name.
    pub fn host(&self, name: &str) -> Option<&Host> {
        self.hosts.iter().find(|host| host.name.as_str() == name)
    }
}

/// Returns where the fleet file is: `flag`, then `SKYCLAW_FLEET_CONFIG`, then the place below home.
///
/// # Errors
/// When nothing says where and there is no home directory.
pub fn locate(flag: Option<&Path>) -> Result<PathBuf, Error> {
    if let Some(path) = flag {
        return Ok(path.to_owned());
    }
    match std::env::var_os(PATH_VARIABLE).filter(|path| !path.is_empty()) {
        Some(path) => Ok(path
            .to_str()
            .map_or_else(|| PathBuf::from(&path), paths::expand_home)),
        None => dirs::home_dir()
            .map(|home| home.join(DEFAULT_PATH))
            .ok_or(Error::NoHome),
    }
}

/// Writes the template to `path` with its parents, unless something is there. Returns whether it did.
///
/// # Errors
/// When the file system refuses.
pub fn write_template(path: &Path) -> Result<bool, Error> {
    if let Some(parent) = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        paths::create_private_dir(parent).map_err(Error::Template)?;
    }
    paths::create_private(path, TEMPLATE.as_bytes()).map_err(Error::Template)
}
