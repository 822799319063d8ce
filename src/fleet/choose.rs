//! Which host is the least loaded. Pure: it compares what [`status`](crate::fleet::status) saw.

use std::cmp::Ordering;
use std::time::Duration;

use serde::Serialize;

use crate::fleet::status::{Agent, Observed};

/// A host that work could go to.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'o> {
    /// How many tasks it takes at once.
    pub slots: u32,
    /// What was seen of it; none = it was not reached, and it is left out.
    pub seen: Option<&'o Observed>,
}

/// Why a host stands where it stands. What is absent is not known and counts as more than anything.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Score {
    /// Whether the agent is installed.
    pub installed: bool,
    /// Running tasks.
    pub running: Option<u32>,
    /// How many it takes at once.
    pub slots: u32,
    /// Load of the last minute per processor.
    pub load_per_cpu: Option<f64>,
    /// How long it takes to answer.
    #[serde(skip)]
    pub latency: Duration,
}

/// Returns the reached hosts, the best first, each as its position in `candidates`.
///
/// Installed ones first; then running tasks per slot, load per processor, latency. Equals keep their order.
pub fn rank(candidates: &[Candidate<'_>]) -> Vec<(usize, Score)> {
    let mut ranked: Vec<(usize, Score)> = candidates
        .iter()
        .enumerate()
        .filter_map(|(at, candidate)| Some((at, Score::of(candidate.seen?, candidate.slots))))
        .collect();
    ranked.sort_by(|(_, a), (_, b)| a.compare(b));
    ranked
}

impl Score {
    fn of(seen: &Observed, slots: u32) -> Self {
        let load = seen.load1.zip(seen.cpus.filter(|cpus| *cpus > 0));
        Self {
            installed: matches!(seen.agent, Agent::Installed { .. }),
            running: seen.running,
            slots: slots.max(1),
            load_per_cpu: load.map(|(load, cpus)| load / f64::from(cpus)),
            latency: seen.latency,
        }
    }

    fn compare(&self, other: &Self) -> Ordering {
        other
            .installed
            .cmp(&self.installed)
            .then_with(|| {
                unknown_last(self.running, other.running, |mine, theirs| {
                    // Without division: mine / my slots against theirs / their slots.
                    let mine = u64::from(mine) * u64::from(other.slots);
                    mine.cmp(&(u64::from(theirs) * u64::from(self.slots)))
                })
            })
            .then_with(|| {
                unknown_last(self.load_per_cpu, other.load_per_cpu, |mine, theirs| {
                    mine.total_cmp(&theirs)
                })
            })
            .then_with(|| self.latency.cmp(&other.latency))
    }
}

fn unknown_last<T>(
    mine: Option<T>,
    theirs: Option<T>,
    compare: impl Fn(T, T) -> Ordering,
) -> Ordering {
    match (mine, theirs) {
        (Some(mine), Some(theirs)) => compare(mine, theirs),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => Ordering::Equal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(running: Option<u32>, load1: Option<f64>, latency_ms: u64) -> Observed {
        Observed {
            agent: Agent::Installed {
                version: "1.0".into(),
            },
            running,
            load1,
            cpus: Some(2),
            latency: Duration::from_millis(latency_ms),
            ..Observed::default()
        }
    }

    fn order(hosts: &[(u32, Option<Observed>)]) -> Vec<usize> {
        let candidates: Vec<Candidate<'_>> = hosts
            .iter()
            .map(|(slots, seen)| Candidate {
                slots: *slots,
                seen: seen.as_ref(),
            })
            .collect();
        rank(&candidates).into_iter().map(|(at, _)| at).collect()
    }

    #[test]
    fn tasks_per_slot_then_load_then_latency_then_order() {
        let bare = |latency| Observed {
            agent: Agent::Missing,
            ..seen(Some(0), Some(0.0), latency)
        };
        type Case<'c> = (&'c str, Vec<(u32, Option<Observed>)>, &'c [usize]);
        let cases: Vec<Case<'_>> = vec![
            ("nobody", vec![], &[]),
            (
                "unreached are left out",
                vec![(1, None), (1, Some(seen(None, None, 5)))],
                &[1],
            ),
            (
                "tasks outweigh load",
                vec![
                    (1, Some(seen(Some(1), Some(0.0), 1))),
                    (1, Some(seen(Some(0), Some(9.0), 9))),
                ],
                &[1, 0],
            ),
            (
                "three of eight is less than one of two",
                vec![
                    (2, Some(seen(Some(1), Some(0.0), 1))),
                    (8, Some(seen(Some(3), Some(9.0), 9))),
                ],
                &[1, 0],
            ),
            (
                "load outweighs latency",
                vec![
                    (1, Some(seen(Some(0), Some(2.0), 1))),
                    (1, Some(seen(Some(0), Some(0.5), 9))),
                ],
                &[1, 0],
            ),
            (
                "latency decides last",
                vec![
                    (1, Some(seen(Some(0), Some(1.0), 9))),
                    (1, Some(seen(Some(0), Some(1.0), 3))),
                ],
                &[1, 0],
            ),
            (
                "no data: file order",
                vec![
                    (1, Some(seen(None, None, 4))),
                    (1, Some(seen(None, None, 4))),
                    (1, Some(seen(None, None, 4))),
                ],
                &[0, 1, 2],
            ),
            (
                "known before unknown",
                vec![
                    (1, Some(seen(None, None, 1))),
                    (1, Some(seen(Some(3), Some(1.0), 9))),
                ],
                &[1, 0],
            ),
            (
                "installed before everything",
                vec![(1, Some(bare(1))), (1, Some(seen(Some(5), Some(9.0), 9)))],
                &[1, 0],
            ),
        ];
        for (name, hosts, expected) in cases {
            assert_eq!(order(&hosts), expected, "{name}");
        }
    }
}
