//! Secrets reach the host and nobody else.

use crate::common::eventually;
use crate::place::{Place, SOON};

const VALUE: &str = "hunter2-hunter2";

#[test]
fn a_secret_is_seen_by_its_host_alone() {
    let place = Place::with(&["lab"]);
    let file = place.dir.path().join("secrets");
    std::fs::write(&file, format!("FROM_FILE={VALUE}-file\n")).unwrap();
    let mut command = place.command(&[
        "deploy-service",
        "api",
        "node",
        "--secret-env",
        "API_KEY",
        "--secret-env-file",
        "secrets",
        "--wait",
        "--json",
    ]);
    command.env("API_KEY", VALUE);
    let deployed = crate::common::Running::start(&mut command, None)
        .wait(SOON)
        .expect_code(0);
    let id = deployed.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(deployed.json()["service"]["secretEnv"]["API_KEY"], "***");
    let host = &place.hosts[0];
    eventually(SOON, || host.wanted()[0]["secretEnv"]["API_KEY"] == VALUE);
    assert_eq!(
        host.wanted()[0]["secretEnv"]["FROM_FILE"],
        format!("{VALUE}-file")
    );
    let mut all = vec![format!("{deployed}")];
    for words in [
        &["service", "show", &id][..],
        &["service", "show", &id, "--json"],
        &["service", "list", "--ndjson"],
        &["list-services"],
        &["-vvv", "service", "restart", &id, "--wait", "--json"],
        &["service", "stop", &id, "--json"],
    ] {
        all.push(format!("{}", place.run(words).expect_code(0)));
    }
    all.push(place.coordinator.get("/v1/state").to_string());
    for text in all {
        assert!(!text.contains(VALUE), "{text}");
    }
}

#[test]
fn a_value_on_the_command_line_or_a_missing_one_is_refused_and_not_repeated() {
    let place = Place::quiet();
    let given = format!("API_KEY={VALUE}");
    let refused = place
        .run(&["deploy-service", "api", "node", "--secret-env", &given])
        .expect_code(2);
    assert!(!refused.err().contains(VALUE), "{refused}");
    assert!(refused.err().contains("--secret-env-file"), "{refused}");
    let refused = place
        .run(&[
            "deploy-service",
            "api",
            "node",
            "--secret-env",
            "API_KEY",
            "--json",
        ])
        .expect_code(2);
    assert!(refused.err().contains("not set here"), "{refused}");
}
