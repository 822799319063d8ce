//! How loaded a host is, as far as that decides who is asked first. Pure.

use std::time::Duration;

use crate::protocol::api::Facts;

/// A machine's load is compared in such parts of a processor: what is finer is noise.
const LOAD_STEPS: f64 = 4.0;
/// What a machine counts as whose load is not known, or was told too long ago: half of its processors' worth, so that it
/// comes after the idle and before the busy.
const UNKNOWN_LOAD: u32 = 2;
/// For so long what a host told of its load is believed. It tells once a minute if it has a daemon.
const LOAD_HOLDS: Duration = Duration::from_secs(300);
/// What is nearer than this is all the same; after that each doubling counts.
const NEAR_MS: u32 = 32;

/// How loaded a host is: the lesser is asked first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Load {
    /// Its leases for each thousand that it could hold, less for one of more weight.
    leases: u64,
    /// Its load average per processor, in steps.
    machine: u32,
    /// How far away it is, in steps.
    distance: u32,
}

/// How a host stands among those that wait for work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// How loaded it is.
    pub load: Load,
    /// Its share of the work relative to others, at least 1.
    pub weight: u32,
}

impl Standing {
    /// Returns how a host stands that holds `leases` and may hold `slots`. `facts` is what it last told, and how long ago.
    pub fn of((leases, slots): (u32, u16), weight: u32, facts: Option<(&Facts, Duration)>) -> Self {
        let weight = weight.max(1);
        let room = u64::from(slots.max(1)) * u64::from(weight);
        let latency = facts.and_then(|(facts, _)| facts.latency_ms);
        let load = Load {
            leases: u64::from(leases) * 1_000_000 / room,
            machine: facts
                .filter(|(_, age)| *age < LOAD_HOLDS)
                .and_then(|(facts, _)| machine(facts))
                .unwrap_or(UNKNOWN_LOAD),
            distance: latency.map_or(0, distance),
        };
        Self { load, weight }
    }
}

fn machine(facts: &Facts) -> Option<u32> {
    let cpus = facts.cpus.filter(|cpus| *cpus > 0)?;
    let load = facts.load.filter(|load| *load >= 0.0)?;
    // Saturates; nothing is that loaded.
    Some((load / f64::from(cpus) * LOAD_STEPS) as u32)
}

fn distance(millis: u32) -> u32 {
    (millis / NEAR_MS).checked_ilog2().map_or(0, |log| log + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(load: f64, latency_ms: u32) -> Facts {
        Facts {
            cpus: Some(2),
            load: Some(load),
            latency_ms: Some(latency_ms),
            ..Facts::default()
        }
    }

    fn load(leases: u32, slots: u16, weight: u32, facts: Option<&Facts>) -> Load {
        let facts = facts.map(|facts| (facts, Duration::ZERO));
        Standing::of((leases, slots), weight, facts).load
    }

    #[test]
    fn leases_per_slot_and_weight_then_the_machine_then_the_way() {
        let (idle, half, busy) = (facts(0.1, 1), facts(1.0, 1), facts(3.0, 1));
        let far = facts(0.1, 200);
        for (what, less, more) in [
            (
                "leases outweigh the machine",
                load(0, 1, 1, Some(&busy)),
                load(1, 1, 1, Some(&idle)),
            ),
            (
                "three of eight is less than one of two",
                load(3, 8, 1, None),
                load(1, 2, 1, None),
            ),
            (
                "two at weight three are less than one",
                load(2, 4, 3, None),
                load(1, 4, 1, None),
            ),
            (
                "the machine decides among equals",
                load(1, 2, 1, Some(&idle)),
                load(1, 2, 1, Some(&busy)),
            ),
            (
                "the machine outweighs the way",
                load(0, 1, 1, Some(&far)),
                load(0, 1, 1, Some(&busy)),
            ),
            (
                "the nearer of two idle ones",
                load(0, 1, 1, Some(&idle)),
                load(0, 1, 1, Some(&far)),
            ),
            (
                "unknown comes after idle",
                load(0, 1, 1, Some(&idle)),
                load(0, 1, 1, None),
            ),
            (
                "and before busy",
                load(0, 1, 1, None),
                load(0, 1, 1, Some(&busy)),
            ),
        ] {
            assert!(less < more, "{what}: {less:?} {more:?}");
        }
        assert_eq!(load(0, 1, 1, Some(&half)), load(0, 1, 1, None));
        // Noise decides nothing.
        assert_eq!(
            load(0, 1, 1, Some(&facts(0.1, 1))),
            load(0, 1, 1, Some(&facts(0.3, 30)))
        );
        let old = Standing::of((0, 1), 1, Some((&busy, LOAD_HOLDS)));
        assert_eq!(old.load, load(0, 1, 1, None), "what is old is not known");
        let odd = facts(f64::NAN, 0);
        assert_eq!(load(0, 1, 0, Some(&odd)), load(0, 1, 1, None));
    }
}
