//! Tests of the harness itself, with OpenSSH's own client: what the other tests stand on must be true.

mod common;

use std::net::TcpStream;
use std::time::Duration;

use common::world::user_name;
use common::{
    BlackholeHost, CloseAfterBanner, MuteHost, Net, NetHost, RefusingPort, Running, Shell, World,
    WrongBanner, assert_no_process, eventually, is_root, processes_with, ps_snapshot,
    require_mounts, require_network, require_program, require_sshd, scan_files,
};

const SOON: Duration = Duration::from_secs(20);

#[test]
fn login_works_in_a_home_of_its_own() {
    if !require_sshd() {
        return;
    }
    let world = World::new();
    let server = world.sshd().start();
    let done = world
        .ssh(
            &server,
            &["echo \"$HOME|$(pwd)|$(id -un)|$SSH_ORIGINAL_COMMAND|\"; exit 7"],
        )
        .expect_code(7);
    let home = server.home().display();
    assert_eq!(done.out(), format!("{home}|{home}|{}||\n", user_name()));
    assert!(
        server.log().contains("Accepted publickey"),
        "{}",
        server.log()
    );
    let known = std::fs::read_to_string(world.known_hosts()).unwrap();
    assert!(
        server.known_hosts_line().starts_with(known.trim_end()),
        "{known}"
    );
    assert!(server.host_key_fingerprint().starts_with("SHA256:"));
}

#[test]
fn two_hosts_have_two_homes() {
    if !require_sshd() {
        return;
    }
    let world = World::new();
    let (one, two) = (world.sshd().start(), world.sshd().start());
    world.ssh(&one, &["echo mine > ~/file"]).expect_code(0);
    assert_eq!(world.ssh(&two, &["ls -A ~"]).expect_code(0).out(), "");
    assert_eq!(scan_files(one.home(), "mine"), [one.home().join("file")]);
}

#[test]
fn noise_comes_before_the_output() {
    if !require_sshd() {
        return;
    }
    let world = World::new();
    let server = world
        .sshd()
        .rc_noise("Last login: never\n\x1b[31mwelcome")
        .banner("authorised use only\n")
        .start();
    let done = world.ssh(&server, &["echo own"]).expect_code(0);
    assert_eq!(done.out(), "Last login: never\n\x1b[31mwelcomeown\n");
    assert!(done.err().contains("authorised use only"), "{done}");
}

#[test]
fn a_bashrc_is_read_once() {
    if !(require_sshd() && require_program("bash")) {
        return;
    }
    let world = World::new();
    let server = world.sshd().shell(Shell::Bash).start();
    std::fs::write(server.home().join(".bashrc"), "echo rc\n").unwrap();
    assert_eq!(world.ssh(&server, &["echo own"]).out(), "rc\nown\n");
}

#[test]
fn every_login_shell_runs_a_plain_command() {
    if !require_sshd() {
        return;
    }
    let world = World::new();
    let shells = [
        Shell::Bash,
        Shell::Dash,
        Shell::Busybox,
        Shell::Mksh,
        Shell::Zsh,
        Shell::Fish,
        Shell::Tcsh,
        Shell::Default,
    ];
    for shell in shells {
        if !require_program(shell.program()) {
            continue;
        }
        let server = world.sshd().shell(shell).start();
        let done = world.ssh(&server, &["exec sh -c 'cat; exit 3'"]);
        assert_eq!(
            (done.code, done.out().as_str()),
            (3, ""),
            "{shell:?}: {done}"
        );
        let told = world.ssh(
            &server,
            &["cat /proc/self/cmdline; tr '\\0' ' ' < /proc/$$/cmdline; echo $PWD"],
        );
        if shell != Shell::Fish {
            let name = if shell == Shell::Busybox {
                "busybox sh -c"
            } else {
                shell.program()
            };
            assert!(told.out().contains(name), "{shell:?}: {told}");
        }
    }
}

