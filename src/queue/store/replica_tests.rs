//! What the log says becomes part of the queue: all of it, with how far it went, or nothing.

use super::*;
use crate::protocol::Payload;
use crate::queue::command::{Command, NewJob, Submit};

fn open() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("queue.db"), false).unwrap();
    // A command that contradicts the file.
    store
        .connection
        .execute_batch(
            "CREATE TRIGGER refuse BEFORE INSERT ON job WHEN NEW.priority = 66 \
             BEGIN SELECT RAISE(ABORT, 'contradiction'); END",
        )
        .unwrap();
    (dir, store)
}

fn submit(at: i64, priority: i8, bytes: usize) -> Envelope {
    let mut job = NewJob::new(Payload::parse(format!(r#""{}""#, "x".repeat(bytes))).unwrap());
    job.priority = priority;
    let submit = Submit {
        group: None,
        jobs: vec![job],
    };
    let now = Timestamp::from_millis(at);
    Command::Submit { now, submit }.into()
}

fn replay(entries: Vec<Vec<Envelope>>, index: u64) -> Replay {
    Replay {
        entries,
        upto: Place {
            term: 3,
            node: u64::MAX,
            index,
        },
        members: None,
    }
}

#[test]
fn a_command_that_contradicts_the_file_is_refused_alone_however_entries_come() {
    let entries = vec![
        vec![submit(5, 0, 1), submit(9, 66, 1), submit(7, 1, 1)],
        vec![submit(8, 66, 1)],
        vec![submit(6, 2, 1)],
    ];
    let (_one, together) = open();
    let done = together.replay(&replay(entries.clone(), 12)).unwrap();
    let kept =
        |answers: &[Result<Applied, Error>]| answers.iter().map(Result::is_ok).collect::<Vec<_>>();
    let each: Vec<_> = done.answers.iter().map(|answers| kept(answers)).collect();
    assert_eq!(each, [vec![true, false, true], vec![false], vec![true]]);
    assert_eq!(done.changes.len(), 3, "nothing is told of what was refused");
    let (_other, apart) = open();
    for (at, entry) in (10..).zip(entries) {
        apart.replay(&replay(vec![entry], at)).unwrap();
    }
    assert_eq!(together.hash().unwrap(), apart.hash().unwrap());
    assert_eq!(together.replica().unwrap(), apart.replica().unwrap());
    let replica = together.replica().unwrap().unwrap();
    assert_eq!(replica.applied, Some(replay(Vec::new(), 12).upto));
    assert_eq!(replica.now, Timestamp::from_millis(9));
}

#[test]
fn without_room_nothing_is_kept_and_the_log_is_not_said_to_be_applied() {
    let (_dir, store) = open();
    store
        .replay(&replay(vec![vec![submit(1, 0, 1)]], 1))
        .unwrap();
    let before = (store.hash().unwrap(), store.replica().unwrap());
    let limit = |pages: i64| {
        let done = store
            .connection
            .pragma_update(None, "max_page_count", pages);
        done.unwrap();
    };
    limit(1);
    let large = replay(vec![vec![submit(2, 0, 1)], vec![submit(2, 0, 200_000)]], 3);
    assert!(matches!(store.replay(&large), Err(Error::Full { .. })));
    assert_eq!((store.hash().unwrap(), store.replica().unwrap()), before);
    limit(1 << 30);
    store.replay(&large).unwrap();
    assert_eq!(store.replica().unwrap().unwrap().applied, Some(large.upto));
}

#[test]
fn members_and_time_stay_until_something_else_is_said() {
    let (_dir, store) = open();
    assert_eq!(store.replica().unwrap(), None);
    let told = Replica {
        cluster: "c".to_owned(),
        applied: None,
        members: "m".to_owned(),
        now: Timestamp::from_millis(50),
    };
    store.set_replica(&told).unwrap();
    let done = store.replay(&replay(vec![Vec::new()], 4)).unwrap();
    assert_eq!(done.now, told.now);
    let replica = store.replica().unwrap().unwrap();
    assert_eq!(
        (replica.cluster.as_str(), replica.members.as_str()),
        ("c", "m")
    );
    let mut more = replay(vec![vec![submit(20, 0, 1)]], 5);
    more.members = Some("n".to_owned());
    assert_eq!(store.replay(&more).unwrap().now, told.now);
    assert_eq!(store.replica().unwrap().unwrap().members, "n");
    store.forget_replica().unwrap();
    assert_eq!(store.replica().unwrap(), None);
}
