//! Which addresses of other coordinators a client takes from one that it knows.
//!
//! Whoever tells of them has our token already, so it can do no more with it by sending us elsewhere. But it may
//! be mistaken, or be lied to: an address that means something else here than there, or that answers to every
//! machine of a cloud, is not asked.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::address::parse_url;

/// Where clouds tell machines about themselves, besides the link-local addresses.
const METADATA: [IpAddr; 3] = [
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];
/// Names for the same.
const METADATA_NAMES: [&str; 2] = ["metadata", "metadata.google.internal"];

/// Returns the address in `text`, if a coordinator that is reached at `teller` may tell us of it.
pub(super) fn told_by(teller: &Url, text: &str) -> Option<Url> {
    let url = parse_url(text.trim()).ok()?;
    let no_weaker = match teller.scheme() {
        "https" => url.scheme() == "https",
        "http" => matches!(url.scheme(), "http" | "https"),
        // A socket of this machine says nothing about what a token is worth elsewhere.
        _ => false,
    };
    let host = host(&url)?;
    let asked = match host.parse::<IpAddr>() {
        Ok(address) if address.is_loopback() => is_near(teller),
        Ok(address) => is_a_machine(address),
        Err(_) if is_own_name(&host) => is_near(teller),
        Err(_) => !METADATA_NAMES.contains(&host.as_str()),
    };
    (no_weaker && asked).then_some(url)
}

/// Returns the host in lower case, without the brackets of an IPv6 address and the dot that a full name may end in.
fn host(url: &Url) -> Option<String> {
    let host = url.host_str()?.trim_matches(['[', ']']);
    Some(host.trim_end_matches('.').to_ascii_lowercase())
}

fn is_own_name(host: &str) -> bool {
    host == "localhost" || host.ends_with(".localhost")
}

/// Tells whether it is this machine, by its own words.
fn is_near(url: &Url) -> bool {
    host(url).is_some_and(|host| {
        let address = host.parse::<IpAddr>();
        address.map_or_else(|_| is_own_name(&host), |address| address.is_loopback())
    })
}

/// Tells whether one machine can be at this address, the same for everybody.
fn is_a_machine(address: IpAddr) -> bool {
    let address = address.to_canonical();
    let link_local = match address {
        IpAddr::V4(four) => four.is_link_local() || four.is_broadcast(),
        IpAddr::V6(six) => six.is_unicast_link_local(),
    };
    let nobody = address.is_unspecified() || address.is_multicast() || address.is_loopback();
    !link_local && !nobody && !METADATA.contains(&address)
}

/// Resolves the names in such addresses, and gives only those that [`told_by`] would take.
#[derive(Debug)]
pub(super) struct Resolver;

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let host = name.as_str().to_ascii_lowercase();
            let near = is_own_name(host.trim_end_matches('.'));
            let found = tokio::net::lookup_host((host.as_str(), 0)).await?;
            let taken: Vec<SocketAddr> = found
                .filter(|at| is_a_machine(at.ip()) || (near && at.ip().is_loopback()))
                .collect();
            if taken.is_empty() {
                let text = format!("{host} leads to no machine that may be asked");
                return Err(Box::<dyn Error + Send + Sync>::from(text));
            }
            Ok(Box::new(taken.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(teller: &str, text: &str) -> bool {
        told_by(&parse_url(teller).unwrap(), text).is_some()
    }

    #[test]
    fn addresses_of_machines_are_taken() {
        for good in [
            "http://10.0.0.6:8787",
            "https://10.0.0.6",
            "http://b.example:8787/",
            "http://[2001:db8::1]:1",
        ] {
            assert!(taken("http://10.0.0.5:8787", good), "{good}");
        }
    }

    #[test]
    fn addresses_that_mean_everybody_or_nobody_are_not() {
        for bad in [
            "http://169.254.169.254/latest",
            "http://[::ffff:169.254.169.254]",
            "http://[fd00:ec2::254]",
            "http://[fe80::1]",
            "http://100.100.100.200",
            "http://metadata.google.internal.:80",
            "http://0.0.0.0:8787",
            "http://[::]:8787",
            "http://224.0.0.1",
            "http://255.255.255.255",
            "http://2852039166/",
            "http://127.0.0.1:8787",
            "http://localhost:8787",
            "http://[::1]:8787",
            "unix:/run/x.sock",
            "ftp://10.0.0.6",
            "http://u:p@10.0.0.6",
            "",
        ] {
            assert!(!taken("http://10.0.0.5:8787", bad), "{bad}");
        }
    }

    #[test]
    fn what_is_near_is_near_only_to_who_is_near() {
        assert!(taken("http://127.0.0.1:1", "http://127.0.0.1:2"));
        assert!(taken("http://localhost:1", "http://[::1]:2"));
        assert!(!taken("unix:/run/x.sock", "http://127.0.0.1:2"));
    }

    #[test]
    fn the_token_does_not_begin_to_travel_in_the_clear() {
        assert!(taken("https://a.example", "https://b.example"));
        assert!(!taken("https://a.example", "http://b.example"));
    }

    #[tokio::test]
    async fn a_name_that_leads_to_this_machine_by_another_name_leads_nowhere() {
        let near = Resolver.resolve("localhost".parse().unwrap()).await;
        assert!(near.unwrap().all(|at| at.ip().is_loopback()));
        let own = Resolver.resolve("127.0.0.1".parse().unwrap()).await;
        assert!(own.is_err());
    }
}
