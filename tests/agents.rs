//! The sample agent and the agents that tests use, run by the real `sh` (rows 3.10, 3.11, 4.1 to 4.3).
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use skyclaw::fleet::agent::config::merge_config;
use skyclaw::fleet::agent::picoclaw::{Settings, answer_only, parse_version};
use skyclaw::fleet::agent::security::merge_security;
use skyclaw::fleet::agent::{AgentCommand, AgentPreset, Order, Passing, Session};
use skyclaw::support::secret::Secret;

const SAMPLE: &str = "templates/agents/sample-agent.sh";
const PICOCLAW: &str = "tests/fixtures/agents/picoclaw";
const IMPOSTOR: &str = "tests/fixtures/agents/picoclaw-impostor";
const OPENCLAW: &str = "tests/fixtures/agents/openclaw";

/// A home directory with an agent in it.
struct Host {
    home: tempfile::TempDir,
    script: PathBuf,
    mode: &'static str,
}

impl Host {
    fn new(script: &str) -> Self {
        Self {
            home: tempfile::tempdir().unwrap(),
            script: Path::new(env!("CARGO_MANIFEST_DIR")).join(script),
            mode: "",
        }
    }

    /// A host as deploy leaves it: onboarded, with model and key.
    fn deployed(script: &str) -> Self {
        let host = Self::new(script);
        assert!(host.run(&["onboard"]).status.success());
        host.configure();
        host
    }

    fn configure(&self) {
        let settings = Settings::resolve("anthropic", None, None).unwrap();
        let config = self.home.path().join(".picoclaw/config.json");
        let old = fs::read_to_string(&config).unwrap();
        fs::write(&config, merge_config(Some(&old), &settings).unwrap()).unwrap();
        let key = merge_security(None, &Secret::new("sk-test".to_owned())).unwrap();
        fs::write(
            self.home.path().join(".picoclaw/.security.yml"),
            key.expose(),
        )
        .unwrap();
    }

    fn command(&self) -> Command {
        let mut command = Command::new("/bin/sh");
        command
            .arg(&self.script)
            .env_clear()
            .env("HOME", self.home.path())
            .env("PATH", "/usr/bin:/bin")
            .env("FAKE_PICOCLAW_MODE", self.mode)
            .stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command().args(args).output().unwrap()
    }

    /// Runs what a preset asks for.
    fn order(&self, command: &AgentCommand) -> Output {
        let mut child = self
            .command()
            .args(&command.args)
            .envs(command.env.iter().cloned())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin
            .write_all(command.stdin.as_deref().unwrap_or_default())
            .unwrap();
        drop(stdin);
        child.wait_with_output().unwrap()
    }

    fn ask(&self, task: &str) -> Output {
        self.run(&["agent", "-m", task, "-s", "agent:main:skyclaw:j"])
    }

    fn answer(&self, task: &str) -> String {
        let output = self.ask(task);
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&answer_only(&output.stdout))
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn order(task: &str) -> Order<'_> {
    Order {
        task,
        job: "j1",
        name: "alpha",
        host: "127.0.0.1",
        index: 0,
        session: Session::Job,
        passing: Passing::Preferred,
    }
}

#[test]
fn versions_are_told_from_an_impostor() {
    let version = |script| parse_version(&text(&Host::new(script).run(&["version"]).stdout));
    assert_eq!(version(SAMPLE).as_deref(), Some("0.0.1-sample"));
    assert_eq!(version(PICOCLAW).as_deref(), Some("0.2.9"));
    assert_eq!(version(IMPOSTOR), None);
}

#[test]
fn a_task_arrives_byte_for_byte() {
    let task = "line one\n  \"two\" $HOME `id` 'three' \\n *\n\tünï 🦞 end";
    let command = AgentPreset::Picoclaw.command_line(&order(task)).unwrap();
    let output = Host::deployed(PICOCLAW).order(&command);
    assert_eq!(text(&answer_only(&output.stdout)), task);
    let output = Host::deployed(SAMPLE).order(&command);
    assert_eq!(text(&answer_only(&output.stdout)), format!("done: {task}"));
    let command = AgentPreset::Openclaw.command_line(&order(task)).unwrap();
    let output = Host::new(OPENCLAW).order(&command);
    assert_eq!(text(&output.stdout), format!("{task}\n"));
}

