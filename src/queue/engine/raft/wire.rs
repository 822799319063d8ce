//! The form of the messages between members: one byte for the version, the length of a JSON head, the head,
//! and after it the bodies of entries or a piece of a copy, as they are.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::types::{Entry, LogId, Members, Vote, place};
use super::{ClusterId, MemberId, log};
use crate::queue::error::Error;
use crate::queue::store::{Line, Place};

/// The first byte of a message: how it is to be read. Not the protocol number of members, which rises with every new
/// command while messages stay as they are, so that members can be replaced one by one.
const FORM: u8 = 1;

/// Which cluster a message is of and whom it is for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Head<T> {
    /// The cluster.
    pub cluster: Option<ClusterId>,
    /// The member it is for: who has its address now may be another one.
    pub to: MemberId,
    /// What it says.
    pub says: T,
}

/// More of the log.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Append {
    pub vote: Vote,
    pub prev: Option<LogId>,
    pub commit: Option<LogId>,
    pub entries: Vec<Item>,
}

/// An entry whose body is behind the head.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Item {
    pub term: u64,
    pub leader: MemberId,
    pub index: u64,
    pub kind: u8,
    pub length: u64,
}

/// A piece of a copy of the queue.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Piece {
    pub vote: Vote,
    /// Which sending it is part of: a copy that is sent again is another one.
    pub sending: MemberId,
    pub offset: u64,
    /// With the last piece: what the copy is.
    pub whole: Option<Whole>,
}

/// What a copy is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Whole {
    pub last: Option<LogId>,
    pub members: Members,
    pub id: String,
}

/// The answer to a piece.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Received {
    pub vote: Vote,
    /// Pieces are missing; the whole must be sent again.
    pub again: bool,
}

/// Returns the message with this head and these bytes behind it.
pub fn message<T: Serialize>(head: &Head<T>, behind: &[&[u8]]) -> Vec<u8> {
    // Numbers and texts of ours: they have a form.
    let json = serde_json::to_vec(head).unwrap_or_default();
    let length: usize = behind.iter().map(|part| part.len()).sum();
    let mut bytes = Vec::with_capacity(5 + json.len() + length);
    bytes.push(FORM);
    bytes.extend_from_slice(&u32::try_from(json.len()).unwrap_or(u32::MAX).to_be_bytes());
    bytes.extend_from_slice(&json);
    for part in behind {
        bytes.extend_from_slice(part);
    }
    bytes
}

/// Returns the head of a message and the bytes behind it.
///
/// # Errors
/// When it is of another version or is none.
pub fn parts<T: DeserializeOwned>(message: &[u8]) -> Result<(Head<T>, &[u8]), Error> {
    let (version, rest) = message.split_first().ok_or_else(|| odd("it is empty"))?;
    if *version != FORM {
        return Err(odd(&format!(
            "it is of version {version}, this skyclaw speaks {FORM}"
        )));
    }
    let (length, rest) = rest
        .split_first_chunk()
        .ok_or_else(|| odd("it is cut off"))?;
    let length = u32::from_be_bytes(*length) as usize;
    let (json, behind) = rest
        .split_at_checked(length)
        .ok_or_else(|| odd("it is cut off"))?;
    let head = serde_json::from_slice(json).map_err(|error| odd(&error.to_string()))?;
    Ok((head, behind))
}

fn odd(why: &str) -> Error {
    Error::NotAMember(format!("a message between members cannot be read: {why}"))
}

/// Returns the entries that items and the bytes behind the head make.
///
/// # Errors
/// When they do not fit.
pub fn entries(items: Vec<Item>, mut behind: &[u8]) -> Result<Vec<Entry>, Error> {
    let mut entries = Vec::with_capacity(items.len());
    for item in items {
        let length = usize::try_from(item.length).map_err(|_| odd("an entry is too long"))?;
        let (body, rest) = behind
            .split_at_checked(length)
            .ok_or_else(|| odd("an entry is cut off"))?;
        behind = rest;
        let line = Line {
            place: Place {
                term: item.term,
                node: item.leader.get(),
                index: item.index,
            },
            kind: item.kind,
            body: body.to_vec(),
        };
        entries.push(log::entry(line, || "that the leader sent".into())?);
    }
    Ok(entries)
}

/// Returns the message that sends `entries`, with everything else as `says` has it.
pub fn append(
    cluster: Option<ClusterId>,
    to: MemberId,
    says: Append,
    entries: &[Entry],
) -> Vec<u8> {
    let bodies: Vec<_> = entries.iter().map(log::body).collect();
    let items = entries.iter().zip(&bodies).map(|(entry, (kind, body))| {
        let at = place(&entry.log_id);
        Item {
            term: at.term,
            leader: MemberId::from(at.node),
            index: at.index,
            kind: *kind,
            length: body.len() as u64,
        }
    });
    let says = Append {
        entries: items.collect(),
        ..says
    };
    let behind: Vec<&[u8]> = bodies.iter().map(|(_, body)| &body[..]).collect();
    message(&Head { cluster, to, says }, &behind)
}

/// Returns the form of an answer.
pub fn answer<T: Serialize>(answer: &T) -> Vec<u8> {
    // Numbers and texts of ours: they have a form.
    serde_json::to_vec(answer).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use openraft::EntryPayload;

    use super::super::types::Batch;
    use super::*;

    #[test]
    fn entries_travel_as_they_are_and_cut_messages_are_refused() {
        let leader = openraft::CommittedLeaderId::new(3, MemberId::from(7));
        let entry = |index, payload| Entry {
            log_id: LogId::new(leader, index),
            payload,
        };
        let sent = [
            entry(4, EntryPayload::Blank),
            entry(5, EntryPayload::Normal(Batch::read(b"\x01[]".to_vec()))),
        ];
        let says = Append {
            vote: Vote::new_committed(3, MemberId::from(7)),
            prev: Some(LogId::new(leader, 3)),
            commit: None,
            entries: Vec::new(),
        };
        let cluster = Some(ClusterId::random());
        let bytes = append(cluster, MemberId::from(9), says, &sent);
        let (head, behind) = parts::<Append>(&bytes).unwrap();
        assert_eq!((head.cluster, head.to), (cluster, MemberId::from(9)));
        let got = entries(head.says.entries.clone(), behind).unwrap();
        assert_eq!(got[0].log_id, sent[0].log_id);
        let EntryPayload::Normal(batch) = &got[1].payload else {
            panic!("{got:?}");
        };
        assert_eq!(&batch.bytes[..], b"\x01[]");
        for length in 0..bytes.len() {
            let cut = parts::<Append>(&bytes[..length])
                .and_then(|(head, behind)| entries(head.says.entries, behind));
            assert!(cut.is_err(), "{length}");
        }
        assert!(parts::<Append>(&[&[9], &bytes[1..]].concat()).is_err());
    }
}
