//! `--fetch host`: the hosts download, the controller says what the download must be.

use std::time::Duration;

use super::*;
use crate::common::eventually;
use crate::release_server::{Mode, PROGRAM, ReleaseServer};

fn there<'a>(server: &'a ReleaseServer, more: &[&'a str]) -> Vec<&'a str> {
    [&["--fetch", "host", "--api-url", server.base()][..], more].concat()
}

fn downloads(server: &ReleaseServer) -> usize {
    let requests = server.requests();
    let assets = requests
        .iter()
        .filter(|request| request.path.contains("/download/") && !request.path.ends_with(".txt"));
    assets.count()
}

/// A directory with what any host has, and `more`.
fn programs(more: &[&str]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let usual =
        "bash sh env uname df sha256sum mv rm cat wc ls mkdir chmod sync ln grep sleep tar gzip";
    for name in usual.split(' ').chain(more.iter().copied()) {
        let found = ["/usr/bin", "/bin"].map(|dir| Path::new(dir).join(name));
        let found = found.iter().find(|path| path.exists()).unwrap();
        std::os::unix::fs::symlink(found, dir.path().join(name)).unwrap();
    }
    dir
}

#[test]
fn every_host_downloads_for_itself_and_twice_is_once() {
    for naming in [Mode::BareNames, Mode::TarballNames] {
        let Some(bed) = Bed::new() else { return };
        let second = bed.world.sshd().start();
        bed.world
            .fleet(&[bed.server.fleet_host("alpha"), second.fleet_host("beta")]);
        let releases = ReleaseServer::start(naming);
        let output = bed.deploy(&there(&releases, &["--json"])).expect_code(0);
        let document = output.json();
        assert_eq!(document["summary"]["installed"], 2, "{output}");
        assert_eq!(document["hosts"][1]["version"], "1.2");
        for home in [bed.server.home(), second.home()] {
            let program = home.join(".local/bin/picoclaw");
            assert_eq!(fs::read(&program).unwrap(), PROGRAM.as_bytes());
            assert_eq!(mode(&program), 0o755);
            assert_eq!(fs::read_dir(home.join(".local/bin")).unwrap().count(), 1);
        }
        assert_eq!(downloads(&releases), 2, "{naming:?}");
        assert!(
            !bed.world.home().join(".cache/skyclaw/releases").exists(),
            "nothing is downloaded here"
        );

        let files = |home: &Path| {
            let program = fs::metadata(home.join(".local/bin/picoclaw")).unwrap();
            (program.ino(), state(&home.join(".picoclaw")))
        };
        let before = files(bed.server.home());
        let row = bed.row(0, &there(&releases, &["alpha"]));
        assert_eq!(row["result"], "unchanged", "{naming:?}: {row}");
        assert_eq!(files(bed.server.home()), before, "{naming:?}");
        if naming == Mode::BareNames {
            assert_eq!(downloads(&releases), 2, "its digest is known here");
        }
    }
}

#[test]
fn an_update_keeps_the_former_program_and_a_plan_tells_who_downloads() {
    let Some(bed) = Bed::new() else { return };
    bed.deploy(&["--from", AGENT]).expect_code(0);
    let releases = ReleaseServer::start(Mode::TarballNames);
    let row = bed.row(0, &there(&releases, &["--dry-run"]));
    assert!(
        row["steps"][0]
            .as_str()
            .unwrap()
            .contains("downloaded by the host"),
        "{row}"
    );
    assert_eq!(downloads(&releases), 0);
    assert_eq!(fs::read(bed.program()).unwrap(), fs::read(AGENT).unwrap());

    let row = bed.row(0, &there(&releases, &[]));
    assert_eq!(row["result"], "updated", "{row}");
    assert_eq!(fs::read(bed.program()).unwrap(), PROGRAM.as_bytes());
    let prev = bed.home(".local/bin/picoclaw.prev");
    assert_eq!(fs::read(&prev).unwrap(), fs::read(AGENT).unwrap());
    bed.row(0, &there(&releases, &["--force"]));
    assert_eq!(
        fs::read(&prev).unwrap(),
        fs::read(AGENT).unwrap(),
        "the same again pushes nothing out"
    );
}

#[test]
fn a_program_that_fails_its_test_is_taken_back() {
    let Some(bed) = Bed::new() else { return };
    bed.deploy(&["--from", AGENT]).expect_code(0);
    let impostor = fs::read(IMPOSTOR).unwrap();
    let releases = ReleaseServer::serving(Mode::TarballNames, "v9", &impostor);
    let row = bed.row(1, &there(&releases, &[]));
    assert!(
        row["error"].as_str().unwrap().contains("back in place"),
        "{row}"
    );
    assert_eq!(fs::read(bed.program()).unwrap(), fs::read(AGENT).unwrap());
}

#[test]
fn nothing_but_what_was_expected_is_installed() {
    let Some(bed) = Bed::new() else { return };
    bed.deploy(&["--from", AGENT]).expect_code(0);
    let zeros = "0".repeat(64);
    let pinned = &["--sha256", &zeros][..];
    for (mode, more, word) in [
        (Mode::WrongChecksum, &[][..], "SHA-256"),
        (Mode::WrongDigest, &[], "SHA-256"),
        (Mode::BareNames, pinned, "SHA-256"),
        (Mode::NoChecksum, &[], "no checksum"),
        (Mode::AssetGone, pinned, "curl ended with exit code 22"),
        (Mode::CutTransfer, pinned, "curl ended with exit code 18"),
    ] {
        let releases = ReleaseServer::start(mode);
        let row = bed.row(1, &there(&releases, more));
        assert_eq!(row["result"], "failed", "{mode:?}: {row}");
        let error = row["error"].as_str().unwrap();
        assert!(error.contains(word), "{mode:?}: {error}");
        assert_eq!(fs::read(bed.program()).unwrap(), fs::read(AGENT).unwrap());
        let left = fs::read_dir(bed.home(".local/bin")).unwrap().count();
        assert_eq!(left, 1, "{mode:?}: no half file stays");
    }
}

#[test]
fn wget_will_do_and_without_any_the_next_step_is_told() {
    let releases = ReleaseServer::start(Mode::BareNames);
    let without = programs(&[]);
    let path = without.path().display().to_string();
    let Some(bed) = Bed::with(|server| server.env("PATH", &path)) else {
        return;
    };
    let row = bed.row(1, &there(&releases, &[]));
    let error = row["error"].as_str().unwrap();
    assert!(error.contains("neither curl nor wget"), "{row}");
    let hint = row["hint"].as_str().unwrap();
    assert!(hint.contains("leave out --fetch host"), "{row}");
    assert!(!bed.program().exists());

    let with = programs(&["wget"]);
    let path = with.path().display().to_string();
    let Some(bed) = Bed::with(|server| server.env("PATH", &path)) else {
        return;
    };
    assert_eq!(bed.row(0, &there(&releases, &[]))["result"], "installed");
    assert_eq!(fs::read(bed.program()).unwrap(), PROGRAM.as_bytes());
}

#[test]
fn a_killed_controller_takes_the_download_with_it() {
    let Some(bed) = Bed::new() else { return };
    let releases = ReleaseServer::start(Mode::BareNames);
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", silent.local_addr().unwrap());
    let digest = crate::release_server::sha256(PROGRAM.as_bytes());
    let args = there(&releases, &["--base-url", &base, "--sha256", &digest]);
    let running = bed.world.spawn(&[&["fleet", "deploy"][..], &args].concat());
    let (_asked, _) = silent.accept().unwrap();
    running.kill9();
    running.wait(DEADLINE).expect_code(137);
    eventually(Duration::from_secs(20), || {
        bed.server.session_processes().is_empty()
    });
    assert_eq!(
        fs::read_dir(bed.home(".local/bin")).unwrap().count(),
        0,
        "no half file stays"
    );
}
