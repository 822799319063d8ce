//! The administrator: takes members in and out, one after the other, and does not rest before the leader says so.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use skyclaw::queue::cluster::{Member, MemberId, PROTOCOL};

use super::client::Caller;
use super::wire::{Answer, Ask, url_of};

/// One thing to do.
#[derive(Debug, Clone)]
pub enum Chore {
    /// The member at this host is to vote.
    Join(String),
    /// This member is to be none any more.
    Leave(String, MemberId),
}

/// What is to be done, what was done, and what the last answer was.
#[derive(Clone, Default)]
pub struct Chores {
    pub open: Rc<RefCell<VecDeque<Chore>>>,
    pub busy: Rc<Cell<bool>>,
    pub done: Rc<RefCell<Vec<Chore>>>,
    pub last: Rc<RefCell<String>>,
}

impl Chores {
    pub fn push(&self, chore: Chore) {
        self.open.borrow_mut().push_back(chore);
    }

    pub fn is_idle(&self) -> bool {
        self.open.borrow().is_empty() && !self.busy.get()
    }
}

pub fn member(host: &str) -> Member {
    Member {
        url: url_of(host),
        name: host.to_owned(),
        protocol: PROTOCOL,
        ..Member::default()
    }
}

/// Does what is to be done, for ever.
pub async fn run(mut caller: Caller, chores: Chores) -> turmoil::Result {
    loop {
        let Some(chore) = chores.open.borrow_mut().pop_front() else {
            pause(50).await;
            continue;
        };
        chores.busy.set(true);
        match &chore {
            Chore::Join(host) => join(&mut caller, &chores, host).await,
            Chore::Leave(_, id) => {
                let left = |voters: &[MemberId]| !voters.contains(id);
                until(&mut caller, &chores, &[Ask::Remove(*id)], left).await;
            }
        }
        chores.done.borrow_mut().push(chore);
        chores.busy.set(false);
    }
}

async fn join(caller: &mut Caller, chores: &Chores, host: &str) {
    let id = loop {
        match caller.once(host, &Ask::Who).await {
            Some(Answer::Who { id, .. }) => break id,
            other => *chores.last.borrow_mut() = format!("{host} is {other:?}"),
        }
        pause(100).await;
    };
    let asks = [Ask::Add(id, member(host)), Ask::Promote(id)];
    until(caller, chores, &asks, |voters| voters.contains(&id)).await;
}

/// Asks, until the leader's list of voters is as it should be.
async fn until(
    caller: &mut Caller,
    chores: &Chores,
    asks: &[Ask],
    enough: impl Fn(&[MemberId]) -> bool,
) {
    loop {
        for ask in asks {
            let answer = caller.settle(ask).await;
            *chores.last.borrow_mut() = format!("{ask:?}: {answer:?}");
            if !matches!(answer, Answer::Done) {
                break;
            }
        }
        match caller.settle(&Ask::Voters).await {
            Answer::Voters(voters) if enough(&voters) => return,
            _ => pause(150).await,
        }
    }
}

async fn pause(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}
