//! What a person sees and types: verbs that find the controller by themselves, the live view, the help.

use std::os::unix::fs::PermissionsExt;

use crate::common::{Running, require_program};
use crate::place::{Place, SOON};

#[test]
fn ones_own_commands_need_neither_address_nor_token() {
    let Some(place) = Place::ready(&["web1"], 1) else {
        return;
    };
    let args = ["enqueue-shell", "--follow", "--on-host", "web1"];
    let script = ["sh", "-c", "echo out; echo err >&2; exit 3"];
    let done = place.bed.run(&[&args[..], &script].concat());
    assert_eq!((done.code, done.out().as_str()), (3, "out\n"), "{done}");
    let hosts = place.bed.run(&["host", "list", "--json"]);
    assert_eq!(hosts.json()["hosts"][0]["name"], "web1", "{hosts}");
    for private in [
        "controller.sock",
        "controller.token",
        "controller.lock",
        "controller.db",
    ] {
        let mode = place
            .state(private)
            .metadata()
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{private}");
    }
    // The port is for those who have the token.
    let url = place.url.clone();
    let port = ["queue", "show", "--coordinator", &url];
    assert_eq!(place.bed.run(&port).code, 1);
    let file = place.state("controller.token");
    let with = [&port[..], &["--token-file", file.to_str().unwrap()]].concat();
    assert_eq!(place.bed.run(&with).code, 0);
}

#[test]
fn on_a_terminal_it_is_redrawn_in_place() {
    if !require_program("script") {
        return;
    }
    let Some(place) = Place::with(&["web1"], 2) else {
        return;
    };
    let line = format!(
        "stty rows 40 cols 120; exec {} fleet up --port 0",
        env!("CARGO_BIN_EXE_skyclaw")
    );
    let mut script = place.bed.world.clean("script");
    script.env("TERM", "xterm");
    let mut running = Running::start_on_terminal(script, &line);
    running.wait_for_text("0/2", SOON);
    let job = ["enqueue-shell", "sleep", "600"];
    assert_eq!(place.bed.run(&job).code, 0);
    running.wait_for_text("1/2", SOON);
    running.wait_for_text("web1: job_", SOON);
    running.wait_for_text("queue: 0 waiting, 1 running", SOON);
    // Twice Ctrl-C: at once.
    running.type_in("\u{3}");
    running.wait_for_text("finishes what it has", SOON);
    running.type_in("\u{3}");
    let ended = running.wait(SOON);
    assert_eq!(ended.code, 0, "{ended}");
    assert!(ended.out().contains("controller ended"), "{ended}");
    place.bed.assert_no_task_within(SOON);
}

#[test]
fn help_says_what_they_do() {
    let world = crate::common::World::new();
    for verb in ["up", "down"] {
        let shown = world.skyclaw(&["fleet", verb, "--help"]);
        insta::assert_snapshot!(format!("help_fleet_{verb}"), shown.out());
    }
}
