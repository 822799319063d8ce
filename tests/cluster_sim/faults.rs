//! What goes wrong, and when: drawn from the seed, some of it aimed at whoever leads.

use std::time::Duration;

use turmoil::Sim;

use super::chance::Chance;

/// An hour, in milliseconds: how wrong clocks may be.
const HOUR: i64 = 3_600_000;

/// Something that goes wrong for a while. Numbers are places among all hosts; members come first.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Nothing passes between these, either way.
    Cut(Vec<(usize, usize)>),
    /// Nothing passes from the first to the second.
    OneWay(Vec<(usize, usize)>),
    /// What passes between these comes later, all at once.
    Held(Vec<(usize, usize)>),
    /// Messages take up to so long.
    Slow(Duration),
    /// So many of ten thousand messages are lost, and all that is on its way between the two with each.
    Lossy(u64),
    /// These are down; how they went.
    Down(Vec<usize>, Crash),
    /// This one is down, and went right before one of its next syncs, in the middle of whatever it did; with the power
    /// or without.
    Trap(usize, u64, Option<u64>),
    /// The machine's clock of this one is set, and counts from its next start on.
    Clock(usize, i64),
}

/// How a member goes down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    /// It is stopped: what it holds in memory goes, its files are closed.
    Stopped,
    /// It is killed: its files stay as they are at this moment, open or not.
    Killed,
    /// The power goes: what was not synced is lost, or some of it.
    Power(u64),
}

/// Draws what goes wrong next. `leader` leads if anybody does; there are `members` of them and `all` hosts.
pub fn draw(chance: &mut Chance, leader: Option<usize>, members: usize, all: usize) -> Fault {
    let anybody = chance.below(members as u64) as usize;
    // Most of what is interesting happens to leaders.
    let aimed = match leader {
        Some(leader) if chance.happens(60) => leader,
        _ => anybody,
    };
    let others = |one: usize| (0..members).filter(move |other| *other != one);
    let away = |one: usize| others(one).map(move |other| (one, other));
    match chance.below(100) {
        0..10 => Fault::Cut(halves(chance, members)),
        // Clients still reach it, and it still believes that it leads.
        10..28 => Fault::Cut(away(aimed).collect()),
        28..40 => Fault::OneWay(away(aimed).collect()),
        40..46 => Fault::OneWay(away(aimed).map(|(one, other)| (other, one)).collect()),
        46..50 => {
            let clients = members..all;
            let cut = clients.filter(|_| chance.happens(50));
            Fault::Cut(cut.map(|client| (aimed, client)).collect())
        }
        50..58 => Fault::Held(
            (0..all)
                .filter(|o| *o != aimed)
                .map(|o| (aimed, o))
                .collect(),
        ),
        58..63 => Fault::Slow(Duration::from_millis(chance.between(100, 900))),
        63..68 => Fault::Lossy(chance.between(20, 500)),
        68..75 => Fault::Clock(
            aimed,
            *chance.pick(&[-HOUR, -HOUR / 60, 0, HOUR / 60, HOUR]),
        ),
        75..85 => Fault::Down(vec![aimed], crash(chance)),
        85..93 => {
            // Most of them while it is asked to catch up, or soon after.
            let after = *chance.pick(&[0, 1, 2, 3, 5, 10, 30]);
            let power = chance.happens(50).then(|| chance.next());
            Fault::Trap(aimed, after, power)
        }
        93..97 => {
            let most = (0..members).filter(|one| *one != anybody);
            Fault::Down(most.collect(), crash(chance))
        }
        _ => Fault::Down((0..members).collect(), crash(chance)),
    }
}

fn crash(chance: &mut Chance) -> Crash {
    let seed = chance.next();
    *chance.pick(&[Crash::Stopped, Crash::Killed, Crash::Power(seed)])
}

fn halves(chance: &mut Chance, members: usize) -> Vec<(usize, usize)> {
    let side: Vec<bool> = (0..members).map(|_| chance.happens(50)).collect();
    let pairs = (0..members).flat_map(|a| (0..a).map(move |b| (a, b)));
    pairs.filter(|(a, b)| side[*a] != side[*b]).collect()
}

/// Makes the network as these faults have it, whatever it was before.
pub fn set_network<'f>(
    sim: &mut Sim<'_>,
    names: &[String],
    faults: impl Iterator<Item = &'f Fault>,
) {
    let name = |number: usize| names[number].as_str();
    for a in 0..names.len() {
        for b in 0..a {
            sim.release(name(a), name(b));
        }
    }
    sim.set_max_message_latency(Duration::from_millis(20));
    sim.set_fail_rate(0.0);
    for fault in faults {
        match fault {
            Fault::Cut(pairs) => pairs
                .iter()
                .for_each(|(a, b)| sim.partition(name(*a), name(*b))),
            Fault::OneWay(pairs) => pairs
                .iter()
                .for_each(|(a, b)| sim.partition_oneway(name(*a), name(*b))),
            Fault::Held(pairs) => pairs.iter().for_each(|(a, b)| sim.hold(name(*a), name(*b))),
            Fault::Slow(longest) => sim.set_max_message_latency(*longest),
            Fault::Lossy(rate) => sim.set_fail_rate(*rate as f64 / 10_000.0),
            Fault::Down(..) | Fault::Trap(..) | Fault::Clock(..) => {}
        }
    }
}
