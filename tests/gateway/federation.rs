//! Gateways that know of each other.

use serde_json::json;

use crate::common::{SOON, eventually};
use crate::site::{Gateway, Site};

fn known(gateway: &Gateway) -> Vec<(String, Option<String>)> {
    let all = gateway.get("/v1/gateways").expect(200).json();
    let all = all["gateways"].as_array().unwrap().iter();
    all.map(|one| {
        assert!(one["id"].as_str().unwrap().starts_with("gw_"), "{one}");
        let name = one["name"].as_str().map(str::to_owned);
        (one["url"].as_str().unwrap().to_owned(), name)
    })
    .collect()
}

#[test]
fn gateways_tell_coordinators_where_they_are_and_hear_of_each_other() {
    let site = Site::new();
    let first = site.gateway(&[]);
    let told = || site.coordinator.get("/v1/gateways")["gateways"].clone();
    eventually(SOON, || told().as_array().is_some_and(|all| all.len() == 1));
    assert_eq!(told()[0]["url"], first.url());
    let second = site.gateway(&["--public-url", "https://gw.example/", "--name", "north"]);
    let both = [
        (first.url(), None),
        ("https://gw.example".to_owned(), Some("north".to_owned())),
    ];
    eventually(SOON, || known(&second) == both);
    // What is known stays while coordinators are away.
    let Site {
        dir, coordinator, ..
    } = site;
    coordinator.kill();
    assert_eq!(known(&second), both);
    drop(dir);
}

#[test]
fn a_gateway_on_every_address_names_the_one_that_coordinators_see() {
    let site = Site::new();
    let gateway = site.gateway(&["--host", "0.0.0.0", "--insecure-no-auth"]);
    let url = format!("http://127.0.0.1:{}", gateway.address.port());
    eventually(SOON, || {
        site.coordinator.get("/v1/gateways")["gateways"][0]["url"] == json!(url)
    });
}
