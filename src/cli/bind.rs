//! Which address a server of ours listens on.

use super::error::Failure;

/// What an address comes from.
pub struct Wanted<'a> {
    /// The address that was asked for, if any.
    pub asked: Option<&'a String>,
    /// Whoever can reach the port is let in.
    pub open: bool,
    /// Somebody has said that this is meant.
    pub insecure: bool,
    /// What would be wrong with an open port that others can reach, after `listening on ADDRESS`.
    pub danger: &'static str,
    /// What closes it.
    pub remedy: &'static str,
}

/// Returns the address to listen on. Where everybody is let in, nobody from elsewhere is by mistake.
///
/// # Errors
/// When an open port was asked for that others can reach, and nobody has said that it is meant.
pub fn host(wanted: &Wanted<'_>) -> Result<String, Failure> {
    if !wanted.open || wanted.insecure {
        return Ok(wanted
            .asked
            .cloned()
            .unwrap_or_else(|| "0.0.0.0".to_owned()));
    }
    let host = wanted
        .asked
        .cloned()
        .unwrap_or_else(|| "127.0.0.1".to_owned());
    let local = host == "localhost"
        || host
            .trim_matches(['[', ']'])
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback());
    if local {
        return Ok(host);
    }
    Err(
        Failure::usage(format!("listening on {host} {}", wanted.danger))
            .hint(wanted.remedy)
            .hint(
                "--host 127.0.0.1 serves this machine only; --insecure-no-auth lets everybody in",
            ),
    )
}
