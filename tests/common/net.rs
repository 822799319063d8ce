//! Hosts on a network of their own: namespaces with a cable each, which can be cut, blackholed and healed.
//!
//! ```text
//!  controller ns ── bridge 10.77.0.1 ─┬─ h1 ── host ns 10.77.0.11 (its own sshd, home, address)
//!                                     └─ h2 ── host ns 10.77.0.12 ── host ns 10.78.3.13 behind it
//! ```
//! Nothing of it touches the machine's own network, so any number of tests can run at once.

use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use super::bed::SOON;
use super::require::{is_root, on_path};
use super::sshd::{Sshd, SshdBuilder};
use super::wait::holds_within;
use super::world::World;

/// The port of every sshd; not 22, so that known hosts and fleet file always name it.
const SSH_PORT: u16 = 2222;
/// The controller's address.
pub const CONTROLLER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

static NETS: AtomicU32 = AtomicU32::new(0);

/// A network with a controller. Dropping it removes the namespaces; drop the servers first.
pub struct Net {
    tag: String,
    hosts: u8,
}

/// A host's place in the network.
#[derive(Clone, Debug)]
pub struct NetHost {
    namespace: String,
    /// Where the cable is plugged in: that namespace and the name of its end there.
    uplink: (String, String),
    address: Ipv4Addr,
}

/// Returns whether namespaces with cables can be made here. Never a failure: it takes root.
pub fn require_network() -> bool {
    // Asked once: tests at the same time would take the probe's name from each other and be skipped.
    static WORKS: OnceLock<bool> = OnceLock::new();
    let works = *WORKS.get_or_init(|| {
        let probe = format!("skyclaw-probe-{}", std::process::id());
        let works = is_root()
            && on_path("ip").is_some()
            && on_path("bridge").is_some()
            && quiet(&["netns", "add", &probe])
            && quiet(&["-n", &probe, "link", "add", "br0", "type", "bridge"]);
        quiet(&["netns", "del", &probe]);
        works
    });
    if !works {
        eprintln!("SKIP: cannot make network namespaces here (needs root and iproute2)");
    }
    works
}

impl Net {
    /// Makes a network with the controller in it. Ask `require_network()` first.
    pub fn new() -> Self {
        let number = NETS.fetch_add(1, Ordering::Relaxed);
        let net = Self {
            tag: format!("skyclaw-{}-{number}", std::process::id()),
            hosts: 0,
        };
        let controller = net.controller();
        ip(&["netns", "add", &controller]);
        on(&controller, &["link", "set", "lo", "up"]);
        on(&controller, &["link", "add", "br0", "type", "bridge"]);
        // Frames pass at once, also on a cable that was just plugged in.
        on(
            &controller,
            &["link", "set", "br0", "type", "bridge", "forward_delay", "0"],
        );
        on(
            &controller,
            &["addr", "add", &format!("{CONTROLLER}/24"), "dev", "br0"],
        );
        on(&controller, &["link", "set", "br0", "up"]);
        net
    }

    /// Returns the namespace in which the controller's commands run; see `World::in_namespace`.
    pub fn controller(&self) -> String {
        format!("{}-c", self.tag)
    }

