//! The seat with a cluster that says what a test wants and real rooms over a real queue.

use std::collections::BTreeMap;
use std::sync::Mutex;

use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::*;
use crate::coordinator::{Deps, Settings};
use crate::queue::cluster::{Member, MemberId};
use crate::queue::{Options, Queue};

/// Long enough for a busy machine.
const SOON: Duration = Duration::from_secs(20);
const ME: u64 = 1;
const OTHER: u64 = 2;

/// Says who leads, and whether the others confirm it.
#[derive(Clone)]
struct Said {
    status: watch::Sender<Status>,
    /// How many confirmations are allowed to end.
    allowed: Arc<Semaphore>,
    refused: Arc<Mutex<Option<Error>>>,
}

impl Leadership for Said {
    fn watch(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    fn confirm(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async {
            self.allowed.acquire().await.unwrap().forget();
            self.refused.lock().unwrap().clone().map_or(Ok(()), Err)
        })
    }
}

fn status(role: Role, term: u64, voters: &[u64]) -> Status {
    let member = |id: u64| (Member::default(), MemberId::from(id));
    let members: BTreeMap<_, _> = voters
        .iter()
        .map(|id| member(*id))
        .map(|(member, id)| (id, (member, true)))
        .collect();
    Status {
        id: MemberId::from(ME),
        cluster: None,
        role,
        term,
        leader: match role {
            Role::Leader => Some(MemberId::from(ME)),
            Role::Follower => Some(MemberId::from(OTHER)),
            Role::Lone | Role::Waiting | Role::Learner | Role::Candidate => None,
        },
        members,
        last_log: 0,
        applied: 0,
        lag: BTreeMap::new(),
    }
}

const BOTH: [u64; 2] = [ME, OTHER];

struct Bed {
    front: Arc<Front>,
    said: Said,
    seat: JoinHandle<()>,
    _dir: tempfile::TempDir,
}

impl Bed {
    /// A coordinator whose cluster says `first`. It has an office already where it is alone.
    async fn with(first: Status) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let queue = Queue::open(Options::new(dir.path().join("c.db"))).unwrap();
        let deps = Deps {
            queue,
            settings: Settings::new("node_test"),
            on_event: None,
            cluster: None,
        };
        let front = Arc::new(Front::open(deps).await.unwrap());
        match first.role {
            Role::Lone => front.office().unwrap().start(),
            _ => drop(front.vacate()),
        }
        let said = Said {
            status: watch::Sender::new(first),
            allowed: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS / 2)),
            refused: Arc::default(),
        };
        let seat = tokio::spawn(run(Arc::clone(&front), said.clone()));
        Self {
            front,
            said,
            seat,
            _dir: dir,
        }
    }

    fn says(&self, status: Status) {
        self.said.status.send_replace(status);
    }

    /// Waits for the office that serves, or for none.
    async fn office(&self, is: impl Fn(Option<&Arc<Office>>) -> bool) -> Option<Arc<Office>> {
        let mut offices = self.front.offices();
        let found = offices.wait_for(|office| is(office.as_ref()));
        let found = timeout(SOON, found).await.expect("it came so").unwrap();
        found.clone()
    }

    async fn served(&self) -> Arc<Office> {
        self.office(|office| office.is_some()).await.unwrap()
    }

    async fn deserted(&self) {
        self.office(|office| office.is_none()).await;
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.seat.abort();
    }
}

#[tokio::test]
async fn a_leader_has_an_office_and_loses_it_with_the_lead() {
    let bed = Bed::with(status(Role::Follower, 1, &BOTH)).await;
    assert!(bed.front.office().is_none());
    bed.says(status(Role::Leader, 2, &BOTH));
    let office = bed.served().await;
    assert!(!office.is_over());
    let mut closing = office.room.closing.subscribe();
    bed.says(status(Role::Follower, 3, &BOTH));
    bed.deserted().await;
    timeout(SOON, closing.wait_for(|closing| *closing))
        .await
        .expect("streams and waits end")
        .unwrap();
    assert!(office.is_over());
}

