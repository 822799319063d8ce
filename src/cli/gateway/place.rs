//! Where a gateway says it is, and to whom.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use super::super::error::Failure;
use super::super::given::Given;
use super::Args;
use crate::client::{self, Client, Settings, Url};
use crate::protocol::api::Gateway;
use crate::support::ids;

/// Returns what others are told; nothing if there is no telling where others reach it.
///
/// # Errors
/// When the public URL is none.
pub fn own(
    args: &Args,
    host: &str,
    port: u16,
    coordinators: &[Url],
) -> Result<Option<Gateway>, Failure> {
    let url = match Given::of(&args.public_url) {
        Some(text) => {
            let url = client::parse_url(text)
                .map_err(|why| Failure::usage(format!("--public-url: {why}")))?;
            Some(url.as_str().trim_end_matches('/').to_owned())
        }
        None => {
            listened(host, coordinators).map(|host| format!("{}://{host}:{port}", scheme(args)))
        }
    };
    Ok(url.map(|url| Gateway {
        id: format!("gw_{}", ids::time_ordered()),
        url,
        name: Given::of(&args.name).cloned(),
    }))
}

/// Returns how callers are to begin its address.
pub const fn scheme(args: &Args) -> &'static str {
    if args.tls_cert.is_some() {
        "https"
    } else {
        "http"
    }
}

/// Returns a client for each coordinator.
///
/// # Errors
/// When one cannot be made.
pub fn each(reach: &Settings) -> Result<Vec<Client>, client::Error> {
    let alone = |url: &Url| {
        Client::new(Settings {
            urls: vec![url.clone()],
            discover: false,
            ..reach.clone()
        })
    };
    reach.urls.iter().map(alone).collect()
}

/// Returns the address that is listened on. If that is every one, it is the one that a coordinator would see.
fn listened(host: &str, coordinators: &[Url]) -> Option<String> {
    let bare = host.trim_matches(['[', ']']);
    let address = match bare.parse::<IpAddr>() {
        Err(_) => return Some(host.to_owned()),
        Ok(address) if !address.is_unspecified() => address,
        Ok(_) => coordinators.iter().find_map(towards)?,
    };
    Some(match address {
        IpAddr::V4(four) => four.to_string(),
        IpAddr::V6(six) => format!("[{six}]"),
    })
}

/// Returns the address from which this machine would talk to that one. Nothing is sent.
fn towards(url: &Url) -> Option<IpAddr> {
    let to: SocketAddr = url.socket_addrs(|| None).ok()?.into_iter().next()?;
    let from: SocketAddr = match to {
        SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
        SocketAddr::V6(_) => ([0_u16; 8], 0).into(),
    };
    let socket = UdpSocket::bind(from).ok()?;
    socket.connect(to).ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}
