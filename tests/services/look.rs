//! Looking at services: lists, one of them, and which one a word means.

use serde_json::{Value, json};

use crate::place::Place;
use crate::script::Act;

#[test]
fn the_originals_list_is_one_document_and_ours_is_a_table() {
    let place = Place::with(&["lab"]);
    let empty = place.run(&["list-services"]).expect_code(0).json();
    assert_eq!(empty, json!({"schema": 1, "services": []}));
    let id = place.says(&["deploy-service", "api", "node", "server.js", "--wait"]);
    let list = place.run(&["list-services"]).expect_code(0).json();
    assert_eq!(
        list["services"],
        place.coordinator.get("/v1/services")["services"]
    );
    let table = place.says(&["service", "list"]);
    let row: Vec<&str> = table.lines().nth(1).unwrap().split('\t').collect();
    let [name, ready, state, endpoint, _age, shown] = row.as_slice() else {
        panic!("{table}");
    };
    assert_eq!((*name, *ready, *state), ("api", "1/1", "running"));
    assert_eq!((*endpoint, *shown), ("http://192.0.2.7:3100", id.as_str()));
    let json = place
        .run(&["service", "list", "--json"])
        .expect_code(0)
        .json();
    assert_eq!(json, list);
    let event = place.says(&["service", "list", "--ndjson"]);
    let event: Value = serde_json::from_str(&event).unwrap();
    assert_eq!(
        (&event["event"], &event["service"]["id"]),
        (&json!("service"), &json!(id))
    );
}

#[test]
fn a_service_is_shown_with_its_replicas_and_their_last_words() {
    let place = Place::acting(Act::Badly(
        "crash-loop",
        "exited with 3",
        "cannot open /data\nbye \u{1b}[2J\n",
    ));
    let id = place.says(&["deploy-service", "api", "node", "--env", "MODE=fast"]);
    crate::common::eventually(crate::place::SOON, || {
        place.service(&id)["assignments"][0]["phase"] == "crash-loop"
    });
    let shown = place.says(&["service", "show", "api"]);
    for part in [
        "state        crash-loop",
        "ready        0/1",
        "env          MODE=fast",
        "command      node",
        "lab\tcrash-loop\t1\t5\t",
        "\texited with 3\t",
        "the last output on lab:\n  cannot open /data\n  bye",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let json = place
        .run(&["service", "show", &id, "--json"])
        .expect_code(0)
        .json();
    assert_eq!(json["service"], place.service(&id));
    let table = place.says(&["service", "list"]);
    assert!(
        table.contains("\t0/1\tcrash-loop\texited with 3\t"),
        "{table}"
    );
}

#[test]
fn a_name_must_mean_one_service() {
    let place = Place::quiet();
    let (first, second) = (place.posted("web"), place.posted("web"));
    assert_ne!(first, second, "the original's way makes two");
    for words in [
        &["service", "show", "web"][..],
        &["service", "scale", "web", "2"],
        &["service", "rm", "web"],
        &["service", "logs", "web"],
    ] {
        let refused = place.run(words).expect_code(2);
        assert!(
            refused.err().contains(&first) && refused.err().contains(&second),
            "{words:?}: {refused}"
        );
    }
    let shown = place
        .run(&["service", "show", &second, "--json"])
        .expect_code(0);
    assert_eq!(shown.json()["service"]["id"], json!(second));
    for verb in ["show", "logs", "restart", "stop", "start", "rm"] {
        let unknown = place.run(&["service", verb, "nobody"]).expect_code(1);
        assert!(unknown.out().is_empty(), "{unknown}");
        assert!(unknown.err().contains("no service `nobody`"), "{unknown}");
    }
    let error = place
        .run(&["service", "show", "nobody", "--json"])
        .expect_code(1);
    assert_eq!(error.json()["error"]["exit"], 1);
}
