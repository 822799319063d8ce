//! `skyclaw fleet deploy` against real sshd: what is on the hosts afterwards, and what is not.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking; clippy grants that only to #[test] functions"
)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/release_server.rs"]
mod release_server;

mod daemon;
mod fakes;
mod faults;
mod fetch;
mod launchd;
mod library;
mod releases;
mod secrets;
mod settings;
mod speed;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use common::world::DEADLINE;
use common::{Output, Running, Shell, Sshd, SshdBuilder, World, require_program, require_sshd};
use serde_json::Value;

/// The key that must show up in three files and nowhere else.
const KEY: &str = "sk-test-6f1d2c-never-shown";
const AGENT: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/fixtures/agents/picoclaw"
);
const IMPOSTOR: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/fixtures/agents/picoclaw-impostor"
);

struct Bed {
    world: World,
    server: Sshd,
}

impl Bed {
    fn new() -> Option<Self> {
        Self::with(|server| server)
    }

    /// One host called `alpha` and a key in the environment.
    fn with(change: impl FnOnce(SshdBuilder) -> SshdBuilder) -> Option<Self> {
        require_sshd().then(|| {
            let mut world = World::new();
            world.set_env("ANTHROPIC_API_KEY", KEY);
            let server = change(world.sshd()).start();
            world.fleet(&[server.fleet_host("alpha")]);
            Self { world, server }
        })
    }

    #[track_caller]
    fn deploy(&self, more: &[&str]) -> Output {
        let mut args = vec!["fleet", "deploy"];
        args.extend(more);
        let output = self.world.skyclaw(&args);
        assert_no_key(&output);
        output
    }

    /// Deploys the fake agent with `--json` and returns the only host's row.
    #[track_caller]
    fn row(&self, code: i32, more: &[&str]) -> Value {
        let mut args = vec!["--json"];
        args.extend(more);
        only(&self.deploy(&args).expect_code(code))
    }

    fn home(&self, path: &str) -> PathBuf {
        self.server.home().join(path)
    }

    fn program(&self) -> PathBuf {
        self.home(".local/bin/picoclaw")
    }

    fn read(&self, path: &str) -> String {
        let file = self.home(path);
        fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
    }
}

#[track_caller]
fn assert_no_key(output: &Output) {
    let shown = format!("{}{}", output.out(), output.err());
    assert!(!shown.contains(KEY), "the key is shown: {shown}");
}