    /// Moves the calling thread, and what it starts from now on, to the controller.
    pub fn enter(&self) {
        let path = format!("/run/netns/{}", self.controller());
        let namespace = std::fs::File::open(&path).expect("open the namespace");
        let fd = std::os::fd::AsRawFd::as_raw_fd(&namespace);
        #[allow(
            unsafe_code,
            reason = "a plain system call on a descriptor that is open"
        )]
        // SAFETY: nothing is handed over but two numbers.
        let done = unsafe { libc::setns(fd, libc::CLONE_NEWNET) };
        assert_eq!(done, 0, "{path}: {}", std::io::Error::last_os_error());
    }

    /// Adds a host next to the controller.
    pub fn host(&mut self) -> NetHost {
        let controller = self.controller();
        let host = self.add(&controller, Ipv4Addr::new(10, 77, 0, 10));
        on(
            &controller,
            &["link", "set", &host.uplink.1, "master", "br0"],
        );
        host
    }

    /// Adds a host that only `jump` can reach; it has no way to the controller and the controller none to it.
    pub fn host_behind(&mut self, jump: &NetHost) -> NetHost {
        // A network of its own for each, or the jump host would not know which cable leads where.
        let network = self.hosts + 1;
        let host = self.add(&jump.namespace, Ipv4Addr::new(10, 78, network, 10));
        let gateway = format!("10.78.{network}.1/24");
        on(
            &jump.namespace,
            &["addr", "add", &gateway, "dev", &host.uplink.1],
        );
        host
    }

    fn add(&mut self, at: &str, base: Ipv4Addr) -> NetHost {
        self.hosts += 1;
        let number = self.hosts;
        let [a, b, c, first] = base.octets();
        let host = NetHost {
            namespace: format!("{}-h{number}", self.tag),
            uplink: (at.to_owned(), format!("h{number}")),
            address: Ipv4Addr::new(a, b, c, first + number),
        };
        ip(&["netns", "add", &host.namespace]);
        let cable = [
            "link",
            "add",
            &host.uplink.1,
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "netns",
        ];
        on(at, &[&cable[..], &[&host.namespace]].concat());
        on(at, &["link", "set", &host.uplink.1, "up"]);
        on(&host.namespace, &["link", "set", "lo", "up"]);
        let address = format!("{}/24", host.address);
        on(&host.namespace, &["addr", "add", &address, "dev", "eth0"]);
        on(&host.namespace, &["link", "set", "eth0", "up"]);
        host
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for number in 1..=self.hosts {
            quiet(&["netns", "del", &format!("{}-h{number}", self.tag)]);
        }
        quiet(&["netns", "del", &self.controller()]);
    }
}

impl NetHost {
    /// Starts to set up this host's sshd for the world's key.
    pub fn sshd(&self, world: &World) -> SshdBuilder {
        world
            .sshd()
            .listen(&self.address.to_string())
            .max_startups("200")
            .in_namespace(&self.namespace, SSH_PORT)
    }

    /// Starts this host's sshd as it comes, and lets the world know its key.
    pub fn start(&self, world: &World) -> Sshd {
        let server = self.sshd(world).start();
        world.trust(&server);
        server
    }

    /// Returns its address.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Returns its namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Pulls the cable: both ends see it.
    pub fn cut(&self) {
        on(&self.uplink.0, &["link", "set", &self.uplink.1, "down"]);
    }

    /// Loses every packet in both directions without a word. Only for hosts next to the controller.
    pub fn blackhole(&self) {
        self.port_state("0");
    }

    /// Loses what this host sends to `other` from now on, and nothing of what comes from there. Only for hosts
    /// next to the controller.
    pub fn cut_towards(&self, other: &Self) {
        // A neighbour that nobody is: the bridge finds no one for it.
        let to = other.address.to_string();
        let nobody = [
            "lladdr",
            "02:00:00:00:00:01",
            "dev",
            "eth0",
            "nud",
            "permanent",
        ];
        on(
            &self.namespace,
            &[&["neigh", "replace", &to], &nobody[..]].concat(),
        );
    }

    /// Undoes `cut_towards`.
    pub fn heal_towards(&self, other: &Self) {
        let to = other.address.to_string();
        on(&self.namespace, &["neigh", "del", &to, "dev", "eth0"]);
    }

    /// Undoes `cut` and `blackhole`.
    pub fn heal(&self) {
        on(&self.uplink.0, &["link", "set", &self.uplink.1, "up"]);
        if self.uplink.0.ends_with("-c") {
            self.port_state("3");
        }
    }

    fn port_state(&self, state: &str) {
        let (namespace, link) = &self.uplink;
        let mut said = String::new();
        // A port that was just set up is down until both ends have noticed.
        let set = holds_within(SOON, || {
            let done = Command::new("bridge")
                .args(["-n", namespace, "link", "set", "dev", link, "state", state])
                .output()
                .expect("run bridge");
            said = String::from_utf8_lossy(&done.stderr).into_owned();
            done.status.success() || !said.contains("Network is down")
        });
        assert!(set && said.is_empty(), "bridge link set {link}: {said}");
    }
}

#[track_caller]
fn on(namespace: &str, args: &[&str]) {
    ip(&[&["-n", namespace], args].concat());
}

#[track_caller]
fn ip(args: &[&str]) {
    let done = Command::new("ip").args(args).output().expect("run ip");
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "ip {}: {said}", args.join(" "));
}

fn quiet(args: &[&str]) -> bool {
    let done = Command::new("ip").args(args).output();
    done.is_ok_and(|done| done.status.success())
}
