//! A member that hears of no leader asks the others whether it still is one: it may have been removed while it was
//! away, or the others may have gone on as another cluster. It must not wait for ever then, and say nothing.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::address;
use super::asks::{self, About, Standing};
use super::depart;
use super::members::{Ending, Members};
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
            Role::Learner | Role::Follower | Role::Candidate => now.leader.is_none(),
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
        let words = ask_all(&members, &now).await;
        match judge(&own, &words) {
            Verdict::Unknown => {
                let answer = words.iter().filter(|word| **word != Word::Nothing).count();
                tracing::warn!(
                    members = now.members.len(),
                    answer,
                    "no leader: nothing can be read or written here until a majority of the members can reach each other"
                );
                continue;
            }
            Verdict::Removed => members.removed(),
            Verdict::OtherCluster => {
                members.end(Ending::Failed(depart::OTHER_CLUSTER.to_owned()));
            }
        }
        return;
    }
}

async fn ask_all(members: &Members, status: &Status) -> Vec<Word> {
    let others = status.members.iter().filter(|(id, _)| **id != status.id);
    let asked = others.map(|(_, (member, _))| ask(members, status.id, &member.url));
    futures_util::future::join_all(asked).await
}

async fn ask(members: &Members, me: MemberId, url: &str) -> Word {
    let Ok(url) = address::parse(url) else {
        return Word::Nothing;
    };
    let Ok(hello) = members.hello(&url).await else {
        return Word::Nothing;
    };
    if hello.who.cluster != members.status().cluster || hello.who.leader.is_none() {
        return Word::In(hello.who.cluster);
    }
    let about = About { member: me };
    let standing: Result<Standing, LinkError> = members
        .links
        .ask(&url, asks::STANDING, &about, ASK_WITHIN)
        .await;
    match standing {
        Ok(standing) => Word::Standing(standing.is_member),
        Err(_) => Word::In(hello.who.cluster),
    }
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
