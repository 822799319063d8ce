//! Which different demands the waiting jobs make, found without walking over the jobs.

use std::collections::{BTreeMap, HashMap};

use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};

use crate::protocol::{GroupId, Requirement};

/// The need of a job that any host meets (or the one it is pinned to). Not empty, so that
/// "greater than the empty text" finds the first need of all.
pub const NONE: &str = "-";

/// Requirements without the pin, in short.
#[derive(Serialize, Deserialize)]
struct Written {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    c: Vec<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    l: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    h: Vec<String>,
}

/// Returns pin and need of a normalized requirement, as the store keeps them.
pub fn write(requirement: Requirement) -> (String, String) {
    let pin = requirement.pin().map(ToOwned::to_owned);
    let written = Written {
        c: requirement.required_capabilities,
        l: requirement.labels,
        h: match pin {
            Some(_) => Vec::new(),
            None => requirement.hosts,
        },
    };
    let nothing = written.c.is_empty() && written.l.is_empty() && written.h.is_empty();
    let need = match nothing {
        true => NONE.to_owned(),
        // Text and maps of text always have a JSON form.
        false => serde_json::to_string(&written).unwrap_or_else(|_| NONE.to_owned()),
    };
    (pin.unwrap_or_default(), need)
}

/// Returns the requirement that was kept as `pin` and `need`.
pub fn read(pin: &str, need: &str) -> Requirement {
    let written = match need {
        NONE => None,
        text => serde_json::from_str::<Written>(text).ok(),
    };
    let mut requirement = written.map_or_else(Requirement::default, |written| Requirement {
        required_capabilities: written.c,
        labels: written.l,
        hosts: written.h,
    });
    if !pin.is_empty() {
        requirement.hosts = vec![pin.to_owned()];
    }
    requirement
}

/// One distinct need.
#[derive(Debug, Clone)]
pub struct Need {
    /// As the store keeps it.
    pub text: String,
    /// What it means.
    pub requirement: Requirement,
}

/// The distinct needs of waiting jobs, by group (or all) and pin. Loaded when first asked for,
/// then only added to: a need without jobs left costs one look into the index, no more.
#[derive(Debug, Default)]
pub struct Needs(HashMap<(Option<GroupId>, String), Vec<Need>>);

impl Needs {
    /// Notes that a job with this need now waits.
    pub fn add(&mut self, group: Option<GroupId>, pin: &str, need: &str) {
        if self.0.is_empty() {
            return;
        }
        let scopes = [None, group];
        let scopes = if group.is_some() {
            &scopes[..]
        } else {
            scopes.get(..1).unwrap_or_default()
        };
        for scope in scopes {
            if let Some(known) = self.0.get_mut(&(*scope, pin.to_owned()))
                && !known.iter().any(|known| known.text == need)
            {
                known.push(Need {
                    text: need.to_owned(),
                    requirement: read(pin, need),
                });
            }
        }
    }

    /// Returns the needs of waiting jobs in `scope` that are pinned to `pin`.
    pub fn of(
        &mut self,
        connection: &Connection,
        scope: Option<GroupId>,
        pin: &str,
    ) -> rusqlite::Result<&[Need]> {
        match self.0.entry((scope, pin.to_owned())) {
            std::collections::hash_map::Entry::Occupied(known) => Ok(known.into_mut()),
            std::collections::hash_map::Entry::Vacant(space) => {
                Ok(space.insert(load(connection, scope, pin)?))
            }
        }
    }
}

/// Jumps through the index from one need to the next; its cost does not depend on how many jobs wait.
fn load(connection: &Connection, scope: Option<GroupId>, pin: &str) -> rusqlite::Result<Vec<Need>> {
    let mut statement = connection.prepare_cached(match scope {
        None => {
            "SELECT need FROM job INDEXED BY job_queue \
             WHERE state = 0 AND pin = ?1 AND need > ?2 ORDER BY need LIMIT 1"
        }
        Some(_) => {
            "SELECT need FROM job INDEXED BY job_group_queue \
             WHERE grp = ?3 AND state = 0 AND pin = ?1 AND need > ?2 ORDER BY need LIMIT 1"
        }
    })?;
    let mut found = Vec::new();
    let mut last = String::new();
    loop {
        let next: Option<String> = match &scope {
            None => statement.query_row(params![pin, last], |row| row.get(0)),
            Some(group) => {
                statement.query_row(params![pin, last, group.as_bytes()], |row| row.get(0))
            }
        }
        .optional()?;
        let Some(next) = next else {
            return Ok(found);
        };
        found.push(Need {
            requirement: read(pin, &next),
            text: next.clone(),
        });
        last = next;
    }
}