#[track_caller]
fn only(output: &Output) -> Value {
    let document = output.json();
    assert_eq!(document["schema"], 1, "{output}");
    let hosts = document["hosts"].as_array().unwrap();
    assert_eq!(hosts.len(), 1, "{output}");
    hosts[0].clone()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Every file below a directory with its inode, change time and length.
fn state(dir: &Path) -> Vec<(PathBuf, u64, i64, i64, u64)> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(next) = dirs.pop() {
        let meta = fs::metadata(&next).unwrap();
        found.push((next.clone(), meta.ino(), meta.ctime(), meta.ctime_nsec(), 0));
        for entry in fs::read_dir(&next).unwrap().flatten() {
            let meta = entry.metadata().unwrap();
            if meta.is_dir() {
                dirs.push(entry.path());
            } else {
                let (inode, length) = (meta.ino(), meta.len());
                found.push((entry.path(), inode, meta.ctime(), meta.ctime_nsec(), length));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn a_file_becomes_a_working_agent_and_twice_is_once() {
    let Some(bed) = Bed::new() else { return };
    let row = bed.row(0, &["--from", AGENT]);
    assert_eq!(row["result"], "installed", "{row}");
    assert_eq!(row["version"], "0.2.9", "{row}");
    assert_eq!(fs::read(bed.program()).unwrap(), fs::read(AGENT).unwrap());
    assert_eq!(mode(&bed.program()), 0o755);
    assert!(!bed.home(".local/bin/picoclaw.prev").exists());
    assert_eq!(
        bed.read(".picoclaw/.env"),
        format!("PROVIDER=anthropic\nANTHROPIC_API_KEY={KEY}\n")
    );
    let config: Value = serde_json::from_str(&bed.read(".picoclaw/config.json")).unwrap();
    assert_eq!(config["agents"]["defaults"]["model_name"], "fleet");
    assert!(
        config["agents"]["defaults"]["workspace"].is_string(),
        "what onboard wrote is kept: {config}"
    );
    assert!(bed.read(".picoclaw/.security.yml").contains(KEY));
    for file in [".env", "config.json", ".security.yml"] {
        assert_eq!(mode(&bed.home(".picoclaw").join(file)), 0o600, "{file}");
    }

    let before = state(bed.server.home());
    let row = bed.row(0, &["--from", AGENT]);
    assert_eq!(row["result"], "unchanged", "{row}");
    assert_eq!(row["version"], "0.2.9", "{row}");
    assert_eq!(state(bed.server.home()), before, "nothing is written");
}

#[test]
fn what_was_deployed_answers_tasks() {
    let Some(bed) = Bed::new() else { return };
    bed.deploy(&["--from", AGENT]).expect_code(0);
    let shown = bed.world.ssh(
        &bed.server,
        &["~/.local/bin/picoclaw agent -m 'hello there'"],
    );
    assert!(shown.expect_code(0).out().contains("hello there"));
}

#[test]
fn an_update_keeps_the_former_program() {
    let Some(bed) = Bed::new() else { return };
    bed.deploy(&["--from", AGENT]).expect_code(0);
    let old = fs::read(AGENT).unwrap();
    let new = bed.world.dir().join("new");
    fs::write(&new, [&old[..], b"# newer\n"].concat()).unwrap();
    let row = bed.row(0, &["--from", new.to_str().unwrap()]);
    assert_eq!(row["result"], "updated", "{row}");
    assert_eq!(fs::read(bed.program()).unwrap(), fs::read(&new).unwrap());
    let prev = bed.home(".local/bin/picoclaw.prev");
    assert_eq!(fs::read(&prev).unwrap(), old);

    let row = bed.row(0, &["--force", "--from", new.to_str().unwrap()]);
    assert_eq!(row["result"], "updated", "{row}");
    assert_eq!(
        fs::read(&prev).unwrap(),
        old,
        "the same again pushes nothing out"
    );
}

#[test]
fn an_impostor_is_taken_back() {
    let Some(bed) = Bed::new() else { return };
    let row = bed.row(1, &["--from", IMPOSTOR]);
    assert_eq!(row["result"], "failed", "{row}");
    let error = row["error"].as_str().unwrap();
    assert!(
        error.contains("removed") && error.contains("bootstrap"),
        "{error}"
    );
    assert!(!bed.program().exists());
    assert!(
        !bed.home(".picoclaw").exists(),
        "no settings for an impostor"
    );

    bed.deploy(&["--from", AGENT]).expect_code(0);
    let row = bed.row(1, &["--from", IMPOSTOR]);
    assert!(
        row["error"].as_str().unwrap().contains("back in place"),
        "{row}"
    );
    assert_eq!(fs::read(bed.program()).unwrap(), fs::read(AGENT).unwrap());
    assert!(!bed.home(".local/bin/picoclaw.prev").exists());
    assert_eq!(bed.row(0, &["--from", AGENT])["result"], "unchanged");
}

#[test]
fn a_dry_run_tells_the_steps_and_writes_nothing() {
    let Some(bed) = Bed::new() else { return };
    let before = state(bed.server.home());
    let output = bed.deploy(&["--json", "--dry-run", "--from", AGENT]);
    assert_eq!(output.expect_code(0).json()["dryRun"], true);
    let row = bed.row(0, &["--dry-run", "--from", AGENT]);
    assert_eq!(row["result"], "planned", "{row}");
    let steps = row["steps"].to_string();
    for word in [
        "install",
        "test ~/.local/bin/picoclaw version",
        "onboard",
        ".env",
        ".security.yml",
    ] {
        assert!(steps.contains(word), "{word} in {steps}");
    }
    assert_eq!(state(bed.server.home()), before);

    bed.deploy(&["--from", AGENT]).expect_code(0);
    let before = state(bed.server.home());
    let row = bed.row(0, &["--dry-run", "--from", AGENT]);
    assert_eq!(row["result"], "unchanged", "{row}");
    let row = bed.row(0, &["--dry-run", "--model", "other", "--from", AGENT]);
    assert_eq!(row["result"], "planned", "{row}");
    let steps = row["steps"].as_array().unwrap();
    assert_eq!(steps.len(), 2, "a test and one file: {row}");
    assert_eq!(state(bed.server.home()), before);
}

#[test]
fn people_get_a_table_and_machines_get_events() {
    let Some(bed) = Bed::new() else { return };
    let table = bed.deploy(&["--from", AGENT]).expect_code(0).out();
    let mut lines = table.lines();
    assert_eq!(
        lines.next(),
        Some("NAME\tRESULT\tVERSION\tSECONDS\tDETAILS")
    );
    let cells: Vec<&str> = lines.next().unwrap().split('\t').collect();
    assert_eq!(cells[..3], ["alpha", "installed", "0.2.9"]);
    assert!(
        cells[4].starts_with("wrote ~/.local/bin/picoclaw"),
        "{table}"
    );

    let events = bed
        .deploy(&["--ndjson", "--from", AGENT])
        .expect_code(0)
        .out();
    let events: Vec<Value> = events
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(events.len(), 2, "{events:?}");
    assert_eq!(events[0]["event"], "host");
    assert_eq!(events[0]["name"], "alpha");
    assert_eq!(events[1]["event"], "summary");
    assert_eq!(events[1]["summary"]["unchanged"], 1);
    assert!(events.iter().all(|event| event["schema"] == 1));
}

#[test]
fn any_login_shell_and_any_noise_will_do() {
    for shell in [Shell::Fish, Shell::Busybox, Shell::Tcsh, Shell::Zsh] {
        if !require_program(shell.program()) {
            continue;
        }
        let noisy =
            |server: SshdBuilder| server.shell(shell).rc_noise("Welcome!\nfile 3 skyclaw-\n");
        let Some(bed) = Bed::with(noisy) else { return };
        assert_eq!(
            bed.row(0, &["--from", AGENT])["result"],
            "installed",
            "{shell:?}"
        );
        assert_eq!(
            bed.row(0, &["--from", AGENT])["result"],
            "unchanged",
            "{shell:?}"
        );
        assert!(bed.read(".picoclaw/.security.yml").contains(KEY));
    }
}

#[test]
fn skyclaw_itself_can_be_deployed_without_any_key() {
    let Some(bed) = Bed::new() else { return };
    let program = bed.world.dir().join("fake-skyclaw");
    fs::write(
        &program,
        "#!/bin/sh\n[ \"$1\" = --version ] && echo skyclaw 9.8.7\n",
    )
    .unwrap();
    let args = [
        "fleet",
        "deploy",
        "--json",
        "--no-service",
        "--component",
        "host",
        "--from",
    ];
    let mut command = bed
        .world
        .command(&[&args[..], &[program.to_str().unwrap()]].concat());
    command.env_remove("ANTHROPIC_API_KEY");
    let row = only(&Running::start(command, None).wait(DEADLINE).expect_code(0));
    assert_eq!(
        (&row["result"], &row["version"]),
        (&"installed".into(), &"9.8.7".into())
    );
    assert_eq!(mode(&bed.home(".local/bin/skyclaw")), 0o755);
    assert!(!bed.program().exists() && !bed.home(".picoclaw").exists());

    let row = bed.row(1, &["--component", "host", "--from", AGENT]);
    assert!(
        row["error"].as_str().unwrap().contains("back in place"),
        "{row}"
    );
}

#[test]
fn this_program_deploys_itself() {
    let Some(bed) = Bed::new() else { return };
    let row = bed.row(0, &["--component", "host", "--no-service"]);
    assert_eq!(row["result"], "installed", "{row}");
    assert_eq!(row["version"], env!("CARGO_PKG_VERSION"));
    let sent = fs::metadata(bed.home(".local/bin/skyclaw")).unwrap().len();
    let own = fs::metadata(env!("CARGO_BIN_EXE_skyclaw")).unwrap().len();
    assert_eq!(sent, own);
}

fn empty_archive() -> Vec<u8> {
    let gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let archive = tar::Builder::new(gzip).into_inner().unwrap();
    archive.finish().unwrap()
}

#[test]
fn what_does_not_fit_together_is_refused_before_any_host() {
    let Some(bed) = Bed::new() else { return };
    for (args, word) in [
        (&["--fetch", "host", "--from", AGENT][..], "--from"),
        (
            &["--fetch", "host", "--insecure-no-checksum"],
            "cannot check",
        ),
        (&["--fetch", "host", "--component", "host"], "this machine"),
        (&["--component", "all", "--from", AGENT], "--component all"),
        (&["--from", "/no/such/file"], "/no/such/file"),
        (&["--from", AGENT, "--sha256", "abc"], "--sha256"),
        (&["--from", AGENT, "--version", "v1"], "--version"),
        (&["--from", AGENT, "--provider", "groq"], "groq"),
        (&["--from", AGENT, "--provider", "openai"], "model"),
        (&["--repo", "nonsense"], "nonsense"),
        (&["nobody", "--from", AGENT], "nobody"),
    ] {
        let output = bed.deploy(args).expect_code(2);
        assert!(output.err().contains(word), "{word}: {output}");
    }
    let zeros = "0".repeat(64);
    let output = bed
        .deploy(&["--from", AGENT, "--sha256", &zeros])
        .expect_code(2);
    assert!(output.err().contains("SHA-256"), "{output}");
    for (text, word) in [
        (&b"<html>"[..], "no program"),
        (b"", "no program"),
        (b"\x1f\x8bnonsense", "not a readable .tar.gz"),
        (
            &empty_archive(),
            "it must hold exactly one regular file called",
        ),
    ] {
        let file = bed.world.dir().join("bad");
        fs::write(&file, text).unwrap();
        let file = file.to_str().unwrap();
        for more in [&[][..], &["--component", "host"], &["--dry-run"]] {
            let args = [&["--from", file][..], more].concat();
            let output = bed.deploy(&args).expect_code(2);
            assert!(output.err().contains(word), "{word}: {output}");
        }
    }
    assert!(
        !bed.server.log().contains("Connection from"),
        "{}",
        bed.server.log()
    );
}
