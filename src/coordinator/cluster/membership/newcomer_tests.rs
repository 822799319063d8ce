use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn id(number: u64) -> MemberId {
    format!("{number:016x}").parse().unwrap()
}

fn member(name: &str, url: &str) -> Member {
    Member {
        url: url.to_owned(),
        name: name.to_owned(),
        protocol: 1,
        other: BTreeMap::new(),
    }
}

fn three() -> BTreeMap<MemberId, (Member, bool)> {
    BTreeMap::from([
        (id(1), (member("a", "http://a:1"), true)),
        (id(2), (member("b", "http://b:1"), true)),
        (id(3), (member("c", "http://c:1"), false)),
    ])
}

fn newcomer(number: u64, name: &str, url: &str) -> Newcomer {
    Newcomer {
        id: id(number),
        member: member(name, url),
    }
}

fn in_use(name: &str, url: &str) -> Decision {
    Decision::Refused(Refusal::NameInUse {
        name: name.to_owned(),
        url: url.to_owned(),
    })
}

#[test]
fn the_table_of_newcomers() {
    let nothing = BTreeMap::new();
    let says = |who: u64, answer: Answer| BTreeMap::from([(id(who), answer)]);
    let cases = [
        (
            "new in all",
            newcomer(9, "d", "http://d:1"),
            nothing.clone(),
            Decision::Welcome(vec![]),
        ),
        (
            "known",
            newcomer(2, "b", "http://b:1"),
            nothing.clone(),
            Decision::Known,
        ),
        (
            "moved",
            newcomer(2, "b", "http://b:2"),
            nothing.clone(),
            Decision::Changed,
        ),
        (
            "renamed",
            newcomer(2, "bb", "http://b:1"),
            nothing.clone(),
            Decision::Changed,
        ),
        (
            "wiped, same name and address",
            newcomer(9, "b", "http://b:1"),
            says(2, Answer::Is(id(9))),
            Decision::Welcome(vec![id(2)]),
        ),
        (
            "wiped, with a name that was made anew",
            newcomer(9, "fresh", "http://b:1"),
            says(2, Answer::Is(id(9))),
            Decision::Welcome(vec![id(2)]),
        ),
        (
            "wiped and moved, the old address is silent",
            newcomer(9, "b", "http://elsewhere:1"),
            says(2, Answer::Nothing),
            Decision::Welcome(vec![id(2)]),
        ),
        (
            "wiped and moved, somebody else is at the old address",
            newcomer(9, "b", "http://elsewhere:1"),
            says(2, Answer::Is(id(8))),
            Decision::Welcome(vec![id(2)]),
        ),
        (
            "a second one with the name of one that is alive",
            newcomer(9, "b", "http://elsewhere:1"),
            says(2, Answer::Is(id(2))),
            in_use("b", "http://b:1"),
        ),
        (
            "a learner is a member too",
            newcomer(9, "c", "http://elsewhere:1"),
            says(3, Answer::Is(id(3))),
            in_use("c", "http://c:1"),
        ),
        (
            "a member that takes the name of another",
            newcomer(2, "a", "http://b:1"),
            says(1, Answer::Is(id(1))),
            in_use("a", "http://a:1"),
        ),
    ];
    for (what, newcomer, answers, decision) in cases {
        assert_eq!(decide(&newcomer, &three(), &answers), decision, "{what}");
    }
}

#[test]
fn a_newcomer_must_read_what_the_oldest_member_reads() {
    let mut members = three();
    for (member, _) in members.values_mut() {
        member.protocol = 3;
    }
    if let Some((oldest, _)) = members.get_mut(&id(2)) {
        oldest.protocol = 2;
    }
    let mut asking = newcomer(9, "d", "http://d:1");
    assert_eq!(
        decide(&asking, &members, &BTreeMap::new()),
        Decision::Refused(Refusal::TooOld {
            theirs: 1,
            lowest: 2
        })
    );
    for protocol in [2, 3, 7] {
        asking.member.protocol = protocol;
        assert_eq!(
            decide(&asking, &members, &BTreeMap::new()),
            Decision::Welcome(vec![]),
            "{protocol}"
        );
    }
    assert_eq!(lowest_protocol(&BTreeMap::new()), None);
}

proptest! {
    /// Whoever is let in: afterwards no two members share a name or an address, and nobody who answers under its
    /// own number was thrown out.
    #[test]
    fn names_and_addresses_stay_unique(
        old in prop::collection::btree_map(1u64..6, (0u8..4, 0u8..4), 0..4),
        number in 1u64..9, name in 0u8..4, url in 0u8..4,
        there in prop::collection::vec(prop::option::of(1u64..9), 6),
    ) {
        let mut members = BTreeMap::new();
        for (number, (name, url)) in &old {
            let known = member(&format!("n{name}"), &format!("http://u{url}:1"));
            let unique = members.values().all(|(other, _): &(Member, bool)| {
                other.name != known.name && other.url != known.url
            });
            if unique {
                members.insert(id(*number), (known, true));
            }
        }
        let asking = newcomer(number, &format!("n{name}"), &format!("http://u{url}:1"));
        // At its own address the newcomer answers: that was looked at before.
        let answers: BTreeMap<MemberId, Answer> = namesakes(&asking, &members)
            .into_iter()
            .map(|who| {
                let own = members[&who].0.url == asking.member.url;
                let chance = there[(who.to_string().len() + number as usize) % there.len()];
                let answer = match (own, chance) {
                    (true, _) => Answer::Is(asking.id),
                    (false, Some(other)) => Answer::Is(id(other)),
                    (false, None) => Answer::Nothing,
                };
                (who, answer)
            })
            .collect();
        match decide(&asking, &members, &answers) {
            Decision::Welcome(gone) => {
                for who in &gone {
                    prop_assert_ne!(answers.get(who), Some(&Answer::Is(*who)));
                    members.remove(who);
                }
                members.insert(asking.id, (asking.member.clone(), false));
            }
            Decision::Changed => {
                for who in namesakes(&asking, &members) {
                    prop_assert_ne!(answers.get(&who), Some(&Answer::Is(who)));
                    members.remove(&who);
                }
                members.insert(asking.id, (asking.member.clone(), true));
            }
            Decision::Known => prop_assert_eq!(&members[&asking.id].0, &asking.member),
            Decision::Refused(_) => {
                prop_assert!(answers.iter().any(|(who, answer)| *answer == Answer::Is(*who)));
            }
        }
        let names: std::collections::BTreeSet<_> = members.values().map(|(m, _)| &m.name).collect();
        let urls: std::collections::BTreeSet<_> = members.values().map(|(m, _)| &m.url).collect();
        prop_assert_eq!((names.len(), urls.len()), (members.len(), members.len()));
    }
}
