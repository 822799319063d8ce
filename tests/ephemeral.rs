//! `fleet dispatch --ephemeral`: the host is afterwards as it was before, whatever became of us.
//! Rows 6.3, 6.4.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "helpers of tests fail by panicking, as tests do"
)]

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{Bed, Proc, Running, SOON};
use skyclaw::ssh::shell::command_line;

const AGENT: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/fixtures/agents/picoclaw"
);
const KEY: &str = "sk-test-ephemeral-6f1d";
/// Below the home of a host.
const MARK: &str = ".local/state/skyclaw/ephemeral/mark";
const PROGRAM: &str = ".local/bin/picoclaw";

/// Path, mode and text of everything below a directory.
fn tree(dir: &Path) -> Vec<(PathBuf, u32, Vec<u8>)> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(next) = dirs.pop() {
        for entry in fs::read_dir(next).into_iter().flatten().flatten() {
            let (path, Ok(meta)) = (entry.path(), entry.metadata()) else {
                continue;
            };
            if meta.is_dir() {
                dirs.push(path.clone());
            }
            let text = fs::read(&path).unwrap_or_default();
            found.push((path, meta.permissions().mode(), text));
        }
    }
    found.sort();
    found
}

struct Site {
    bed: Bed,
    before: Vec<(PathBuf, u32, Vec<u8>)>,
}

impl Site {
    fn new() -> Option<Self> {
        Self::with(|_| {})
    }

    /// A host on whose home `prepare` was done.
    fn with(prepare: impl FnOnce(&Path)) -> Option<Self> {
        let mut bed = Bed::one()?;
        bed.world.set_env("ANTHROPIC_API_KEY", KEY);
        prepare(bed.server.home());
        let before = tree(bed.server.home());
        Some(Self { bed, before })
    }

    fn home(&self, path: &str) -> PathBuf {
        self.bed.server.home().join(path)
    }

    fn start(&self, task: &str, more: &[&str]) -> Running {
        let head = ["fleet", "dispatch", task, "--ephemeral", "--from", AGENT];
        self.bed.world.spawn(&[&head[..], more].concat())
    }

    /// Starts a task that takes long, and waits until it works.
    fn start_slow(&self) -> Running {
        let running = self.start("slow", &[]);
        running.wait_for_line("thinking", SOON);
        running
    }

    #[track_caller]
    fn assert_as_before(&self) {
        assert_eq!(tree(self.bed.server.home()), self.before);
    }

    /// Asserts that the host puts itself back, and that nothing of ours runs there any more.
    #[track_caller]
    fn assert_soon_as_before(&self) {
        let home = self.bed.server.home();
        let back = common::holds_within(Duration::from_secs(20), || {
            tree(home) == self.before && self.bed.server.session_processes().is_empty()
        });
        let left = self.bed.server.session_processes();
        assert!(back, "{:#?}\n{left:#?}", tree(home));
    }

    fn guards(&self) -> Vec<Proc> {
        let mut procs = self.bed.server.session_processes();
        procs.retain(|proc| proc.cmdline.contains("skyclaw/ephemeral"));
        procs
    }

    /// A controller and a guard that died together, as when the host loses its power.
    fn abandon(&self) {
        let running = self.start_slow();
        self.guards().iter().for_each(Proc::kill9);
        running.kill9();
        self.bed.assert_no_task_within(SOON);
        assert!(self.home(MARK).exists() && self.home(PROGRAM).exists());
    }
}

#[test]
fn nothing_stays_whatever_comes_of_the_task() {
    let Some(site) = Site::new() else { return };
    let done = site.start("hello", &["--strip"]).wait(SOON).expect_code(0);
    assert_eq!((done.out(), done.err()), ("hello".into(), String::new()));
    site.assert_as_before();
    site.start("exit1", &[]).wait(SOON).expect_code(1);
    site.assert_as_before();
    site.start("slow", &["--timeout", "500ms"])
        .wait(SOON)
        .expect_code(124);
    site.assert_as_before();
    let running = site.start_slow();
    assert!(site.home(PROGRAM).exists());
    running.interrupt();
    running.wait(SOON).expect_code(130);
    site.assert_as_before();
    site.assert_soon_as_before();
}

