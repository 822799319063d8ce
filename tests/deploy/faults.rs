//! Hosts that fail in one way each, and a controller that is killed.

use std::time::Duration;

use super::*;
use crate::common::{
    FleetHost, MuteHost, RefusingPort, eventually, holds_within, processes_with, require_mounts,
};

#[test]
fn one_bad_host_stops_no_other() {
    let Some(bed) = Bed::new() else { return };
    let (refusing, mute) = (RefusingPort::start(), MuteHost::start());
    let stranger = bed.world.sshd().user_auth_rejecting().start();
    let mut changed = bed.world.sshd().start();
    bed.world.trust(&changed);
    changed.replace_host_key_and_restart();
    let hosts = [
        FleetHost::new("refusing", "127.0.0.1", refusing.port()),
        FleetHost::new("mute", "127.0.0.1", mute.port()),
        stranger.fleet_host("stranger"),
        changed.fleet_host("changed"),
        bed.server.fleet_host("alpha"),
    ];
    bed.world.fleet(&hosts);
    let args = ["--connect-timeout", "2s", "--from", AGENT, "--json"];
    let output = bed.deploy(&args).expect_code(4);
    let document = output.json();
    let results: Vec<&str> = document["hosts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["result"].as_str().unwrap())
        .collect();
    assert_eq!(
        results,
        [
            "unreachable",
            "unreachable",
            "auth",
            "host-key",
            "installed"
        ],
        "{output}"
    );
    // A host that failed is graver than one that was away.
    fs::write(bed.home(".picoclaw/config.json"), "{").unwrap();
    bed.deploy(&args).expect_code(1);
}

#[test]
fn a_missing_key_is_known_before_any_host() {
    let Some(mut bed) = Bed::new() else { return };
    let other = bed
        .server
        .fleet_host("beta")
        .with("api_key_env", "MY_OTHER_KEY");
    bed.world.fleet(&[bed.server.fleet_host("alpha"), other]);
    for more in [&["--from", AGENT][..], &["--dry-run", "--from", AGENT]] {
        let output = bed.deploy(more).expect_code(2);
        assert!(output.err().contains("MY_OTHER_KEY is not set"), "{output}");
        assert!(output.err().contains("beta"), "{output}");
    }
    let host = bed
        .server
        .fleet_host("alpha")
        .with("api_key_env", "PROVIDER");
    bed.world.set_env("PROVIDER", "anthropic");
    bed.world.fleet(&[host]);
    let output = bed.deploy(&["--from", AGENT]).expect_code(2);
    assert!(output.err().contains("PROVIDER"), "{output}");
    assert!(
        !bed.server.log().contains("Connection from"),
        "{}",
        bed.server.log()
    );
}

#[test]
fn the_host_knows_its_architecture_better_than_the_file() {
    let Some(bed) = Bed::new() else { return };
    let host = bed.server.fleet_host("alpha").with("arch", "arm64");
    bed.world.fleet(&[host]);
    let row = bed.row(0, &["--from", AGENT]);
    assert_eq!(row["result"], "installed", "{row}");
    let warning = row["warnings"][0].as_str().unwrap();
    assert!(
        warning.contains("arm64") && warning.contains("amd64 is used"),
        "{warning}"
    );
    let row = bed.row(0, &["--force-arch", "--from", AGENT]);
    assert!(
        row["warnings"][0]
            .as_str()
            .unwrap()
            .contains("arm64 is used"),
        "{row}"
    );

    let mut arm = fs::read(env!("CARGO_BIN_EXE_skyclaw")).unwrap();
    arm.truncate(4096);
    arm[18..20].copy_from_slice(&[183, 0]);
    let program = bed.world.dir().join("arm");
    fs::write(&program, arm).unwrap();
    let before = state(bed.server.home());
    let row = bed.row(1, &["--from", program.to_str().unwrap()]);
    let error = row["error"].as_str().unwrap();
    assert!(
        error.contains("built for arm64, the host is amd64"),
        "{error}"
    );
    assert_eq!(state(bed.server.home()), before);
    let row = bed.row(1, &["--force-arch", "--from", program.to_str().unwrap()]);
    assert!(
        row["error"].as_str().unwrap().contains("back in place"),
        "{row}"
    );
}

#[test]
fn a_system_without_a_build_fails_alone() {
    let Some(bed) = Bed::new() else { return };
    let bin = bed.world.dir().join("bin");
    fs::create_dir(&bin).unwrap();
    fs::write(bin.join("uname"), "#!/bin/sh\necho Linux armv7l\n").unwrap();
    fs::set_permissions(bin.join("uname"), fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/bin:/bin", bin.display());
    let odd = bed.world.sshd().env("PATH", &path).start();
    bed.world
        .fleet(&[odd.fleet_host("odd"), bed.server.fleet_host("alpha")]);
    let output = bed.deploy(&["--json", "--from", AGENT]).expect_code(1);
    let hosts = output.json()["hosts"].clone();
    assert!(
        hosts[0]["error"].as_str().unwrap().contains("armv7l"),
        "{output}"
    );
    assert_eq!(hosts[1]["result"], "installed", "{output}");
}

#[test]
fn a_full_disk_leaves_the_old_program() {
    if !require_mounts() {
        return;
    }
    let Some(bed) = Bed::with(SshdBuilder::full_disk) else {
        return;
    };
    bed.deploy(&["--from", AGENT]).expect_code(0);
    let large = bed.world.dir().join("large");
    let mut text = fs::read(AGENT).unwrap();
    text.resize(300_000, b'#');
    fs::write(&large, text).unwrap();
    let row = bed.row(1, &["--from", large.to_str().unwrap()]);
    assert!(
        row["error"].as_str().unwrap().contains("not enough space"),
        "{row}"
    );
    assert!(row["hint"].as_str().unwrap().contains("df -h"), "{row}");
    assert_eq!(fs::read(bed.program()).unwrap(), fs::read(AGENT).unwrap());
    assert_eq!(bed.row(0, &["--from", AGENT])["result"], "unchanged");
}

#[test]
fn a_disk_that_fills_up_on_the_way_leaves_the_old_program() {
    if !require_mounts() {
        return;
    }
    // This host says that it has room, and has not.
    let lying = tempfile::tempdir().unwrap();
    let df = lying.path().join("df");
    fs::write(&df, "#!/bin/sh\necho h\necho fs 9 9 99999999 1% /\n").unwrap();
    fs::set_permissions(&df, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/bin:/bin", lying.path().display());
    let Some(bed) = Bed::with(|server| server.full_disk().env("PATH", &path)) else {
        return;
    };
    bed.deploy(&["--from", AGENT]).expect_code(0);
    let large = bed.world.dir().join("large");
    fs::write(
        &large,
        [&fs::read(AGENT).unwrap()[..], &vec![b'#'; 300_000]].concat(),
    )
    .unwrap();
    let row = bed.row(1, &["--from", large.to_str().unwrap()]);
    assert_eq!(row["result"], "failed", "{row}");
    assert!(
        row["error"]
            .as_str()
            .unwrap()
            .to_lowercase()
            .contains("no space"),
        "{row}"
    );
    assert!(row["hint"].as_str().unwrap().contains("df -h"), "{row}");
    assert_eq!(fs::read(bed.program()).unwrap(), fs::read(AGENT).unwrap());
    let names: Vec<_> = fs::read_dir(bed.home(".local/bin"))
        .unwrap()
        .flatten()
        .collect();
    assert_eq!(names.len(), 1, "no half file stays: {names:?}");
}

#[test]
fn something_in_the_way_is_named() {
    let Some(bed) = Bed::new() else { return };
    fs::create_dir_all(bed.program()).unwrap();
    let row = bed.row(1, &["--from", AGENT]);
    assert!(
        row["error"]
            .as_str()
            .unwrap()
            .contains("picoclaw is in the way"),
        "{row}"
    );
    assert!(
        row["hint"].as_str().unwrap().contains("move it away"),
        "{row}"
    );
}

#[test]
fn a_killed_controller_leaves_the_old_program_and_the_next_one_works() {
    let Some(bed) = Bed::new() else { return };
    bed.deploy(&["--from", AGENT]).expect_code(0);
    let old = fs::read(AGENT).unwrap();
    let large = bed.world.dir().join("large");
    fs::write(&large, [&old[..], b"exit\n"].concat()).unwrap();
    let file = fs::File::options().write(true).open(&large).unwrap();
    file.set_len(96 << 20).unwrap();
    let args = ["--from", large.to_str().unwrap()];
    let running = bed.world.spawn(&[&["fleet", "deploy"][..], &args].concat());
    let bin = bed.home(".local/bin");
    let half = || {
        let files = fs::read_dir(&bin).unwrap().flatten();
        files
            .filter(|file| {
                file.file_name()
                    .to_string_lossy()
                    .starts_with(".skyclaw-upload")
            })
            .find_map(|file| file.metadata().ok())
            .is_some_and(|meta| meta.len() > 0)
    };
    eventually(Duration::from_secs(30), half);
    running.kill9();
    running.wait(DEADLINE).expect_code(137);
    assert_eq!(fs::read(bed.program()).unwrap(), old);
    let cleared = || fs::read_dir(&bin).unwrap().count() == 1;
    assert!(
        holds_within(Duration::from_secs(20), cleared),
        "the half file goes away"
    );
    // What removed it may still be ending.
    let below = format!("{}/.local", bed.server.home().display());
    eventually(DEADLINE, || processes_with(&below).is_empty());
    assert_eq!(bed.row(0, &args)["result"], "updated");
}

#[test]
fn an_interrupted_deploy_tells_what_was_done() {
    let Some(bed) = Bed::new() else { return };
    let mute = MuteHost::start();
    bed.world.fleet(&[
        FleetHost::new("mute", "127.0.0.1", mute.port()),
        bed.server.fleet_host("alpha"),
    ]);
    let args = ["--ndjson", "--connect-timeout", "50s", "--from", AGENT];
    let running = bed.world.spawn(&[&["fleet", "deploy"][..], &args].concat());
    running.wait_for_line("alpha", DEADLINE);
    running.interrupt();
    let output = running.wait(DEADLINE).expect_code(130);
    assert!(output.out().contains("\"cancelled\":1"), "{output}");
}

/// Writes a program that answers `version` with this shell code.
fn answering(bed: &Bed, code: &str) -> String {
    let program = bed.world.dir().join("answering");
    let text = format!("#!/bin/sh\ncase $1 in\nversion) {code};;\nesac\n");
    fs::write(&program, text).unwrap();
    program.to_str().unwrap().to_owned()
}

#[test]
fn a_program_that_is_busy_for_a_moment_is_tried_again() {
    let Some(bed) = Bed::new() else { return };
    let code =
        "[ -e ~/tried ] && echo picoclaw 1.0 || { : >~/tried; echo Text file busy >&2; exit 126; }";
    let row = bed.row(0, &["--from", &answering(&bed, code)]);
    assert_eq!(row["result"], "installed", "{row}");
}

#[test]
fn a_program_that_cannot_run_there_is_taken_back_with_advice() {
    let Some(bed) = Bed::new() else { return };
    for (code, error, hint) in [
        (
            "echo Permission denied >&2; exit 126",
            "exit code 126",
            "noexec",
        ),
        ("echo picoclaw 1.0; exit 3", "exit code 3", "version` there"),
        ("kill -SEGV $$", "signal SEGV", "version` there"),
    ] {
        let row = bed.row(1, &["--from", &answering(&bed, code)]);
        assert!(row["error"].as_str().unwrap().contains(error), "{row}");
        assert!(row["hint"].as_str().unwrap().contains(hint), "{row}");
        assert!(!bed.program().exists());
    }
}

#[test]
fn a_connection_that_dies_on_the_way_is_told() {
    let Some(bed) = Bed::new() else { return };
    let program = answering(&bed, ": >~/started; sleep 600");
    let running = bed
        .world
        .spawn(&["fleet", "deploy", "--json", "--from", &program]);
    let started = bed.home("started");
    eventually(DEADLINE, || started.exists());
    bed.server.drop_connections();
    let output = running.wait(DEADLINE).expect_code(1);
    assert_eq!(only(&output)["result"], "lost", "{output}");
    // What is there was never tested; the next deploy does that.
    let row = bed.row(0, &["--from", AGENT]);
    assert_eq!(row["result"], "updated", "{row}");
}

#[test]
fn a_host_with_a_simple_dd_is_deployed_to() {
    // It knows none of the words that ours uses, as on systems without GNU or busybox programs.
    let fakes = tempfile::tempdir().unwrap();
    let dd = "#!/bin/sh\necho \"dd: unknown operand $3\" >&2\nexit 1\n";
    crate::common::bed::install(fakes.path(), "dd", dd);
    let path = format!("{}:/usr/bin:/bin", fakes.path().display());
    let Some(bed) = Bed::with(|server| server.env("PATH", &path)) else {
        return;
    };
    assert_eq!(bed.row(0, &["--from", AGENT])["result"], "installed");
    assert_eq!(fs::read(bed.program()).unwrap(), fs::read(AGENT).unwrap());
    assert_eq!(mode(&bed.program()), 0o755);
}

#[test]
fn a_deploy_costs_the_host_few_sessions() {
    let Some(bed) = Bed::new() else { return };
    let sessions = || bed.server.log().matches("Starting session").count();
    assert_eq!(bed.row(0, &["--from", AGENT])["result"], "installed");
    // All that is ours in one; the program's test and onboard are supervised in the other.
    assert_eq!(sessions(), 2, "{}", bed.server.log());
    assert_eq!(bed.row(0, &["--from", AGENT])["result"], "unchanged");
    assert_eq!(sessions(), 4, "{}", bed.server.log());
}
