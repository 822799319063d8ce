//! `fleet deploy --component host`: the program, its settings, its service, and a daemon that stays.

use std::process::Command;
use std::time::Duration;

use super::fakes::{calls, with_systemd, without_systemd};
use super::*;
use crate::common::coordinator::Plan;
use crate::common::{Proc, eventually, holds_within, scan_files};
use crate::release_server::{Mode, ReleaseServer};

const SOON: Duration = Duration::from_secs(60);
const SETTINGS: &str = ".config/skyclaw/host.env";
const KEEPER: &str = ".local/state/skyclaw/service/keeper.sh";
const UNIT: &str = ".config/systemd/user/skyclaw-host.service";
const STATE: &str = ".local/state/skyclaw/host/fleet";

/// A test host whose systemd is a fake, and a copy of skyclaw that does not take long to send.
pub struct Site {
    pub bed: Bed,
    program: PathBuf,
    _fakes: tempfile::TempDir,
}

impl Site {
    pub fn new(fakes: impl Fn(&Path)) -> Option<Self> {
        Self::with(fakes, |server| server)
    }

    fn with(
        fakes: impl Fn(&Path),
        change: impl FnOnce(SshdBuilder) -> SshdBuilder,
    ) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        fakes(dir.path());
        let path = path_with(dir.path());
        let bed = Bed::with(|server| change(server.env("PATH", &path)))?;
        let host = bed.server.fleet_host("alpha").with("slots", 3);
        let host = host.with("labels", serde_json::json!({"zone": "b", "gpu": ""}));
        let host = host.with("env", serde_json::json!({"GREETING": "hello $x"}));
        bed.world.fleet(&[host]);
        let program = stripped(bed.world.dir());
        Some(Self {
            bed,
            program,
            _fakes: dir,
        })
    }

    fn args<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        let from = self.program.to_str().unwrap();
        [&["--component", "host", "--from", from][..], more].concat()
    }

    #[track_caller]
    pub fn deploy(&self, more: &[&str]) -> Value {
        self.bed.row(0, &self.args(more))
    }

    /// The daemon, by its number.
    pub fn daemon(&self) -> Option<Proc> {
        let mut daemons = self.bed.server.session_processes();
        daemons.retain(|proc| proc.cmdline.ends_with(".local/bin/skyclaw host"));
        daemons.pop()
    }

    #[track_caller]
    fn pid(&self) -> i32 {
        self.daemon().unwrap().pid
    }

    #[track_caller]
    pub fn teardown(&self, more: &[&str]) -> Value {
        let args = [&["fleet", "teardown", "alpha", "-y", "--json"][..], more].concat();
        only(&self.bed.world.skyclaw(&args).expect_code(0))
    }

    /// A program that is another one and works the same.
    fn another(&self) -> PathBuf {
        let path = self.bed.world.dir().join("another");
        let bytes = [&fs::read(&self.program).unwrap()[..], b"\n"].concat();
        fs::write(&path, bytes).unwrap();
        path
    }

    fn log(&self) -> String {
        fs::read_to_string(self.bed.home(".local/state/skyclaw/service/log")).unwrap_or_default()
    }
}

/// A PATH on which what is in `dir` comes first.
fn path_with(dir: &Path) -> String {
    format!("{}:{}", dir.display(), std::env::var("PATH").unwrap())
}

fn stripped(dir: &Path) -> PathBuf {
    let path = dir.join("skyclaw-stripped");
    let program = env!("CARGO_BIN_EXE_skyclaw");
    let strip = Command::new("strip")
        .arg("-o")
        .arg(&path)
        .arg(program)
        .status();
    if !strip.is_ok_and(|status| status.success()) {
        fs::hard_link(program, &path).unwrap();
    }
    path
}

