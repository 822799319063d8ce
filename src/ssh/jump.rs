//! Connections to jump hosts, shared by everything that goes through them.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use russh::ChannelOpenFailure;

use crate::ssh::config::{Settings, Target};
use crate::ssh::connect::{Connection, connect_through};
use crate::ssh::error::Error;

/// The way to a jump host: each machine's address, the first hop first.
type Way = Vec<String>;
/// One connection, or none yet; whoever holds the lock makes it.
type Place = Arc<tokio::sync::Mutex<Option<Arc<Connection>>>>;

/// The connections to jump hosts that are open.
#[derive(Debug, Default)]
pub struct Jumps(Mutex<HashMap<Way, Place>>);

impl Jumps {
    /// Returns a connection to the last of `hops`, each reached through the one before it; nothing if
    /// there are none. A connection that is open already is used again.
    ///
    /// # Errors
    /// [`Error::Jump`] with the first hop that cannot be connected to.
    pub async fn reach(
        &self,
        hops: &[Target],
        settings: &Settings,
    ) -> Result<Option<Arc<Connection>>, Error> {
        let mut through: Option<Arc<Connection>> = None;
        let mut way = Way::new();
        for hop in hops {
            way.push(hop.address());
            let place = self.place(&way);
            // Others who want the same one wait here instead of connecting too.
            let mut place = place.lock().await;
            let open = place.as_ref().filter(|connection| !connection.is_closed());
            let connection = match open {
                Some(connection) => Arc::clone(connection),
                None => {
                    let nobody_waits = || std::future::ready(());
                    // Boxed: it may be as deep as the way is long.
                    let connecting = connect_through(hop, settings, through.as_ref(), nobody_waits);
                    let made = Box::pin(connecting).await.map_err(|source| Error::Jump {
                        hop: hop.address(),
                        source: Box::new(source),
                    })?;
                    Arc::new(made)
                }
            };
            *place = Some(Arc::clone(&connection));
            drop(place);
            through = Some(connection);
        }
        Ok(through)
    }

    fn place(&self, way: &Way) -> Place {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(places.entry(way.clone()).or_default())
    }
}

/// Says why a jump host did not connect us further.
pub(super) fn refused(why: ChannelOpenFailure) -> io::Error {
    match why {
        ChannelOpenFailure::ConnectFailed => io::Error::other("it got no connection"),
        ChannelOpenFailure::AdministrativelyProhibited => io::Error::new(
            io::ErrorKind::PermissionDenied,
            "it does not forward (AllowTcpForwarding, PermitOpen in its sshd_config)",
        ),
        other => io::Error::other(format!("{other:?}")),
    }
}
