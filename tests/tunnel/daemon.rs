//! Host daemons that find their coordinator by a file: through a tunnel, and without one.

use std::fs;
use std::os::unix::process::CommandExt;
use std::time::Duration;

use serde_json::json;
use skyclaw::protocol::JobStatus;

use crate::common::coordinator::Plan;
use crate::common::http::Http;
use crate::common::{SshdBuilder, eventually};
use crate::rig::{Rig, SOON};
use crate::site::{Site, daemon, relay, start, write};

#[tokio::test(flavor = "multi_thread")]
async fn jobs_run_through_a_tunnel_and_results_outlive_the_server() {
    let Some(mut rig) = Rig::new() else { return };
    let site = Site::new();
    // The daemon comes first: there is no tunnel and no file.
    let host = start(daemon(rig.server.home(), &rig.file()));
    let trouble = host.wait_for_line("is not there", SOON);
    assert!(trouble.contains(rig.file().to_str().unwrap()), "{trouble}");
    let mut running = rig.start();
    running.up().await;
    let visits = running.take_visits();
    let shown = relay(visits, site.address());
    host.wait_for_line("host registered", SOON);
    let job = site.sh("echo through the tunnel").await;
    assert_eq!(site.output(job).await, "through the tunnel\n");

    let [begun, go, over] = ["begun", "go", "over"].map(|name| rig.world.dir().join(name));
    let script = format!(
        "touch {}; while [ ! -e {} ]; do sleep 0.05; done; echo late; touch {}",
        begun.display(),
        go.display(),
        over.display()
    );
    let job = site.sh(&script).await;
    eventually(SOON, || begun.exists());
    rig.server.stop();
    running.down().await;
    // It ends while nobody can be told.
    fs::write(&go, "").unwrap();
    eventually(SOON, || over.exists());
    assert_eq!(site.look(job).await.status, JobStatus::Leased);
    rig.server.start_again();
    assert_eq!(site.output(job).await, "late\n");
    let record = site.look(job).await;
    assert_eq!(record.status, JobStatus::Completed);
    assert_eq!(record.attempts.get(), 1, "it ran once: {record:?}");
    // The socket is its own proof.
    assert!(
        shown
            .lock()
            .unwrap()
            .iter()
            .all(|(token, asked)| token.is_empty() && asked.is_none())
    );
    running.stop().await;
    host.terminate();
    host.wait(SOON).expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_follows_its_tunnel_to_another_port_with_another_token() {
    let forbid = |builder: SshdBuilder| builder.extra("AllowStreamLocalForwarding no");
    let Some(rig) = Rig::with(forbid) else { return };
    let site = Site::new();
    let mut running = rig.start_with(Some(Duration::from_millis(500)));
    let first = running.up().await;
    let shown = relay(running.take_visits(), site.address());
    let host = start(daemon(rig.server.home(), &rig.file()));
    host.wait_for_line("host registered", SOON);
    let job = site.sh("echo one").await;
    assert_eq!(site.output(job).await, "one\n");
    rig.server.drop_connections();
    let second = running.up_again().await;
    assert_ne!(first, second);
    let job = site.sh("echo two").await;
    assert_eq!(site.output(job).await, "two\n");
    let shown = shown.lock().unwrap();
    let tokens: std::collections::BTreeSet<_> = shown.iter().map(|(token, _)| token).collect();
    assert_eq!(tokens.len(), 2, "one for each tunnel");
    for (token, asked) in shown.iter() {
        assert_eq!(Some(token), asked.as_ref());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_lets_in_who_shows_its_token_and_for_its_host_alone() {
    let forbid = |builder: SshdBuilder| builder.extra("AllowStreamLocalForwarding no");
    let Some(rig) = Rig::with(forbid) else { return };
    let mut running = rig.start();
    let place = running.up().await;
    let site = Site::within(running.take_visits()).await;
    let host = start(daemon(rig.server.home(), &rig.file()));
    host.wait_for_line("host registered", SOON);
    let job = site.sh("echo with a token").await;
    assert_eq!(site.output(job).await, "with a token\n");
    let token = rig.announced()["token"].as_str().unwrap().to_owned();
    let at = place.to_string().parse().unwrap();
    let asked = |token: &str, method: &str, path: &str, body: &str| {
        let mut http = Http::connect(at).unwrap().with("x-skyclaw-token", token);
        http.send(method, path, body.as_bytes()).unwrap().status
    };
    let register = |name: &str| json!({"name": name, "hostId": name}).to_string();
    let path = "/v1/hosts/register";
    for wrong in ["", "guessed"] {
        assert_eq!(asked(wrong, "POST", path, &register("alpha")), 401);
    }
    assert_eq!(asked(&token, "POST", path, &register("beta")), 403);
    assert_eq!(asked(&token, "POST", path, &register("alpha")), 200);
    let job = json!({"payload": {"kind": "shell", "command": "true"}}).to_string();
    assert_eq!(asked(&token, "POST", "/v1/jobs", &job), 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_is_read_again_when_the_coordinator_has_moved() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("coordinator.json");
    let plan = |dir: &str, token: &str| {
        let dir = home.path().join(dir);
        fs::create_dir_all(&dir).unwrap();
        Plan::new(&dir).env("SKYCLAW_TOKEN", token).start()
    };
    let first = plan("one", "the-first-token-of-two");
    let text = json!({"url": first.url(), "token": "the-first-token-of-two"});
    write(&file, &text.to_string(), 0o600);
    let mut command = daemon(home.path(), &file);
    // Other ways to a coordinator are not asked when there is a file.
    command.env("SKYCLAW_COORDINATOR_URL", "http://127.0.0.1:1");
    let host = start(command);
    host.wait_for_line("host registered", SOON);
    first.kill();
    host.wait_for_line("no coordinator could be reached", SOON);
    let second = plan("two", "the-second-token-of-two");
    let text = json!({"url": second.url(), "token": "the-second-token-of-two"});
    write(&file, &text.to_string(), 0o600);
    eventually(SOON, || {
        let asked = Http::connect(second.address)
            .map(|http| http.with("x-skyclaw-token", "the-second-token-of-two"))
            .and_then(|mut http| http.send("GET", "/v1/hosts", b""));
        asked.is_ok_and(|reply| reply.to_string().contains("\"alpha\""))
    });
    // A file that others can read is not used while the daemon runs either.
    second.kill();
    write(&file, &text.to_string(), 0o644);
    host.wait_for_line("its mode 644 lets others at it", SOON);
}

#[test]
fn once_without_a_file_says_which() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("none.json");
    let mut command = daemon(home.path(), &file);
    command.arg("--once");
    let done = start(command).wait(SOON).expect_code(1);
    let said = done.err();
    assert!(said.contains(file.to_str().unwrap()), "{said}");
    assert!(said.contains("is not there"), "{said}");
    assert!(said.contains("fleet up"), "{said}");
}

#[test]
fn a_file_that_is_not_ones_own_secret_is_refused_at_the_start() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("c.json");
    let text = r#"{"url":"http://127.0.0.1:1","token":"geheim"}"#;
    write(&file, text, 0o640);
    for by_flag in [false, true] {
        let mut command = daemon(home.path(), &file);
        if by_flag {
            command.env_remove("SKYCLAW_COORDINATOR_FILE");
            command.arg("--coordinator-file").arg(&file);
        }
        let said = start(command).wait(SOON).expect_code(1).err();
        assert!(said.contains(file.to_str().unwrap()), "{said}");
        assert!(said.contains("mode 640"), "{said}");
        assert!(said.contains("chmod 600"), "{said}");
        assert!(!said.contains("geheim"), "{said}");
    }
    if crate::common::is_root() {
        write(&file, text, 0o600);
        std::os::unix::fs::chown(&file, Some(12_345), None).unwrap();
        let said = start(daemon(home.path(), &file))
            .wait(SOON)
            .expect_code(1)
            .err();
        assert!(said.contains("belongs to another user (12345)"), "{said}");
    }
}

#[test]
fn nothing_is_sent_to_a_port_that_another_user_has_taken() {
    if !crate::common::is_root() || !crate::common::require_program("busybox") {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let mut thief = std::process::Command::new("busybox");
    thief
        .args(["nc", "-l", "-p", &port.to_string()])
        .uid(12_345)
        .current_dir("/");
    let thief = start(thief);
    // It takes one connection, which shall not be ours.
    let listens = || {
        ["/proc/net/tcp", "/proc/net/tcp6"]
            .iter()
            .filter_map(|table| fs::read_to_string(table).ok())
            .any(|table| table.contains(&format!(":{port:04X} ")))
    };
    eventually(SOON, listens);
    let file = home.path().join("c.json");
    // A tunnel that is no more left it, and its port is somebody else's by now.
    let text = json!({"url": format!("http://127.0.0.1:{port}"), "token": "geheim", "tunnel": "1"});
    write(&file, &text.to_string(), 0o600);
    let host = start(daemon(home.path(), &file));
    let said = host.wait_for_line("another user (12345) listens there", SOON);
    assert!(!said.contains("geheim"), "{said}");
    assert_eq!(thief.stdout_so_far(), "");
}
