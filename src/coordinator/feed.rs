//! What happened lately, for listeners that come and go.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::protocol::api::Event;
use crate::support::ids;

/// How many events are remembered.
const REMEMBERED: usize = 8192;

#[derive(Debug, Default)]
struct Ring {
    /// The number of the first one in `events`.
    first: u64,
    events: VecDeque<Event>,
}

/// The latest events, numbered from 1 since the start.
#[derive(Debug)]
pub struct Feed {
    /// Told apart from that of another start: numbers begin anew.
    epoch: String,
    ring: Mutex<Ring>,
    news: Notify,
}

impl Default for Feed {
    fn default() -> Self {
        Self {
            epoch: ids::random_hex::<4>(),
            ring: Mutex::new(Ring {
                first: 1,
                events: VecDeque::new(),
            }),
            news: Notify::new(),
        }
    }
}

/// Events after a number.
#[derive(Debug, Default)]
pub struct Batch {
    /// Some before these are not remembered any more.
    pub gap: bool,
    /// With their numbers.
    pub events: Vec<(u64, Event)>,
}

impl Feed {
    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an event.
    pub fn push(&self, event: Event) {
        let mut ring = self.ring();
        if ring.events.len() >= REMEMBERED {
            ring.events.pop_front();
            ring.first += 1;
        }
        ring.events.push_back(event);
        drop(ring);
        self.news.notify_waiters();
    }

    /// Returns the number of the newest event.
    pub fn newest(&self) -> u64 {
        let ring = self.ring();
        ring.first + ring.events.len() as u64 - 1
    }

    /// Returns what was written as the id of event `number`.
    pub fn id(&self, number: u64) -> String {
        format!("{}-{number}", self.epoch)
    }

    /// Returns the number behind an id, or nothing if it is of another start.
    pub fn number(&self, id: &str) -> Option<u64> {
        let (epoch, number) = id.trim().split_once('-')?;
        if epoch != self.epoch {
            return None;
        }
        number.parse().ok()
    }

    /// Returns up to `most` events after number `after`, waiting for the first one.
    pub async fn after(&self, after: u64, most: usize) -> Batch {
        loop {
            let news = self.news.notified();
            tokio::pin!(news);
            news.as_mut().enable();
            {
                let ring = self.ring();
                let next = after + 1;
                if next < ring.first + ring.events.len() as u64 {
                    let from = next.max(ring.first);
                    let skip = usize::try_from(from - ring.first).unwrap_or(usize::MAX);
                    let numbered = (from..).zip(ring.events.iter().skip(skip));
                    return Batch {
                        gap: from > next,
                        events: numbered
                            .take(most)
                            .map(|(number, event)| (number, event.clone()))
                            .collect(),
                    };
                }
            }
            news.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::clock::Timestamp;

    #[tokio::test]
    async fn what_is_forgotten_leaves_a_gap() {
        let feed = Feed::default();
        let event = Event::Gap {
            at: Timestamp::from_millis(0),
        };
        for _ in 0..REMEMBERED + 5 {
            feed.push(event.clone());
        }
        let batch = feed.after(0, 3).await;
        assert!(batch.gap);
        let numbers: Vec<u64> = batch.events.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, [6, 7, 8]);
        let last = feed.after(feed.newest() - 1, 10).await;
        assert!(!last.gap && last.events.len() == 1);
        assert_eq!(feed.number(&feed.id(7)), Some(7));
        assert_eq!(feed.number("other-7"), None);
    }
}
