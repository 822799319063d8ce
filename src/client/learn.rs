//! A client learns of the other coordinators of a cluster: once it is there for longer than a question, every few
//! minutes, and after a failure. They are kept in memory alone.
//!
//! Only a coordinator that took our token tells of others, for it knows the token anyway; `judge` says which of
//! these addresses are used.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use reqwest::Url;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::Shared;
use super::address::Reach;
use super::ask::Ask;
use super::judge::told_by;
use super::send::read_all;
use crate::protocol::api::Health;

/// How often is asked who there is.
const EVERY: Duration = Duration::from_secs(180);
/// After a failure it is asked sooner, but not more often than this.
const AGAIN: Duration = Duration::from_secs(5);
/// Who has been there for so long will be for a while yet.
const SETTLED: Duration = Duration::from_secs(10);

/// When who there is was last asked.
#[derive(Debug)]
pub(super) struct Lesson {
    wanted: bool,
    began: Instant,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    asked_at: Option<Instant>,
    /// Something failed since.
    stale: bool,
}

impl Lesson {
    /// Returns one that is to be held, or never.
    pub(super) fn new(wanted: bool) -> Self {
        Self {
            wanted,
            began: Instant::now(),
            state: Mutex::default(),
        }
    }

    /// Takes note that what is known may be old.
    pub(super) fn is_stale(&self) {
        self.state().stale = true;
    }

    /// Tells whether to ask now, beside `ask`. Who is told so has to do it.
    fn begins(&self, ask: &Ask) -> bool {
        let lasting = ask.is_patient() || self.began.elapsed() > SETTLED;
        if !self.wanted || !lasting || ask.public {
            return false;
        }
        let mut state = self.state();
        let pause = if state.stale { AGAIN } else { EVERY };
        let due = state.asked_at.is_none_or(|at| at.elapsed() > pause);
        if due {
            *state = State {
                asked_at: Some(Instant::now()),
                stale: false,
            };
        }
        due
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `GET /v1/network/peers`, of any version.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Told {
    node_id: String,
    #[serde(rename = "self")]
    own: Option<String>,
    peers: Vec<String>,
    members: Vec<Member>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Member {
    url: Option<String>,
    name: String,
}

impl Told {
    /// Returns where the others are, besides the one with the id `teller`, which is known already under an
    /// address that may be another than it says.
    fn others(&self, teller: &str) -> Vec<&str> {
        let members = self.members.iter();
        let own = members
            .filter(|member| member.name == teller)
            .filter_map(|member| member.url.as_deref());
        let own = own.chain(self.own.as_deref().filter(|_| self.node_id == teller));
        let own: Vec<&str> = own.collect();
        let all = self.own.iter().chain(&self.peers).map(String::as_str);
        all.filter(|url| !own.contains(url)).collect()
    }
}

impl Shared {
    /// Asks who else there is, if it is time, beside what the caller asks and not instead of it.
    pub(super) fn learn_beside(self: &Arc<Self>, ask: &Ask) {
        if self.lesson.begins(ask) {
            let shared = Arc::clone(self);
            tokio::spawn(async move { shared.learn().await });
        }
    }

    /// Asks one after another until one tells.
    async fn learn(&self) {
        for teller in self.members.in_order() {
            let asking = tokio::time::timeout(self.timeout, self.others(&teller));
            let Ok(Some(urls)) = asking.await else {
                continue;
            };
            tracing::debug!(from = teller.shown, others = urls.len(), "coordinators");
            if let Err(error) = self.members.learn(&urls) {
                tracing::warn!(%error, "other coordinators cannot be asked");
            }
            return;
        }
        self.lesson.is_stale();
    }

    /// Returns those that this one tells of, if it lets us in and tells of any.
    async fn others(&self, teller: &Reach) -> Option<Vec<Url>> {
        let health: Health = self.told(teller, Ask::get(["health"])).await?;
        let peers = Ask::get(["v1", "network", "peers"]);
        let told: Told = self.told(teller, peers).await?;
        let others = told.others(&health.node_id).into_iter();
        let mut urls: Vec<Url> = others
            .filter_map(|text| told_by(&teller.url, text))
            .collect();
        if teller.learned {
            urls.push(teller.url.clone());
        }
        Some(urls)
    }

    async fn told<T: DeserializeOwned>(&self, teller: &Reach, ask: Ask) -> Option<T> {
        let answer = self.once(&ask, teller, Instant::now(), &read_all).await;
        serde_json::from_slice(&answer.ok()?.ok()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_tells_is_not_learned_of_under_another_name() {
        let text = r#"{"nodeId":"n1","self":"http://a","peers":["http://b","http://c"],
            "members":[{"name":"n2","url":"http://b","more":1},{"name":"n3"}],"leader":"n1"}"#;
        let told: Told = serde_json::from_str(text).unwrap();
        assert_eq!(told.others("n1"), ["http://b", "http://c"]);
        assert_eq!(told.others("n2"), ["http://a", "http://c"], "passed on");
        let old: Told = serde_json::from_str(r#"{"nodeId":"n1","peers":["http://b"]}"#).unwrap();
        assert_eq!(old.others("n1"), ["http://b"]);
    }

    #[test]
    fn a_short_question_teaches_nothing() {
        let lesson = Lesson::new(true);
        let short = Ask::get(["v1", "queue"]);
        let long = Ask::get(["v1", "queue"]).waiting(Duration::from_secs(1));
        assert!(!lesson.begins(&short));
        assert!(lesson.begins(&long));
        assert!(!lesson.begins(&long), "once is enough for a while");
        assert!(!lesson.begins(&Ask::get(["v1"]).events(None)));
        assert!(!Lesson::new(false).begins(&long));
        assert!(Lesson::new(true).begins(&Ask::get(["v1"]).events(None)));
    }
}
