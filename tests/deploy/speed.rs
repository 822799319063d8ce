//! How long sixteen hosts take, next to OpenSSH. Ignored by default; run it alone, with `--release`:
//! `cargo nextest run --release --test deploy --run-ignored only speed --no-capture`.

use std::time::{Duration, Instant};

use super::*;

const HOSTS: usize = 16;
const SIZE: u64 = 20 << 20;

#[test]
#[ignore = "a measurement, not a check"]
fn sixteen_hosts_take_no_longer_than_with_openssh() {
    let Some(bed) = Bed::new() else { return };
    let program = bed.world.dir().join("program");
    let text = [&fs::read(AGENT).unwrap()[..], b"exit\n"].concat();
    fs::write(&program, text).unwrap();
    let file = fs::File::options().write(true).open(&program).unwrap();
    file.set_len(SIZE).unwrap();
    let servers: Vec<Sshd> = (0..HOSTS).map(|_| bed.world.sshd().start()).collect();
    let hosts: Vec<_> = servers
        .iter()
        .enumerate()
        .map(|(n, server)| server.fleet_host(&format!("h{n}")))
        .collect();
    bed.world.fleet(&hosts);

    let started_at = Instant::now();
    let copies: Vec<Running> = servers
        .iter()
        .map(|server| {
            let mut ssh = bed.world.ssh_client(&server.host(), server.port());
            ssh.arg("cat >copied");
            Running::start(ssh, Some(fs::read(&program).unwrap()))
        })
        .collect();
    for copy in copies {
        copy.wait(Duration::from_secs(120)).expect_code(0);
    }
    let openssh = started_at.elapsed();

    let args = ["fleet", "deploy", "--from", program.to_str().unwrap()];
    let started_at = Instant::now();
    let running = bed.world.spawn(&args);
    let status = PathBuf::from(format!("/proc/{}/status", running.pid()));
    let mut peak = String::new();
    common::holds_within(Duration::from_secs(120), || {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with("VmHWM"));
        match line {
            Some(line) => peak = line.to_owned(),
            None => return true,
        }
        false
    });
    running.wait(Duration::from_secs(120)).expect_code(0);
    let deploy = started_at.elapsed();
    println!("16 x 20 MiB: ssh and cat {openssh:?}, deploy {deploy:?} ({peak})");
}
