//! Who logs in with what: keys of the agent and keys in files, of every kind and form.
//! Rows 2.6, 2.7.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "helpers of tests fail by panicking, as tests do"
)]

mod common;

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use common::{Agent, Output, Running, SOON, Sshd, World, keygen_with, set_passphrase};
use serde_json::Value;

const ED25519: &[&str] = &["-t", "ed25519"];
/// Fewer rounds of the key derivation than the default: the tests are not about its price.
const LOCKED: &[&str] = &["-t", "ed25519", "-a", "1", "-N", "open sesame"];

/// A world whose own key nobody accepts, a server, and keys to be made.
struct Ring {
    world: World,
    server: Sshd,
}

impl Ring {
    fn new() -> Option<Self> {
        Self::on(|builder| builder)
    }

    fn on(set_up: impl FnOnce(common::SshdBuilder) -> common::SshdBuilder) -> Option<Self> {
        if !(common::require_sshd() && common::require_program("ssh-agent")) {
            return None;
        }
        let world = World::new();
        let server = set_up(world.sshd().user_auth_rejecting()).start();
        world.trust(&server);
        std::fs::remove_file(world.key()).unwrap();
        let ring = Self { world, server };
        ring.use_key(None);
        Some(ring)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.world.dir().join(name)
    }

    /// Makes a key and returns its public line.
    fn make(&self, name: &str, args: &[&str]) -> String {
        keygen_with(&self.path(name), &[args, &["-C", name]].concat())
    }

    /// Makes `count` keys that nobody accepts and hands them to the agent.
    fn strangers(&self, agent: &Agent, count: usize) {
        for n in 1..=count {
            let name = format!("stranger{n}");
            self.make(&name, ED25519);
            agent.add(&self.path(&name));
        }
    }

    /// Names the key in the fleet file, or none.
    fn use_key(&self, name: Option<&str>) {
        let key = name.map_or(Value::Null, |name| {
            self.path(name).display().to_string().into()
        });
        self.world
            .fleet(&[self.server.fleet_host("web1").with("ssh_key", key)]);
    }

    fn agent(&mut self) -> Agent {
        let agent = Agent::start(self.world.dir());
        self.world.set_env("SSH_AUTH_SOCK", &agent.socket());
        agent
    }

    fn try_in(&self) -> Output {
        self.world
            .skyclaw(&["fleet", "exec", "--json", "--", "echo", "in"])
    }

    /// Asserts that the host lets us in. Returns what was said.
    #[track_caller]
    fn assert_in(&self) -> Output {
        let done = self.try_in().expect_code(0);
        assert_eq!(done.json()["results"][0]["stdout"], "in\n", "{done}");
        done
    }

    /// Asserts that it does not, and returns the error and the hint.
    #[track_caller]
    fn assert_out(&self) -> (String, String) {
        let done = self.try_in().expect_code(255).json();
        let result = &done["results"][0];
        assert_eq!(result["status"], "auth", "{done}");
        let text = |name: &str| result[name].as_str().unwrap().to_owned();
        (text("error"), text("hint"))
    }

    fn refusals(&self) -> usize {
        self.server.log().matches("Failed publickey").count()
    }
}

#[test]
fn the_agent_is_used_where_no_key_is_named() {
    let Some(mut ring) = Ring::new() else { return };
    let agent = ring.agent();
    ring.strangers(&agent, 4);
    ring.server.authorize(&ring.make("mine", ED25519));
    agent.add(&ring.path("mine"));
    ring.assert_in();
    assert_eq!(ring.refusals(), 4, "{}", ring.server.log());
}

#[test]
fn five_keys_are_offered_and_no_more() {
    let Some(mut ring) = Ring::on(|builder| builder.extra("MaxAuthTries 6")) else {
        return;
    };
    let agent = ring.agent();
    ring.strangers(&agent, 7);
    ring.server.authorize(&ring.make("mine", ED25519));
    agent.add(&ring.path("mine"));
    // Also a key file in the usual place does not make it more.
    std::fs::copy(ring.path("mine"), ring.world.key()).unwrap();
    let (error, hint) = ring.assert_out();
    for n in 1..=5 {
        assert!(error.contains(&format!("agent key stranger{n}")), "{error}");
    }
    assert!(!error.contains("stranger6"), "{error}");
    assert!(hint.contains("ssh_key"), "{hint}");
    assert_eq!(ring.refusals(), 5);
    let log = ring.server.log();
    assert!(!log.contains("Too many authentication failures"), "{log}");
}

