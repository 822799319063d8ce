//! Decides which host runs what. Called again and again: the same services and hosts give the same answer, and once
//! all is as it should be, none.

use super::choose::Board;
use super::spread::{Ids, Placing};
use super::{ServiceHost, form, life, lost, roll, stuck};
use crate::protocol::api::ServiceRecord;
use crate::support::clock::Timestamp;

/// Returns those of `services` (all there are, oldest first) that change when they are placed on `hosts`. `seed` is
/// the chance in the ids of new assignments. One that [`super::is_gone`] afterwards is to be forgotten.
pub fn place(
    services: &[ServiceRecord],
    hosts: &[ServiceHost],
    seed: [u8; 16],
    node: &str,
    now: Timestamp,
) -> Vec<ServiceRecord> {
    let mut placing = Placing {
        board: Board::new(hosts, services),
        ids: Ids::new(seed),
        now,
    };
    let mut all = Vec::new();
    for service in services {
        let mut next = service.clone();
        lost::lose(&mut next, hosts, now);
        stuck::judge(&mut next, hosts, now);
        form::settle(&mut next);
        roll::decide(&mut next, &mut placing);
        form::settle(&mut next);
        lost::tidy(&mut next);
        if next != *service || life::is_gone(&next) {
            all.push(life::changed(next, node, now));
        }
    }
    all
}
