//! What one request goes over: a connection of HTTP/1.1 that it has to itself, or a place on one of HTTP/2.

use std::sync::Arc;
use std::time::Duration;

use super::channel::Ticket;
use super::connect::{self, Opened, Sender, Wish};
use super::{channels, pool};
use crate::gateway::endpoint::{Endpoint, Speech};

/// Where a request is put.
#[derive(Debug)]
pub enum Line {
    /// A connection of HTTP/1.1.
    One(Sender),
    /// A connection of HTTP/2, with others.
    Many(Ticket),
}

/// A way to an endpoint, held for one request. Dropped, a connection closes that is not shared; [`Lease::give_back`]
/// keeps it.
#[derive(Debug)]
pub struct Lease {
    /// Where the request is put.
    pub line: Line,
    /// Whether it was there before. Only such a one may turn out to be closed through no fault of the request.
    pub reused: bool,
}

impl Lease {
    const fn one(sender: Sender, reused: bool) -> Self {
        Self {
            line: Line::One(sender),
            reused,
        }
    }

    const fn many(ticket: Ticket, reused: bool) -> Self {
        Self {
            line: Line::Many(ticket),
            reused,
        }
    }

    /// Returns one that is there.
    pub fn there(endpoint: &Arc<Endpoint>, repeatable: bool, wish: Wish) -> Option<Self> {
        let speech = endpoint.place.speech;
        if speech != Speech::Two
            && let Some(sender) = pool::take(endpoint, repeatable)
        {
            return Some(Self::one(sender, true));
        }
        if speech == Speech::One || wish == Wish::One {
            return None;
        }
        channels::enter(endpoint).map(|ticket| Self::many(ticket, true))
    }

    /// Returns a new one.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn open(
        idle: Duration,
        endpoint: &Arc<Endpoint>,
        wish: Wish,
    ) -> Result<Self, &'static str> {
        let only_one = match endpoint.place.speech {
            Speech::One => true,
            Speech::Two => false,
            Speech::Agreed => wish == Wish::One || endpoint.was_one(),
        };
        if only_one {
            return match connect::open(idle, endpoint, Wish::One).await {
                Ok(Opened::One(sender)) => Ok(Self::one(sender, false)),
                Ok(Opened::Many(_)) => Err("it speaks another version of HTTP than was agreed"),
                Err(why) => {
                    // If it has learnt another one since, the next attempt hears of it.
                    endpoint.note_one(false);
                    Err(why)
                }
            };
        }
        loop {
            channels::opened(idle, endpoint).await?;
            if let Some(ticket) = channels::enter(endpoint) {
                return Ok(Self::many(ticket, false));
            }
            if let Some(sender) = pool::take(endpoint, false) {
                return Ok(Self::one(sender, false));
            }
            if endpoint.was_one() {
                return Box::pin(Self::open(idle, endpoint, Wish::One)).await;
            }
            // Others were faster, and it is full.
        }
    }

    /// Tells whether it is a place on a connection of HTTP/2.
    pub const fn is_shared(&self) -> bool {
        matches!(self.line, Line::Many(_))
    }

    /// Keeps the connection once its answer has been read to the end. One that is shared is kept anyway.
    pub fn give_back(self, endpoint: &Arc<Endpoint>) {
        if let Line::One(sender) = self.line {
            pool::keep(endpoint, sender);
        }
    }
}
