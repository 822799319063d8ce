//! Members come and go under load.

use serde_json::json;

use crate::common::eventually;
use crate::common::http;
use crate::judge::all_is_well;
use crate::load::Load;
use crate::site::{SOON, Site, TOKEN};

/// Asks one coordinator for a change of the members.
fn ask(site: &Site, at: usize, path: &str, body: &serde_json::Value) -> http::Reply {
    let address = (site.nodes[at].cable.address(), 8787).into();
    let mut line = http::Http::connect(address)
        .unwrap()
        .with("x-skyclaw-token", TOKEN);
    line.send("POST", path, body.to_string().as_bytes())
        .unwrap()
}

#[test]
fn members_join_leave_and_are_removed_while_jobs_run() {
    let Some(mut site) = Site::three(3) else {
        return;
    };
    let load = Load::start(&site);
    load.more(20);
    // Two more, through members that do not lead.
    for _ in 0..2 {
        let number = site.add_node();
        let leader = site.await_leader();
        let through = site.nodes[(leader + 1) % 3].url();
        site.nodes[number].start(Some(&through));
        site.whole();
    }
    load.more(20);
    // The leader goes by itself.
    let leader = site.await_leader();
    ask(&site, leader, "/v1/network/leave", &json!({})).expect(200);
    let (code, said) = site.nodes[leader].ended();
    assert_eq!(code, 0, "{said}");
    load.more(20);
    // One that is dead is removed by name.
    let leader = site.await_leader();
    let dead = (0..5)
        .find(|number| *number != leader && site.nodes[*number].is_up())
        .unwrap();
    site.nodes[dead].kill();
    let name = site.nodes[dead].name.clone();
    ask(
        &site,
        leader,
        "/v1/network/remove",
        &json!({ "name": name }),
    )
    .expect(200);
    eventually(SOON, || site.members(site.await_leader()).len() == 3);
    load.more(20);
    all_is_well(&site, load);
}

#[test]
fn the_leader_can_be_removed_by_another() {
    let Some(mut site) = Site::three(2) else {
        return;
    };
    let load = Load::start(&site);
    load.more(20);
    let leader = site.await_leader();
    let name = site.nodes[leader].name.clone();
    let other = (leader + 1) % 3;
    ask(&site, other, "/v1/network/remove", &json!({ "name": name })).expect(200);
    eventually(SOON, || site.members(other).len() == 2);
    load.more(20);
    let (_, said) = site.nodes[leader].ended();
    assert!(said.contains("removed"), "{said}");
    all_is_well(&site, load);
}
