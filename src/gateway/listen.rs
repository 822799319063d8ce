//! The gateway's port: one socket for each thread that serves it, so that none waits for another to accept.

use std::io;
use std::net::{SocketAddr, TcpListener};

use rustix::net::{
    AddressFamily, SocketFlags, SocketType, bind, ipproto, listen, socket_with, sockopt,
};

/// How many connections may wait to be accepted.
const WAITING: i32 = 4096;

/// Listens on the first of the addresses that can be listened on, with `count` sockets. Port 0 picks one for all.
///
/// # Errors
/// When none of them can be; the last one says why.
pub fn open(addresses: &[SocketAddr], count: usize) -> io::Result<Vec<TcpListener>> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in addresses {
        match open_at(*address, count.max(1)) {
            Ok(listeners) => return Ok(listeners),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn open_at(address: SocketAddr, count: usize) -> io::Result<Vec<TcpListener>> {
    // Sockets that share a port would share it with another gateway's as well. One that does not tells.
    let alone = TcpListener::bind(address)?;
    let address = alone.local_addr()?;
    if count == 1 {
        return Ok(vec![alone]);
    }
    drop(alone);
    (0..count).map(|_| shared(address)).collect()
}

fn shared(address: SocketAddr) -> io::Result<TcpListener> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let kind = SocketType::STREAM;
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC, Some(ipproto::TCP))?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    sockopt::set_socket_reuseport(&socket, true)?;
    bind(&socket, &address)?;
    listen(&socket, WAITING)?;
    Ok(TcpListener::from(socket))
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn all_sockets_have_one_port_and_nobody_else_gets_it() {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let listeners = open(&[any], 3).unwrap();
        let address = listeners[0].local_addr().unwrap();
        assert_ne!(address.port(), 0);
        for listener in &listeners {
            assert_eq!(listener.local_addr().unwrap(), address);
        }
        assert!(TcpStream::connect(address).is_ok());
        for count in [1, 3] {
            let taken = open(&[address], count).unwrap_err();
            assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
        }
        let next = open(&[address, any], 1).unwrap();
        assert_ne!(next[0].local_addr().unwrap(), address);
    }
}
