//! A coordinator that was told of others and has nothing of its own: looks for those it can join until one has taken it in,
//! or founds with others that wait as well.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use tokio::time::{Instant, timeout};

use super::address;
use super::asks::{self, Consent, Consented, Join, Joined, Nothing};
use super::founding::{self, FOUND_WITHIN, Next, Sighting, Why};
use super::members::{CHANGE_WITHIN, Ending, Members};
use crate::coordinator::cluster::LinkError;
use crate::queue::cluster::{MemberId, PROTOCOL, Role};
use crate::support::ids;

/// From one look to the next.
const PAUSE: Duration = Duration::from_millis(500);
/// How often it is said why nothing happens.
const SAY_EACH: Duration = Duration::from_secs(10);
/// How long being taken in may take: the first messages of the leader have to come.
const TAKEN_WITHIN: Duration = Duration::from_secs(30);
/// How long a promise may take.
const CONSENT_WITHIN: Duration = Duration::from_secs(2);

/// Says the same thing only once in a while.
#[derive(Default)]
struct Say(BTreeMap<String, Instant>);

impl Say {
    /// Tells whether `text` should be said now. Several things that are wrong at once take turns, so all are remembered.
    fn due(&mut self, text: &str) -> bool {
        let now = Instant::now();
        self.0.retain(|_, at| now.duration_since(*at) < SAY_EACH);
        let due = !self.0.contains_key(text);
        if due {
            self.0.insert(text.to_owned(), now);
        }
        due
    }
}

/// Works whenever this coordinator waits to be taken in.
pub async fn run(members: Arc<Members>) {
    let mut status = members.cluster.watch();
    let mut say = Say::default();
    loop {
        let waits = status.wait_for(|status| status.role == Role::Waiting);
        if waits.await.map(drop).is_err() {
            return;
        }
        if members.targets().is_empty() {
            let text = "SKYCLAW_PEER_URLS names nobody to ask";
            if say.due(text) {
                tracing::warn!("waits to be taken into a cluster: {text}");
            }
            tokio::time::sleep(PAUSE).await;
            continue;
        }
        let seen = look_round(&members).await;
        if let Some(urls) = founding::different(&seen) {
            let text = listed(&urls);
            if say.due(&text) {
                tracing::warn!(
                    coordinators = text,
                    "these coordinators serve different queues; the first that takes this one in is joined"
                );
            }
        }
        let me = members.status().id;
        let (mine, follow) = (members.targets(), members.settings.discovery);
        match founding::decide(me, &mine, &seen, follow) {
            Next::Join(at) => {
                if ask_all(&members, &at, &mut say).await {
                    continue;
                }
            }
            Next::Found(with) => {
                if found(&members, &with, &seen, &mut say).await {
                    continue;
                }
            }
            Next::Wait(why) => {
                let text = told(&why);
                if say.due(&text) {
                    tracing::warn!("waits to join a cluster: {text}");
                }
            }
        }
        // Not all at the same moment: those who found at once stand in each other's way.
        tokio::time::sleep(PAUSE.mul_f64(0.5 + ids::fraction())).await;
    }
}

fn listed(urls: &[Url]) -> String {
    let urls: Vec<String> = urls.iter().map(address::shown).collect();
    urls.join(", ")
}

fn told(why: &Why) -> String {
    match why {
        Why::Nobody => "there is nobody to ask: set SKYCLAW_PEER_URLS".to_owned(),
        Why::Silent(silent) => {
            let silent: Vec<String> = silent.iter().map(|(_, why)| why.clone()).collect();
            silent.join("; ")
        }
        Why::NotListed(urls) => format!(
            "others wait for {} as well, and SKYCLAW_PEER_DISCOVERY=0 forbids to ask there: name all of them in SKYCLAW_PEER_URLS",
            listed(urls)
        ),
        Why::Other(_, url) => format!("{} is about to found one", address::shown(url)),
    }
}

/// Looks at every address of the circle.
async fn look_round(members: &Members) -> BTreeMap<Url, Sighting> {
    let mut seen = BTreeMap::new();
    loop {
        let circle = founding::circle(&members.targets(), &seen, members.settings.discovery);
        let new: Vec<Url> = circle
            .into_iter()
            .filter(|url| !seen.contains_key(url))
            .collect();
        if new.is_empty() {
            return seen;
        }
        let looks = new.into_iter().map(|url| async move {
            let sighting = look(members, &url).await;
            (url, sighting)
        });
        seen.extend(futures_util::future::join_all(looks).await);
    }
}

async fn look(members: &Members, url: &Url) -> Sighting {
    let hello = match members.hello(url).await {
        Ok(hello) => hello,
        Err(LinkError::Myself { .. }) => return Sighting::Oneself,
        Err(error @ LinkError::Twin { .. }) => {
            members.end(Ending::Failed(error.to_string()));
            return Sighting::Oneself;
        }
        Err(error) => return Sighting::Silent(error.to_string()),
    };
    let who = hello.who;
    if who.member == members.status().id {
        return Sighting::Oneself;
    }
    match who.role {
        Role::Waiting => Sighting::Waiting {
            member: who.member,
            // It lists this one, as it should.
            peers: who
                .peers
                .iter()
                .filter_map(|url| address::parse(url).ok())
                .filter(|url| Some(url) != members.url().as_ref())
                .collect(),
        },
        Role::Lone | Role::Learner | Role::Follower | Role::Candidate | Role::Leader => {
            Sighting::Serving {
                member: who.member,
                cluster: who.cluster,
            }
        }
    }
}

