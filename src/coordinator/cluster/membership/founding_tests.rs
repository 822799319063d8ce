use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

fn id(number: u64) -> MemberId {
    format!("{number:016x}").parse().unwrap()
}

fn url(number: u64) -> Url {
    format!("http://n{number}:8787").parse().unwrap()
}

fn urls(numbers: &[u64]) -> Vec<Url> {
    numbers.iter().copied().map(url).collect()
}

fn waiting(number: u64, peers: &[u64]) -> (Url, Sighting) {
    let peers = urls(peers);
    let member = id(number);
    (url(number), Sighting::Waiting { member, peers })
}

fn silent(number: u64) -> (Url, Sighting) {
    (
        url(number),
        Sighting::Silent("connection refused".to_owned()),
    )
}

fn serving(number: u64) -> (Url, Sighting) {
    let member = id(number);
    (
        url(number),
        Sighting::Serving {
            member,
            cluster: None,
        },
    )
}

fn found(others: &[u64], me: u64) -> Next {
    let others = others.iter().map(|n| (id(*n), Some(url(*n))));
    Next::Found(others.chain([(id(me), None)]).collect())
}

#[test]
fn the_table_of_foundings() {
    let refused = |number| (url(number), "connection refused".to_owned());
    // me, my list, what is seen, what comes of it
    let cases = [
        (
            "nobody is listed",
            1,
            vec![],
            vec![],
            Next::Wait(Why::Nobody),
        ),
        (
            "it lists only itself",
            1,
            vec![1],
            vec![(url(1), Sighting::Oneself)],
            found(&[], 1),
        ),
        (
            "two list each other, the lower one",
            1,
            vec![2],
            vec![waiting(2, &[1])],
            Next::Wait(Why::Silent(vec![(
                url(1),
                "it was not asked yet".to_owned(),
            )])),
        ),
        (
            "the same, once it has seen itself",
            1,
            vec![2],
            vec![waiting(2, &[1]), (url(1), Sighting::Oneself)],
            found(&[2], 1),
        ),
        (
            "two list each other, the higher one",
            2,
            vec![1],
            vec![waiting(1, &[2]), (url(2), Sighting::Oneself)],
            Next::Wait(Why::Other(id(1), url(1))),
        ),
        (
            "a chain: who knows least is told of the rest",
            1,
            vec![2],
            vec![waiting(2, &[3]), waiting(3, &[2])],
            found(&[2, 3], 1),
        ),
        (
            "somebody at the end of the chain is away",
            1,
            vec![2],
            vec![waiting(2, &[3]), silent(3)],
            Next::Wait(Why::Silent(vec![refused(3)])),
        ),
        (
            "somebody serves, others are away",
            1,
            vec![2, 3],
            vec![silent(2), serving(3)],
            Next::Join(urls(&[3])),
        ),
        (
            "somebody whom another lists serves",
            1,
            vec![2],
            vec![waiting(2, &[3]), serving(3)],
            Next::Join(urls(&[3])),
        ),
    ];
    for (what, me, mine, seen, next) in cases {
        let seen: BTreeMap<Url, Sighting> = seen.into_iter().collect();
        assert_eq!(decide(id(me), &urls(&mine), &seen, true), next, "{what}");
    }
}

#[test]
fn who_may_not_follow_others_lists_founds_only_where_they_agree() {
    let seen = |peers: &[u64]| BTreeMap::from([waiting(2, peers), (url(1), Sighting::Oneself)]);
    let mine = urls(&[1, 2]);
    assert_eq!(decide(id(1), &mine, &seen(&[1]), false), found(&[2], 1));
    assert_eq!(
        decide(id(1), &mine, &seen(&[1, 3]), false),
        Next::Wait(Why::NotListed(urls(&[3])))
    );
}

#[test]
fn two_queues_that_serve_are_noticed() {
    let two = BTreeMap::from([serving(1), serving(2), waiting(3, &[])]);
    assert_eq!(different(&two), Some(urls(&[1, 2])));
    let cluster = Some("00112233445566778899aabbccddeeff".parse().unwrap());
    let same = |number: u64| {
        let member = id(number);
        (url(number), Sighting::Serving { member, cluster })
    };
    assert_eq!(different(&BTreeMap::from([same(1), same(2)])), None);
}

#[test]
fn a_promise_binds_until_it_is_given_back_or_runs_out() {
    let start = Instant::now();
    let mut promise = Promise::default();
    assert_eq!(promise.give(id(1), start), Ok(()));
    assert_eq!(promise.give(id(2), start), Err(id(1)));
    assert_eq!(promise.give(id(1), start), Ok(()));
    promise.release(id(2));
    assert_eq!(promise.give(id(2), start), Err(id(1)));
    promise.release(id(1));
    assert_eq!(promise.give(id(2), start), Ok(()));
    assert_eq!(promise.give(id(3), start + PROMISED_FOR), Ok(()));
}