#[test]
fn a_named_key_is_the_only_one_offered() {
    let Some(mut ring) = Ring::new() else { return };
    let agent = ring.agent();
    ring.strangers(&agent, 6);
    ring.server.authorize(&ring.make("mine", ED25519));
    ring.use_key(Some("mine"));
    ring.assert_in();
    assert_eq!(ring.refusals(), 0, "{}", ring.server.log());
    // The other way round: the agent could get in, but another key was asked for.
    agent.add(&ring.path("mine"));
    ring.use_key(Some("stranger1"));
    let (error, _) = ring.assert_out();
    assert!(
        error.contains("stranger1") && !error.contains("agent key"),
        "{error}"
    );
    assert_eq!(ring.refusals(), 1);
}

#[test]
fn the_agent_signs_for_a_named_key_that_is_locked_or_public() {
    let Some(mut ring) = Ring::new() else { return };
    let agent = ring.agent();
    ring.strangers(&agent, 6);
    for (name, kind) in [
        ("mine", ED25519),
        ("pkcs8", &["-t", "ecdsa", "-m", "PKCS8"]),
    ] {
        ring.server.authorize(&ring.make(name, kind));
        agent.add(&ring.path(name));
        let form: &[&str] = match name {
            "pkcs8" => &["-m", "PKCS8"],
            _ => &[],
        };
        set_passphrase(&ring.path(name), "open sesame", form);
        ring.use_key(Some(name));
        ring.assert_in();
        ring.use_key(Some(&format!("{name}.pub")));
        ring.assert_in();
    }
    assert_eq!(ring.refusals(), 0, "{}", ring.server.log());
}

#[test]
fn a_key_that_was_refused_is_not_offered_again() {
    let Some(mut ring) = Ring::new() else { return };
    let agent = ring.agent();
    ring.make("mine", ED25519);
    agent.add(&ring.path("mine"));
    std::fs::copy(ring.path("mine"), ring.world.key()).unwrap();
    ring.assert_out();
    assert_eq!(ring.refusals(), 1, "{}", ring.server.log());
    // Nor is anybody asked for its passphrase.
    set_passphrase(&ring.world.key(), "open sesame", &[]);
    let (error, _) = ring.assert_out();
    assert!(!error.contains("passphrase"), "{error}");
    assert_eq!(ring.refusals(), 2, "{}", ring.server.log());
}

#[test]
fn a_public_key_without_an_agent_is_explained() {
    let Some(ring) = Ring::new() else { return };
    ring.make("mine", ED25519);
    ring.use_key(Some("mine.pub"));
    let (error, hint) = ring.assert_out();
    assert!(error.contains("no agent holds it"), "{error}");
    assert!(hint.contains("ssh-add"), "{hint}");
}

#[test]
fn an_agent_that_is_gone_or_mute_holds_nobody_up() {
    let Some(mut ring) = Ring::new() else { return };
    let path = ring.path("socket");
    ring.world
        .set_env("SSH_AUTH_SOCK", &path.display().to_string());
    // Nobody listens there: the key in the usual place is tried all the same.
    ring.server.authorize(&ring.make("mine", ED25519));
    std::fs::copy(ring.path("mine"), ring.world.key()).unwrap();
    ring.assert_in();
    ring.server.authorize("");
    let (error, _) = ring.assert_out();
    assert!(error.contains("; agent: "), "{error}");
    let _mute = UnixListener::bind(&path).unwrap();
    let (error, _) = ring.assert_out();
    assert!(error.contains("agent: no answer"), "{error}");
}