/// Asks at one address after the other. Tells whether this coordinator waits no longer.
async fn ask_all(members: &Members, at: &[Url], say: &mut Say) -> bool {
    for url in at {
        match ask(members, url).await {
            Ok(joined) => {
                tracing::info!(
                    through = address::shown(url),
                    url = joined.url,
                    "was taken into a cluster"
                );
                if let Ok(own) = address::parse(&joined.url) {
                    members.settings.whereabouts.reached_under(own);
                }
                if taken(members).await {
                    return true;
                }
                tracing::warn!("was taken in, but the leader does not come: asks again");
            }
            Err(LinkError::Answer {
                status: 409 | 422,
                text,
                ..
            }) => {
                // Asking again would give the same answer.
                tracing::error!(at = address::shown(url), "is not taken in: {text}");
                let at = address::shown(url);
                members.end(Ending::Failed(format!(
                    "the cluster at {at} does not take this coordinator in: {text}"
                )));
                return true;
            }
            Err(error) => {
                let text = error.to_string();
                if say.due(&text) {
                    tracing::warn!(at = address::shown(url), "waits to join a cluster: {text}");
                }
            }
        }
    }
    false
}

/// Asks the coordinator at `url` to be taken in, or to be known as it is now.
///
/// # Errors
/// When it does not answer, or refuses.
pub async fn ask(members: &Members, url: &Url) -> Result<Joined, LinkError> {
    let place = &members.settings.whereabouts;
    let ask = Join {
        member: members.status().id,
        name: members.settings.name.clone(),
        protocol: PROTOCOL,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        url: place.known().map(address::shown),
        port: place.port(),
        to: Some(address::shown(url)),
        seen: None,
    };
    // Whoever passes it on needs that long, and as long again.
    members
        .links
        .ask(url, asks::JOIN, &ask, CHANGE_WITHIN * 3)
        .await
}

/// Waits until the leader has come. Tells whether it did.
async fn taken(members: &Members) -> bool {
    let mut status = members.cluster.watch();
    let taken = status.wait_for(|status| status.role != Role::Waiting);
    matches!(timeout(TAKEN_WITHIN, taken).await, Ok(Ok(_)))
}

/// Asks everybody for the promise not to found, then founds. Tells whether it did.
async fn found(
    members: &Members,
    with: &BTreeMap<MemberId, Option<Url>>,
    seen: &BTreeMap<Url, Sighting>,
    say: &mut Say,
) -> bool {
    for (url, sighting) in seen {
        if *sighting == Sighting::Oneself {
            members.settings.whereabouts.reached_under(url.clone());
        }
    }
    let begun = Instant::now();
    let me = members.status().id;
    let mut agreed: Vec<&Url> = Vec::new();
    let mut all = true;
    for (member, url) in with {
        match url {
            None => all = members.promise().give(me, begun).is_ok(),
            Some(url) => match consent(members, url).await {
                Ok(()) => agreed.push(url),
                Err(text) => {
                    if say.due(&text) {
                        tracing::info!(%member, at = address::shown(url), "cannot found a cluster yet: {text}");
                    }
                    all = false;
                }
            },
        }
        if !all {
            break;
        }
    }
    let own = members.url();
    // A promise that may have run out is none.
    if let Some(own) = own.filter(|_| all && begun.elapsed() < FOUND_WITHIN) {
        match members.cluster.found(members.member_at(&own)).await {
            Ok(()) => {
                tracing::info!(url = address::shown(&own), "founded a cluster");
                return true;
            }
            Err(error) => tracing::error!(%error, "could not found a cluster"),
        }
    } else if all && say.due("own address") {
        tracing::warn!(
            "cannot found a cluster: nobody knows where this coordinator is reached; set SKYCLAW_COORDINATOR_PUBLIC_URL"
        );
    }
    members.promise().release(me);
    for url in agreed {
        let ask = about(members, url);
        let _: Result<Nothing, LinkError> = members
            .links
            .ask(url, asks::RELEASE, &ask, CONSENT_WITHIN)
            .await;
    }
    false
}

fn about(members: &Members, to: &Url) -> Consent {
    Consent {
        founder: members.status().id,
        url: members.url().as_ref().map(address::shown),
        port: members.settings.whereabouts.port(),
        to: Some(address::shown(to)),
    }
}

async fn consent(members: &Members, url: &Url) -> Result<(), String> {
    let ask = about(members, url);
    let answer: Result<Consented, LinkError> = members
        .links
        .ask(url, asks::CONSENT, &ask, CONSENT_WITHIN)
        .await;
    match answer {
        Ok(answer) if answer.agreed => {
            let seen = answer.seen.and_then(|seen| address::parse(&seen).ok());
            if let Some(seen) = seen {
                members.settings.whereabouts.reached_under(seen);
            }
            Ok(())
        }
        Ok(_) => Err("it has promised another to let that one found".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_takes_turns_is_not_said_at_each_turn() {
        let mut say = Say::default();
        assert!(say.due("a") && say.due("b"));
        assert!(!say.due("a") && !say.due("b"));
        tokio::time::advance(SAY_EACH).await;
        assert!(say.due("a") && say.due("b"));
    }
}
