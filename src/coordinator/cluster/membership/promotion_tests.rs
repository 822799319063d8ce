use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::queue::cluster::Member;

fn id(number: u64) -> MemberId {
    format!("{number:016x}").parse().unwrap()
}

/// Voters 1 to `voters`; learners from 100 on, each with how far it is behind, if that is known.
fn status(role: Role, voters: u64, learners: &[Option<u64>]) -> Status {
    let member = |number: u64| Member {
        url: format!("http://m{number}:1"),
        name: format!("m{number}"),
        protocol: 1,
        other: BTreeMap::new(),
    };
    let mut members: BTreeMap<_, _> = (1..=voters).map(|n| (id(n), (member(n), true))).collect();
    let mut lag = BTreeMap::new();
    for (number, behind) in (100..).zip(learners) {
        members.insert(id(number), (member(number), false));
        if let Some(behind) = behind {
            lag.insert(id(number), *behind);
        }
    }
    Status {
        id: id(1),
        cluster: None,
        role,
        term: 1,
        leader: Some(id(1)),
        members,
        last_log: 5000,
        applied: 5000,
        lag,
    }
}

#[test]
fn the_one_least_behind_comes_first_and_five_are_enough() {
    let learners = [Some(900), Some(0), None, Some(1001), Some(0)];
    let all = status(Role::Leader, 1, &learners);
    assert_eq!(candidates(&all), [id(101), id(104), id(100)]);
    assert_eq!(candidates(&status(Role::Leader, 4, &learners)).len(), 3);
    assert_eq!(candidates(&status(Role::Leader, 5, &learners)), []);
    for role in [
        Role::Follower,
        Role::Candidate,
        Role::Learner,
        Role::Lone,
        Role::Waiting,
    ] {
        assert_eq!(candidates(&status(role, 2, &learners)), [], "{role:?}");
    }
}

#[test]
fn a_floor_of_copies_needs_so_many_voters() {
    for (copies, voters) in [(0, 1), (1, 1), (2, 2), (3, 4), (4, 6)] {
        assert_eq!(voters_for(copies), voters);
        let enough = usize::try_from(voters).unwrap();
        assert!(majority(enough) as u64 >= copies);
        assert!(enough == 1 || majority(enough - 1) < copies as usize);
    }
    assert_eq!(voters(&status(Role::Lone, 0, &[])), 1);
}

proptest! {
    #[test]
    fn nobody_who_is_far_behind_or_a_voter_is_ever_named(
        voters in 0u64..8, learners in prop::collection::vec(prop::option::of(0u64..3000), 0..8),
    ) {
        let status = status(Role::Leader, voters, &learners);
        for id in candidates(&status) {
            prop_assert!(!status.members[&id].1);
            prop_assert!(status.lag[&id] <= NEARLY);
            prop_assert!(voters < MOST_VOTERS as u64);
        }
    }
}