#[test]
fn a_full_disk_is_full() {
    if !(require_sshd() && require_mounts()) {
        return;
    }
    let world = World::new();
    let server = world.sshd().full_disk().start();
    let home = server.home().to_path_buf();
    let done = world.ssh(&server, &["head -c 1000000 /dev/zero > ~/big"]);
    assert!(
        done.code != 0 && done.err().contains("No space left"),
        "{done}"
    );
    drop(server);
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
    assert!(!mounts.contains(home.to_str().unwrap()), "still mounted");
}

#[test]
fn a_rejecting_server_lets_nobody_in() {
    if !require_sshd() {
        return;
    }
    let world = World::new();
    let server = world.sshd().user_auth_rejecting().start();
    let done = world.ssh(&server, &["true"]).expect_code(255);
    assert!(done.err().contains("Permission denied"), "{done}");
    server.authorize(&world.public_key());
    world.ssh(&server, &["true"]).expect_code(0);
}

#[test]
fn a_replaced_host_key_is_noticed_by_a_strict_client() {
    if !require_sshd() {
        return;
    }
    let world = World::new();
    let mut server = world.sshd().start();
    world.trust(&server);
    world.ssh(&server, &["true"]).expect_code(0);
    let (port, before) = (server.port(), server.host_key_fingerprint());
    server.restart();
    world.ssh(&server, &["true"]).expect_code(0);
    server.replace_host_key_and_restart();
    assert!(server.port() == port && server.host_key_fingerprint() != before);
    let done = world.ssh(&server, &["true"]).expect_code(255);
    assert!(
        done.err().contains("HOST IDENTIFICATION HAS CHANGED"),
        "{done}"
    );
}

#[test]
fn wide_listening_answers_on_many_addresses() {
    if !require_sshd() {
        return;
    }
    let world = World::new();
    let server = world
        .sshd()
        .listen("0.0.0.0")
        .max_startups("100")
        .extra("MaxSessions 2")
        .start();
    for host in ["127.0.0.1", "127.1.2.3"] {
        let mut ssh = world.ssh_client(host, server.port());
        ssh.arg("true");
        Running::start(ssh, None).wait(SOON).expect_code(0);
    }
}

#[test]
fn max_startups_turns_connections_away() {
    if !require_sshd() {
        return;
    }
    let world = World::new();
    let server = world.sshd().max_startups("1").start();
    let _waiting = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
    eventually(SOON, || server.log().contains("Connection from"));
    let done = world.ssh(&server, &["true"]).expect_code(255);
    assert!(
        server.log().contains("MaxStartups"),
        "{done}{}",
        server.log()
    );
}

#[test]
fn dropping_a_server_ends_what_its_sessions_left() {
    if !require_sshd() {
        return;
    }
    let world = World::new();
    let server = world.sshd().start();
    let left = "setsid sleep 987 >/dev/null 2>&1 </dev/null & echo ready; exec sleep 986";
    let client = world.spawn_ssh(&server, &[left]);
    client.wait_for_line("ready", SOON);
    let marker = server.marker();
    eventually(SOON, || {
        processes_with(&marker)
            .iter()
            .filter(|proc| proc.cmdline.contains("sleep 98"))
            .count()
            == 2
    });
    drop(server);
    assert_no_process(&marker);
    client.wait(SOON);
}

#[test]
fn dropped_connections_leave_the_listener() {
    if !require_sshd() {
        return;
    }
    let world = World::new();
    let server = world.sshd().start();
    let client = world.spawn_ssh(&server, &["echo ready; exec sleep 985"]);
    client.wait_for_line("ready", SOON);
    server.drop_connections();
    client.wait(SOON).expect_code(255);
    world.ssh(&server, &["true"]).expect_code(0);
}

#[test]
fn a_running_command_can_be_watched_and_killed() {
    let world = World::new();
    let mut shell = world.clean("sh");
    shell.args(["-c", "echo $HOME; echo partial >&2; exec sleep 984"]);
    let mut running = Running::start(shell, None);
    assert_eq!(
        running.wait_for_line("world", SOON),
        world.home().display().to_string()
    );
    running.wait_for_error_line("partial", SOON);
    assert!(running.is_running());
    running.kill9();
    assert_eq!(running.wait(SOON).code, 137);
}