#[test]
fn without_systemd_a_script_keeps_the_daemon_running() {
    let Some(site) = Site::new(without_systemd) else {
        return;
    };
    let row = site.deploy(&[]);
    assert_eq!(row["result"], "installed", "{row}");
    assert_eq!(row["service"], "keeper", "{row}");
    assert!(
        row["warnings"][0].as_str().unwrap().contains("linger"),
        "{row}"
    );
    let home = site.bed.server.home().display().to_string();
    let settings = site.bed.read(SETTINGS);
    let id = fs::read_to_string(
        site.bed
            .world
            .home()
            .join(".local/state/skyclaw/controller-id"),
    );
    let file = format!("{home}/.local/state/skyclaw/tunnel/{}.json", id.unwrap());
    for line in [
        "SKYCLAW_HOST_NAME=alpha",
        "SKYCLAW_MAX_PARALLEL=3",
        "SKYCLAW_ENV_PASS=GREETING",
        "GREETING=hello $x",
        "SKYCLAW_LABELS=gpu=,zone=b",
        &format!("SKYCLAW_HOST_STATE_DIR={home}/{STATE}"),
        &format!("SKYCLAW_COORDINATOR_FILE={file}"),
        "SKYCLAW_ON_LEASE_LOST=finish",
    ] {
        assert!(
            settings.lines().any(|other| other == line),
            "{line} in {settings}"
        );
    }
    for path in [SETTINGS, KEEPER] {
        assert_eq!(mode(&site.bed.home(path)), 0o600, "{path}");
    }
    assert_eq!(site.bed.read("crontab").lines().count(), 1);
    assert!(site.bed.read("crontab").starts_with("@reboot /bin/sh"));
    let daemon = site.daemon().expect("a daemon");
    assert!(
        daemon.environ.contains("SKYCLAW_MAX_PARALLEL=3"),
        "{}",
        daemon.environ
    );

    let status = site.bed.world.skyclaw(&["fleet", "status", "--json"]);
    assert_eq!(only(&status)["daemon"]["state"], "active", "{status}");

    let before = state(&site.bed.home(".config"));
    let row = site.deploy(&[]);
    assert_eq!(row["result"], "unchanged", "{row}");
    assert_eq!(site.pid(), daemon.pid, "it was left alone");
    assert_eq!(state(&site.bed.home(".config")), before);
    let row = site.deploy(&["--dry-run"]);
    assert_eq!(row["result"], "unchanged", "{row}");

    // One that dies is started again, and its end is in the log.
    daemon.kill9();
    eventually(SOON, || {
        site.daemon().is_some_and(|other| other.pid != daemon.pid)
    });
    assert!(site.log().contains("started again"), "{}", site.log());

    // The keeper dies, as at a crash: cron's line brings both back, and twice is once.
    eventually(SOON, || site.deploy(&[])["result"] == "unchanged");
    for proc in site.bed.server.session_processes() {
        proc.kill9();
    }
    let line = site.bed.read("crontab");
    let command = line.trim().strip_prefix("@reboot ").unwrap();
    for _ in 0..2 {
        let start = format!("({command} </dev/null >/dev/null 2>&1 &)");
        site.bed
            .world
            .ssh(&site.bed.server, &[&start])
            .expect_code(0);
    }
    eventually(SOON, || site.daemon().is_some());
    assert_eq!(site.deploy(&[])["result"], "unchanged");
    let keepers = site.bed.server.session_processes();
    let keepers = keepers
        .iter()
        .filter(|proc| proc.cmdline.ends_with("service/keeper.sh"));
    assert_eq!(keepers.count(), 1);
}

#[test]
fn a_new_program_replaces_the_daemon_and_rollback_brings_the_old_one_back() {
    let Some(site) = Site::new(without_systemd) else {
        return;
    };
    let none = ["fleet", "rollback", "--json", "--component", "host"];
    let row = only(&site.bed.world.skyclaw(&none).expect_code(1));
    assert!(row["error"].as_str().unwrap().contains(".prev"), "{row}");
    site.deploy(&[]);
    let row = only(&site.bed.world.skyclaw(&none).expect_code(1));
    assert!(row["error"].as_str().unwrap().contains(".prev"), "{row}");
    let (first, program) = (site.pid(), site.bed.home(".local/bin/skyclaw"));
    let another = site.another();
    let row = site.bed.row(
        0,
        &["--component", "host", "--from", another.to_str().unwrap()],
    );
    assert_eq!(row["result"], "updated", "{row}");
    let second = site.pid();
    assert_ne!(second, first);
    let running = || {
        fs::metadata(format!("/proc/{}/exe", site.pid()))
            .unwrap()
            .len()
    };
    assert_eq!(running(), fs::metadata(&another).unwrap().len());

    let row = only(&site.bed.world.skyclaw(&none).expect_code(0));
    assert_eq!(row["result"], "rolled-back", "{row}");
    assert_eq!(
        fs::read(&program).unwrap(),
        fs::read(&site.program).unwrap()
    );
    assert_eq!(running(), fs::metadata(&site.program).unwrap().len());
    let row = only(&site.bed.world.skyclaw(&none).expect_code(0));
    assert_eq!(row["result"], "rolled-back", "{row}");
    assert_eq!(fs::read(&program).unwrap(), fs::read(&another).unwrap());

    // A former program that does not work any more is no help.
    fs::write(
        site.bed.home(".local/bin/skyclaw.prev"),
        "#!/bin/sh\nexit 3\n",
    )
    .unwrap();
    let pid = site.pid();
    let row = only(&site.bed.world.skyclaw(&none).expect_code(1));
    assert!(
        row["error"].as_str().unwrap().contains("back in place"),
        "{row}"
    );
    assert_eq!(fs::read(&program).unwrap(), fs::read(&another).unwrap());
    assert_eq!(site.pid(), pid);
}