#[tokio::test]
async fn who_lost_the_lead_and_has_it_again_begins_anew() {
    let bed = Bed::with(status(Role::Leader, 2, &BOTH)).await;
    let first = bed.served().await;
    // Two changes at once: the one in between is seen by nobody.
    bed.says(status(Role::Follower, 3, &BOTH));
    bed.says(status(Role::Leader, 4, &BOTH));
    let second = bed
        .office(|office| office.is_some_and(|office| !Arc::ptr_eq(office, &first)))
        .await
        .unwrap();
    assert!(first.is_over() && !second.is_over());
    // The same again is no news.
    bed.says(status(Role::Leader, 4, &BOTH));
    bed.says(status(Role::Leader, 4, &[ME, OTHER, 3]));
    tokio::task::yield_now().await;
    assert!(Arc::ptr_eq(&bed.served().await, &second));
}

#[tokio::test]
async fn a_lone_coordinator_that_founds_a_cluster_goes_on_in_its_room() {
    let bed = Bed::with(status(Role::Lone, 0, &[])).await;
    let office = bed.served().await;
    for (role, term) in [(Role::Follower, 0), (Role::Candidate, 1), (Role::Leader, 1)] {
        bed.says(status(role, term, &[ME]));
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert!(Arc::ptr_eq(&bed.served().await, &office), "{role:?}");
    }
    bed.says(status(Role::Leader, 1, &BOTH));
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert!(Arc::ptr_eq(&bed.served().await, &office));
    assert!(!office.is_over());
    bed.says(status(Role::Candidate, 2, &BOTH));
    bed.deserted().await;
}

#[tokio::test]
async fn a_founder_that_is_looked_at_late_goes_on_and_one_that_led_again_does_not() {
    let late = status(Role::Leader, FIRST_TERM, &BOTH);
    let again = status(Role::Leader, FIRST_TERM + 1, &BOTH);
    for (seen, goes_on) in [(late, true), (again, false)] {
        let bed = Bed::with(status(Role::Lone, 0, &[])).await;
        let office = bed.served().await;
        bed.says(seen);
        if goes_on {
            tokio::time::sleep(Duration::from_millis(5)).await;
        } else {
            let other =
                |now: Option<&Arc<Office>>| now.is_some_and(|now| !Arc::ptr_eq(now, &office));
            bed.office(other).await;
        }
        assert_eq!(Arc::ptr_eq(&bed.served().await, &office), goes_on);
    }
}

#[tokio::test]
async fn an_empty_one_that_waits_to_join_serves_nobody() {
    let bed = Bed::with(status(Role::Lone, 0, &[])).await;
    let office = bed.served().await;
    bed.says(status(Role::Waiting, 0, &[]));
    bed.deserted().await;
    timeout(SOON, async {
        while !office.is_over() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_lead_that_is_lost_before_it_is_confirmed_opens_nothing() {
    let bed = Bed::with(status(Role::Follower, 1, &BOTH)).await;
    let waits = bed.said.allowed.forget_permits(usize::MAX);
    assert!(waits > 0);
    for term in [2, 4, 6] {
        bed.says(status(Role::Leader, term, &BOTH));
        tokio::time::sleep(Duration::from_millis(5)).await;
        bed.says(status(Role::Follower, term + 1, &BOTH));
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert!(bed.front.office().is_none());
    }
    bed.said.allowed.add_permits(waits);
    bed.says(status(Role::Leader, 8, &BOTH));
    bed.served().await;
}

#[tokio::test]
async fn an_office_that_cannot_be_opened_is_tried_again() {
    let bed = Bed::with(status(Role::Follower, 1, &BOTH)).await;
    *bed.said.refused.lock().unwrap() = Some(Error::NoQuorum("on purpose".to_owned()));
    let before = bed.said.allowed.available_permits();
    bed.says(status(Role::Leader, 2, &BOTH));
    let tried = async {
        while bed.said.allowed.available_permits() + 2 > before {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, tried).await.expect("it is tried again");
    assert!(bed.front.office().is_none());
    *bed.said.refused.lock().unwrap() = None;
    bed.served().await;
}

#[tokio::test]
async fn a_leader_that_nobody_confirms_stops_to_serve_until_somebody_does() {
    let bed = Bed::with(status(Role::Leader, 2, &BOTH)).await;
    let office = bed.served().await;
    let since = Instant::now();
    *bed.said.refused.lock().unwrap() = Some(Error::NoQuorum("on purpose".to_owned()));
    bed.deserted().await;
    assert!(office.is_over());
    assert!(
        since.elapsed() >= CUT_OFF - LOOK,
        "not because of one that was late"
    );
    *bed.said.refused.lock().unwrap() = None;
    let again = bed.served().await;
    assert!(!Arc::ptr_eq(&again, &office));
}
