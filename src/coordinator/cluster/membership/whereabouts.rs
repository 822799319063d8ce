//! Where this coordinator is reached by the others.

use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use reqwest::Url;

use super::address;

/// Where this coordinator is reached.
#[derive(Debug)]
pub struct Whereabouts {
    /// Said by its owner, or follows from the one address it listens on.
    known: Option<Url>,
    /// What others reached it under. It listens on all addresses of its machine and cannot know which of them
    /// lead here.
    learned: Mutex<Option<Url>>,
    port: u16,
}

impl Whereabouts {
    /// Returns those of a coordinator that listens at `host` and `port`; `public` is what its owner says.
    pub fn new(public: Option<Url>, host: &str, port: u16) -> Self {
        let bare = host.trim_matches(['[', ']']);
        let listens = match bare.parse::<IpAddr>() {
            Ok(ip) if ip.is_unspecified() => None,
            Ok(ip) => address::at(ip, port),
            Err(_) => address::parse(&format!("http://{bare}:{port}")).ok(),
        };
        Self {
            known: public.or(listens),
            learned: Mutex::new(None),
            port,
        }
    }

    fn learned(&self) -> MutexGuard<'_, Option<Url>> {
        self.learned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the address, if it is known.
    pub fn url(&self) -> Option<Url> {
        self.known.clone().or_else(|| self.learned().clone())
    }

    /// Returns what the owner said, or follows from what it listens on.
    pub const fn known(&self) -> Option<&Url> {
        self.known.as_ref()
    }

    /// Returns the port it listens on.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Takes note that somebody reached it under `url`. What others can use, too, is kept before what only this
    /// machine can. Tells whether that is news.
    pub fn reached_under(&self, url: Url) -> bool {
        if self.known.is_some() {
            return false;
        }
        let mut learned = self.learned();
        let better = match &*learned {
            None => true,
            Some(before) => address::is_loopback(before) && !address::is_loopback(&url),
        };
        if better {
            *learned = Some(url);
        }
        better
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        address::parse(text).unwrap()
    }

    #[test]
    fn one_address_is_known_and_all_addresses_are_none() {
        for (host, known) in [
            ("127.0.0.1", Some("http://127.0.0.1:8787")),
            ("[::1]", Some("http://[::1]:8787")),
            ("localhost", Some("http://localhost:8787")),
            ("0.0.0.0", None),
            ("::", None),
        ] {
            let place = Whereabouts::new(None, host, 8787);
            assert_eq!(place.url(), known.map(url), "{host}");
        }
        let public = Whereabouts::new(Some(url("http://a:1")), "0.0.0.0", 8787);
        assert!(!public.reached_under(url("http://b:1")));
        assert_eq!(public.url(), Some(url("http://a:1")));
    }

    #[test]
    fn what_others_can_use_is_better_than_what_only_this_machine_can() {
        let place = Whereabouts::new(None, "0.0.0.0", 8787);
        assert!(place.reached_under(url("http://127.0.0.1:8787")));
        assert!(place.reached_under(url("http://10.0.0.5:8787")));
        assert!(!place.reached_under(url("http://localhost:8787")));
        assert!(!place.reached_under(url("http://10.0.0.6:8787")));
        assert_eq!(place.url(), Some(url("http://10.0.0.5:8787")));
    }
}