#[test]
fn what_was_there_comes_back() {
    let files = |home: &Path| {
        fs::create_dir_all(home.join(".picoclaw/sessions")).unwrap();
        fs::create_dir_all(home.join(".local/bin")).unwrap();
        fs::write(home.join(".local/bin/theirs"), "x").unwrap();
        let config = home.join(".picoclaw/config.json");
        fs::write(&config, "{\"own\": true}\n").unwrap();
        fs::set_permissions(&config, PermissionsExt::from_mode(0o640)).unwrap();
        fs::write(home.join("env"), "OTHER=1\n").unwrap();
        std::os::unix::fs::symlink("../env", home.join(".picoclaw/.env")).unwrap();
    };
    let Some(site) = Site::with(files) else {
        return;
    };
    let session = |tree: &[(PathBuf, u32, Vec<u8>)]| {
        let mut tree = tree.to_vec();
        // What the agent itself writes into a directory that was there stays.
        tree.retain(|(path, ..)| !path.to_string_lossy().contains("/sessions/"));
        tree
    };
    site.start("hello", &[]).wait(SOON).expect_code(0);
    assert_eq!(session(&tree(site.bed.server.home())), site.before);
    let running = site.start_slow();
    running.kill9();
    common::eventually(SOON, || {
        session(&tree(site.bed.server.home())) == site.before
    });
}

#[test]
fn an_agent_that_was_there_is_not_touched() {
    let Some(site) = Site::with(common::bed::install_picoclaw) else {
        return;
    };
    site.start("hello", &[]).wait(SOON).expect_code(0);
    let now = tree(site.bed.server.home());
    for entry in &site.before {
        let is_dir = entry.0.is_dir();
        assert!(is_dir || now.contains(entry), "{:?}", entry.0);
    }
    assert!(!site.home(".local/state").exists());
}

#[test]
fn a_killed_controller_leaves_nothing() {
    let Some(site) = Site::new() else { return };
    let running = site.start_slow();
    let mark = fs::read_to_string(site.home(MARK)).unwrap();
    let pid = format!("(process {})", running.pid());
    assert!(mark.starts_with("run ") && mark.contains(&pid), "{mark}");
    running.kill9();
    site.assert_soon_as_before();
    assert!(common::scan_files(site.bed.server.home(), KEY).is_empty());
}

#[test]
fn a_new_run_waits_for_the_guard_of_a_killed_one() {
    let Some(site) = Site::new() else { return };
    let running = site.start_slow();
    running.kill9();
    let leaving = site.home(MARK).with_file_name("leaving");
    common::eventually(SOON, || leaving.exists());
    let done = site.start("hello", &["--strip"]).wait(SOON).expect_code(0);
    assert_eq!((done.out(), done.err()), ("hello".into(), String::new()));
    site.assert_as_before();
}

#[test]
fn a_controller_killed_in_the_middle_of_a_deploy_leaves_nothing() {
    let Some(site) = Site::new() else { return };
    for sign in [MARK, ".local/bin", PROGRAM, ".picoclaw", ".picoclaw/.env"] {
        let running = site.start("slow", &[]);
        common::eventually(SOON, || site.home(sign).exists());
        running.kill9();
        site.assert_soon_as_before();
    }
}

#[test]
fn a_task_that_will_not_end_is_ended_before_its_agent_is_removed() {
    let Some(site) = Site::new() else { return };
    let agent = site.bed.world.dir().join("stubborn");
    // It would write its directory anew if it were still there after that is gone.
    let script = fs::read_to_string(AGENT).unwrap().replace(
        "printf 'thinking\\n'",
        "trap '' TERM; printf 'thinking\\n'; while sleep 0.1; do mkdir -p \"$home/again\"; done",
    );
    fs::write(&agent, script).unwrap();
    let path = agent.display().to_string();
    let args = [
        "fleet",
        "dispatch",
        "slow",
        "--ephemeral",
        "--from",
        &path,
        "--grace",
        "1s",
    ];
    let running = site.bed.world.spawn(&args);
    running.wait_for_line("thinking", SOON);
    running.kill9();
    site.assert_soon_as_before();
}