#[test]
fn a_redeploy_lets_running_jobs_end() {
    let Some(site) = Site::new(without_systemd) else {
        return;
    };
    let coordinator = Plan::new(site.bed.world.dir())
        .env("SKYCLAW_TOKEN", "the-token-4711")
        .start();
    let token = site.bed.world.dir().join("token");
    fs::write(&token, "the-token-4711\n").unwrap();
    let (url, token) = (coordinator.url(), token.to_str().unwrap().to_owned());
    let network = ["--coordinator", &url, "--token-file", &token];
    let output = site.bed.deploy(&site.args(&network)).expect_code(0);
    assert!(!format!("{output}").contains("4711"), "{output}");
    let settings = site.bed.home(SETTINGS);
    assert_eq!(
        scan_files(site.bed.server.home(), "the-token-4711"),
        std::slice::from_ref(&settings),
        "the token is in the settings alone"
    );
    assert_eq!(mode(&settings), 0o600);
    for proc in site.bed.server.session_processes() {
        assert!(!proc.contains("the-token-4711"), "{proc:?}");
    }

    let [begun, go, mark] = ["begun", "go", "done"].map(|name| site.bed.home(name));
    let line = format!(
        "echo > {}; until [ -e {} ]; do sleep 0.1; done; echo yes > {}",
        begun.display(),
        go.display(),
        mark.display()
    );
    let mut enqueue = site
        .bed
        .world
        .command(&["enqueue-shell", "--coordinator", &url]);
    enqueue.args(["--token-file", &token, "--", "sh", "-c", &line]);
    Running::start(enqueue, None).wait(DEADLINE).expect_code(0);
    eventually(SOON, || begun.exists());
    let pid = site.pid();
    let another = site.another();
    let args = ["fleet", "deploy", "--json", "--component", "host", "--from"];
    let from = [another.to_str().unwrap()];
    let deploying = site.bed.world.spawn(&[&args[..], &from, &network].concat());
    // It is being ended, and waits for its job.
    let stop = site.bed.home(".local/state/skyclaw/service/stop");
    eventually(SOON, || stop.exists());
    eventually(SOON, || site.log().contains("stopping"));
    assert_eq!(site.pid(), pid);
    assert!(!mark.exists());
    fs::write(&go, "").unwrap();
    let row = only(&deploying.wait(DEADLINE).expect_code(0));
    assert_eq!(row["result"], "updated", "{row}");
    assert_eq!(
        fs::read_to_string(&mark).unwrap(),
        "yes\n",
        "the job came to its end"
    );
    assert_ne!(site.pid(), pid);
}

