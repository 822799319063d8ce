//! Whom to believe about where a request comes from.

use std::net::IpAddr;
use std::str::FromStr;

use hyper::HeaderMap;

/// Addresses with a common beginning: `10.0.0.0/8`, `::1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

/// Why a text is no [`Network`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no address and no network: write for example 10.0.0.7 or 10.0.0.0/8")]
pub struct NoNetwork(String);

impl FromStr for Network {
    type Err = NoNetwork;

    fn from_str(text: &str) -> Result<Self, NoNetwork> {
        let wrong = || NoNetwork(text.to_owned());
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.trim().parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            Some(bits) => bits.trim().parse().map_err(|_| wrong())?,
            None => most,
        };
        (bits <= most)
            .then_some(Self { address, bits })
            .ok_or_else(wrong)
    }
}

impl Network {
    /// Tells whether it holds `address`, also one of IPv4 that came as IPv6.
    pub fn holds(self, address: IpAddr) -> bool {
        let wide = |address: IpAddr| match address {
            IpAddr::V4(four) => u128::from(four.to_bits()) << 96,
            IpAddr::V6(six) => six.to_bits(),
        };
        let address = address.to_canonical();
        let shift = 128 - u32::from(self.bits);
        address.is_ipv4() == self.address.is_ipv4()
            && (wide(address) ^ wide(self.address))
                .checked_shr(shift)
                .unwrap_or(0)
                == 0
    }
}

/// The proxies in front of the gateway that tell the truth.
#[derive(Debug, Clone, Default)]
pub struct Trusted(pub Vec<Network>);

impl Trusted {
    /// Tells whether what `peer` says of where its requests come from is believed.
    pub fn believes(&self, peer: IpAddr) -> bool {
        self.0.iter().any(|network| network.holds(peer))
    }

    /// Returns who made the request: the last in the chain of `x-forwarded-for` that is no trusted proxy.
    pub fn client(&self, headers: &HeaderMap, peer: IpAddr) -> IpAddr {
        let mut client = peer.to_canonical();
        if !self.believes(peer) {
            return client;
        }
        let lines = headers.get_all("x-forwarded-for");
        let chain = lines.iter().rev().flat_map(|line| {
            let text = line.to_str().unwrap_or_default();
            text.rsplit(',')
        });
        for hop in chain {
            let Ok(address) = hop.trim().trim_matches(['[', ']']).parse::<IpAddr>() else {
                break;
            };
            client = address.to_canonical();
            if !self.believes(client) {
                break;
            }
        }
        client
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn networks_hold_what_begins_alike() {
        for (network, address, holds) in [
            ("10.0.0.0/8", "10.9.8.7", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.7", "10.0.0.7", true),
            ("10.0.0.7", "10.0.0.6", false),
            ("0.0.0.0/0", "8.8.8.8", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "2001::1", true),
            ("2001:db8::/33", "2001:db8:7fff::1", true),
            ("2001:db8::/33", "2001:db8:8000::1", false),
            ("10.0.0.0/8", "::ffff:10.0.0.1", true),
        ] {
            let network: Network = network.parse().unwrap();
            assert_eq!(network.holds(ip(address)), holds, "{network:?} {address}");
        }
        for bad in [
            "",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/-1",
            "host",
            "10.0.0.0/8/8",
        ] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_client_is_the_last_that_no_trusted_proxy_vouches_for() {
        let trusted = Trusted(vec!["10.0.0.0/8".parse().unwrap()]);
        let client = |peer: &str, lines: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append("x-forwarded-for", line.parse().unwrap());
            }
            trusted.client(&headers, ip(peer)).to_string()
        };
        assert_eq!(
            client("10.0.0.1", &["1.1.1.1, 2.2.2.2", "10.0.0.2"]),
            "2.2.2.2"
        );
        assert_eq!(client("10.0.0.1", &["10.0.0.3"]), "10.0.0.3");
        assert_eq!(client("10.0.0.1", &["1.1.1.1, rubbish"]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(client("9.9.9.9", &["1.1.1.1"]), "9.9.9.9", "not believed");
    }
}
