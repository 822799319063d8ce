//! The far end of a tunnel that is up: where the host's server listens for us, and what stands beside it.

use super::error::Error;
use super::place::Place;
use crate::fleet::seat::ControllerId;
use crate::ssh::forward::{self, Forward, Limits, Refusal, Stream};
use crate::ssh::{self, Connection};
use crate::support::ids::random_hex;
use crate::support::secret::Secret;

#[derive(Debug)]
pub(super) struct Way {
    place: Place,
    forward: Forward,
    token: Option<Secret>,
}

impl Way {
    /// Has the server listen and tells the host's daemon where.
    pub(super) async fn open(
        connection: &Connection,
        controller: &ControllerId,
    ) -> Result<Self, Error> {
        let place = Place::take(connection, controller).await?;
        let limits = Limits::default();
        let (forward, token) = match connection.forward_socket(&place.socket(), limits).await {
            Ok(forward) => {
                place.check_socket(connection).await?;
                (forward, None)
            }
            Err(ssh::Error::ForwardRefused {
                why: Refusal::Policy | Refusal::TooLong,
                ..
            }) => {
                let forward = connection.forward_port(0, limits).await?;
                // A fresh one each time: whoever gets hold of the port later may be sent the old one.
                (forward, Some(Secret::new(random_hex::<32>())))
            }
            Err(error) => return Err(error.into()),
        };
        let way = Self {
            place,
            forward,
            token,
        };
        way.place
            .announce(connection, way.at(), way.token())
            .await?;
        Ok(way)
    }

    pub(super) async fn accept(&mut self) -> Option<Stream> {
        self.forward.accept().await
    }

    pub(super) fn at(&self) -> &forward::Place {
        self.forward.place()
    }

    pub(super) fn token(&self) -> Option<&Secret> {
        self.token.as_ref()
    }

    /// Takes it all back.
    pub(super) async fn close(self, connection: &Connection) -> Result<(), Error> {
        let cleared = self.place.clear(connection).await;
        connection.cancel_forward(self.forward).await?;
        cleared
    }
}