#[test]
fn keys_of_every_kind_and_form() {
    let Some(ring) = Ring::new() else { return };
    let rsa = ["-t", "rsa", "-b", "2048"];
    let kinds: [(&str, &[&str], &[&str]); 5] = [
        ("ed25519", ED25519, &["RFC4716"]),
        (
            "p256",
            &["-t", "ecdsa", "-b", "256"],
            &["RFC4716", "PEM", "PKCS8"],
        ),
        (
            "p384",
            &["-t", "ecdsa", "-b", "384"],
            &["RFC4716", "PEM", "PKCS8"],
        ),
        (
            "p521",
            &["-t", "ecdsa", "-b", "521"],
            &["RFC4716", "PEM", "PKCS8"],
        ),
        ("rsa", &rsa, &["RFC4716", "PEM", "PKCS8"]),
    ];
    let mut all = String::new();
    for (kind, args, forms) in kinds {
        for form in forms {
            let name = format!("{kind}-{form}");
            all.push_str(&ring.make(&name, &[args, &["-m", form]].concat()));
            ring.server.authorize(&all);
            ring.use_key(Some(&name));
            ring.assert_in();
        }
    }
    if common::require_program("openssl") {
        // ssh-keygen writes this form since 9.6 only.
        let path = ring.path("ed25519-pkcs8");
        let mut openssl = std::process::Command::new("openssl");
        openssl
            .args(["genpkey", "-algorithm", "ed25519", "-out"])
            .arg(&path);
        assert!(openssl.status().unwrap().success());
        let public = ring.public_half_of_ed25519_pem("ed25519-pkcs8");
        ring.server.authorize(&public);
        ring.use_key(Some("ed25519-pkcs8"));
        ring.assert_in();
    }
    assert_eq!(ring.refusals(), 0, "{}", ring.server.log());
}

impl Ring {
    /// The last 32 bytes of the DER form are the key; OpenSSH before 9.6 cannot read it from there.
    fn public_half_of_ed25519_pem(&self, name: &str) -> String {
        use base64::Engine;
        let mut openssl = std::process::Command::new("openssl");
        openssl.args(["pkey", "-pubout", "-outform", "DER", "-in"]);
        let der = openssl.arg(self.path(name)).output().unwrap().stdout;
        let mut blob = b"\0\0\0\x0bssh-ed25519\0\0\0\x20".to_vec();
        blob.extend_from_slice(&der[der.len() - 32..]);
        let blob = base64::engine::general_purpose::STANDARD.encode(blob);
        format!("ssh-ed25519 {blob}\n")
    }
}

#[test]
fn rsa_signs_with_sha_2_and_never_with_sha_1() {
    let accepts = |names: &str| {
        let line = format!("PubkeyAcceptedAlgorithms {names}");
        let mut ring = Ring::on(|builder| builder.extra(&line))?;
        ring.server
            .authorize(&ring.make("mine", &["-t", "rsa", "-b", "2048"]));
        let agent = ring.agent();
        agent.add(&ring.path("mine"));
        Some((ring, agent))
    };
    let Some((ring, _agent)) = accepts("rsa-sha2-512") else {
        return;
    };
    ring.assert_in();
    ring.use_key(Some("mine"));
    ring.assert_in();
    let Some((ring, _agent)) = accepts("ssh-rsa") else {
        return;
    };
    ring.assert_out();
    ring.use_key(Some("mine"));
    ring.assert_out();
    let log = ring.server.log();
    assert!(
        log.contains("signature algorithm rsa-sha2-512 not in PubkeyAcceptedAlgorithms"),
        "{log}"
    );
    assert!(!log.contains("signature algorithm ssh-rsa"), "{log}");
}

#[test]
fn a_locked_key_without_a_terminal_is_no_hang() {
    let Some(ring) = Ring::new() else { return };
    let forms: [(&str, &[&str]); 4] = [
        ("openssh", LOCKED),
        (
            "pem",
            &["-t", "rsa", "-b", "2048", "-m", "PEM", "-N", "open sesame"],
        ),
        (
            "pkcs8",
            &["-t", "ecdsa", "-m", "PKCS8", "-N", "open sesame"],
        ),
        ("old", &["-t", "ecdsa", "-m", "PEM", "-N", "open sesame"]),
    ];
    for (name, args) in forms {
        ring.server.authorize(&ring.make(name, args));
        ring.use_key(Some(name));
        let (error, hint) = ring.assert_out();
        let (said, next) = match name {
            "old" => ("not supported", "ssh-keygen -p -f"),
            _ => ("has a passphrase and none was given", "ssh-add "),
        };
        assert!(error.contains(said), "{name}: {error}");
        assert!(hint.contains(next), "{name}: {hint}");
    }
}

