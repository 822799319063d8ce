//! Hosts and gateways that each know another coordinator of one cluster, while the one that leads goes.

use crate::common::eventually;
use crate::load::Load;
use crate::story::{SOON, Story};

#[test]
fn hosts_and_gateways_of_different_coordinators_are_one_and_outlive_the_leader() {
    let Some(mut story) = Story::of_three(["lab", "web1", "web2"]) else {
        return;
    };
    story.deploy("3", "one");
    story.until_all_answer(3);
    let mut on = story.ready_on();
    on.sort();
    assert_eq!(on, ["lab", "web1", "web2"]);
    let replicas = story.gateways[0].replicas(3);
    assert_eq!(story.gateways[1].replicas(3), replicas);
    let load = Load::of_all(&story);

    story.change_coordinator();
    // The two that are left take what is asked of them, and both gateways hear of it.
    story.says(&["service", "scale", "api", "2", "--wait"]);
    story.until_all_answer(2);
    let left = story.gateways[0].replicas(2);
    assert!(left.is_subset(&replicas), "{left:?} of {replicas:?}");
    assert_eq!(story.gateways[1].replicas(2), left);
    story.deploy("3", "two");
    story.until_all_answer(3);
    let all_new = || {
        let mut all = story
            .gateways
            .iter()
            .flat_map(|gateway| gateway.replicas(3));
        all.all(|replica| replica.version == "two")
    };
    eventually(SOON, all_new);
    load.end_without_failure();
}
