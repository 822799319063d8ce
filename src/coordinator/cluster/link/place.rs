//! Where a member is: its URL, checked before anything is sent, and the addresses that may be connected to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use reqwest::Url;
use rustix::net::sockopt;
use tokio::net::{TcpStream, lookup_host};

use super::error::LinkError;

/// Addresses at which clouds tell a machine its secrets, or take orders about it. No member is there, and a request
/// that others can send anywhere must not reach them.
const METADATA: [Ipv4Addr; 6] = [
    Ipv4Addr::new(169, 254, 169, 253),
    Ipv4Addr::new(169, 254, 169, 254),
    Ipv4Addr::new(169, 254, 169, 123),
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(168, 63, 129, 16),
    Ipv4Addr::new(192, 0, 0, 192),
];
/// The same for containers: all of this network.
const CONTAINERS: [u8; 3] = [169, 254, 170];
/// And of version 6.
const METADATA_6: [u16; 7] = [0xfd00, 0xec2, 0, 0, 0, 0, 0];
const GOOGLE_6: Ipv6Addr = Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254);

/// A URL of a member, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The same for all ways to write it.
    pub key: String,
    /// As the `host` header has it.
    pub authority: String,
    /// What comes before each path.
    pub prefix: String,
    /// Whether TLS is spoken.
    pub tls: bool,
    /// The name or address, without brackets.
    pub host: String,
    port: u16,
}

impl Place {
    /// Reads a URL.
    ///
    /// # Errors
    /// Why no member can be there.
    pub fn of(url: &Url) -> Result<Self, &'static str> {
        let tls = match url.scheme() {
            "http" => false,
            "https" => true,
            _ => return Err("the URL of a member begins with http:// or https://"),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err("the URL of a member has no user and no password");
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err("the URL of a member has no query and no fragment");
        }
        let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
            return Err("the URL of a member names a host");
        };
        if port == 0 {
            return Err("nobody listens at port 0");
        }
        let prefix = url.path().trim_end_matches('/').to_owned();
        Ok(Self {
            key: format!("{}://{host}:{port}{prefix}", url.scheme()),
            authority: format!("{host}:{port}"),
            prefix,
            tls,
            host: host.trim_matches(['[', ']']).to_owned(),
            port,
        })
    }

    /// Connects.
    ///
    /// # Errors
    /// Why there is no connection; nothing was sent.
    pub async fn connect(&self) -> Result<TcpStream, LinkError> {
        let unreachable = |why: String| LinkError::Unreachable {
            url: self.key.clone(),
            why,
        };
        let found = lookup_host((self.host.as_str(), self.port)).await;
        let found = found.map_err(|error| unreachable(error.to_string()))?;
        let found: Vec<SocketAddr> = found.collect();
        // A name that leads to such a place as well is refused as a whole: which one is asked would be chance.
        for address in &found {
            allowed(address.ip()).map_err(|why| LinkError::Address {
                url: self.key.clone(),
                why: why.to_owned(),
            })?;
        }
        let mut last = "its name leads nowhere".to_owned();
        for address in found {
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    // Messages are written whole; waiting for more to send only delays them.
                    let _ = stream.set_nodelay(true);
                    watch(&stream);
                    return Ok(stream);
                }
                Err(error) => last = error.to_string(),
            }
        }
        Err(unreachable(last))
    }
}

/// Has the system notice that the other machine is gone, also while this one only waits for an answer. Without, a
/// machine that lost its power would be waited for as long as its answer may take.
fn watch(stream: &TcpStream) {
    let _ = sockopt::set_socket_keepalive(stream, true);
    let _ = sockopt::set_tcp_keepidle(stream, Duration::from_secs(10));
    let _ = sockopt::set_tcp_keepintvl(stream, Duration::from_secs(5));
    let _ = sockopt::set_tcp_keepcnt(stream, 3);
    // What was sent and is never taken is a sign of its own.
    #[cfg(target_os = "linux")]
    let _ = sockopt::set_tcp_user_timeout(stream, 25_000);
}

