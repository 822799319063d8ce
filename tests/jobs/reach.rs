//! Which coordinator is asked, with which token, and what is said when none is there.

use std::net::TcpListener;

use crate::common::Running;
use crate::common::coordinator::Plan;
use crate::place::{Place, SOON, bare};

/// An address at which nobody listens.
fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[test]
fn the_next_one_is_asked_when_one_is_away() {
    let place = Place::quiet();
    let away = nobody();
    let mut command = place.command(&["enqueue-shell", "true"]);
    let urls = format!("{away}, {}/", place.coordinator.url());
    command.env("SKYCLAW_COORDINATOR_URLS", urls);
    let done = Running::start(&mut command, None).wait(SOON).expect_code(0);
    assert!(done.out().starts_with("job_"), "{done}");
    assert_eq!(place.coordinator.get("/v1/queue")["counts"]["queued"], 1);
    let url = place.coordinator.url();
    place
        .run(&["job", "list", "--coordinator", &away, "--coordinator", &url])
        .expect_code(0);
}

#[test]
fn when_none_is_there_each_is_named_and_the_code_is_69() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (nobody(), nobody());
    for args in [
        &["job", "list", "--json"][..],
        &["enqueue-shell", "true"],
        &["host", "list"],
        &["queue", "pause"],
        &["events"],
        &[
            "job",
            "logs",
            "-F",
            "job_00000000-0000-4000-8000-000000000000",
        ],
    ] {
        let mut command = bare(dir.path(), args);
        command.env("SKYCLAW_COORDINATOR_URLS", format!("{one},{two}"));
        let done = Running::start(&mut command, None)
            .wait(SOON)
            .expect_code(69);
        let text = done.err();
        assert!(text.contains(&one) && text.contains(&two), "{done}");
        assert!(
            text.contains("hint: start one with `skyclaw fleet up` or `skyclaw coordinator`"),
            "{done}"
        );
        if args.contains(&"--json") {
            assert_eq!(done.json()["error"]["exit"], 69);
        } else {
            assert!(done.out().is_empty(), "{done}");
        }
    }
}

#[test]
fn the_token_comes_from_a_variable_or_a_file_and_is_never_shown() {
    let dir = tempfile::tempdir().unwrap();
    let coordinator = Plan::new(dir.path())
        .env("SKYCLAW_TOKEN", "very-secret-token")
        .start();
    let run = |args: &[&str], env: &[(&str, &str)]| {
        let mut command = bare(dir.path(), args);
        command.env("SKYCLAW_COORDINATOR_URL", coordinator.url());
        command.envs(env.iter().copied());
        Running::start(&mut command, None).wait(SOON)
    };
    let refused = run(&["queue", "show"], &[]).expect_code(1);
    assert!(refused.err().contains("SKYCLAW_TOKEN_FILE"), "{refused}");
    let token = [("SKYCLAW_TOKEN", "very-secret-token")];
    let good = run(&["-vvv", "queue", "show"], &token).expect_code(0);
    assert!(!good.err().contains("very-secret"), "{good}");
    std::fs::write(dir.path().join("token"), "very-secret-token\n").unwrap();
    run(&["queue", "show"], &[("SKYCLAW_TOKEN_FILE", "token")]).expect_code(0);
    let file = ["queue", "show", "--token-file", "token"];
    run(&file, &[("SKYCLAW_TOKEN", "wrong")]).expect_code(0);
    let missing = run(&["queue", "show", "--token-file", "nothing"], &[]).expect_code(2);
    assert!(missing.err().contains("read nothing"), "{missing}");
}
