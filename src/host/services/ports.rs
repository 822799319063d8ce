//! The ports of services: the lowest from a base that binds now and that no other service has.
//!
//! A port is held from before the process starts until its group is gone. Daemons on one machine keep out of each
//! other's way by a name in the kernel's list of abstract sockets, which goes with the process that holds it.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The ports that services of this daemon have.
#[derive(Debug)]
pub(super) struct Ports {
    base: u16,
    held: Mutex<BTreeSet<u16>>,
}

/// A port that no other service has. Dropping it gives it back.
#[derive(Debug)]
pub(super) struct Port {
    number: u16,
    ports: Arc<Ports>,
    _claim: Claim,
}

impl Ports {
    /// Returns a table that begins at `base`.
    pub(super) fn new(base: u16) -> Self {
        Self {
            base: base.max(1),
            held: Mutex::default(),
        }
    }

    /// Takes the lowest port that is free, if any is.
    pub(super) fn take(self: &Arc<Self>) -> Option<Port> {
        // Held over the search: two that look at once would find the same one.
        let mut held = self.held();
        let (number, claim) = (self.base..=u16::MAX)
            .filter(|number| !held.contains(number))
            .find_map(|number| Some((number, Claim::of(number)?)))?;
        held.insert(number);
        drop(held);
        Some(Port {
            number,
            ports: Arc::clone(self),
            _claim: claim,
        })
    }

    fn held(&self) -> MutexGuard<'_, BTreeSet<u16>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Port {
    /// Returns its number.
    pub(super) const fn number(&self) -> u16 {
        self.number
    }

    /// Tells whether a process could listen on it now.
    pub(super) fn binds(&self) -> bool {
        binds(self.number)
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.ports.held().remove(&self.number);
    }
}

/// That this daemon has the port, for others on this machine.
#[derive(Debug)]
struct Claim {
    #[cfg(target_os = "linux")]
    _name: std::os::unix::net::UnixDatagram,
}

impl Claim {
    /// Returns it if nobody has one and the port binds.
    fn of(number: u16) -> Option<Self> {
        #[cfg(target_os = "linux")]
        {
            use std::os::linux::net::SocketAddrExt;
            use std::os::unix::net::{SocketAddr, UnixDatagram};
            let name = SocketAddr::from_abstract_name(format!("skyclaw-service-port-{number}"));
            let name = name.and_then(|name| UnixDatagram::bind_addr(&name)).ok()?;
            binds(number).then_some(Self { _name: name })
        }
        #[cfg(not(target_os = "linux"))]
        binds(number).then_some(Self {})
    }
}

/// Tells whether a socket of either family can listen on the port, on all addresses and on this machine's own.
pub(super) fn binds(number: u16) -> bool {
    let addresses: [IpAddr; 3] = [
        Ipv4Addr::UNSPECIFIED.into(),
        Ipv4Addr::LOCALHOST.into(),
        Ipv6Addr::UNSPECIFIED.into(),
    ];
    addresses.into_iter().all(|address| {
        match TcpListener::bind(SocketAddr::new(address, number)) {
            Ok(_) => true,
            // A family that this machine does not have is in nobody's way.
            Err(error) if address.is_ipv6() => !matches!(
                error.kind(),
                io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied
            ),
            Err(_) => false,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A place where a few ports in a row are free.
    fn base() -> u16 {
        loop {
            let found = TcpListener::bind("127.0.0.1:0").unwrap();
            let base = found.local_addr().unwrap().port();
            drop(found);
            if base < u16::MAX - 4 && (base..base + 4).all(binds) {
                return base;
            }
        }
    }

    #[test]
    fn services_get_ports_of_their_own_and_leave_them_to_others() {
        let base = base();
        let ports = Arc::new(Ports::new(base));
        let first = ports.take().unwrap();
        let second = ports.take().unwrap();
        assert_ne!(first.number(), second.number());
        assert!(first.number() < second.number() && first.binds());
        let freed = first.number();
        drop(first);
        assert_eq!(ports.take().unwrap().number(), freed);
    }

    #[test]
    fn a_strangers_port_is_left_alone_whatever_address_it_is_on() {
        for address in ["0.0.0.0", "127.0.0.1", "[::]"] {
            let base = base();
            let Ok(_stranger) = TcpListener::bind(format!("{address}:{base}")) else {
                continue;
            };
            let port = Arc::new(Ports::new(base)).take().unwrap();
            assert!(port.number() > base, "{address}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn daemons_of_one_machine_share_no_port() {
        let base = base();
        let (ours, theirs) = (Arc::new(Ports::new(base)), Arc::new(Ports::new(base)));
        let (one, other) = (ours.take().unwrap(), theirs.take().unwrap());
        assert_ne!(one.number(), other.number());
    }
}
