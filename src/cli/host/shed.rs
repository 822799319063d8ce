//! Rids the daemon's environment of secrets before anything else happens.
//!
//! The environment a process was started with can be read by its user's other processes for as long as it
//! lives, and jobs are such processes. So the daemon starts itself again without them; the token
//! goes through a pipe on standard input.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::Command;

use super::args::{Args, of};
use crate::support::mask;

/// The variable with the token.
const TOKEN: &str = "SKYCLAW_TOKEN";
/// The variable with the token's file.
const TOKEN_FILE: &str = "SKYCLAW_TOKEN_FILE";

/// Returns if there is nothing to be rid of; otherwise this process becomes a new one.
///
/// # Errors
/// When the system does not let it.
pub fn secrets(args: &Args) -> std::io::Result<()> {
    let passed = of(&args.rules.env_pass).unwrap_or_default();
    let passed = |name: &str| passed.split(',').any(|word| word.trim() == name);
    let secret: Vec<OsString> = std::env::vars_os()
        .map(|(name, _)| name)
        .filter(|name| {
            name.to_str()
                .is_some_and(|name| is_secret(name) && !passed(name))
        })
        .collect();
    if secret.is_empty() {
        return Ok(());
    }
    let mut words = std::env::args_os();
    let mut command = Command::new(std::env::current_exe()?);
    if let Some(name) = words.next() {
        command.arg0(name);
    }
    command.args(words);
    for name in &secret {
        command.env_remove(name);
    }
    let token = std::env::var(TOKEN).unwrap_or_default();
    if !token.trim().is_empty() && args.work.token_file.is_none() {
        let (reader, mut writer) = std::io::pipe()?;
        writer.write_all(token.as_bytes())?;
        command.stdin(reader).env(TOKEN_FILE, "/dev/stdin");
    }
    Err(command.exec())
}

fn is_secret(name: &str) -> bool {
    name == TOKEN || name == "SKYCLAW_PUBLIC_API_KEYS" || mask::is_secret_name(name)
}
