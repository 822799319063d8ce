//! Programs from a release: fetched once, checked, and never installed unchecked.

use super::*;
use crate::release_server::{Mode, PROGRAM, ReleaseServer};

fn from<'a>(server: &'a ReleaseServer, more: &[&'a str]) -> Vec<&'a str> {
    [&["--api-url", server.base()][..], more].concat()
}

#[test]
fn both_naming_styles_install_and_the_release_is_fetched_once() {
    for mode in [Mode::BareNames, Mode::TarballNames] {
        let Some(bed) = Bed::new() else { return };
        let second = bed.world.sshd().start();
        bed.world
            .fleet(&[bed.server.fleet_host("alpha"), second.fleet_host("beta")]);
        let releases = ReleaseServer::start(mode);
        let output = bed.deploy(&from(&releases, &["--json"])).expect_code(0);
        let document = output.json();
        assert_eq!(document["summary"]["installed"], 2, "{output}");
        assert_eq!(document["hosts"][1]["version"], "1.2");
        for home in [bed.server.home(), second.home()] {
            let program = fs::read(home.join(".local/bin/picoclaw")).unwrap();
            assert_eq!(program, PROGRAM.as_bytes());
        }
        assert_eq!(releases.count("/releases/latest"), 1);
        let assets = releases.requests();
        let assets = assets.iter().filter(|request| {
            request.path.contains("/download/") && !request.path.ends_with(".txt")
        });
        assert_eq!(assets.count(), 1);

        let row = bed.row(0, &from(&releases, &["alpha"]));
        assert_eq!(row["result"], "unchanged", "{row}");
    }
}

#[test]
fn nothing_unchecked_is_installed() {
    let Some(bed) = Bed::new() else { return };
    bed.deploy(&["--from", AGENT]).expect_code(0);
    let before = state(bed.server.home());
    for (mode, words) in [
        (Mode::WrongChecksum, &["SHA-256"][..]),
        (Mode::WrongDigest, &["SHA-256"]),
        (Mode::NoChecksum, &["no checksum", "--insecure-no-checksum"]),
        (
            Mode::MissingAsset,
            &["no asset for amd64 in v1.2", "picoclaw_x.deb"],
        ),
    ] {
        let releases = ReleaseServer::start(mode);
        let row = bed.row(1, &from(&releases, &[]));
        assert_eq!(row["result"], "failed", "{mode:?}: {row}");
        let error = row["error"].as_str().unwrap();
        for word in words {
            assert!(error.contains(word), "{mode:?}: {error}");
        }
        assert_eq!(state(bed.server.home()), before, "{mode:?}");
    }
    let releases = ReleaseServer::start(Mode::NoChecksum);
    let row = bed.row(0, &from(&releases, &["--insecure-no-checksum"]));
    assert_eq!(row["result"], "updated", "{row}");
}

#[test]
fn a_release_that_is_not_there_is_known_before_any_host() {
    let Some(bed) = Bed::new() else { return };
    for mode in [Mode::NotFound, Mode::RateLimited, Mode::NotJson] {
        let releases = ReleaseServer::start(mode);
        bed.deploy(&from(&releases, &[])).expect_code(1);
    }
    let releases = ReleaseServer::start(Mode::BareNames);
    let output = bed
        .deploy(&from(&releases, &["--version", "v9"]))
        .expect_code(1);
    assert!(output.err().contains("v9"), "{output}");
    assert!(
        !bed.server.log().contains("Connection from"),
        "{}",
        bed.server.log()
    );
}

#[test]
fn what_was_fetched_once_needs_no_network() {
    let Some(bed) = Bed::new() else { return };
    let releases = ReleaseServer::start(Mode::TarballNames);
    let api = releases.base().to_owned();
    let args = ["--version", "v1.2", "--api-url", &api];
    bed.deploy(&args).expect_code(0);
    drop(releases);
    fs::remove_file(bed.program()).unwrap();
    assert_eq!(bed.row(0, &args)["result"], "installed");
}

#[test]
fn downloads_can_come_from_another_server() {
    let Some(bed) = Bed::new() else { return };
    let api = ReleaseServer::start(Mode::AssetGone);
    let mirror = ReleaseServer::start(Mode::TarballNames);
    let zeros = "0".repeat(64);
    let args = ["--base-url", mirror.base(), "--sha256", &zeros];
    let row = bed.row(1, &from(&api, &args));
    assert!(row["error"].as_str().unwrap().contains("--sha256"), "{row}");
    assert_eq!(mirror.count("/download/"), 1);
    assert_eq!(api.count("/download/"), 0);
}

#[test]
fn agent_and_skyclaw_can_be_deployed_together() {
    let Some(bed) = Bed::new() else { return };
    let releases = ReleaseServer::start(Mode::TarballNames);
    let row = bed.row(0, &from(&releases, &["--component", "all"]));
    assert_eq!(row["result"], "installed", "{row}");
    let expected = serde_json::json!({"picoclaw": "1.2", "skyclaw": env!("CARGO_PKG_VERSION")});
    assert_eq!(row["versions"], expected);
    let row = bed.row(0, &from(&releases, &["--component", "all"]));
    assert_eq!(row["result"], "unchanged", "{row}");
}
