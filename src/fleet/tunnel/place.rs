//! A tunnel's place on its host: the private directory, the socket in it and the file that tells the
//! host's daemon about it.

use std::time::Duration;

use serde::Serialize;

use super::error::Error;
use crate::client;
use crate::fleet::ask::{Answer, ask};
use crate::fleet::seat::{ControllerId, TUNNELS};
use crate::ssh::Connection;
use crate::ssh::forward;
use crate::ssh::shell::Code;
use crate::ssh::upload::{Upload, path_word};
use crate::support::ids::random_hex;
use crate::support::secret::Secret;

const OPEN: &str = include_str!("../../../templates/tunnel-open.sh");
const CHECK: &str = include_str!("../../../templates/tunnel-check.sh");
const CLOSE: &str = include_str!("../../../templates/tunnel-close.sh");
const LIMIT: Duration = Duration::from_secs(30);
/// The file may hold a token.
const MODE: u32 = 0o600;

/// A place that is this tunnel's until another one takes it over.
#[derive(Debug)]
pub(super) struct Place {
    socket_name: String,
    file_name: String,
    /// The directory, absolute.
    directory: String,
    /// Who has it.
    mark: String,
}

/// What the host's daemon reads.
#[derive(Serialize)]
struct Announced<'a> {
    url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
    /// Whose it is. The daemon takes it for a sign that the port is held for its own user.
    tunnel: &'a str,
}

impl Place {
    /// Makes the directory and removes what another tunnel has in it for this controller: the last wins.
    pub(super) async fn take(
        connection: &Connection,
        controller: &ControllerId,
    ) -> Result<Self, Error> {
        let mut place = Self {
            socket_name: last_of(&controller.socket()),
            file_name: last_of(&controller.coordinator_file()),
            directory: String::new(),
            mark: random_hex::<16>(),
        };
        let answer = ask(connection, OPEN, place.names(), LIMIT).await?;
        if answer.words != "ok" {
            return Err(failure(&answer));
        }
        let directory = answer.body.trim_end_matches('\n');
        if !directory.starts_with('/') {
            let why = format!("its directory has no absolute path but `{directory}`");
            return Err(Error::Place { why });
        }
        place.directory = directory.to_owned();
        Ok(place)
    }

    fn names(&self) -> Code {
        let code = path_word(Code::new().raw("d="), &format!("~/{TUNNELS}"));
        let code = code.raw(";s=").word(self.socket_name.as_bytes());
        code.raw(";f=").word(self.file_name.as_bytes())
    }

    /// Returns where the socket is to be.
    pub(super) fn socket(&self) -> String {
        format!("{}/{}", self.directory, self.socket_name)
    }

    /// Sees to it that nobody else can use the socket.
    pub(super) async fn check_socket(&self, connection: &Connection) -> Result<(), Error> {
        let code = Code::new().raw("p=").word(self.socket().as_bytes());
        let answer = ask(connection, CHECK, code, LIMIT).await?;
        match answer.words.as_str() {
            "ok" => Ok(()),
            _ => Err(failure(&answer)),
        }
    }

    /// Tells the daemon where its coordinator is: whole or not at all, and nobody else.
    pub(super) async fn announce(
        &self,
        connection: &Connection,
        at: &forward::Place,
        token: Option<&Secret>,
    ) -> Result<(), Error> {
        let announced = Announced {
            url: match at {
                forward::Place::Socket(path) => client::unix_url(path.as_ref())
                    .ok_or_else(|| Error::Place {
                        why: format!("{path} is no absolute path"),
                    })?
                    .into(),
                forward::Place::Port(port) => format!("http://127.0.0.1:{port}"),
            },
            token: token.map(Secret::expose),
            tunnel: &self.mark,
        };
        let mut text = serde_json::to_string(&announced).map_err(|error| Error::Place {
            why: error.to_string(),
        })?;
        text.push('\n');
        let text = Secret::new(text);
        let bytes = text.expose().as_bytes();
        let path = format!("{}/{}", self.directory, self.file_name);
        let upload = Upload::of_bytes(path, MODE, bytes);
        connection.upload(&upload, &mut &*bytes).await?;
        Ok(())
    }

    /// Removes socket and file, unless another tunnel has them by now.
    pub(super) async fn clear(&self, connection: &Connection) -> Result<(), Error> {
        let code = self.names().raw(";i=").word(self.mark.as_bytes());
        let answer = ask(connection, CLOSE, code, LIMIT).await?;
        match answer.words.as_str() {
            "ok" => Ok(()),
            _ => Err(failure(&answer)),
        }
    }
}

fn last_of(path: &str) -> String {
    path.rsplit('/').next().unwrap_or_default().to_owned()
}

fn failure(answer: &Answer) -> Error {
    let words = answer.words.as_str();
    let (word, rest) = words.split_once(' ').unwrap_or((words, ""));
    let what = match word {
        "symlink" => format!("{rest} is a symbolic link; remove it"),
        "owner" => format!("{rest} belongs to another user"),
        "mode" => format!("others may use {rest}, and its rights cannot be changed"),
        "nosocket" => format!("{rest} is there and is no socket; remove it"),
        "nofile" => format!("{rest} is there and is no file; remove it"),
        "socket" => format!("others may use the socket: {rest}"),
        "mkdir" => format!("cannot make {rest}"),
        "enter" | "remove" => format!("cannot {word} {rest}"),
        _ => words.to_owned(),
    };
    let said = answer
        .stderr
        .lines()
        .rfind(|line| !line.trim().is_empty())
        .map(|line| format!(": {}", line.trim()));
    Error::Place {
        why: what + &said.unwrap_or_default(),
    }
}
