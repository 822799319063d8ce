//! A member that hears of no leader asks the others whether it still is one: it may have been removed while it was
//! away, or the others may have gone on as another cluster. It must not wait for ever then, and say nothing. Or it came
//! back at another address, where no leader looks for it.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use tokio::time::timeout;

use super::asks::{self, About, Standing};
use super::members::{Ending, Members};
use super::{address, depart, join, twin};
use crate::coordinator::cluster::LinkError;
use crate::queue::cluster::{ClusterId, MemberId, Role, Status};

/// How long nobody must have led before the others are asked, and again after that.
const AFTER: Duration = Duration::from_secs(5);
/// How long the answer may take.
const ASK_WITHIN: Duration = Duration::from_secs(5);

/// What another member said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// Nothing, or nothing that helps.
    Nothing,
    /// It is in this cluster, or none.
    In(Option<ClusterId>),
    /// The leader of one's own cluster says whether one is a member.
    Standing(bool),
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing yet.
    Unknown,
    /// This one was removed.
    Removed,
    /// The others are another cluster.
    OtherCluster,
}

/// Decides about a member of `own` from what the others said.
pub fn judge(own: &ClusterId, words: &[Word]) -> Verdict {
    if words.contains(&Word::Standing(true)) {
        return Verdict::Unknown;
    }
    if words.contains(&Word::Standing(false)) {
        return Verdict::Removed;
    }
    let clusters: Vec<&ClusterId> = words
        .iter()
        .filter_map(|word| match word {
            Word::In(cluster) => cluster.as_ref(),
            Word::Nothing | Word::Standing(_) => None,
        })
        .collect();
    // As long as anybody is left of the own cluster, that may get a leader again.
    if !clusters.is_empty() && clusters.iter().all(|cluster| *cluster != own) {
        return Verdict::OtherCluster;
    }
    Verdict::Unknown
}

/// Works for as long as this coordinator runs.
pub async fn run(members: Arc<Members>) {
    let mut status = members.cluster.watch();
    loop {
        let lost = |now: &Status| match now.role {
            Role::Follower | Role::Candidate => now.leader.is_none(),
            // It believes in the last leader that it heard of, for ever.
            Role::Learner => true,
            Role::Lone | Role::Waiting | Role::Leader => false,
        };
        if status.wait_for(lost).await.is_err() {
            return;
        }
        let found = timeout(AFTER, status.wait_for(|now| !lost(now))).await;
        match found.map(|found| found.is_ok()) {
            Ok(true) => continue,
            Ok(false) => return,
            Err(_) => {}
        }
        let now = members.status();
        let Some(own) = now.cluster else {
            continue;
        };
        let verdict = match now.leader {
            Some(_) => among_others(&members, &own, &now).await,
            None => leaderless(&members, &own, &now).await,
        };
        match verdict {
            Verdict::Unknown => continue,
            Verdict::Removed => members.removed(),
            Verdict::OtherCluster => {
                members.end(Ending::Failed(depart::OTHER_CLUSTER.to_owned()));
            }
        }
        return;
    }
}

/// The others have a leader, and it does not come here: this coordinator is reached elsewhere than before, or not at all.
/// Has the member at `url` tell the leader where it is now.
async fn found_again(members: &Members, url: &Url) {
    match join::ask(members, url).await {
        Ok(joined) => {
            tracing::info!(
                url = joined.url,
                "the leader knows where this coordinator is"
            );
        }
        Err(error) => tracing::warn!(
            %error,
            "the other members have a leader that does not reach this one: nothing can be read or written here"
        ),
    }
}

/// Asks everybody, because nobody leads as far as is known here.
async fn leaderless(members: &Members, own: &ClusterId, status: &Status) -> Verdict {
    let (urls, words): (Vec<_>, Vec<_>) = ask_all(members, status).await.into_iter().unzip();
    let verdict = judge(own, &words);
    if verdict != Verdict::Unknown {
        return verdict;
    }
    let known = words.iter().zip(&urls);
    let mut led = known.filter(|(word, _)| **word == Word::Standing(true));
    if let Some((_, Some(url))) = led.next() {
        found_again(members, url).await;
        return verdict;
    }
    let answer = words.iter().filter(|word| **word != Word::Nothing).count();
    tracing::warn!(
        members = status.members.len(),
        answer,
        "no leader: nothing can be read or written here until a majority of the members can reach each other"
    );
    verdict
}

/// Asks one after another, whoever is believed to lead first, until one knows whether this is a member.
async fn among_others(members: &Members, own: &ClusterId, status: &Status) -> Verdict {
    let others = status.members.iter().filter(|(id, _)| **id != status.id);
    let mut others: Vec<_> = others
        .map(|(id, (member, _))| (Some(*id) != status.leader, &member.url))
        .collect();
    others.sort_unstable();
    let mut words = Vec::new();
    for (_, url) in others {
        if let Ok(url) = address::parse(url) {
            let word = ask(members, status.id, &url).await;
            let knows = matches!(word, Word::Standing(_));
            words.push(word);
            if knows {
                break;
            }
        }
    }
    judge(own, &words)
}

/// Asks every other member. Returns what each said, with its address.
async fn ask_all(members: &Members, status: &Status) -> Vec<(Option<Url>, Word)> {
    let others = status.members.iter().filter(|(id, _)| **id != status.id);
    let asked = others.map(|(_, (member, _))| async {
        let url = address::parse(&member.url).ok();
        let word = match &url {
            Some(url) => ask(members, status.id, url).await,
            None => Word::Nothing,
        };
        (url, word)
    });
    futures_util::future::join_all(asked).await
}

async fn ask(members: &Members, me: MemberId, url: &Url) -> Word {
    let Ok(hello) = members.hello(url).await else {
        return Word::Nothing;
    };
    if hello.who.cluster != members.status().cluster || hello.who.leader.is_none() {
        return Word::In(hello.who.cluster);
    }
    match standing(members, me, url).await {
        Ok(standing) if twin::has_taken_over(members, &standing).await => Word::Nothing,
        Ok(standing) => Word::Standing(standing.is_member),
        Err(_) => Word::In(hello.who.cluster),
    }
}

/// Asks the coordinator at `url` what the leader says of `member`.
///
/// # Errors
/// When it does not answer, or does not know.
pub async fn standing(
    members: &Members,
    member: MemberId,
    url: &Url,
) -> Result<Standing, LinkError> {
    let about = About { member };
    members
        .links
        .ask(url, asks::STANDING, &about, ASK_WITHIN)
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_verdicts() {
        let own: ClusterId = "00112233445566778899aabbccddeeff".parse().unwrap();
        let same = || Word::In(Some(own));
        let other = || Word::In("ff".repeat(16).parse().ok());
        for (words, verdict) in [
            (vec![], Verdict::Unknown),
            (vec![Word::Nothing, Word::Nothing], Verdict::Unknown),
            (vec![same(), Word::Nothing], Verdict::Unknown),
            (vec![Word::Standing(true)], Verdict::Unknown),
            (vec![Word::Nothing, Word::Standing(false)], Verdict::Removed),
            (
                vec![Word::Standing(false), Word::Standing(true)],
                Verdict::Unknown,
            ),
            (vec![other(), Word::Nothing], Verdict::OtherCluster),
            (vec![other(), same()], Verdict::Unknown),
            (vec![Word::In(None)], Verdict::Unknown),
            (vec![Word::In(None), other()], Verdict::OtherCluster),
        ] {
            assert_eq!(judge(&own, &words), verdict, "{words:?}");
        }
    }
}
