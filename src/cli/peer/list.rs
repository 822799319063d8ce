//! How `skyclaw peer list` shows coordinators.

use std::time::Duration;

use crate::cli::output::Output;
use crate::cli::table::Table;
use crate::protocol::api::{PeerRecord, Peers};
use crate::support::span;

/// Prints them.
///
/// # Errors
/// When they have no JSON form.
pub fn print(peers: &Peers, output: &Output) -> anyhow::Result<()> {
    let mut table = Table::new([
        "COORDINATOR",
        "ROLE",
        "URL",
        "VERSION",
        "TERM",
        "BEHIND",
        "CLOCK",
        "ID",
    ]);
    for member in &peers.members {
        table.row([
            member.name.clone(),
            role(member),
            member.url.clone(),
            member.version.clone().unwrap_or_default(),
            member.term.map(|term| term.to_string()).unwrap_or_default(),
            behind(member),
            clock(member),
            member.id.clone(),
        ]);
    }
    output.table(&table);
    let voters: Vec<&PeerRecord> = peers.members.iter().filter(|one| one.voter).collect();
    let away = voters.iter().filter(|one| one.reachable == Some(false));
    let too_few = voters.len() - away.count() < voters.len() / 2 + 1;
    if peers.cluster.is_some() && (peers.leader.is_none() || too_few) {
        output.note(
            "nobody can lead: nothing can be written until a majority of those with a vote can reach each other",
        );
    }
    output.document(peers)
}

fn role(member: &PeerRecord) -> String {
    let word = member.role.word();
    match member.reachable {
        Some(false) => format!("{word}, does not answer"),
        Some(true) | None => word.to_owned(),
    }
}

fn behind(member: &PeerRecord) -> String {
    match (member.lag_records, member.lag_seconds) {
        (Some(0), _) => "0".to_owned(),
        (Some(records), Some(seconds)) => {
            format!("{records} ({})", span::human(Duration::from_secs(seconds)))
        }
        (Some(records), None) => records.to_string(),
        (None, _) => String::new(),
    }
}

fn clock(member: &PeerRecord) -> String {
    match member.clock_offset_ms {
        Some(offset) => format!("{offset:+} ms"),
        None => String::new(),
    }
}