#[test]
fn dropping_a_world_ends_what_its_commands_left() {
    let world = World::new();
    let mut shell = world.clean("sh");
    shell.args(["-c", "setsid sleep 982 >/dev/null 2>&1 & echo ready"]);
    let started = Running::start(shell, None);
    started.wait_for_line("ready", SOON);
    started.wait(SOON).expect_code(0);
    let marker = world.home().display().to_string();
    eventually(SOON, || {
        processes_with(&marker)
            .iter()
            .any(|proc| proc.cmdline == "sleep 982")
    });
    drop(world);
    eventually(SOON, || processes_with(&marker).is_empty());
}

#[test]
#[should_panic(expected = "did not end within")]
fn a_deadline_ends_a_hanging_command() {
    let world = World::new();
    let mut sleep = world.clean("sleep");
    sleep.arg("983");
    Running::start(sleep, None).wait(Duration::from_millis(100));
}

#[test]
fn the_sampler_sees_arguments_and_variables() {
    let world = World::new();
    let sampler = ps_snapshot();
    let mut sleep = world.clean("sleep");
    sleep.arg("0.98765").env("HIDDEN", "in-the-environment");
    Running::start(sleep, None).wait(SOON).expect_code(0);
    let seen = sampler.stop();
    assert!(seen.iter().any(|proc| proc.cmdline == "sleep 0.98765"));
    assert!(seen.iter().any(|proc| proc.contains("in-the-environment")));
}

#[test]
fn faulty_hosts_fail_in_their_own_ways() {
    if !require_sshd() {
        return;
    }
    let world = World::new();
    let ask = |port: u16| {
        let mut ssh = world.ssh_client("127.0.0.1", port);
        ssh.arg("true");
        Running::start(ssh, None).wait(SOON).expect_code(255).err()
    };
    let refusing = RefusingPort::start();
    assert!(ask(refusing.port()).contains("Connection refused"));
    let mute = MuteHost::start();
    assert!(ask(mute.port()).contains("banner exchange"));
    let (wrong, closing) = (WrongBanner::start(), CloseAfterBanner::start());
    assert!(ask(wrong.port()).contains("banner"));
    assert!(ask(closing.port()).contains("closed by"));
}

#[test]
fn a_black_hole_lets_connecting_hang() {
    let hole = BlackholeHost::start();
    let error = TcpStream::connect_timeout(&hole.addr(), Duration::from_millis(1500)).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
}

#[test]
fn the_binary_runs_without_the_testers_environment() {
    let world = World::new();
    let command = world.command(&["--version"]);
    let named: Vec<_> = command
        .get_envs()
        .map(|(name, _)| name.to_string_lossy().into_owned())
        .collect();
    assert!(
        !named
            .iter()
            .any(|name| name == "SSH_AUTH_SOCK" || name == "USER"),
        "{named:?}"
    );
    world.skyclaw(&["--version"]).expect_code(0);
    assert!(is_root() || user_name() != "root");
}

#[test]
fn a_host_on_a_network_can_be_cut_blackholed_and_healed() {
    if !require_sshd() || !require_network() {
        return;
    }
    let mut net = Net::new();
    let mut world = World::new();
    world.in_namespace(&net.controller());
    let (near, far) = (net.host(), net.host());
    let far = net.host_behind(&far);
    let server = near.start(&world);
    let address = near.address();
    let see = world.ssh(&server, &["echo $SSH_CONNECTION; echo kept > ~/file"]);
    assert_eq!(
        see.expect_code(0).out().split(' ').nth(2),
        Some(address.to_string().as_str())
    );
    let reaches = || world.ssh(&server, &["cat ~/file"]).code == 0;
    for harm in [NetHost::cut, NetHost::blackhole] {
        harm(&near);
        assert!(!reaches());
        near.heal();
        eventually(SOON, reaches);
    }
    let behind = far.start(&world);
    assert_ne!(world.ssh(&behind, &["true"]).code, 0, "nobody may reach it");
}
