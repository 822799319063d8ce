//! The list of hosts on standard input, which can be read only once.

use rustix::process::Signal;

use crate::common::{Running, eventually};
use crate::place::{Place, SOON};

#[test]
fn a_controller_in_the_background_gets_the_list_and_keeps_it() {
    let Some(mut place) = Place::with(&["web1", "web2"], 1) else {
        return;
    };
    let args = [
        "fleet",
        "up",
        "--port",
        "0",
        "--detach",
        "--hosts-from",
        "-",
    ];
    let up = place.bed.world.skyclaw_with_stdin(&args, b"web2\n");
    assert_eq!(up.code, 0, "{up}");
    let text = up.out();
    let url = text
        .split_whitespace()
        .find(|word| word.starts_with("http://"));
    place.url = url.unwrap().trim_end_matches(';').to_owned();
    place.wait_for_hosts(1);
    assert_eq!(place.hosts()[0].name, "web2");
    // Read again, it is the same list.
    place.fleet(&["web1", "web2"], |host| host.with("slots", 3));
    let log = || std::fs::read_to_string(place.state("controller.log")).unwrap();
    let pid: i32 = text.split_whitespace().nth(1).unwrap().parse().unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, Signal::HUP).unwrap();
    eventually(SOON, || log().contains("fleet file read again: 1 hosts"));
    eventually(SOON, || place.hosts()[0].max_parallel == 3);
    assert_eq!(place.hosts().len(), 1);
    let down = place.bed.run(&["fleet", "down"]);
    assert_eq!(down.code, 0, "{down}");
}

#[test]
fn an_empty_list_is_refused_and_a_unit_has_no_standard_input() {
    let Some(place) = Place::with(&["web1"], 1) else {
        return;
    };
    let list = ["--hosts-from", "-"];
    let detached = [&["fleet", "up", "--port", "0", "--detach"][..], &list].concat();
    let empty = place.bed.world.skyclaw_with_stdin(&detached, b"\n");
    assert_eq!(empty.code, 2, "{empty}");
    assert!(empty.err().contains("no host in -"), "{empty}");
    let unit = [&["fleet", "up", "--print-unit"][..], &list].concat();
    let unit = Running::start(place.bed.world.command(&unit), Some(b"web1\n".to_vec()));
    let unit = unit.wait(SOON);
    assert_eq!(unit.code, 2, "{unit}");
    assert!(unit.err().contains("no standard input"), "{unit}");
}