#[test]
fn systemd_runs_it_where_the_user_may_linger() {
    let Some(site) = Site::new(with_systemd) else {
        return;
    };
    let row = site.deploy(&[]);
    assert_eq!(
        (&row["result"], &row["service"]),
        (&"installed".into(), &"systemd".into())
    );
    let calls_before = calls(site.bed.server.home());
    for call in [
        "loginctl enable-linger",
        "systemctl --user daemon-reload",
        "systemctl --user enable skyclaw-host.service",
        "systemctl --user start skyclaw-host.service",
    ] {
        assert!(calls_before.contains(call), "{call} in {calls_before}");
    }
    let unit = site.bed.read(UNIT);
    assert!(
        unit.contains("TimeoutStopSec=90") && unit.contains("Restart=always"),
        "{unit}"
    );
    assert!(!site.bed.home(KEEPER).exists() && !site.bed.home("crontab").exists());
    assert!(site.bed.home(".local/state/skyclaw/linger").exists());
    let pid = site.pid();
    assert_eq!(site.deploy(&[])["result"], "unchanged");
    assert_eq!(site.pid(), pid);
    assert!(!calls(site.bed.server.home()).contains(" restart "));

    // Other settings reach it by a new start; the owner's own lines stay and have the last word.
    let settings = site.bed.read(SETTINGS);
    let own = "# mine\nSKYCLAW_MAX_PARALLEL=7\nSKYCLAW_DRAIN_MS=120000\n";
    fs::write(site.bed.home(SETTINGS), format!("{settings}{own}")).unwrap();
    let row = site.deploy(&[]);
    assert_eq!(row["result"], "updated", "{row}");
    assert!(
        row["warnings"].to_string().contains("SKYCLAW_MAX_PARALLEL"),
        "{row}"
    );
    assert!(site.bed.read(SETTINGS).ends_with(own));
    assert!(site.bed.read(UNIT).contains("TimeoutStopSec=180"));
    let daemon = site.daemon().expect("a daemon");
    assert_ne!(daemon.pid, pid);
    assert!(
        daemon.environ.contains("SKYCLAW_MAX_PARALLEL=7"),
        "{}",
        daemon.environ
    );

    let row = site.teardown(&["--component", "host", "--purge"]);
    assert_eq!(row["outcome"], "clean", "{row}");
    assert_eq!(row["daemon"], daemon.pid, "{row}");
    assert!(site.daemon().is_none());
    let calls = calls(site.bed.server.home());
    assert!(
        calls.contains("disable --now skyclaw-host.service"),
        "{calls}"
    );
    assert!(calls.contains("loginctl disable-linger"), "{calls}");
    for path in [
        UNIT,
        SETTINGS,
        STATE,
        ".local/bin/skyclaw",
        ".local/state/skyclaw/linger",
    ] {
        assert!(!site.bed.home(path).exists(), "{path}");
    }
}

#[test]
fn teardown_ends_the_daemon_and_leaves_what_it_is_not_told_to_take() {
    let Some(site) = Site::new(without_systemd) else {
        return;
    };
    fs::write(site.bed.home("crontab"), "5 4 * * * back\\up '%'\n").unwrap();
    site.deploy(&[]);
    assert_eq!(site.bed.read("crontab").lines().count(), 2);
    // What cannot be read is not written either.
    let (table, fails) = (site.bed.read("crontab"), site.bed.home("crontab-fails"));
    fs::write(site.bed.home("crontab"), "5 4 * * * back\\up '%'\n").unwrap();
    fs::write(&fails, "").unwrap();
    site.deploy(&["--force"]);
    assert_eq!(site.bed.read("crontab"), "5 4 * * * back\\up '%'\n");
    fs::write(site.bed.home("crontab"), &table).unwrap();
    fs::remove_file(&fails).unwrap();
    let pid = site.pid();
    let row = site.teardown(&["--component", "host", "--dry-run"]);
    assert_eq!(
        (&row["outcome"], &row["daemon"]),
        (&"dry-run".into(), &pid.into())
    );
    assert_eq!(site.pid(), pid);

    let row = site.teardown(&["--component", "host"]);
    assert_eq!(row["outcome"], "clean", "{row}");
    assert!(site.daemon().is_none());
    assert_eq!(site.bed.read("crontab"), "5 4 * * * back\\up '%'\n");
    for gone in [
        KEEPER,
        SETTINGS,
        ".local/bin/skyclaw",
        ".local/state/skyclaw/lock",
    ] {
        assert!(!site.bed.home(gone).exists(), "{gone}");
    }
    assert!(site.bed.home(STATE).exists());
    eventually(SOON, || site.bed.server.session_processes().is_empty());

    // Lines of the host's owner stay; without ours nobody takes it for a host with a daemon.
    site.deploy(&[]);
    let own = "# mine\nSKYCLAW_CLAIM_WHEN=load<9999\n";
    let settings = site.bed.read(SETTINGS);
    fs::write(site.bed.home(SETTINGS), format!("{settings}{own}")).unwrap();
    let row = site.teardown(&["--component", "host"]);
    assert_eq!(row["outcome"], "clean", "{row}");
    assert!(row["edited"].to_string().contains(SETTINGS), "{row}");
    assert_eq!(site.bed.read(SETTINGS), own);
    let row = site.teardown(&["--component", "host", "--purge"]);
    assert_eq!(row["outcome"], "clean", "{row}");
    for gone in [SETTINGS, STATE] {
        assert!(!site.bed.home(gone).exists(), "{gone}");
    }
    assert_eq!(site.teardown(&["--component", "all"])["outcome"], "clean");
}

