//! Rids the daemon's environment of secrets, but those that its jobs are lent.

use super::super::shed::{TOKEN, is_secret, names, start_again};
use super::args::{Args, of};

/// The variable with the token's file.
const TOKEN_FILE: &str = "SKYCLAW_TOKEN_FILE";

/// Returns if there is nothing to be rid of; otherwise this process becomes a new one.
///
/// # Errors
/// When the system does not let it.
pub fn secrets(args: &Args) -> std::io::Result<()> {
    let passed = of(&args.rules.env_pass).unwrap_or_default();
    let passed = |name: &str| passed.split(',').any(|word| word.trim() == name);
    let secret = names(|name| is_secret(name) && !passed(name));
    if secret.is_empty() {
        return Ok(());
    }
    let token = std::env::var(TOKEN).unwrap_or_default();
    let needed = !token.trim().is_empty() && args.work.token_file.is_none();
    let handed = needed.then_some((token.as_bytes(), (TOKEN_FILE, "/dev/stdin")));
    match start_again(&secret, handed)? {}
}
