//! The way of a message to another member: over the simulated TCP, counted.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use skyclaw::queue::cluster::{Carrier, CarryError, Kind, Member, MemberId};

use super::chance::Chance;
use super::disk;
use super::member::Seat;
use super::wire::{Lines, Traffic, host_of};

/// The mark of a frame of this kind.
pub fn mark(kind: Kind) -> u8 {
    match kind {
        Kind::Append => 1,
        Kind::Vote => 2,
        Kind::Snapshot => 3,
    }
}

/// The kind that a mark stands for.
pub fn kind(mark: u8) -> Option<Kind> {
    [Kind::Append, Kind::Vote, Kind::Snapshot]
        .into_iter()
        .find(|kind| self::mark(*kind) == mark)
}

/// The answer came from the member's engine.
pub const ANSWERED: u8 = 10;
/// The one who was reached does not take the message.
pub const TURNED_AWAY: u8 = 11;

/// Of a hundred messages this many come a second time, up to so much later: networks may do that, and so do
/// senders that had no answer.
const TWICE: u64 = 3;
const LATER: u64 = 3_000;

/// Carries messages of one member.
pub struct Net {
    lines: Arc<Lines>,
    from: String,
    dir: PathBuf,
    chance: Mutex<Chance>,
    traffic: Traffic,
}

impl Net {
    pub fn new(of: &Seat, traffic: Traffic) -> Self {
        Self {
            lines: Arc::default(),
            from: of.name.clone(),
            dir: of.dir.clone(),
            chance: Mutex::new(Chance::new(of.seed, 1000 + of.number as u64)),
            traffic,
        }
    }

    /// How much later this message comes again, if it does.
    fn again(&self) -> Option<Duration> {
        let mut chance = self.chance.lock().unwrap();
        let again = chance.happens(TWICE);
        again.then(|| Duration::from_millis(chance.below(LATER)))
    }
}

fn count(traffic: &Traffic, from: &str, what: &'static str, bytes: usize) {
    let mut traffic = traffic.lock().unwrap();
    let tally = traffic.entry((from.to_owned(), what)).or_default();
    tally.messages += 1;
    tally.bytes += bytes as u64;
}

impl Carrier for Net {
    fn carry(
        &self,
        to: MemberId,
        at: &Member,
        kind: Kind,
        body: Vec<u8>,
        within: Duration,
    ) -> BoxFuture<'static, Result<Vec<u8>, CarryError>> {
        let (lines, host) = (Arc::clone(&self.lines), host_of(&at.url));
        let (from, traffic) = (self.from.clone(), Arc::clone(&self.traffic));
        let (dir, again) = (self.dir.clone(), self.again());
        Box::pin(async move {
            if disk::has_ended(&dir) {
                return std::future::pending().await;
            }
            count(&traffic, &from, kind.path(), body.len());
            // Whoever answers there must be the one who is meant, as a proven link makes sure of.
            let mut addressed = to.to_string().into_bytes();
            addressed.extend(body);
            if let Some(later) = again {
                let (lines, host, copy) = (Arc::clone(&lines), host.clone(), addressed.clone());
                tokio::spawn(async move {
                    tokio::time::sleep(later).await;
                    if !disk::has_ended(&dir) {
                        let _ = lines.exchange(&host, (mark(kind), &copy), within).await;
                    }
                });
            }
            let frame = (mark(kind), addressed.as_slice());
            match lines.exchange(&host, frame, within).await {
                Ok((ANSWERED, answer)) => {
                    count(&traffic, &host, "answer", answer.len());
                    Ok(answer)
                }
                Ok((_, text)) => Err(CarryError::Refused(
                    String::from_utf8_lossy(&text).into_owned(),
                )),
                Err(error) => Err(CarryError::Unreachable(error.to_string())),
            }
        })
    }
}