#[test]
fn a_guard_that_dies_is_replaced_by_us() {
    let Some(site) = Site::new() else { return };
    let running = site.start("slow", &["--timeout", "2s"]);
    running.wait_for_line("thinking", SOON);
    let guards = site.guards();
    assert!(!guards.is_empty());
    guards.iter().for_each(Proc::kill9);
    running.wait(SOON).expect_code(124);
    site.assert_as_before();
}

#[test]
fn a_lost_connection_leaves_nothing() {
    let Some(site) = Site::new() else { return };
    let running = site.start_slow();
    site.bed.server.drop_connections();
    let done = running.wait(SOON);
    assert!(done.err().contains("lost"), "{done}");
    site.assert_soon_as_before();
}

#[test]
fn the_next_ephemeral_run_undoes_what_an_abandoned_one_left() {
    let Some(site) = Site::new() else { return };
    site.abandon();
    let done = site.start("hello", &["--strip"]).wait(SOON).expect_code(0);
    assert_eq!(done.out(), "hello");
    assert!(
        done.err().contains("undid what was left there by run"),
        "{done}"
    );
    site.assert_as_before();
}

#[test]
fn teardown_undoes_what_an_abandoned_run_left() {
    let Some(site) = Site::new() else { return };
    site.abandon();
    let paths = [
        "~/.local/bin/picoclaw",
        "~/.picoclaw",
        "~/.local/state/skyclaw/ephemeral",
    ];
    let teardown = |more: &[&str]| {
        let args = ["fleet", "teardown", "web1", "-y", "--json"];
        let done = site.bed.run(&[&args[..], more].concat()).expect_code(0);
        let document = done.json();
        let removed = document["hosts"][0]["removed"].as_array().unwrap().clone();
        for path in paths {
            assert_eq!(removed.iter().filter(|p| *p == path).count(), 1, "{done}");
        }
    };
    teardown(&["--dry-run"]);
    assert!(site.home(MARK).exists() && site.home(PROGRAM).exists());
    teardown(&[]);
    site.assert_as_before();
}

#[test]
fn a_deploy_over_an_abandoned_run_stays() {
    let Some(site) = Site::new() else { return };
    site.abandon();
    let done = site.bed.run(&["fleet", "deploy", "--from", AGENT]);
    let done = done.expect_code(0);
    assert!(
        done.err().contains("undid what was left there by run"),
        "{done}"
    );
    assert!(site.home(PROGRAM).exists() && !site.home(MARK).exists());
    site.start("hello", &[]).wait(SOON).expect_code(0);
    assert!(site.home(PROGRAM).exists());
}

#[test]
fn nobody_else_gets_in_the_way_of_a_run_at_work() {
    let Some(site) = Site::new() else { return };
    let running = site.start_slow();
    let second = site.start("hello", &["--json"]).wait(SOON).expect_code(1);
    let document = second.json();
    let result = &document["results"][0];
    let error = result["error"].as_str().unwrap();
    assert!(
        error.contains("ephemeral run is at work there: run "),
        "{second}"
    );
    let deploy = site.bed.run(&["fleet", "deploy", "--from", AGENT]);
    assert!(deploy.expect_code(1).out().contains("at work there"));
    let teardown = ["fleet", "teardown", "web1", "-y"];
    let refused = site.bed.run(&teardown).expect_code(1);
    assert!(refused.out().contains("--purge ends it"), "{refused}");
    assert!(site.home(PROGRAM).exists() && !site.bed.tasks().is_empty());
    site.bed
        .run(&[&teardown[..], &["--purge"]].concat())
        .expect_code(0);
    running.wait(SOON);
    site.assert_soon_as_before();
}

