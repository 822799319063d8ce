//! When a service that is to end has been left by its clients.

use std::time::Duration;

/// So long gateways may still send requests: they look every three seconds.
pub(super) const LEAST: Duration = Duration::from_secs(4);
/// The kernel's name for an open connection.
const ESTABLISHED: &str = "01";

/// Tells whether the process may be ended. `open` is the number of connections, if it is known.
pub(super) fn is_done(
    waited: Duration,
    open: Option<usize>,
    least: Duration,
    most: Duration,
) -> bool {
    waited >= most || waited >= least && open == Some(0)
}

/// Returns how many connections to the port are open, where the system tells.
pub(super) fn open_connections(port: u16) -> Option<usize> {
    let count = |name| {
        let text = std::fs::read_to_string(name).ok()?;
        Some(established(&text, port))
    };
    let v4 = count("/proc/net/tcp")?;
    // Without the newer family there is no such list.
    Some(v4 + count("/proc/net/tcp6").unwrap_or(0))
}

/// Counts the lines of the kernel's list with an open connection whose near end is the port.
fn established(list: &str, port: u16) -> usize {
    let ending = format!(":{port:04X}");
    list.lines()
        .skip(1)
        .filter(|line| {
            let mut fields = line.split_ascii_whitespace().skip(1);
            let near = fields.next().is_some_and(|near| near.ends_with(&ending));
            near && fields.nth(1) == Some(ESTABLISHED)
        })
        .count()
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn it_ends_when_nobody_is_left_but_not_at_once_and_not_never() {
        let seconds = Duration::from_secs;
        let table = [
            (0, Some(0), false),
            (3, Some(0), false),
            (4, Some(0), true),
            (4, Some(1), false),
            (4, None, false),
            (29, Some(1), false),
            (30, Some(1), true),
            (30, None, true),
        ];
        for (waited, open, done) in table {
            let is = is_done(seconds(waited), open, LEAST, seconds(30));
            assert_eq!(is, done, "{waited} {open:?}");
        }
        assert!(is_done(seconds(1), Some(3), LEAST, seconds(1)), "most wins");
    }

    #[test]
    fn the_kernels_list_is_read() {
        let list = "  sl  local_address rem_address   st tx_queue rx_queue\n\
             0: 00000000:0C1C 00000000:0000 0A 00000000:00000000 00:00000000\n\
             1: 0100007F:0C1C 0100007F:D431 01 00000000:00000000 00:00000000\n\
             2: 0100007F:D431 0100007F:0C1C 01 00000000:00000000 00:00000000\n\
             3: 0100007F:0C1C 0100007F:D432 06 00000000:00000000 00:00000000\n";
        assert_eq!(established(list, 3100), 1);
        assert_eq!(established(list, 3101), 0);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn open_connections_are_counted_while_they_are_open() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(open_connections(port), Some(0));
        let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let (server, _) = listener.accept().unwrap();
        assert_eq!(open_connections(port), Some(1));
        drop((client, server));
        assert_eq!(open_connections(port), Some(0));
    }
}
