//! A coordinator among others: from flags and variables to its part in a cluster.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::super::error::Failure;
use super::super::exit::Exit;
use super::super::given::Given;
use super::Args;
use super::secrets::Secrets;
use crate::coordinator::cluster::{
    self, Links, Members, Membership, PeerDoor, Settings, Url, Whereabouts, address,
};
use crate::protocol::Invalid;
use crate::queue::cluster::{Cluster, Role};
use crate::queue::{self, Queue};

/// How long closing the files may take.
const CLOSED_WITHIN: Duration = Duration::from_secs(10);

/// What was said about other coordinators.
pub struct Among {
    peers: Vec<Url>,
    discovery: bool,
    public: Option<Url>,
    insecure: bool,
    links: Links,
}

/// Where this coordinator listens, and what it is called.
pub struct Place<'a> {
    /// Its node id.
    pub name: &'a str,
    /// The address.
    pub host: &'a str,
    /// The port.
    pub port: u16,
}

impl Among {
    /// Reads it.
    ///
    /// # Errors
    /// When an address cannot be used, or coordinators elsewhere are to be joined without any secret.
    pub fn read(args: &Args, secrets: &Secrets) -> Result<Self, Failure> {
        let usage = |name: &str, error: &Invalid| Failure::usage(format!("{name}: {error}"));
        let public = Given::of(&args.public_url)
            .map(|text| address::parse(text))
            .transpose()
            .map_err(|error| usage("--public-url", &error))?;
        let listed = Given::of(&args.peer_urls).map_or("", String::as_str);
        let peers =
            address::parse_list(listed).map_err(|error| usage("SKYCLAW_PEER_URLS", &error))?;
        let known = cluster::Secrets::of(secrets.cluster.as_ref(), &secrets.tokens);
        let elsewhere = peers.iter().find(|url| !address::is_loopback(url));
        if let Some(url) = elsewhere.filter(|_| known.is_open() && !args.insecure_no_auth) {
            return Err(Failure::usage(format!(
                "joining {} without a secret would let everybody there read and change the queue",
                address::shown(url)
            ))
            .hint("set SKYCLAW_TOKEN, --token-file or --cluster-secret-file to the same for all of them")
            .hint("--insecure-no-auth joins without"));
        }
        Ok(Self {
            peers,
            discovery: Given::of(&args.peer_discovery).is_none_or(|word| word != "0"),
            public,
            insecure: args.insecure_no_auth,
            links: Links::new(known),
        })
    }

    /// Opens the queue at `db`, alone or as the member that it was.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub async fn open(&self, db: &Path) -> anyhow::Result<(Queue, Cluster)> {
        // Looked over whole: what a coordinator acknowledged must still be there, or nobody should build on it.
        let options = queue::Options {
            check_always: true,
            ..queue::Options::new(db)
        };
        let carrier = Arc::new(self.links.clone());
        // The look over the file after an unclean end may take a while.
        let opened = tokio::task::spawn_blocking(move || Queue::open_member(options, carrier));
        Ok(opened.await??)
    }

    /// Prepares its part in a cluster. One that was told of others and is none's member yet waits to be taken in.
    ///
    /// # Errors
    /// When it is to join others and has something in its queue.
    pub async fn enter(
        self,
        cluster: Cluster,
        place: &Place<'_>,
        db: &Path,
    ) -> anyhow::Result<Membership> {
        let Self {
            mut peers,
            discovery,
            public,
            insecure,
            links,
        } = self;
        // Deployments of the original name all coordinators to all of them.
        peers.retain(|url| !is_own(url, place) && Some(url) != public.as_ref());
        if cluster.status().role == Role::Lone && !peers.is_empty() {
            match cluster.wait_for_adoption().await {
                Ok(()) => {}
                Err(error @ queue::Error::NotEmpty { .. }) => {
                    return Err(not_empty(db, &peers).because(error).into());
                }
                Err(error) => return Err(error.into()),
            }
        }
        let settings = Settings {
            name: place.name.to_owned(),
            peers,
            discovery,
            whereabouts: Whereabouts::new(public, place.host, place.port),
            insecure,
        };
        let members = Members::new(cluster.clone(), links.clone(), settings);
        let door = cluster::routes(PeerDoor::new(&links, cluster.clone()), &members);
        Ok(Membership {
            cluster,
            links,
            door: Arc::new(door),
            members: Some(members),
        })
    }
}

/// This coordinator's part in its cluster, to be ended in good order: the process must not go while its files are open.
pub struct Part(Cluster);

impl Part {
    /// Returns it.
    pub fn of(membership: &Membership) -> Self {
        Self(membership.cluster.clone())
    }

    /// Ends it, and waits until its files are closed.
    pub async fn close(self) {
        let Self(cluster) = self;
        let mut status = cluster.watch();
        cluster.close().await;
        drop(cluster);
        // It tells no more once all of it is gone.
        let gone = async { while status.changed().await.is_ok() {} };
        if tokio::time::timeout(CLOSED_WITHIN, gone).await.is_err() {
            tracing::warn!("the database is not closed yet: it is looked over at the next start");
        }
    }
}

/// Tells whether `url` leads to this coordinator, as far as that can be told from here.
fn is_own(url: &Url, place: &Place<'_>) -> bool {
    if url.port_or_known_default() != Some(place.port) {
        return false;
    }
    let bare = place.host.trim_matches(['[', ']']);
    let everywhere = bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified());
    let listens_at = address::parse(&format!("http://{}:{}", place.host, place.port));
    listens_at.is_ok_and(|own| own == *url) || everywhere && address::is_loopback(url)
}

fn not_empty(db: &Path, peers: &[Url]) -> Failure {
    let peers: Vec<String> = peers.iter().map(address::shown).collect();
    let text = format!(
        "{} is not empty: this coordinator cannot join {}",
        db.display(),
        peers.join(", ")
    );
    Failure::new(Exit::Failed, text)
        .hint(
            "to keep what it has, start this one without SKYCLAW_PEER_URLS, and the others, with empty databases, \
             with SKYCLAW_PEER_URLS=<this one's address>",
        )
        .hint("to join with nothing, move the database and the files beside it away, or give --db another file")
}