/// Coordinators that wait, each in the middle of something: the code under test decides, the model only carries.
struct World {
    lists: Vec<Vec<u64>>,
    /// The same, and who was promised something.
    told: Vec<Vec<u64>>,
    promises: Vec<Promise>,
    /// Who has founded, or been taken in by whom.
    homes: Vec<Option<u64>>,
    /// Whom each one still has to ask for its promise, and who has agreed.
    asking: Vec<Option<(Vec<u64>, Vec<u64>)>>,
    now: Instant,
}

impl World {
    fn new(lists: Vec<Vec<u64>>) -> Self {
        let count = lists.len();
        Self {
            told: lists.clone(),
            lists,
            promises: vec![Promise::default(); count],
            homes: vec![None; count],
            asking: vec![None; count],
            now: Instant::now(),
        }
    }

    fn sight(&self, me: u64, other: u64) -> Sighting {
        let index = usize::try_from(other).unwrap();
        if let Some(home) = self.homes[index] {
            let cluster = Some(format!("{home:032x}").parse().unwrap());
            let member = id(other);
            return Sighting::Serving { member, cluster };
        }
        if me == other {
            return Sighting::Oneself;
        }
        let member = id(other);
        Sighting::Waiting {
            member,
            peers: urls(&self.told[index]),
        }
    }

    fn number(&self, of: MemberId) -> u64 {
        (0..self.lists.len() as u64).find(|n| id(*n) == of).unwrap()
    }

    /// Lets one coordinator take its next small step.
    fn step(&mut self, me: u64) {
        let index = usize::try_from(me).unwrap();
        if self.homes[index].is_some() {
            return;
        }
        if let Some((mut left, mut agreed)) = self.asking[index].take() {
            let Some(next) = left.first().copied() else {
                self.homes[index] = Some(me);
                return;
            };
            let other = usize::try_from(next).unwrap();
            let waits = self.homes[other].is_none();
            if waits && self.promises[other].give(id(me), self.now).is_ok() {
                // Whoever has promised it waits for that founder from now on.
                self.told[other].push(me);
                agreed.push(left.remove(0));
                self.asking[index] = Some((left, agreed));
            } else {
                for other in agreed {
                    self.promises[usize::try_from(other).unwrap()].release(id(me));
                }
            }
            return;
        }
        let seen = (0..self.lists.len() as u64)
            .map(|other| (url(other), self.sight(me, other)))
            .collect();
        match decide(id(me), &urls(&self.told[index]), &seen, true) {
            Next::Found(with) => {
                let left = with.keys().map(|id| self.number(*id)).collect();
                self.asking[index] = Some((left, Vec::new()));
            }
            Next::Join(at) => {
                let first = (0..self.lists.len() as u64)
                    .find(|n| url(*n) == at[0])
                    .unwrap();
                self.homes[index] = self.homes[usize::try_from(first).unwrap()];
            }
            Next::Wait(_) => {}
        }
    }

    fn circle_of(&self, me: usize) -> BTreeSet<u64> {
        let mut all = BTreeSet::from([me as u64]);
        let mut next = self.lists[me].clone();
        while let Some(one) = next.pop() {
            if all.insert(one) {
                next.extend(&self.lists[usize::try_from(one).unwrap()]);
            }
        }
        all
    }
}

proptest! {
    /// Whatever the lists and whoever is quick: circles that share anybody have one founder, and in the end
    /// everybody belongs somewhere.
    #[test]
    fn circles_that_touch_have_one_founder(
        lists in prop::collection::vec(prop::collection::vec(0u64..6, 1..4), 1..6),
        order in prop::collection::vec(0usize..6, 0..200),
    ) {
        let count = lists.len() as u64;
        let lists = lists
            .into_iter()
            .map(|list| list.into_iter().map(|n| n % count).collect())
            .collect();
        let mut world = World::new(lists);
        for index in order {
            world.step(index as u64 % count);
        }
        // From here on everybody gets its turn.
        for _ in 0..100 {
            for me in 0..count {
                world.step(me);
            }
        }
        let founders: Vec<usize> = (0..world.lists.len())
            .filter(|index| world.homes[*index] == Some(*index as u64))
            .collect();
        for one in &founders {
            for other in &founders {
                if one < other {
                    let (a, b) = (world.circle_of(*one), world.circle_of(*other));
                    prop_assert!(a.is_disjoint(&b), "{one} and {other} in {:?}", world.lists);
                }
            }
        }
        prop_assert!(world.homes.iter().all(Option::is_some), "{:?}", world.homes);
    }
}
