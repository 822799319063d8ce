//! The address of a coordinator as others of its cluster use it: `http://host:port`, perhaps with a path before all routes.
//!
//! Read as the original reads it: scheme and host in lower case, the usual port left out, one slash at the
//! end cut. So one coordinator has one address, however it was written.

use std::net::IpAddr;

use reqwest::Url;

use crate::protocol::Invalid;

/// Returns the address in `text`.
///
/// # Errors
/// When it is none that members of a cluster can be reached under.
pub fn parse(text: &str) -> Result<Url, Invalid> {
    let wrong =
        |what: &str| Invalid::new("coordinator URL", format!("`{}` {what}", shown_text(text)));
    let mut url = Url::parse(text.trim()).map_err(|_| wrong("is not like http://10.0.0.5:8787"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong("must begin with http:// or https://"));
    }
    if !url.has_host() {
        return Err(wrong("names no host"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong(
            "must hold no user and no password: the cluster's secret has a file of its own",
        ));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("must hold no ? and no #"));
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

/// Returns the addresses in a comma list, each once. Empty entries do not count.
///
/// # Errors
/// As [`parse`].
pub fn parse_list(list: &str) -> Result<Vec<Url>, Invalid> {
    let mut all = Vec::new();
    for text in list
        .split(',')
        .map(str::trim)
        .filter(|text| !text.is_empty())
    {
        let url = parse(text)?;
        if !all.contains(&url) {
            all.push(url);
        }
    }
    Ok(all)
}

/// Returns an address as it is written: without the slash that `Url` puts at its end.
pub fn shown(url: &Url) -> String {
    url.as_str().trim_end_matches('/').to_owned()
}

/// Returns the address of whoever listens on `port` at `ip`.
pub fn at(ip: IpAddr, port: u16) -> Option<Url> {
    // Seen through a socket for both families, an address of the old one comes in the new one's form.
    let text = match ip.to_canonical() {
        IpAddr::V4(ip) => format!("http://{ip}:{port}"),
        IpAddr::V6(ip) => format!("http://[{ip}]:{port}"),
    };
    parse(&text).ok()
}

/// Tells whether only this machine can be meant.
pub fn is_loopback(url: &Url) -> bool {
    match url.host_str() {
        None => false,
        Some("localhost") => true,
        Some(host) => host
            .trim_matches(['[', ']'])
            .parse::<IpAddr>()
            .is_ok_and(|ip| ip.to_canonical().is_loopback()),
    }
}

/// What stands before an `@` may be a password.
fn shown_text(text: &str) -> &str {
    text.rsplit('@').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_coordinator_has_one_address() {
        for (text, same) in [
            ("http://A:8787/", "http://a:8787"),
            (" http://a:80 ", "http://a"),
            ("HTTP://10.0.0.5:8787", "http://10.0.0.5:8787"),
            ("http://[::1]:8787", "http://[::1]:8787"),
            ("https://a:443/queue/", "https://a/queue"),
        ] {
            assert_eq!(shown(&parse(text).unwrap()), same, "{text}");
        }
        let list = parse_list("http://a:1, ,http://A:1/,http://b:1").unwrap();
        assert_eq!(list.len(), 2);
    }

    #[test]
    fn what_is_no_address_of_a_member_is_refused_without_its_password() {
        for text in [
            "a:8787",
            "http://a:8787?x=1",
            "http://me:hush@a:8787",
            "unix:/run/a",
            "http://",
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(!error.contains("hush"), "{error}");
        }
    }

    #[test]
    fn loopback_is_known_in_all_its_forms() {
        for (text, local) in [
            ("http://localhost:1", true),
            ("http://127.3.2.1:1", true),
            ("http://[::1]:1", true),
            ("http://[::ffff:127.0.0.1]:1", true),
            ("http://10.0.0.1:1", false),
            ("http://coordinator:1", false),
        ] {
            assert_eq!(is_loopback(&parse(text).unwrap()), local, "{text}");
        }
        let mapped = at("::ffff:10.0.0.1".parse().unwrap(), 8787).unwrap();
        assert_eq!(shown(&mapped), "http://10.0.0.1:8787");
        assert_eq!(
            shown(&at("::1".parse().unwrap(), 1).unwrap()),
            "http://[::1]:1"
        );
    }
}
