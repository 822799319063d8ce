//! Where the server may bring us streams, and the streams it has brought: what the callbacks of one
//! connection know of its forwards.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use russh::client::{ChannelOpenHandle, Msg};
use russh::{Channel, ChannelId, ChannelOpenFailure};
use tokio::sync::{Semaphore, mpsc};

use super::stream::Stream;
use super::wire::{Closed, Wire};
use super::{Limits, Place};

/// What a connection may have unread in all its streams, in bytes.
const MOST_UNREAD: usize = 64 << 20;

/// The doors of one connection.
#[derive(Debug, Default)]
pub(in crate::ssh) struct Doors {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    doors: HashMap<Place, Door>,
    wires: HashMap<ChannelId, (Arc<Wire>, Limits)>,
    /// The connection is gone.
    lost: bool,
}

#[derive(Debug)]
struct Door {
    streams: mpsc::Sender<Stream>,
    limits: Limits,
    places: Arc<Semaphore>,
}

/// Where a stream that the server brings comes from.
pub(in crate::ssh) enum Arrival<'a> {
    /// A Unix socket.
    Socket(&'a str),
    /// A port, and who connected to it.
    Port(u32, &'a str),
}

impl Doors {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Expects streams at `place`. None = there is such a door already.
    pub(super) fn open(&self, place: &Place, limits: Limits) -> Option<mpsc::Receiver<Stream>> {
        let mut state = self.state();
        if state.doors.contains_key(place) {
            return None;
        }
        // Each stream in it has a place, so it is never full.
        let (streams, receiver) = mpsc::channel(limits.streams.max(1));
        // After the connection's end the receiver says so at once.
        if !state.lost {
            let places = Arc::new(Semaphore::new(limits.streams));
            let door = Door {
                streams,
                limits,
                places,
            };
            state.doors.insert(place.clone(), door);
        }
        Some(receiver)
    }

    /// Notes which port the server has chosen.
    pub(super) fn named(&self, port: u16) -> Place {
        let mut state = self.state();
        if let Some(door) = state.doors.remove(&Place::Port(0)) {
            state.doors.insert(Place::Port(port), door);
        }
        Place::Port(port)
    }

    /// Expects no more streams there.
    pub(super) fn close(&self, place: &Place) {
        self.state().doors.remove(place);
    }

    /// Takes a stream that the server brings, or refuses it.
    pub(in crate::ssh) async fn arrived(
        self: &Arc<Self>,
        arrival: Arrival<'_>,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
    ) {
        match self.let_in(&arrival, channel) {
            Ok(()) => reply.accept().await,
            Err(why) => reply.reject(why).await,
        }
    }

    fn let_in(
        self: &Arc<Self>,
        arrival: &Arrival<'_>,
        channel: Channel<Msg>,
    ) -> Result<(), ChannelOpenFailure> {
        let mut state = self.state();
        let door = state.door(arrival)?;
        let place = Arc::clone(&door.places)
            .try_acquire_owned()
            .map_err(|_| ChannelOpenFailure::ResourceShortage)?;
        let (wire, limits) = (Arc::new(Wire::default()), door.limits);
        let sent = door.streams.try_send(Stream::new(Arc::clone(&wire)));
        sent.map_err(|_| ChannelOpenFailure::ResourceShortage)?;
        // Without its reading half the library hands data to the callbacks alone and waits for nobody.
        let (id, (_, half)) = (channel.id(), channel.split());
        state.wires.insert(id, (Arc::clone(&wire), limits));
        drop(state);
        let doors = Arc::clone(self);
        tokio::spawn(async move {
            wire.serve(&half).await;
            doors.state().wires.remove(&id);
            drop(place);
        });
        Ok(())
    }

    /// Takes what came on a channel. Returns whether the channel is to be closed.
    pub(in crate::ssh) fn data(&self, id: ChannelId, bytes: &[u8]) -> bool {
        let state = self.state();
        let Some((wire, limits)) = state.wires.get(&id) else {
            return false;
        };
        let others: usize = state.wires.values().map(|(wire, _)| wire.unread()).sum();
        let fits = others + bytes.len() <= MOST_UNREAD && wire.receive(bytes, limits.unread);
        if !fits {
            wire.close(Closed::Overrun);
        }
        !fits
    }

    /// Notes that the host sends no more on a channel.
    pub(in crate::ssh) fn end(&self, id: ChannelId) {
        if let Some((wire, _)) = self.state().wires.get(&id) {
            wire.end();
        }
    }

    /// Notes that a channel is closed.
    pub(in crate::ssh) fn closed(&self, id: ChannelId) {
        if let Some((wire, _)) = self.state().wires.remove(&id) {
            wire.close(Closed::ByServer);
        }
    }

    /// Notes that the connection is gone.
    pub(in crate::ssh) fn lost(&self) {
        let mut state = self.state();
        state.lost = true;
        state.doors.clear();
        for (_, (wire, _)) in state.wires.drain() {
            wire.close(Closed::Lost);
        }
    }
}

impl State {
    fn door(&self, arrival: &Arrival<'_>) -> Result<&Door, ChannelOpenFailure> {
        let unasked = ChannelOpenFailure::AdministrativelyProhibited;
        let door = match arrival {
            Arrival::Socket(path) => self.doors.get(&Place::Socket((*path).to_owned())),
            // With `GatewayPorts yes` a server listens on all addresses, whatever it was asked for.
            Arrival::Port(_, from) if !is_loopback(from) => return Err(unasked),
            Arrival::Port(port, _) => {
                let port = u16::try_from(*port).unwrap_or_default();
                // The first stream may come before we have learned which port it is.
                self.doors
                    .get(&Place::Port(port))
                    .or_else(|| self.doors.get(&Place::Port(0)))
            }
        };
        door.ok_or(unasked)
    }
}

fn is_loopback(address: &str) -> bool {
    let parsed = address.parse::<IpAddr>().map(|ip| ip.to_canonical());
    parsed.is_ok_and(|ip| ip.is_loopback())
}
