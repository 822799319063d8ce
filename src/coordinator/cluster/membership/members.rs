//! This coordinator among the others: what all parts of membership share.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::Url;
use tokio::sync::watch;

use super::address;
use super::depart;
use super::founding::Promise;
use super::lookout::{self, Lookout};
use super::promotion;
use super::whereabouts::Whereabouts;
use crate::coordinator::api::error::Refused;
use crate::coordinator::cluster::{Hello, Introduction, LinkError, Links};
use crate::protocol::api::Code;
use crate::queue;
use crate::queue::cluster::{Cluster, Member, MemberId, PROTOCOL, Role, Status};
use crate::support::clock::{Clock, SystemClock};
use crate::support::shutdown::{self, Cause, Shutdown, Urgency};

/// How long somebody may take to say who it is.
pub const HELLO_WITHIN: Duration = Duration::from_secs(3);
/// How long a change of the members may take: a majority has to write it down.
pub const CHANGE_WITHIN: Duration = Duration::from_secs(15);

/// How a coordinator is to be part of a cluster.
#[derive(Debug)]
pub struct Settings {
    /// Its name: the node id of the coordinator.
    pub name: String,
    /// Whom to ask to be taken in. With none it serves alone until others ask it.
    pub peers: Vec<Url>,
    /// Whether it follows the lists of those it finds there.
    pub discovery: bool,
    /// Where others reach it.
    pub whereabouts: Whereabouts,
    /// Its owner has said that whoever reaches the port may be a member.
    pub insecure: bool,
}

/// Why this coordinator goes on no longer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// It was asked to leave, and has.
    Left,
    /// It must not go on; says why and what to do.
    Failed(String),
}

/// This coordinator among the others.
pub struct Members {
    /// Its part in the cluster.
    pub cluster: Cluster,
    /// How it reaches the others.
    pub links: Links,
    /// How it is to behave.
    pub settings: Settings,
    /// What is known of the others beside what the log says.
    pub lookout: Lookout,
    /// One change of the members after the other.
    pub changing: tokio::sync::Mutex<()>,
    /// Addresses at which it was invited to ask.
    pub invited: Mutex<Vec<Url>>,
    promise: Mutex<Promise>,
    ending: watch::Sender<Option<Ending>>,
    leaving: AtomicBool,
}

impl std::fmt::Debug for Members {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Members")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl Members {
    /// Puts it together, and lets others be told who this is.
    pub fn new(cluster: Cluster, links: Links, settings: Settings) -> Arc<Self> {
        let members = Arc::new(Self {
            cluster,
            links,
            settings,
            lookout: Lookout::default(),
            changing: tokio::sync::Mutex::default(),
            invited: Mutex::default(),
            promise: Mutex::default(),
            ending: watch::Sender::new(None),
            leaving: AtomicBool::new(false),
        });
        let status = members.cluster.watch();
        let weak = Arc::downgrade(&members);
        let name = members.settings.name.clone();
        members.links.introduce(move || {
            let mut said = Introduction::of(&status.borrow(), &name, PROTOCOL, SystemClock.now());
            if let Some(members) = weak.upgrade() {
                said.url = members.url().as_ref().map(address::shown);
                if said.role == Role::Waiting {
                    said.peers = members.targets().iter().map(address::shown).collect();
                }
            }
            said
        });
        members
    }

    /// Returns where this member stands.
    pub fn status(&self) -> Status {
        self.cluster.status()
    }

    /// Returns where this coordinator is reached, if it is known: what the cluster says of it, else what it
    /// knows itself.
    pub fn url(&self) -> Option<Url> {
        let configured = self.settings.whereabouts.known().cloned();
        configured.or_else(|| {
            let status = self.status();
            let said = status.members.get(&status.id);
            said.and_then(|(member, _)| address::parse(&member.url).ok())
                .or_else(|| self.settings.whereabouts.url())
        })
    }

    /// Returns where the cluster knows a member.
    pub fn url_of(&self, id: MemberId) -> Option<Url> {
        let status = self.status();
        let (member, _) = status.members.get(&id)?;
        address::parse(&member.url).ok()
    }

    /// Returns what is to be known of this coordinator when it is reached at `url`.
    pub fn member_at(&self, url: &Url) -> Member {
        member(
            address::shown(url),
            self.settings.name.clone(),
            PROTOCOL,
            env!("CARGO_PKG_VERSION"),
        )
    }

    /// Returns whom it asks to be taken in: those that its owner named, and those that invited it.
    pub fn targets(&self) -> Vec<Url> {
        let mut all = self.settings.peers.clone();
        let invited = self.invited.lock().unwrap_or_else(PoisonError::into_inner);
        for url in invited.iter() {
            if !all.contains(url) {
                all.push(url.clone());
            }
        }
        all
    }

    /// Returns whom it has promised to let found.
    pub fn promise(&self) -> MutexGuard<'_, Promise> {
        self.promise.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note that it was asked to leave, or that this came to nothing.
    pub fn leaving(&self, leaving: bool) {
        self.leaving.store(leaving, Ordering::Relaxed);
    }