#[test]
fn the_sample_works_and_fails_as_the_task_says() {
    let host = Host::new(SAMPLE);
    for answer in ["ready", "keeps"] {
        assert!(text(&host.run(&["onboard"]).stdout).contains(answer));
    }
    assert!(text(&host.run(&["status"]).stdout).contains("config.json"));
    let started = Instant::now();
    let output = host.ask("please sleep 1 then stop");
    assert!(started.elapsed() >= Duration::from_secs(1));
    assert!(text(&output.stdout).contains("working: second 1 of 1\n"));
    assert_eq!(
        text(&answer_only(&output.stdout)),
        "done: please sleep 1 then stop"
    );
    let output = host.ask("now fail");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).starts_with("Error: "));
    assert_eq!(host.answer("sleep well"), "done: sleep well");
    assert_eq!(host.run(&["nonsense"]).status.code(), Some(1));
    let passing = Passing::Stdin;
    let command = AgentPreset::Picoclaw.command_line(&Order {
        passing,
        ..order("by stdin")
    });
    let output = host.order(&command.unwrap());
    assert_eq!(text(&answer_only(&output.stdout)), "done: by stdin");
}

#[test]
fn picoclaw_refuses_without_model_or_key() {
    let host = Host::new(PICOCLAW);
    host.run(&["onboard"]);
    let output = host.ask("hi");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("not found in model_list"));
    host.configure();
    assert_eq!(host.answer("hi"), "hi");
    fs::remove_file(host.home.path().join(".picoclaw/.security.yml")).unwrap();
    assert!(text(&host.ask("hi").stderr).contains("API key"));
}

#[test]
fn jobs_do_not_share_a_session() {
    let host = Host::deployed(PICOCLAW);
    let recall = |session| {
        let command = AgentPreset::Picoclaw.command_line(&Order {
            session,
            ..order("recall")
        });
        text(&answer_only(&host.order(&command.unwrap()).stdout))
    };
    assert_eq!(recall(Session::Job), "1");
    assert_eq!(recall(Session::Named("daily")), "1");
    assert_eq!(recall(Session::Named("daily")), "2");
    assert_eq!(recall(Session::Unsupported), "1");
}

#[test]
fn picoclaw_misbehaves_on_request() {
    let host = Host::deployed(PICOCLAW);
    assert_eq!(host.answer("huge").len(), 3_000_000);
    assert_eq!(answer_only(&host.ask("badutf8").stdout), b"\xff\xfe bytes");
    assert!(!host.ask("nonewline").stdout.ends_with(b"\n"));
    assert_eq!(host.ask("exit1").status.code(), Some(1));

    let mut slow = host.command();
    slow.args(["agent", "-m", "slow"])
        .env("FAKE_PICOCLAW_SECONDS", "1");
    assert!(text(&slow.output().unwrap().stdout).contains("slow done"));

    // Its child holds stdout, so the output is taken from a file.
    let path = host.home.path().join("out");
    let mut orphan = host.command();
    orphan
        .args(["agent", "-m", "orphan"])
        .stdout(fs::File::create(&path).unwrap());
    assert!(orphan.status().unwrap().success());
    let pid = text(&answer_only(&fs::read(&path).unwrap()));
    assert!(
        Command::new("kill").arg(&pid).status().unwrap().success(),
        "child {pid} outlived it"
    );
}

#[test]
fn an_old_picoclaw_asks_before_it_overwrites() {
    let mut host = Host::new(PICOCLAW);
    host.mode = "old";
    assert_eq!(
        parse_version(&text(&host.run(&["version"]).stdout)).as_deref(),
        Some("v0.1.1")
    );
    assert!(text(&host.run(&["onboard"]).stdout).contains("ready"));
    let again = host.run(&["onboard"]);
    assert!(again.status.success() && text(&again.stdout).ends_with("Aborted.\n"));
    assert!(text(&host.ask("hi").stdout).starts_with("Error: "));
}

#[test]
fn openclaw_answers_in_its_forms() {
    let host = Host::new(OPENCLAW);
    for (task, code) in [("hi", 0), ("fail", 1), ("timeout", 2)] {
        assert_eq!(host.run(&["agent", "exec", task]).status.code(), Some(code));
        let output = host.run(&["agent", "exec", "--json", &format!("{task} \"q\"\n\\x")]);
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(json["ok"], code == 0);
        assert_eq!(json["final"], format!("{task} \"q\"\n\\x"));
    }
    let identity = host.run(&["node", "identity", "--json"]);
    let identity: serde_json::Value = serde_json::from_slice(&identity.stdout).unwrap();
    assert_eq!(identity["deviceId"].as_str().map(str::len), Some(64));
    assert!(text(&host.run(&["--version"]).stdout).starts_with("OpenClaw 2026"));
    assert!(host.run(&["status", "--json"]).status.success());
    assert_eq!(host.run(&["run"]).status.code(), Some(1));
}
