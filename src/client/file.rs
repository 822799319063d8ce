//! A file that says where the coordinator is: written by whoever makes the way there, and read again
//! whenever the coordinator does not answer, because the way may have become another.
//!
//! One line of JSON, `{"url":"…"}` or `{"url":"…","token":"…"}`. It may hold a token, so a file that others
//! can read, or that is somebody else's, is not used.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::net::IpAddr;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use reqwest::Url;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::Shared;
use super::address::parse_url;
use super::error::Error;
use super::settings::Settings;
use crate::protocol::api::Code;
use crate::support::secret::Secret;

/// More than this is no address and token.
const LONGEST: u64 = 16 << 10;

/// Why such a file is not used.
#[derive(Debug)]
pub enum Fault {
    /// There is none. It may come.
    Missing,
    /// It cannot be read.
    Unreadable(io::Error),
    /// It is a directory or something else.
    NoFile,
    /// It belongs to the user with this number.
    Foreign(u32),
    /// Others have rights to it: these are its rights.
    Loose(u32),
    /// It does not say what it should.
    Text(&'static str),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("is not there"),
            Self::Unreadable(error) => write!(f, "cannot be read: {error}"),
            Self::NoFile => f.write_str("is no file"),
            Self::Foreign(user) => write!(f, "is not used: it belongs to another user ({user})"),
            Self::Loose(mode) => write!(
                f,
                "is not used: it may hold a token, and its mode {mode:03o} lets others at it"
            ),
            Self::Text(why) => write!(f, "is not understood: {why}"),
        }
    }
}

/// The file, and what it said when it was last read.
#[derive(Debug)]
pub(super) struct CoordinatorFile {
    path: PathBuf,
    last: Mutex<Option<Known>>,
}

#[derive(Debug, Clone)]
struct Known {
    text: Secret,
    shared: Arc<Shared>,
}

#[derive(Deserialize)]
struct Announced {
    url: String,
    token: Option<String>,
    /// A tunnel of our user's has the port, so nobody else may.
    tunnel: Option<IgnoredAny>,
}

impl CoordinatorFile {
    /// Takes the file at `path`. One that is missing may come later.
    pub(super) fn open(path: PathBuf) -> Result<Self, Error> {
        let file = Self {
            path,
            last: Mutex::default(),
        };
        match file.coordinator() {
            Ok(_)
            | Err(Error::File {
                why: Fault::Missing,
                ..
            }) => Ok(file),
            Err(error) => Err(error),
        }
    }

    /// Returns the coordinator that the file named when it was last read.
    pub(super) fn coordinator(&self) -> Result<Arc<Shared>, Error> {
        let mut last = self.last();
        if let Some(known) = &*last {
            return Ok(Arc::clone(&known.shared));
        }
        self.refresh(&mut last)?;
        let known = last.as_ref().map(|known| Arc::clone(&known.shared));
        known.ok_or_else(|| self.fault(Fault::Missing))
    }

    /// Reads the file again. Returns the coordinator if it is not the one of `stale`.
    pub(super) fn other_than(&self, stale: &Arc<Shared>) -> Result<Option<Arc<Shared>>, Error> {
        let mut last = self.last();
        self.refresh(&mut last)?;
        let known = last.as_ref().map(|known| &known.shared);
        Ok(known.filter(|shared| !Arc::ptr_eq(shared, stale)).cloned())
    }

    fn refresh(&self, last: &mut Option<Known>) -> Result<(), Error> {
        let text = match read(&self.path) {
            Ok(text) => text,
            Err(why) => {
                *last = None;
                return Err(self.fault(why));
            }
        };
        if last.as_ref().is_none_or(|known| known.text != text) {
            *last = None;
            let (settings, own_port) = parse(&text).map_err(|why| self.fault(Fault::Text(why)))?;
            let shared = Arc::new(Shared {
                own_port,
                ..Shared::new(settings)?
            });
            *last = Some(Known { text, shared });
        }
        Ok(())
    }

    fn fault(&self, why: Fault) -> Error {
        Error::File {
            path: self.path.clone(),
            why,
        }
    }

