//! Rids a process of secrets in its environment before anything else happens.
//!
//! The environment a process was started with can be read by its user's other processes for as long as it
//! lives, and jobs are such processes. So it starts itself again without them; what it still needs
//! of them goes through a pipe on standard input.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::Command;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::Failure;
use crate::support::mask;

/// The variable with the token.
pub const TOKEN: &str = "SKYCLAW_TOKEN";
/// The variable with the keys of the public API.
pub const KEYS: &str = "SKYCLAW_PUBLIC_API_KEYS";
/// The variable with the keys of a gateway.
pub const GATEWAY_KEYS: &str = "SKYCLAW_GATEWAY_API_KEYS";
/// The variable with the secret that the members of a cluster share.
pub const CLUSTER_SECRET: &str = "SKYCLAW_CLUSTER_SECRET";
/// Says that the secrets come as JSON on standard input.
pub const HANDED: &str = "SKYCLAW_SECRETS_ON_STDIN";

/// Returns the names of variables that `unwanted` picks.
pub fn names(unwanted: impl Fn(&str) -> bool) -> Vec<OsString> {
    std::env::vars_os()
        .map(|(name, _)| name)
        .filter(|name| name.to_str().is_some_and(&unwanted))
        .collect()
}

/// Tells whether a variable of this name holds a secret.
pub fn is_secret(name: &str) -> bool {
    [TOKEN, KEYS, GATEWAY_KEYS, CLUSTER_SECRET].contains(&name) || mask::is_secret_name(name)
}

/// Returns if there is none of the variables `secret`; otherwise this process becomes a new one without them that finds
/// `texts` by [`handed`].
pub fn hand_over(texts: &impl Serialize, secret: &[OsString]) {
    if secret.is_empty() {
        return;
    }
    let again = serde_json::to_vec(texts)
        .map_err(std::io::Error::from)
        .and_then(|bytes| start_again(secret, Some((&bytes, (HANDED, "1")))));
    match again {
        Ok(never) => match never {},
        // It serves as well with them; others of the same user are kept out in another way, too.
        Err(error) => tracing::warn!(%error, "secrets stay in the environment"),
    }
}

/// Returns what [`hand_over`] gave to this process.
///
/// # Errors
/// When it is not there, or something else is.
pub fn handed<T: DeserializeOwned>() -> Result<T, Failure> {
    let failed = |error: std::io::Error| {
        Failure::usage(format!("{HANDED} is set, but they are not there")).because(error)
    };
    let mut bytes = zeroize::Zeroizing::new(Vec::new());
    std::io::stdin()
        .lock()
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    serde_json::from_slice(&bytes).map_err(|error| failed(error.into()))
}

/// Becomes a new process of the same program with the same arguments, without the variables
/// `without`. If something is to be `handed` over, it is the new standard input and the variable
/// beside it is set, to say so.
///
/// # Errors
/// When the system does not let it. There is no return without an error.
pub fn start_again(
    without: &[OsString],
    handed: Option<(&[u8], (&str, &str))>,
) -> std::io::Result<std::convert::Infallible> {
    let mut words = std::env::args_os();
    let mut command = Command::new(std::env::current_exe()?);
    if let Some(name) = words.next() {
        command.arg0(name);
    }
    command.args(words);
    for name in without {
        command.env_remove(name);
    }
    if let Some((bytes, (name, value))) = handed {
        let (reader, mut writer) = std::io::pipe()?;
        #[cfg(target_os = "linux")]
        if bytes.len() > rustix::pipe::fcntl_getpipe_size(&writer)? {
            rustix::pipe::fcntl_setpipe_size(&writer, bytes.len())?;
        }
        // Nobody reads yet: what does not fit is an error, not a wait without end.
        rustix::io::ioctl_fionbio(&writer, true)?;
        writer.write_all(bytes)?;
        command.stdin(reader).env(name, value);
    }
    Err(command.exec())
}