#[test]
fn a_passphrase_is_asked_for_once_and_serves_all_hosts() {
    let Some(ring) = Ring::new() else { return };
    if !common::require_program("script") {
        return;
    }
    let hosts = |key: &str| {
        let key = ring.path(key).display().to_string();
        let names = (1..=12).map(|n| format!("web{n}"));
        let hosts: Vec<_> = names
            .map(|name| ring.server.fleet_host(&name).with("ssh_key", key.as_str()))
            .collect();
        ring.world.fleet(&hosts);
    };
    let exec = format!(
        "{} fleet exec --connect-timeout 2s --json -- true",
        env!("CARGO_BIN_EXE_skyclaw")
    );
    let start = || Running::start_on_terminal(ring.world.clean("script"), &exec);
    for (name, args) in [
        ("openssh", LOCKED),
        (
            "pem",
            &["-t", "rsa", "-b", "2048", "-m", "PEM", "-N", "open sesame"],
        ),
        (
            "pkcs8",
            &["-t", "ecdsa", "-m", "PKCS8", "-N", "open sesame"],
        ),
    ] {
        ring.server.authorize(&ring.make(name, args));
        hosts(name);
        let mut running = start();
        running.wait_for_text("Passphrase for key ", SOON);
        let asked_at = Instant::now();
        if name == "openssh" {
            // A person may take longer than a server may.
            common::eventually(SOON, || asked_at.elapsed() > Duration::from_millis(2500));
        }
        running.type_in("open sesame\n");
        let done = running.wait(SOON).expect_code(0).out();
        assert_eq!(done.matches("Passphrase for").count(), 1, "{done}");
        assert_eq!(done.matches(r#""status": "ok""#).count(), 12, "{done}");
        assert!(!done.contains("open sesame"), "{done}");
    }
    let mut running = start();
    running.wait_for_text("Passphrase for key ", SOON);
    running.type_in("open barley\n");
    let done = running.wait(SOON).expect_code(4).out();
    assert_eq!(done.matches("Passphrase for").count(), 1, "{done}");
    assert_eq!(done.matches("wrong passphrase").count(), 12, "{done}");
}

#[test]
fn two_locked_keys_are_asked_for_one_after_the_other() {
    let Some(ring) = Ring::new() else { return };
    if !common::require_program("script") {
        return;
    }
    let mut all = String::new();
    let names = ["one", "two"];
    let hosts = names.map(|name| {
        let word = format!("word {name}");
        let args = ["-t", "ed25519", "-a", "1", "-N", &word];
        all.push_str(&ring.make(name, &args));
        let key = ring.path(name).display().to_string();
        ring.server.fleet_host(name).with("ssh_key", key)
    });
    ring.server.authorize(&all);
    ring.world.fleet(&hosts);
    let exec = format!("{} fleet exec -- echo in", env!("CARGO_BIN_EXE_skyclaw"));
    let mut running = Running::start_on_terminal(ring.world.clean("script"), &exec);
    let question = |name: &str| format!("Passphrase for key {}: ", ring.path(name).display());
    common::eventually(SOON, || running.stdout_so_far().contains("Passphrase"));
    let first = names
        .into_iter()
        .find(|name| running.stdout_so_far().contains(&question(name)))
        .unwrap();
    let second = if first == "one" { "two" } else { "one" };
    running.type_in(&format!("word {first}\n"));
    running.wait_for_text(&question(second), SOON);
    running.type_in(&format!("word {second}\n"));
    let done = running.wait(SOON).expect_code(0).out();
    for name in names {
        assert!(done.contains(&format!("[{name}] in")), "{done}");
    }
}

#[test]
fn a_key_that_others_can_read_is_a_warning() {
    let Some(ring) = Ring::new() else { return };
    ring.server.authorize(&ring.make("mine", ED25519));
    ring.use_key(Some("mine"));
    assert_eq!(ring.assert_in().err(), "");
    let readable = PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(ring.path("mine"), readable).unwrap();
    let warned = ring.assert_in().err();
    assert!(
        warned.contains("can be read by others") && warned.contains("mine"),
        "{warned}"
    );
    assert_eq!(warned.matches("chmod 600").count(), 1, "{warned}");
}
