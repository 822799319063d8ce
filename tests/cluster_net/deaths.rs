//! Members are killed and frozen.

use crate::judge::all_is_well;
use crate::load::Load;
use crate::site::Site;

/// How often members are killed; `SKYCLAW_TEST_KILLS=30` for the long run.
fn rounds() -> usize {
    let asked = std::env::var("SKYCLAW_TEST_KILLS").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(6)
}

/// Which members a death hits next: leader, follower, leader, …
fn next(site: &Site, round: usize) -> usize {
    let leader = site.await_leader();
    match round % 2 {
        0 => leader,
        _ => (leader + 1) % site.nodes.len(),
    }
}

#[test]
fn three_lines_make_one_queue() {
    let Some(site) = Site::three(3) else {
        return;
    };
    let load = Load::start(&site);
    load.more(60);
    for seen_by in 0..3 {
        let members = site.members(seen_by);
        assert_eq!(members.len(), 3, "{members:#?}");
        assert!(
            members.iter().all(|member| member["voter"] == true),
            "{members:#?}"
        );
    }
    all_is_well(&site, load);
}

#[test]
fn members_that_are_killed_again_and_again_cost_nothing() {
    let Some(mut site) = Site::three(3) else {
        return;
    };
    let load = Load::start(&site);
    load.more(20);
    for round in 0..rounds() {
        let victim = next(&site, round);
        site.nodes[victim].kill();
        let took = load.more(20);
        eprintln!("round {round}: 20 jobs {took:?} after the death of c{victim}");
        site.nodes[victim].start(None);
        site.whole();
    }
    all_is_well(&site, load);
}

#[test]
fn a_leader_that_is_frozen_for_longer_than_an_election_is_replaced_and_comes_back_as_a_follower() {
    let Some(site) = Site::three(3) else {
        return;
    };
    let load = Load::start(&site);
    load.more(20);
    for _ in 0..2 {
        let leader = site.await_leader();
        site.nodes[leader].freeze();
        // Clients notice after ten seconds of silence, and stay with another then.
        let took = load.more(40);
        eprintln!("40 jobs {took:?} after c{leader} was frozen");
        site.nodes[leader].thaw();
        site.whole();
    }
    all_is_well(&site, load);
}

#[test]
fn all_killed_at_once_come_back_with_all_they_acknowledged() {
    let Some(mut site) = Site::three(2) else {
        return;
    };
    let load = Load::start(&site);
    load.more(40);
    for node in &mut site.nodes {
        node.kill();
    }
    for number in 0..3 {
        site.nodes[number].start(None);
    }
    load.more(20);
    all_is_well(&site, load);
}