/// Tells whether a member may be at `address`.
///
/// # Errors
/// Why not.
pub fn allowed(address: IpAddr) -> Result<(), &'static str> {
    let (four, six) = match address {
        IpAddr::V4(four) => (Some(four), None),
        IpAddr::V6(six) => (inner(six), Some(six)),
    };
    let metadata = four
        .is_some_and(|four| METADATA.contains(&four) || four.octets().starts_with(&CONTAINERS))
        || six.is_some_and(|six| {
            // fd00:ec2::/112 holds all of one cloud's services.
            six.segments().starts_with(&METADATA_6) || six == GOOGLE_6
        });
    if metadata {
        return Err("metadata addresses of clouds are never asked");
    }
    let nobody =
        |four: Ipv4Addr| four.is_unspecified() || four.is_broadcast() || four.is_multicast();
    if address.is_unspecified() || address.is_multicast() || four.is_some_and(nobody) {
        return Err("that is no address of one coordinator");
    }
    Ok(())
}

/// Returns the address of version 4 that one of version 6 leads to: mapped, or through a translator.
fn inner(six: Ipv6Addr) -> Option<Ipv4Addr> {
    let of = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    match six.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => Some(of(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> Result<Place, &'static str> {
        Place::of(&Url::parse(text).unwrap())
    }

    #[test]
    fn one_place_has_one_key() {
        let key = |text: &str| place(text).unwrap().key;
        assert_eq!(key("http://A:8787"), key("http://a:8787/"));
        assert_eq!(key("http://a"), key("http://a:80/"));
        assert_ne!(key("http://a:443"), key("https://a"));
        assert_ne!(key("http://a/x"), key("http://a/y"));
        let six = place("http://[fd00::1]:8787/queue/").unwrap();
        assert_eq!(six.host, "fd00::1");
        assert_eq!(six.authority, "[fd00::1]:8787");
        assert_eq!(six.prefix, "/queue");
    }

    #[test]
    fn other_urls_are_refused() {
        for text in [
            "ftp://a/",
            "file:///etc/passwd",
            "unix:/run/x.sock",
            "gopher://a:70/",
            "http://user@a/",
            "http://user:word@a/",
            "http://a/?x",
            "http://a/#x",
            "http://a:0/",
        ] {
            assert!(place(text).is_err(), "{text}");
        }
    }

    #[test]
    fn metadata_addresses_are_refused_however_they_are_written() {
        for text in [
            "http://169.254.169.254/",
            "http://2852039166/",
            "http://0xa9fea9fe/",
            "http://0251.0376.0251.0376/",
            "http://[::ffff:169.254.169.254]/",
            "http://[::ffff:0:169.254.169.254]/",
            "http://[::169.254.169.254]/",
            "http://[64:ff9b::169.254.169.254]/",
            "http://[2002:a9fe:a9fe::1]/",
            "http://[fd00:ec2::254]/",
            "http://[fd00:0ec2:0:0:0:0:0:23]/",
            "http://[fd20:ce::254]/",
            "http://169.254.170.2/",
            "http://100.100.100.200/",
            "http://168.63.129.16/",
            "http://0.0.0.0:8787/",
            "http://[::]:8787/",
            "http://[::ffff:0.0.0.0]/",
            "http://255.255.255.255/",
            "http://224.0.0.1/",
        ] {
            let place = place(text).unwrap();
            assert!(allowed(place.host.parse().unwrap()).is_err(), "{text}");
        }
        for text in [
            "127.0.0.1",
            "::1",
            "10.0.0.1",
            "169.254.7.7",
            "fd00::254",
            "::ffff:10.0.0.1",
        ] {
            assert_eq!(allowed(text.parse().unwrap()), Ok(()), "{text}");
        }
    }
}