    /// Ends this coordinator because it is a member no more.
    pub fn removed(&self) {
        self.end(match self.leaving.load(Ordering::Relaxed) {
            true => Ending::Left,
            false => Ending::Failed(depart::REMOVED.to_owned()),
        });
    }

    /// Ends this coordinator. The first reason counts.
    pub fn end(&self, ending: Ending) {
        self.ending.send_if_modified(|known| {
            let first = known.is_none();
            known.get_or_insert(ending);
            first
        });
    }

    /// Returns why this coordinator is to end, if it is.
    pub fn ending(&self) -> Option<Ending> {
        self.ending.borrow().clone()
    }

    /// Returns what is asked to stop when `shutdown` is, once another member leads, and when this coordinator is to end.
    pub fn or_end(self: &Arc<Self>, mut shutdown: Shutdown) -> Shutdown {
        let (trigger, both) = shutdown::manual();
        let mut ending = self.ending.subscribe();
        // Not held while it waits: when the engine fails, nobody asks for anything, and the files are to be let go of.
        let members = Arc::downgrade(self);
        tokio::spawn(async move {
            let stops = tokio::select! {
                () = shutdown.reached(Urgency::Stop) => true,
                Ok(_) = ending.wait_for(Option::is_some) => false,
            };
            if stops && let Some(members) = members.upgrade() {
                members.cluster.retire().await;
                // While the others still reach this one: it has to give its vote.
                tokio::select! {
                    _ = members.hand_over() => {}
                    () = shutdown.reached(Urgency::Now) => {}
                }
            }
            trigger.ask(shutdown.cause().unwrap_or(Cause::Terminate));
            shutdown.reached(Urgency::Now).await;
            trigger.ask(Cause::Terminate);
        });
        both
    }

    /// Asks who is at `url`.
    ///
    /// # Errors
    /// When nobody is there who can be believed.
    pub async fn hello(&self, url: &Url) -> Result<Hello, LinkError> {
        let hello = self.links.hello(url);
        match tokio::time::timeout(HELLO_WITHIN, hello).await {
            Ok(said) => said,
            Err(_) => Err(LinkError::Unreachable {
                url: address::shown(url),
                why: "it did not say who it is in time".to_owned(),
            }),
        }
    }

    /// Returns which of these members answer at their addresses as themselves. This one does.
    pub async fn answering(&self, status: &Status) -> Vec<MemberId> {
        let asked = status.members.iter().map(|(id, (member, _))| async move {
            let there = *id == status.id || self.is_there(*id, member).await;
            there.then_some(*id)
        });
        let answers = futures_util::future::join_all(asked).await;
        answers.into_iter().flatten().collect()
    }

    /// Tells whether this member answers at its address as itself, and in this cluster.
    pub async fn is_there(&self, id: MemberId, member: &Member) -> bool {
        match address::parse(&member.url) {
            Ok(url) => {
                let said = self.hello(&url).await;
                let own = self.status().cluster;
                said.is_ok_and(|hello| lookout::stranger(id, own, &hello).is_none())
            }
            Err(_) => false,
        }
    }

    /// Returns who leads and where it is reached.
    ///
    /// # Errors
    /// When nobody is known to.
    pub fn leader(&self) -> Result<(MemberId, Url), Refused> {
        let status = self.status();
        let leading = status.leader.filter(|leader| *leader != status.id);
        let found = leading.and_then(|leader| {
            let (member, _) = status.members.get(&leader)?;
            let at = self.links.moved().place(leader, &member.url);
            Some((leader, address::parse(&at).ok()?))
        });
        found.ok_or_else(|| no_leader("nobody leads the cluster just now: try again"))
    }

    /// Returns how many voters there are.
    pub fn voters(&self) -> usize {
        promotion::voters(&self.status())
    }
}

/// Returns what the log says of a member.
pub fn member(url: String, name: String, protocol: u32, version: &str) -> Member {
    let other = match version {
        "" => BTreeMap::new(),
        version => BTreeMap::from([(VERSION.to_owned(), version.into())]),
    };
    Member {
        url,
        name,
        protocol,
        other,
    }
}

/// What a member's version is called in the log. Only for people.
const VERSION: &str = "version";

/// Returns a member's version of skyclaw, if it said.
pub fn version_of(member: &Member) -> Option<String> {
    Some(member.other.get(VERSION)?.as_str()?.to_owned())
}

/// Refuses because nobody can decide now.
pub fn no_leader(text: &'static str) -> Refused {
    Refused::new(Code::Unavailable, text).retry_after(Duration::from_secs(1))
}

/// Refuses because a change of the members did not come about.
pub fn changing_failed(error: &queue::Error) -> Refused {
    let text = format!("the members could not be changed: {error}");
    Refused::new(Code::Unavailable, text).retry_after(Duration::from_secs(1))
}