#[test]
fn what_cannot_be_removed_is_named_and_makes_the_run_fail() {
    if !common::require_mounts() {
        return;
    }
    let Some(site) = Site::new() else { return };
    let agent = site.bed.world.dir().join("mounting");
    // A directory in use, as far as rm can tell.
    let script = fs::read_to_string(AGENT).unwrap().replace(
        "*) printf '%s %s\\n' \"$mark\" \"$task\" ;;",
        "*) mkdir \"$home/busy\" && mount -t tmpfs tmpfs \"$home/busy\" && echo mounted ;;",
    );
    fs::write(&agent, script).unwrap();
    let path = agent.display().to_string();
    let run = |more: &[&str]| {
        let args = ["fleet", "dispatch", "hello", "--ephemeral", "--from", &path];
        let done = site.bed.run(&[&args[..], more].concat());
        common::require::unmount(&site.home(".picoclaw/busy"));
        done
    };
    let done = run(&[]).expect_code(1);
    assert!(done.out().contains("mounted"), "{done}");
    let said = done.err();
    assert!(
        said.contains("not cleaned up: still there: ~/.picoclaw; run `skyclaw"),
        "{said}"
    );
    // Also where one host of several is enough, and what stayed is undone by then.
    let done = run(&["--one", "--json"]).expect_code(1);
    assert!(done.err().contains("undid what was left there"), "{done}");
    assert_eq!(done.json()["results"][0]["status"], "ok", "{done}");
    site.bed
        .run(&["fleet", "teardown", "web1", "-y"])
        .expect_code(0);
    site.assert_as_before();
}

#[test]
fn a_host_that_cannot_keep_a_mark_is_not_changed() {
    let Some(site) = Site::with(|home| fs::write(home.join(".local"), "a file").unwrap()) else {
        return;
    };
    let done = site.start("hello", &["--json"]).wait(SOON).expect_code(1);
    let error = done.json()["results"][0]["error"].to_string();
    assert!(
        error.contains("cannot write down what the host is like"),
        "{done}"
    );
    site.assert_as_before();
}

#[test]
fn status_tells_of_an_abandoned_run_and_not_of_one_at_work() {
    let Some(site) = Site::new() else { return };
    let status = || site.bed.run(&["fleet", "status", "--json"]).json()["hosts"][0].clone();
    let running = site.start_slow();
    assert_eq!(status()["abandoned"], serde_json::Value::Null);
    running.kill9();
    site.assert_soon_as_before();
    site.abandon();
    let host = status();
    assert!(
        host["abandoned"].as_str().unwrap().starts_with("run "),
        "{host}"
    );
    assert!(
        host["details"]
            .as_str()
            .unwrap()
            .contains("run fleet teardown"),
        "{host}"
    );
}

/// The template under every shell that may be `/bin/sh`: armed, and undone by word or by end of file.
#[test]
fn the_guard_runs_under_every_sh() {
    let line = command_line(include_str!("../templates/ephemeral.sh"));
    let script = line
        .strip_prefix("exec /bin/sh -c '")
        .and_then(|rest| rest.strip_suffix('\''))
        .unwrap();
    let shells: [&[&str]; 5] = [
        &["dash"],
        &["bash"],
        &["bash", "--posix"],
        &["busybox", "sh"],
        &["zsh", "--emulate", "sh"],
    ];
    std::thread::scope(|scope| {
        for shell in shells {
            if common::require_program(shell[0]) {
                scope.spawn(move || arm_and_undo(shell, script, "UNDO\n"));
                scope.spawn(move || arm_and_undo(shell, script, ""));
            }
        }
    });
}

fn arm_and_undo(shell: &[&str], script: &str, last: &str) {
    let home = tempfile::tempdir().unwrap();
    let mut child = Command::new(shell[0])
        .args(&shell[1..])
        .args(["-c", script])
        .env("HOME", home.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let head = "skyclaw-1\na=arm; r=k; w='run 1'; g=1\n";
    stdin.write_all(head.as_bytes()).unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut armed = String::new();
    stdout.read_line(&mut armed).unwrap();
    assert_eq!(armed.trim_end(), "skyclaw-1. armed", "{shell:?}");
    common::bed::install(home.path(), PROGRAM, "#!/bin/sh\n");
    fs::create_dir(home.path().join(".picoclaw")).unwrap();
    stdin.write_all(last.as_bytes()).unwrap();
    drop(stdin);
    let said: Vec<String> = stdout.lines().map(Result::unwrap).collect();
    assert!(child.wait().unwrap().success(), "{shell:?}");
    let expected: &[&str] = match last {
        "" => &[],
        _ => &[
            "gone ~/.local/bin/picoclaw",
            "gone ~/.picoclaw",
            "skyclaw-1. end",
        ],
    };
    assert_eq!(said, expected, "{shell:?}");
    assert_eq!(tree(home.path()), [], "{shell:?}");
}
