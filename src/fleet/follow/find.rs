//! Finds the controller of this user that runs now: a `fleet up`.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::client::{Client, Given, Settings, parse_url, unix_url};
use crate::fleet::controller::{Place, Running, Seen};

/// How long it may take to say that it is there.
const HEALTH: Duration = Duration::from_secs(3);

/// A controller that answers.
#[derive(Debug)]
pub struct Found {
    /// For asking it.
    pub client: Client,
    /// What it says of itself.
    running: Option<Running>,
}

/// Returns the controller that runs now, if one answers.
pub async fn find() -> Option<Found> {
    let place = Place::of_this_machine().ok()?;
    let running = match place.look() {
        Ok(Seen::Running(running)) => Some(running),
        Ok(Seen::Nobody | Seen::Somebody) | Err(_) => None,
    };
    let socket = place.socket();
    // Nearly always there is none, and that should cost nothing.
    let mut settings = if UnixStream::connect(&socket).is_ok() {
        Settings::new(vec![unix_url(&socket)?])
    } else {
        let url = running.as_ref()?.url.as_deref()?;
        Settings {
            token: token(&place),
            ..Settings::new(vec![parse_url(url).ok()?])
        }
    };
    let usual = settings.timeout;
    settings.timeout = HEALTH;
    // Not only that it is there, but that it lets us in.
    if let Err(error) = Client::new(settings.clone()).ok()?.queue().await {
        tracing::info!(%error, "`fleet up` runs, but cannot be asked");
        return None;
    }
    settings.timeout = usual;
    let client = Client::new(settings).ok()?;
    Some(Found { client, running })
}

/// As the controller itself: what was given, else its own.
fn token(place: &Place) -> Option<crate::support::secret::Secret> {
    let given = Settings::read(Given::default(), |name| {
        name.starts_with("SKYCLAW_TOKEN")
            .then(|| std::env::var(name).ok())
            .flatten()
    });
    given
        .ok()
        .and_then(|settings| settings.token)
        .or_else(|| place.token().ok())
}

impl Found {
    /// Tells whether it works with this fleet file. One that says nothing works with the usual one, as we do.
    pub fn works_with(&self, fleet: &Path) -> bool {
        let same = fleet.canonicalize();
        let same = same.as_deref().unwrap_or(fleet);
        let said = self.running.as_ref().and_then(|it| it.fleet.as_deref());
        said.is_none_or(|said| said == same)
    }

    /// Returns the first of these hosts that it does not work for.
    pub fn lacks<'n>(&self, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
        let known = self.running.as_ref().and_then(|it| it.hosts.as_ref())?;
        names
            .into_iter()
            .find(|name| !known.iter().any(|known| known == name))
    }
}
