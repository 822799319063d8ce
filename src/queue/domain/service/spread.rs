//! Keeps the right number of one generation up, on as many hosts as there are.

use super::choose::{Board, Room, victim};
use super::leave;
use super::life::{drain, is_live, is_serving};
use crate::protocol::HostId;
use crate::protocol::api::service::Form;
use crate::protocol::api::{Assignment, Phase, ServiceRecord, ServiceStatus};
use crate::support::clock::Timestamp;

/// What placing needs: where, under which ids, when.
pub struct Placing<'a> {
    /// The hosts.
    pub board: Board<'a>,
    /// Fresh ids.
    pub ids: Ids,
    /// When.
    pub now: Timestamp,
}

impl Placing<'_> {
    /// Gives one more of `form` to a host. Tells whether there was one.
    pub fn add(&mut self, service: &mut ServiceRecord, form: &Form, room: Room) -> bool {
        let Some(host) = self.board.pick(service, form, room, self.now) else {
            return false;
        };
        self.board.add(&host);
        let id = self.ids.fresh();
        let fresh = assigned(id, host, form.generation, self.now);
        service.assignments.push(fresh);
        true
    }
}

/// Ids made of one piece of chance: all that a command needs, without knowing how many that will be.
pub struct Ids {
    seed: [u8; 16],
    given: u32,
}

impl Ids {
    /// Returns ids that are as unlike those of other seeds as the seeds are.
    pub const fn new(seed: [u8; 16]) -> Self {
        Self { seed, given: 0 }
    }

    fn fresh(&mut self) -> String {
        // The last bytes of a UUID are chance alone: its kind and its time are further in front.
        let number = u128::from_be_bytes(self.seed) ^ u128::from(self.given);
        self.given += 1;
        format!("asg_{}", uuid::Uuid::from_u128(number))
    }
}

fn assigned(id: String, host: HostId, generation: u64, now: Timestamp) -> Assignment {
    Assignment {
        id,
        generation,
        phase: Some(Phase::Assigned),
        restarts: 0,
        last_output: None,
        host_id: host,
        status: ServiceStatus::Pending,
        updated_at: now,
        endpoint: None,
        error: None,
        started_at: None,
    }
}

/// Brings the number of live ones that `members` picks to `target`; new ones are of `form`.
pub fn spread(
    service: &mut ServiceRecord,
    placing: &mut Placing<'_>,
    members: impl Fn(&Assignment) -> bool,
    target: usize,
    form: &Form,
) {
    let all = |one: &Assignment| is_live(one) && members(one);
    let going: Vec<String> = (service.assignments.iter())
        .filter(|one| all(one) && leave::is_going(one, &placing.board))
        .map(|one| one.id.clone())
        .collect();
    let mine = |one: &Assignment| all(one) && !going.contains(&one.id);
    bring(service, placing, &mine, target, form);
    if !going.is_empty() {
        leave::let_go(service, placing, &members, target);
    }
}

fn bring(
    service: &mut ServiceRecord,
    placing: &mut Placing<'_>,
    mine: &impl Fn(&Assignment) -> bool,
    target: usize,
    form: &Form,
) {
    move_crash_loops(service, placing, mine, form);
    let mut have = service.assignments.iter().filter(|one| mine(one)).count();
    if have == target + 1 && is_moving(service, mine) {
        return;
    }
    while have > target {
        let Some(index) = victim(service, &placing.board, mine) else {
            return;
        };
        drain(service, index, placing.now);
        have -= 1;
    }
    while have < target && placing.add(service, form, Room::Any) {
        have += 1;
    }
    let calm = (service.assignments.iter()).all(|one| !is_live(one) || is_serving(one));
    if have == target && calm && is_crowded(service, mine) {
        // One more where there is none; when it is ready, one of the crowded host goes.
        placing.add(service, form, Room::Free);
    }
}

/// What cannot stay up where it is goes where it has not been tried, if there is such a host.
fn move_crash_loops(
    service: &mut ServiceRecord,
    placing: &mut Placing<'_>,
    mine: &impl Fn(&Assignment) -> bool,
    form: &Form,
) {
    for index in 0..service.assignments.len() {
        let loops = (service.assignments.get(index))
            .is_some_and(|one| mine(one) && one.phase == Some(Phase::CrashLoop));
        if loops && placing.add(service, form, Room::Free) {
            drain(service, index, placing.now);
        }
    }
}

fn on_host<'a>(
    service: &'a ServiceRecord,
    mine: &'a impl Fn(&Assignment) -> bool,
    host: &'a HostId,
) -> usize {
    let here = |one: &&Assignment| mine(one) && one.host_id == *host;
    service.assignments.iter().filter(here).count()
}

fn is_crowded(service: &ServiceRecord, mine: &impl Fn(&Assignment) -> bool) -> bool {
    let mut all = service.assignments.iter();
    all.any(|one| mine(one) && on_host(service, mine, &one.host_id) > 1)
}

/// Tells whether the one too many is a new one that is to take the place of one on a crowded host.
fn is_moving(service: &ServiceRecord, mine: &impl Fn(&Assignment) -> bool) -> bool {
    let mut waiting = (service.assignments.iter()).filter(|one| mine(one) && !is_serving(one));
    let (Some(new), None) = (waiting.next(), waiting.next()) else {
        return false;
    };
    matches!(
        new.phase,
        Some(Phase::Assigned | Phase::Starting | Phase::Backoff)
    ) && on_host(service, mine, &new.host_id) == 1
        && is_crowded(service, mine)
}
