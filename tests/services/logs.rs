//! Reading what services print.

use serde_json::Value;

use crate::place::{Place, SOON};

#[test]
fn one_replica_is_read_byte_for_byte_and_several_line_by_line() {
    let place = Place::with(&["lab", "web1"]);
    place.hosts[0].prints(b"one\n\x1b[31mtwo\xff\n");
    place.hosts[1].prints(b"uno\n");
    place.says(&["deploy-service", "api", "node", "--replicas", "2", "--wait"]);
    let both = place.run(&["service", "logs", "api"]).expect_code(0);
    let mut lines: Vec<Vec<u8>> = both
        .stdout
        .split(|byte| *byte == b'\n')
        .map(<[u8]>::to_vec)
        .collect();
    lines.retain(|line| !line.is_empty());
    lines.sort();
    let wanted: [&[u8]; 3] = [b"lab | \x1b[31mtwo\xff", b"lab | one", b"web1 | uno"];
    assert_eq!(lines, wanted.map(<[u8]>::to_vec), "{both}");
    let one = place
        .run(&["service", "logs", "api", "--replica", "lab", "--tail", "5"])
        .expect_code(0);
    assert_eq!(one.stdout, b"one\n\x1b[31mtwo\xff\n");
    let events = place.says(&[
        "service",
        "logs",
        "api",
        "--replica",
        "id-of-web1",
        "--ndjson",
    ]);
    let first: Value = serde_json::from_str(events.lines().next().unwrap()).unwrap();
    assert_eq!(
        (&first["event"], &first["host"], &first["data"]),
        (&"chunk".into(), &"id-of-web1".into(), &"uno\n".into())
    );
    let unknown = place
        .run(&["service", "logs", "api", "--replica", "nobody"])
        .expect_code(1);
    assert!(unknown.err().contains("no replica `nobody`"), "{unknown}");
}

#[test]
fn following_goes_on_until_it_is_left() {
    let place = Place::with(&["lab"]);
    place.hosts[0].prints(b"up\n");
    place.says(&["deploy-service", "api", "node", "--wait"]);
    let following = place.start(&["service", "logs", "-F", "api"]);
    following.wait_for_line("up", SOON);
    following.interrupt();
    let done = following.wait(SOON).expect_code(130);
    assert_eq!(done.stdout, b"up\n");
}
