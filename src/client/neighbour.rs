//! Who listens on a port of this machine.
//!
//! A coordinator's file may name a loopback port that an SSH tunnel holds. When the tunnel is gone, any
//! user of the machine can take the port: what is sent there would be theirs, and what they answer would
//! be run.

/// Returns the number of a user, neither root nor our own, who listens where a connection to the
/// loopback port `port` may arrive. Where the system does not tell, nobody does.
#[cfg(target_os = "linux")]
pub(super) fn stranger_at(port: u16) -> Option<u32> {
    let ours = rustix::process::geteuid().as_raw();
    ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| std::fs::read_to_string(table).ok())
        .find_map(|table| {
            table
                .lines()
                .filter_map(|line| listener(line, port))
                .find(|user| *user != 0 && *user != ours)
        })
}

#[cfg(not(target_os = "linux"))]
pub(super) fn stranger_at(_: u16) -> Option<u32> {
    None
}

/// Returns whose listener on this port a line of the kernel's table shows, if it can be reached by way of
/// the loopback address.
#[cfg(any(target_os = "linux", test))]
fn listener(line: &str, port: u16) -> Option<u32> {
    const LISTENING: &str = "0A";
    let mut fields = line.split_ascii_whitespace();
    let (address, at) = fields.nth(1)?.split_once(':')?;
    let state = fields.nth(1)?;
    let user = fields.nth(3)?;
    let here = u16::from_str_radix(at, 16).ok()? == port && state == LISTENING;
    (here && reaches_loopback(address)).then(|| user.parse().ok())?
}

/// The kernel writes addresses in words, each in the machine's byte order.
#[cfg(any(target_os = "linux", test))]
fn reaches_loopback(address: &str) -> bool {
    let loopback = format!("{:08X}", u32::from_ne_bytes([127, 0, 0, 1]));
    let any = address.bytes().all(|digit| digit == b'0');
    any || (address.ends_with(&loopback) && matches!(address.len(), 8 | 32))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(address: &str, state: &str, user: u32) -> String {
        format!(
            "   1: {address}:1F90 00000000:0000 {state} 00000000:00000000 00:00000000 00000000  {user}        0 12345 1 0 100 0 0 10 0"
        )
    }

    #[test]
    fn only_listeners_that_loopback_leads_to_count() {
        let near = format!("{:08X}", u32::from_ne_bytes([127, 0, 0, 1]));
        let far = format!("{:08X}", u32::from_ne_bytes([10, 0, 0, 1]));
        for address in [&near, "00000000", &"0".repeat(32)] {
            assert_eq!(listener(&line(address, "0A", 1001), 8080), Some(1001));
            assert_eq!(listener(&line(address, "0A", 1001), 8081), None);
            assert_eq!(listener(&line(address, "01", 1001), 8080), None);
        }
        assert_eq!(listener(&line(&far, "0A", 1001), 8080), None);
        assert_eq!(listener("  sl  local_address rem_address   st", 8080), None);
    }

    #[test]
    fn our_own_listener_is_no_stranger() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(stranger_at(port), None);
    }
}
