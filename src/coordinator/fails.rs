//! Groups that end when too many of their jobs failed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::Room;
use crate::protocol::{GroupId, Invalid, Payload};
use crate::queue::Cancel;

/// How many groups are remembered; more than that only costs another look.
const REMEMBERED: usize = 4096;

/// How many failures each group bears; nothing means any number, or that it was ended already.
#[derive(Debug, Default)]
pub struct Limits(Mutex<HashMap<GroupId, Option<u64>>>);

/// What a group's maker wanted to be remembered.
#[derive(Debug, Deserialize)]
struct Meta {
    #[serde(default, rename = "maxFails")]
    max_fails: Option<u64>,
}

/// Returns what is kept with a group that bears at most `most` failures: that, and what its maker wants
/// to find again.
///
/// # Errors
/// When the maker's is no object.
pub fn meta(most: Option<u32>, own: Option<Payload>) -> Result<Payload, Invalid> {
    let mut fields: Map<String, Value> = match &own {
        None => Map::new(),
        Some(own) => serde_json::from_str(own.as_str())
            .map_err(|_| Invalid::new("group.meta", "must be an object"))?,
    };
    // Whoever gives both means the one that is checked.
    let unchanged = most.is_none() && !fields.contains_key("maxFails");
    match (own, most) {
        (Some(own), None) if unchanged => Ok(own),
        (_, None) => {
            fields.remove("maxFails");
            Payload::of(&fields)
        }
        (_, Some(most)) => {
            fields.insert("maxFails".to_owned(), most.into());
            Payload::of(&fields)
        }
    }
}

impl Limits {
    fn get(&self, group: GroupId) -> Option<Option<u64>> {
        let limits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        limits.get(&group).copied()
    }

    fn set(&self, group: GroupId, limit: Option<u64>) {
        let mut limits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if limits.len() >= REMEMBERED {
            limits.clear();
        }
        limits.insert(group, limit);
    }
}

/// Looks whether a group has had enough after one of its jobs failed.
pub fn failed(room: &Arc<Room>, group: GroupId) {
    if room.limits.get(group) == Some(None) {
        return;
    }
    let room = Arc::clone(room);
    let parts = room.parts.clone();
    tokio::spawn(parts.watched("the limit on failures", async move {
        let record = match room.queue.group(group).await {
            Ok(Some(record)) => record,
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(%error, "a group could not be looked at");
                return;
            }
        };
        let meta: Option<Meta> = serde_json::from_str(record.meta.as_str()).ok();
        let limit = meta.and_then(|meta| meta.max_fails);
        room.limits.set(group, limit);
        if limit.is_none_or(|limit| record.counts.failed < limit.max(1)) {
            return;
        }
        // The cancelled ones count as failed too; once is enough.
        room.limits.set(group, None);
        let reason = Some("too many jobs of the group failed".to_owned());
        if let Err(error) = room.queue.cancel(Cancel::Group(group), reason).await {
            tracing::warn!(%error, "a group could not be ended");
        }
    }));
}
