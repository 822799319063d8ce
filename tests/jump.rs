//! Hosts that can only be reached through others, on a network where that is so.

mod common;

use common::{Bed, FleetHost, Net, SOON, Sshd, World, eventually, require_network, require_sshd};

/// A jump host and two hosts behind it that nobody else can reach.
struct Site {
    world: World,
    jump: Sshd,
    behind: Vec<Sshd>,
    // Last: the servers' processes end before their networks go.
    _net: Net,
}

impl Site {
    fn new(jump_options: &[&str]) -> Option<Self> {
        if !require_sshd() || !require_network() {
            return None;
        }
        let mut net = Net::new();
        let mut world = World::new();
        world.in_namespace(&net.controller());
        let gate = net.host();
        let options = jump_options.iter();
        let jump = options.fold(gate.sshd(&world), |builder, line| builder.extra(line));
        let jump = jump.start();
        world.trust(&jump);
        let behind = (0..2)
            .map(|_| net.host_behind(&gate).start(&world))
            .collect();
        let site = Self {
            world,
            jump,
            behind,
            _net: net,
        };
        site.fleet("gate");
        Some(site)
    }

    fn fleet(&self, jump: &str) {
        let mut hosts = vec![self.jump.fleet_host("gate").with("jump", "none")];
        for (number, server) in self.behind.iter().enumerate() {
            let name = format!("db{}", number + 1);
            hosts.push(server.fleet_host(&name).with("jump", jump));
        }
        self.world.fleet(&hosts);
    }

    fn logins(&self) -> usize {
        self.jump.log().matches("Accepted publickey").count()
    }
}

#[test]
fn hosts_behind_a_jump_host_share_its_connection() {
    let Some(site) = Site::new(&[]) else { return };
    let shell = [
        "fleet",
        "exec",
        "--on",
        "db*",
        "--shell",
        "echo $SSH_CONNECTION | cut -d' ' -f3",
    ];
    let done = site.world.skyclaw(&shell).expect_code(0);
    for server in &site.behind {
        assert!(done.out().contains(&server.host()), "{}", done.out());
    }
    assert_eq!(site.logins(), 1, "{}", site.jump.log());
    // As `ProxyJump` writes it.
    let gate = format!(
        "{}@{}:{}",
        common::world::user_name(),
        site.jump.host(),
        site.jump.port()
    );
    site.fleet(&gate);
    site.world.skyclaw(&shell).expect_code(0);
    site.world.skyclaw(&["fleet", "status"]).expect_code(0);
    let planned = [&shell[..4], &["--dry-run", "--", "true"]].concat();
    let planned = site.world.skyclaw(&planned).expect_code(0);
    assert!(
        planned.out().contains(&format!("via {gate}")),
        "{}",
        planned.out()
    );
}

#[test]
fn a_megabyte_passes_unchanged() {
    let Some(site) = Site::new(&[]) else { return };
    let line = "head -c 3000000 /dev/zero | tr '\\0' x";
    let done = site
        .world
        .skyclaw(&["fleet", "exec", "--on", "db1", "--shell", line]);
    assert_eq!(done.expect_code(0).stdout, vec![b'x'; 3_000_000]);
}

#[test]
fn what_goes_wrong_on_the_way_is_said_of_the_jump_host() {
    let Some(mut site) = Site::new(&["AllowTcpForwarding no"]) else {
        return;
    };
    let exec = |site: &Site| {
        site.world
            .skyclaw(&["fleet", "exec", "--on", "db*", "--", "true"])
    };
    let refused = exec(&site).expect_code(4);
    assert!(
        refused.err().contains("does not forward"),
        "{}",
        refused.err()
    );
    site.jump.replace_host_key_and_restart();
    let changed = exec(&site).expect_code(4);
    assert!(changed.err().contains("jump host"), "{}", changed.err());
    assert!(changed.err().contains("key"), "{}", changed.err());
    site.jump.stop();
    let gone = exec(&site).expect_code(4);
    assert!(gone.err().contains("jump host"), "{}", gone.err());
}

#[test]
fn tasks_end_when_the_jump_host_goes() {
    let Some(mut site) = Site::new(&[]) else {
        return;
    };
    let line = "echo begun; exec sleep 300";
    let running = site
        .world
        .spawn(&["fleet", "exec", "--on", "db1", "--shell", line]);
    running.wait_for_line("begun", SOON);
    site.jump.stop();
    let done = running.wait(SOON);
    assert!(done.err().contains("lost"), "{}", done.err());
    let server = &site.behind[0];
    eventually(SOON, || common::bed::tasks(server).is_empty());
}

#[test]
fn a_circle_is_refused_before_anything_is_contacted() {
    let Some(bed) = Bed::one() else { return };
    let host = |name: &str, jump: &str| FleetHost::new(name, "127.0.0.1", 1).with("jump", jump);
    bed.world
        .fleet(&[host("a", "b"), host("b", "c"), host("c", "a")]);
    let done = bed.run(&["fleet", "status"]).expect_code(2);
    assert!(
        done.err().contains("circle: a → b → c → a"),
        "{}",
        done.err()
    );
}