#[test]
fn a_daemon_that_does_not_stay_up_is_told_with_its_last_words() {
    let Some(site) = Site::new(without_systemd) else {
        return;
    };
    fs::create_dir_all(site.bed.home(".config/skyclaw")).unwrap();
    fs::write(site.bed.home(SETTINGS), "SKYCLAW_CLAIM_WHEN=rainy\n").unwrap();
    let row = site.bed.row(1, &site.args(&[]));
    let error = row["error"].as_str().unwrap();
    assert!(
        error.contains("does not stay up") && error.contains("rainy"),
        "{error}"
    );
    assert!(row["hint"].as_str().unwrap().contains("host.env"), "{row}");

    // Its owner mends it, and the next deploy starts it.
    let settings = site.bed.read(SETTINGS).replace("rainy", "load<9999");
    fs::write(site.bed.home(SETTINGS), settings).unwrap();
    site.deploy(&[]);
    assert!(site.daemon().is_some());
    assert_eq!(site.deploy(&[])["result"], "unchanged");
}

#[test]
fn the_keeper_works_under_any_sh() {
    // What a host calls sh is one of these; the login shell stands in for it here.
    for shell in ["dash", "bash", "busybox", "mksh"] {
        if !require_program(shell) {
            continue;
        }
        let dir = tempfile::tempdir().unwrap();
        let fakes = |path: &Path| {
            without_systemd(path);
            let applet = if shell == "busybox" {
                "busybox sh"
            } else {
                shell
            };
            crate::common::bed::install(
                path,
                "sh",
                &format!("#!/bin/bash\nexec {applet} \"$@\"\n"),
            );
        };
        let Some(site) = Site::new(fakes) else { return };
        assert_eq!(site.deploy(&[])["result"], "installed", "{shell}");
        let first = site.daemon().expect("a daemon");
        first.kill9();
        eventually(SOON, || {
            site.daemon().is_some_and(|next| next.pid != first.pid)
        });
        assert_eq!(
            site.teardown(&["--component", "host"])["outcome"],
            "clean",
            "{shell}"
        );
        drop(dir);
    }
}

#[test]
fn its_log_stays_small() {
    let dir = tempfile::tempdir().unwrap();
    let service = dir.path().join(".local/state/skyclaw/service");
    fs::create_dir_all(&service).unwrap();
    let keeper = concat!(env!("CARGO_MANIFEST_DIR"), "/templates/keeper.sh");
    fs::copy(keeper, service.join("keeper.sh")).unwrap();
    // Twenty lines a piece would be a quarter of a million lines: more than any piece may hold.
    let line = "x".repeat(99);
    let script = format!(
        "yes {line} | head -n 300000 | sh {}/keeper.sh log",
        service.display()
    );
    let mut command = Command::new("sh");
    let status = command
        .args(["-c", &script])
        .env("HOME", dir.path())
        .status();
    assert!(status.unwrap().success());
    let size = |name: &str| fs::metadata(service.join(name)).map_or(0, |meta| meta.len());
    let total = size("log") + size("log.1");
    assert!(total > 1_000_000 && total < 17_000_000, "{total}");
    assert_eq!(fs::read_dir(&service).unwrap().count(), 3);
}

