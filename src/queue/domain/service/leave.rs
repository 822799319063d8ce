//! A host that is about to leave is asked for nothing more, but serves until what it has serves elsewhere.

use super::ServiceHost;
use super::choose::{Board, victim};
use super::life::{drain, is_live, is_serving};
use super::spread::Placing;
use crate::protocol::api::{Assignment, Phase, ServiceRecord};

/// Tells whether it is on a host that is about to leave, and will be told what to end.
pub fn is_going(one: &Assignment, board: &Board<'_>) -> bool {
    let leaves = |host: &ServiceHost| host.leaving && host.alive;
    one.phase.is_some() && is_live(one) && board.host(&one.host_id).is_some_and(leaves)
}

/// Lets those that `members` picks on leaving hosts end, except as many as still serve in place of others that are on
/// their way. Nobody is waited for who does not come up: the host itself does not wait for long.
pub fn let_go(
    service: &mut ServiceRecord,
    placing: &Placing<'_>,
    members: &impl Fn(&Assignment) -> bool,
    target: usize,
) {
    let board = &placing.board;
    let stays = |one: &&Assignment| is_live(one) && members(one) && !is_going(one, board);
    let staying = service.assignments.iter().filter(stays);
    let ready = staying.clone().filter(|one| is_serving(one)).count();
    let coming = staying
        .filter(|one| matches!(one.phase, Some(Phase::Assigned | Phase::Starting)))
        .count();
    let still = target.saturating_sub(ready).min(coming);
    let serves = |one: &Assignment| members(one) && is_going(one, board) && is_serving(one);
    let idles = |one: &Assignment| members(one) && is_going(one, board) && !is_serving(one);
    while let Some(index) = victim(service, board, idles) {
        drain(service, index, placing.now);
    }
    let mut serving = service.assignments.iter().filter(|one| serves(one)).count();
    while serving > still
        && let Some(index) = victim(service, board, serves)
    {
        drain(service, index, placing.now);
        serving -= 1;
    }
}
