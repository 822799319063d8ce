//! Members are cut off, also in one direction.

use crate::common::eventually;
use crate::judge::all_is_well;
use crate::load::Load;
use crate::site::{SOON, Site};

#[test]
fn a_leader_that_is_cut_off_acknowledges_nothing_and_the_others_go_on() {
    let Some(site) = Site::three(3) else {
        return;
    };
    let load = Load::start(&site);
    load.more(20);
    for silently in [false, true] {
        let leader = site.await_leader();
        let cable = &site.nodes[leader].cable;
        match silently {
            true => cable.blackhole(),
            false => cable.cut(),
        }
        load.more(40);
        assert_ne!(site.await_leader(), leader);
        cable.heal();
        site.whole();
    }
    all_is_well(&site, load);
}

#[test]
fn a_leader_that_hears_and_is_not_heard_is_replaced() {
    let Some(site) = Site::three(3) else {
        return;
    };
    let load = Load::start(&site);
    load.more(20);
    let leader = site.await_leader();
    let others = site.all_but(leader);
    for other in &others {
        site.nodes[leader]
            .cable
            .cut_towards(&site.nodes[*other].cable);
    }
    let client = site.client_of(&others);
    eventually(SOON, || site.block_on(client.queue()).is_ok());
    load.more(40);
    for other in &others {
        site.nodes[leader]
            .cable
            .heal_towards(&site.nodes[*other].cable);
    }
    site.whole();
    all_is_well(&site, load);
}

#[test]
fn two_followers_that_cannot_talk_to_each_other_disturb_nobody() {
    let Some(site) = Site::three(3) else {
        return;
    };
    let load = Load::start(&site);
    load.more(20);
    let leader = site.await_leader();
    let others = site.all_but(leader);
    let (one, other) = (&site.nodes[others[0]].cable, &site.nodes[others[1]].cable);
    one.cut_towards(other);
    load.more(40);
    assert_eq!(site.await_leader(), leader);
    one.heal_towards(other);
    all_is_well(&site, load);
}
