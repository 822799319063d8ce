//! Addresses on loopback that fail in one known way each.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

/// Accepts connections and never says a word.
pub struct MuteHost(Endpoint);

impl MuteHost {
    pub fn start() -> Self {
        Self(Endpoint::serve(Some))
    }

    pub fn port(&self) -> u16 {
        self.0.addr.port()
    }
}

/// Speaks, but no SSH.
pub struct WrongBanner(Endpoint);

impl WrongBanner {
    pub fn start() -> Self {
        Self(Endpoint::serve(|mut stream| {
            let _peer_gone =
                stream.write_all(b"HTTP/1.1 400 Bad Request\r\nServer: not-ssh\r\n\r\n\0\x01\x02");
            Some(stream)
        }))
    }

    pub fn port(&self) -> u16 {
        self.0.addr.port()
    }
}

/// Sends a good SSH banner and closes, as a server in trouble does.
pub struct CloseAfterBanner(Endpoint);

impl CloseAfterBanner {
    pub fn start() -> Self {
        Self(Endpoint::serve(|mut stream| {
            let _peer_gone = stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n");
            // Held half open: a full close with unread input would turn the end of file into a reset.
            let _peer_gone = stream.shutdown(std::net::Shutdown::Write);
            Some(stream)
        }))
    }

    pub fn port(&self) -> u16 {
        self.0.addr.port()
    }
}

/// What a doorkeeper does with one connection.
#[derive(Clone, Copy)]
pub enum Door {
    /// Lets it through.
    Open,
    /// Closes without a word, as an old sshd does that has too many.
    Shut,
    /// Says what OpenSSH says past its `MaxStartups`, and closes.
    Full,
}

/// Stands before a real server, counts connections and decides about each.
pub struct Doorkeeper {
    endpoint: Endpoint,
    seen: Arc<AtomicUsize>,
}

impl Doorkeeper {
    /// `decide` gets the number of the connection, from 1.
    pub fn before(server: u16, decide: impl Fn(usize) -> Door + Send + 'static) -> Self {
        let seen = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&seen);
        let endpoint = Endpoint::serve(move |mut stream| {
            match decide(counted.fetch_add(1, Ordering::SeqCst) + 1) {
                Door::Open => pass_on(stream, server),
                Door::Shut => {}
                Door::Full => {
                    let _peer_gone = stream.write_all(b"Exceeded MaxStartups\r\n");
                }
            }
            None
        });
        Self { endpoint, seen }
    }

    pub fn port(&self) -> u16 {
        self.endpoint.addr.port()
    }

    /// Returns how many connections came.
    pub fn seen(&self) -> usize {
        self.seen.load(Ordering::SeqCst)
    }
}

fn pass_on(near: TcpStream, server: u16) {
    let far = TcpStream::connect(("127.0.0.1", server)).expect("connect to the server");
    let copies = [(near.try_clone(), far.try_clone()), (Ok(far), Ok(near))];
    for (from, to) in copies {
        let (mut from, mut to) = (from.expect("clone"), to.expect("clone"));
        std::thread::spawn(move || {
            let _peer_gone = std::io::copy(&mut from, &mut to);
            let _peer_gone = to.shutdown(std::net::Shutdown::Write);
        });
    }
}

/// A port where nothing listens: connections are refused at once.
pub struct RefusingPort {
    // Bound but not listening: the port stays refused, and nobody else can take it meanwhile.
    _held: Socket,
    port: u16,
}

impl RefusingPort {
    pub fn start() -> Self {
        let held = bound_socket();
        let port = local_addr(&held).port();
        Self { _held: held, port }
    }

    pub fn port(&self) -> u16 {
        self.port
    }
}

/// An address that drops SYN: connecting hangs until the caller gives up.
///
/// The kernel drops SYNs to a listener whose accept queue is full, so the queue of length 0 is filled and
/// never emptied. This needs no rights and no packet filter.
pub struct BlackholeHost {
    _listener: Socket,
    _fill: Vec<TcpStream>,
    addr: SocketAddr,
}

impl BlackholeHost {
    pub fn start() -> Self {
        let listener = bound_socket();
        listener.listen(0).expect("listen with an empty queue");
        let addr = local_addr(&listener);
        let mut fill = Vec::new();
        // Linux lets one more in than the queue length; stop when one no longer gets through.
        while let Ok(stream) = TcpStream::connect_timeout(&addr, Duration::from_millis(300)) {
            fill.push(stream);
            assert!(fill.len() < 64, "the accept queue does not fill up");
        }
        Self {
            _listener: listener,
            _fill: fill,
            addr,
        }
    }

    pub fn port(&self) -> u16 {
        self.addr.port()
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

/// A listener whose thread ends with it.
struct Endpoint {
    addr: SocketAddr,
    stop: std::sync::Arc<std::sync::atomic::AtomicBool>,
}

impl Endpoint {
    /// Handles each connection; a returned stream is held open until the end.
    fn serve(handle: impl Fn(TcpStream) -> Option<TcpStream> + Send + 'static) -> Self {
        use std::sync::atomic::{AtomicBool, Ordering};
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind a loopback port");
        let addr = listener
            .local_addr()
            .expect("a bound listener has an address");
        let stop = std::sync::Arc::new(AtomicBool::new(false));
        let stopped = std::sync::Arc::clone(&stop);
        std::thread::spawn(move || {
            let mut held = Vec::new();
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                held.extend(stream.ok().and_then(&handle));
            }
        });
        Self { addr, stop }
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.stop.store(true, std::sync::atomic::Ordering::SeqCst);
        // Wakes the accept loop so that it sees the flag.
        let _ended = TcpStream::connect_timeout(&self.addr, Duration::from_millis(200));
    }
}

fn bound_socket() -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("make a socket");
    let any: SocketAddr = ([127, 0, 0, 1], 0).into();
    socket.bind(&any.into()).expect("bind a loopback port");
    socket
}

fn local_addr(socket: &Socket) -> SocketAddr {
    socket
        .local_addr()
        .ok()
        .and_then(|addr| addr.as_socket())
        .expect("a bound socket has an address")
}