#[test]
fn a_locked_host_is_left_alone_until_its_owner_is_surely_gone() {
    let Some(bed) = Bed::new() else { return };
    let lock = bed.home(".local/state/skyclaw/lock");
    fs::create_dir_all(&lock).unwrap();
    let write = |name: &str, text: &str| fs::write(lock.join(name), text).unwrap();
    write("owner", "eve@elsewhere (process 7) since then\n");
    write("pid", "999999999\n");
    let row = bed.row(1, &["--from", AGENT]);
    let error = row["error"].as_str().unwrap();
    assert_eq!(
        error, "locked by eve@elsewhere (process 7) since then",
        "{row}"
    );
    assert!(!bed.program().exists());
    assert!(lock.exists());

    let age = |minutes: u64| {
        let made = fs::metadata(lock.join("owner"))
            .unwrap()
            .modified()
            .unwrap();
        let then = made - Duration::from_secs(minutes * 60);
        let dir = fs::File::open(&lock).unwrap();
        dir.set_modified(then).unwrap();
    };
    age(14);
    bed.row(1, &["--from", AGENT]);
    age(17);
    let row = bed.row(0, &["--from", AGENT]);
    assert_eq!(row["result"], "installed", "{row}");
    assert!(
        row["warnings"].to_string().contains("eve@elsewhere"),
        "{row}"
    );
    assert!(!lock.exists());
}

#[test]
fn of_two_deploys_one_works_and_a_killed_one_leaves_no_lock() {
    let Some(bed) = Bed::new() else { return };
    let slow = bed.world.dir().join("slow");
    let script = "#!/bin/sh\nwhile [ ! -e \"$HOME/go\" ]; do sleep 0.1; done\necho picoclaw 1.0\n";
    fs::write(&slow, script).unwrap();
    let lock = bed.home(".local/state/skyclaw/lock");
    let first = bed
        .world
        .spawn(&["fleet", "deploy", "--from", slow.to_str().unwrap()]);
    eventually(SOON, || {
        lock.join("owner").exists() && bed.program().exists()
    });
    let row = bed.row(1, &["--from", AGENT]);
    let owner = format!("(process {}) since ", first.pid());
    let error = row["error"].as_str().unwrap();
    assert!(
        error.starts_with("locked by ") && error.contains(&owner),
        "{error}"
    );
    fs::write(bed.home("go"), "").unwrap();
    first.wait(DEADLINE).expect_code(0);
    assert!(!lock.exists());

    fs::remove_file(bed.home("go")).unwrap();
    let again = [
        "fleet",
        "deploy",
        "--force",
        "--from",
        slow.to_str().unwrap(),
    ];
    let killed = bed.world.spawn(&again);
    eventually(SOON, || lock.join("owner").exists());
    drop(killed);
    eventually(SOON, || !lock.exists());
}

#[test]
fn a_server_that_allows_one_command_at_a_time_is_deployed_to() {
    let Some(bed) = Bed::with(|server| server.extra("MaxSessions 1")) else {
        return;
    };
    assert_eq!(bed.row(0, &["--from", AGENT])["result"], "installed");
    assert_eq!(bed.row(0, &["--from", AGENT])["result"], "unchanged");
    assert!(!bed.home(".local/state/skyclaw/lock").exists());
}

#[test]
fn builds_for_other_hosts_are_looked_for_beside_the_program() {
    let fakes = tempfile::tempdir().unwrap();
    let uname = "#!/bin/sh\necho Linux aarch64\n";
    crate::common::bed::install(fakes.path(), "uname", uname);
    let path = path_with(fakes.path());
    let Some(bed) = Bed::with(|server| server.env("PATH", &path)) else {
        return;
    };
    let dir = bed.world.dir().join("bin");
    fs::create_dir(&dir).unwrap();
    let own = dir.join("skyclaw");
    fs::hard_link(env!("CARGO_BIN_EXE_skyclaw"), &own).unwrap();
    let run = |code| {
        let mut command = bed.world.clean(own.to_str().unwrap());
        let args = [
            "fleet",
            "deploy",
            "--json",
            "--component",
            "host",
            "--no-service",
        ];
        command.args(args);
        only(
            &Running::start(command, None)
                .wait(DEADLINE)
                .expect_code(code),
        )
    };
    let row = run(1);
    let error = row["error"].as_str().unwrap();
    assert!(
        error.contains("skyclaw-linux-arm64") && error.contains("scripts/release"),
        "{error}"
    );
    let script = "#!/bin/sh\necho skyclaw 7.7.7\n";
    fs::write(dir.join("skyclaw-linux-arm64"), script).unwrap();
    let row = run(0);
    assert_eq!(
        (&row["result"], &row["version"]),
        (&"installed".into(), &"7.7.7".into())
    );
    assert!(!bed.home(SETTINGS).exists() && !bed.home(KEEPER).exists());
}

