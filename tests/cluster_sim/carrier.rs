//! The way of a message to another member: over the simulated TCP, counted.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use skyclaw::queue::cluster::{Carrier, CarryError, Kind, Member, MemberId};

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

/// Carries messages of one member.
pub struct Net {
    lines: Arc<Lines>,
    from: String,
    traffic: Traffic,
}

impl Net {
    pub fn new(from: &str, traffic: Traffic) -> Self {
        Self {
            lines: Arc::default(),
            from: from.to_owned(),
            traffic,
        }
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
        Box::pin(async move {
            count(&traffic, &from, kind.path(), body.len());
            // Whoever answers there must be the one who is meant, as a proven link makes sure of.
            let mut addressed = to.to_string().into_bytes();
            addressed.extend(body);
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