    fn last(&self) -> MutexGuard<'_, Option<Known>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells whether the coordinator may be elsewhere by now.
pub(super) fn may_have_moved(error: &Error) -> bool {
    match error {
        // Somebody else may have got the port.
        Error::NoCoordinator { .. } | Error::Answer { .. } => true,
        Error::Refused { code, .. } => *code == Code::Unauthorized,
        Error::File { .. }
        | Error::Request(_)
        | Error::Token
        | Error::Address { .. }
        | Error::Build(_) => false,
    }
}

/// Returns what is in the file, if it is one's own and nobody else's business.
fn read(path: &Path) -> Result<Secret, Fault> {
    let opened = OpenOptions::new()
        .read(true)
        // What is no file must not make us wait.
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
        .open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Fault::Missing),
        Err(error) => return Err(Fault::Unreadable(error)),
    };
    // Of what was opened, not of what may be at the path by now.
    check(&file)?;
    let mut text = String::new();
    match file.take(LONGEST).read_to_string(&mut text) {
        Ok(_) => Ok(Secret::new(text)),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(Fault::Text(NO_JSON)),
        Err(error) => Err(Fault::Unreadable(error)),
    }
}

fn check(file: &File) -> Result<(), Fault> {
    let meta = file.metadata().map_err(Fault::Unreadable)?;
    if !meta.is_file() {
        return Err(Fault::NoFile);
    }
    if meta.uid() != rustix::process::geteuid().as_raw() {
        return Err(Fault::Foreign(meta.uid()));
    }
    match meta.mode() & 0o777 {
        mode if mode & 0o077 != 0 => Err(Fault::Loose(mode)),
        _ => Ok(()),
    }
}

/// Returns the port, if the address is one of this machine's own.
fn loopback_port(url: &Url) -> Option<u16> {
    let host = url
        .host_str()?
        .trim_start_matches('[')
        .trim_end_matches(']');
    let local = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    url.port_or_known_default().filter(|_| local)
}

const NO_JSON: &str = "it should be one line of JSON with the field `url`";

/// Returns also the port of this machine that must be ours. What is wrong never shows what is in the file.
fn parse(text: &Secret) -> Result<(Settings, Option<u16>), &'static str> {
    let announced: Announced = serde_json::from_str(text.expose()).map_err(|_| NO_JSON)?;
    let url = parse_url(&announced.url)?;
    let own_port = announced.tunnel.and_then(|_| loopback_port(&url));
    let settings = Settings {
        token: announced.token.map(Secret::new),
        // The file says where to go, and whoever wrote it changes it.
        discover: false,
        ..Settings::new(vec![url])
    };
    Ok((settings, own_port))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn write(path: &Path, text: &str, mode: u32) {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn only_a_private_file_with_an_address_is_used() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.json");
        let fault = |text: &str, mode| {
            write(&path, text, mode);
            let error = CoordinatorFile::open(path.clone()).unwrap_err().to_string();
            assert!(error.contains(path.to_str().unwrap()), "{error}");
            assert!(!error.contains("geheim"), "{error}");
            error
        };
        let good = r#"{"url":"unix:/a/b.sock","token":"geheim","tunnel":"1"}"#;
        for mode in [0o640, 0o604, 0o620, 0o610] {
            let said = fault(good, mode);
            assert!(said.contains(&format!("{mode:o}")), "{said}");
        }
        for text in [
            "",
            "geheim",
            r#"{"token":"geheim"}"#,
            r#"{"url":1,"token":"geheim"}"#,
        ] {
            assert!(fault(text, 0o600).contains("one line of JSON"), "{text}");
        }
        let elsewhere = fault(r#"{"url":"ftp://geheim"}"#, 0o600);
        assert!(elsewhere.contains("it must begin with"), "{elsewhere}");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        let error = CoordinatorFile::open(path.clone()).unwrap_err();
        assert!(error.to_string().contains("is no file"), "{error}");
        fs::remove_dir(&path).unwrap();
        write(&path, good, 0o600);
        let file = CoordinatorFile::open(path).unwrap();
        let shared = file.coordinator().unwrap();
        assert_eq!(shared.urls[0].as_str(), "unix:/a/b.sock");
        assert!(shared.token.is_some());
    }

    #[test]
    fn it_is_read_again_when_asked_and_a_missing_one_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.json");
        let file = CoordinatorFile::open(path.clone()).unwrap();
        let error = file.coordinator().unwrap_err();
        assert!(error.retry_helps(), "{error}");
        write(&path, r#"{"url":"http://127.0.0.1:1"}"#, 0o600);
        let first = file.coordinator().unwrap();
        assert!(file.other_than(&first).unwrap().is_none(), "nothing new");
        write(&path, r#"{"url":"http://127.0.0.1:2"}"#, 0o600);
        let second = file.other_than(&first).unwrap().unwrap();
        assert_eq!(second.urls[0].port(), Some(2));
        // Whoever still has the old one gets the new one, too.
        assert!(file.other_than(&first).unwrap().is_some());
        fs::remove_file(&path).unwrap();
        assert!(file.other_than(&second).is_err());
        assert!(file.coordinator().is_err());
    }
}