#[test]
fn a_host_whose_glibc_is_too_old_is_told_so() {
    let Some(bed) = Bed::new() else { return };
    let program = bed.world.dir().join("newer");
    let said = "/lib/libc.so.6: version `GLIBC_2.99' not found (required by skyclaw)";
    fs::write(
        &program,
        format!(
            "#!/bin/sh\necho \"{}\" >&2\nexit 1\n",
            said.replace('`', "'")
        ),
    )
    .unwrap();
    let args = ["--component", "host", "--from", program.to_str().unwrap()];
    let row = bed.row(1, &args);
    assert!(
        row["hint"].as_str().unwrap().contains("older glibc"),
        "{row}"
    );
    assert!(!bed.home(".local/bin/skyclaw").exists() && !bed.home(SETTINGS).exists());
}

#[test]
fn systemd_finds_nothing_wrong_with_the_unit() {
    if !require_program("systemd-analyze") {
        return;
    }
    let Some(site) = Site::new(with_systemd) else {
        return;
    };
    site.deploy(&[]);
    let run = tempfile::tempdir().unwrap();
    let shown = Command::new("systemd-analyze")
        .args(["verify", "--user"])
        .arg(site.bed.home(UNIT))
        .env("HOME", site.bed.server.home())
        .env("XDG_RUNTIME_DIR", run.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&shown.stderr).into_owned();
    assert!(
        shown.status.success() && !said.contains("skyclaw-host"),
        "{said}"
    );
    assert!(holds_within(SOON, || site.daemon().is_some()));
}

#[test]
fn all_is_the_agent_and_the_daemon_and_releases_will_do() {
    let Some(site) = Site::new(without_systemd) else {
        return;
    };
    let releases = ReleaseServer::start(Mode::BareNames);
    let dir = site.bed.world.dir().join("bin");
    fs::create_dir(&dir).unwrap();
    let own = dir.join("skyclaw");
    fs::hard_link(env!("CARGO_BIN_EXE_skyclaw"), &own).unwrap();
    let target = skyclaw::fleet::target::Target::of_this_machine().unwrap();
    let beside = format!("skyclaw-{}-{}", target.os, target.arch);
    fs::hard_link(&site.program, dir.join(beside)).unwrap();
    let mut command = site.bed.world.clean(own.to_str().unwrap());
    command.args(["fleet", "deploy", "--json", "--component", "all"]);
    command.args(["--api-url", releases.base()]);
    let row = only(&Running::start(command, None).wait(DEADLINE).expect_code(0));
    assert_eq!(row["versions"]["picoclaw"], "1.2", "{row}");
    assert_eq!(row["versions"]["skyclaw"], env!("CARGO_PKG_VERSION"));
    assert_eq!(row["service"], "keeper", "{row}");
    let installed = fs::read(site.bed.home(".local/bin/skyclaw")).unwrap();
    assert_eq!(installed, fs::read(&site.program).unwrap());
    assert!(site.bed.home(".picoclaw/.env").exists() && site.daemon().is_some());

    let program = fs::read(site.another()).unwrap();
    let releases = ReleaseServer::serving(Mode::OwnNames, "v9", &program);
    let args = ["--component", "host", "--repo", "EricGrill/picoclaw"];
    let row = site
        .bed
        .row(0, &[&args[..], &["--api-url", releases.base()]].concat());
    assert_eq!(row["result"], "updated", "{row}");
    assert_eq!(
        fs::read(site.bed.home(".local/bin/skyclaw")).unwrap(),
        program
    );
    let output = site
        .bed
        .deploy(&["--component", "host", "--version", "v9"])
        .expect_code(2);
    assert!(output.err().contains("--repo"), "{output}");
    let row = site.teardown(&["--component", "all", "--purge"]);
    assert_eq!(row["outcome"], "clean", "{row}");
    assert!(!site.bed.program().exists() && site.daemon().is_none());
}
