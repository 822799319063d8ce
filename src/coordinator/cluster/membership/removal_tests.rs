use std::collections::{BTreeMap, BTreeSet};

use super::*;

fn id(number: u64) -> MemberId {
    format!("{number:016x}").parse().unwrap()
}

fn members(voters: &[u64], learners: &[u64]) -> BTreeMap<MemberId, (Member, bool)> {
    let one = |number: &u64, voter| {
        let member = Member {
            url: format!("http://m{number}:1"),
            name: format!("node{number}"),
            protocol: 1,
            other: BTreeMap::new(),
        };
        (id(*number), (member, voter))
    };
    let voters = voters.iter().map(|number| one(number, true));
    voters
        .chain(learners.iter().map(|number| one(number, false)))
        .collect()
}

fn who(numbers: &[u64]) -> BTreeSet<MemberId> {
    numbers.iter().map(|number| id(*number)).collect()
}

#[test]
fn the_table_of_removals() {
    /// Voters, learners, who goes, who answers, whether it may.
    type Case<'a> = (&'a [u64], &'a [u64], u64, &'a [u64], bool);
    let cases: [Case<'_>; 10] = [
        (&[1], &[], 1, &[1], false),
        (&[1], &[2], 1, &[1, 2], false),
        (&[1, 2], &[], 2, &[1, 2], true),
        (&[1, 2], &[], 1, &[1, 2], true),
        (&[1, 2, 3], &[], 3, &[1, 2], true),
        (&[1, 2, 3], &[], 2, &[1, 2], false),
        (&[1, 2, 3], &[], 1, &[1, 2, 3], true),
        (&[1, 2, 3, 4], &[], 1, &[1, 2, 3], true),
        (&[1, 2, 3, 4, 5], &[], 1, &[1, 2, 3], false),
        (&[1], &[2], 2, &[1], true),
    ];
    for (voters, learners, target, alive, may) in cases {
        let got = check(&members(voters, learners), id(target), &who(alive));
        assert_eq!(
            got.is_ok(),
            may,
            "{voters:?} - {target}, {alive:?}: {got:?}"
        );
    }
}

#[test]
fn a_member_is_meant_by_number_name_or_address() {
    let members = members(&[1, 2], &[3]);
    for word in ["0000000000000002", "node2", "http://m2:1", "HTTP://M2:1/"] {
        assert_eq!(meant(&members, word), [id(2)], "{word}");
    }
    for word in ["", "node", "2", "http://m2"] {
        assert_eq!(meant(&members, word), [], "{word}");
    }
}
