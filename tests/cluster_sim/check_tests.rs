//! Histories made by hand: what must pass passes, and each broken promise is named.

use skyclaw::protocol::LeaseToken;

use super::super::history::Hold;
use super::*;

fn job(number: u8) -> JobId {
    JobId::from_bytes([number; 16])
}

fn given(attempt: u16) -> Given {
    Given {
        job: job(1),
        attempt,
        token: LeaseToken::from_bytes([attempt as u8; 16]),
    }
}

fn seen(attempts: u16, status: JobStatus, mark: Option<&str>) -> Seen {
    Seen {
        job: job(1),
        attempts,
        status,
        mark: mark.map(str::to_owned),
    }
}

fn read(seen: Option<Seen>, applied: u64) -> What {
    let job = job(1);
    What::Read { job, seen, applied }
}

fn claimed(key: &str, attempt: u16) -> What {
    What::Claimed(key.to_owned(), vec![given(attempt)])
}

fn named(name: &str, attempt: u16) -> What {
    What::Named(name.to_owned(), vec![given(attempt)])
}

fn reported(attempt: u16, told: Told) -> What {
    What::Reported(given(attempt), "m".to_owned(), told)
}

/// Each request takes one unit of time, one after the other.
fn history(all: Vec<What>) -> History {
    let ops = all.into_iter().enumerate().map(|(at, what)| Op {
        begin: 2 * at as u64,
        end: 2 * at as u64 + 1,
        what,
    });
    History {
        ops: ops.collect(),
        holds: Vec::new(),
        sent: vec![(given(2), "m".to_owned())],
    }
}

fn done() -> Seen {
    seen(2, JobStatus::Completed, Some("m"))
}

fn broken(all: Vec<What>) -> String {
    check(&history(all), &[done()]).unwrap_err()
}

#[test]
fn an_honest_history_passes() {
    let all = history(vec![
        What::Submitted(vec![job(1)]),
        read(Some(seen(0, JobStatus::Queued, None)), 3),
        claimed("a", 1),
        What::Renewed(given(1)),
        claimed("b", 2),
        // Asked again after all that: what it gave then.
        claimed("a", 1),
        reported(1, Told::Lost),
        reported(2, Told::Completed),
        read(Some(done()), 9),
    ]);
    check(&all, &[done()]).unwrap();
}

#[test]
fn what_overlaps_may_be_seen_either_way() {
    let mut all = history(vec![
        What::Submitted(vec![job(1)]),
        claimed("b", 2),
        read(Some(seen(0, JobStatus::Queued, None)), 1),
    ]);
    assert!(check(&all, &[done()]).unwrap_err().contains("went back"));
    all.ops[2].begin = all.ops[1].begin;
    check(&all, &[done()]).unwrap();
    // Answered and asked in one moment is not one after the other.
    all.ops[2].begin = all.ops[1].end;
    check(&all, &[done()]).unwrap();
}

#[test]
fn a_named_claim_gives_other_leases_once_the_first_ran_out() {
    let mut all = history(vec![named("a", 1), named("a", 2)]);
    all.ops[1].begin = all.ops[0].begin;
    all.ops[1].end = all.ops[0].begin + LEASE.as_micros() as u64;
    check(&all, &[done()]).unwrap();
    all.ops[1].end -= 1;
    assert!(check(&all, &[done()]).unwrap_err().contains("asked again"));
    // Nothing to give at first is no answer to keep to.
    all.ops[0].what = What::Named("a".to_owned(), Vec::new());
    check(&all, &[done()]).unwrap();
}

#[test]
fn each_broken_promise_is_named() {
    let submitted = || What::Submitted(vec![job(1)]);
    let cases = [
        (vec![What::Submitted(vec![job(2)])], "is missing"),
        (vec![submitted(), read(None, 1)], "went back"),
        (
            vec![read(Some(done()), 5), read(Some(done()), 4)],
            "after 5 was read",
        ),
        (
            vec![
                reported(2, Told::Completed),
                read(Some(seen(2, JobStatus::Leased, None)), 9),
            ],
            "went back",
        ),
        (vec![claimed("a", 1), claimed("a", 2)], "asked again"),
        (vec![claimed("a", 1), claimed("b", 1)], "both got"),
        (vec![named("a", 1), named("a", 2)], "asked again"),
        (vec![named("a", 1), named("b", 1)], "both got"),
        (
            vec![claimed("b", 2), What::Renewed(given(1))],
            "an old attempt goes on",
        ),
        (vec![reported(2, Told::Failed)], "but in the end"),
        (vec![What::Cancelled(job(1))], "but in the end"),
        (
            vec![read(Some(seen(2, JobStatus::Completed, Some("x"))), 1)],
            "became",
        ),
        (vec![claimed("c", 3)], "ends at"),
    ];
    for (all, says) in cases {
        let said = broken(all.clone());
        assert!(said.contains(says), "{all:?}: {said}");
    }
}

#[test]
fn leases_at_one_time_tokens_twice_and_results_of_nobody_are_named() {
    let mut all = history(Vec::new());
    let hold = |attempt, from, until| Hold {
        given: given(attempt),
        from,
        until,
    };
    all.holds = vec![hold(2, 20, 30), hold(1, 0, 20)];
    check(&all, &[done()]).unwrap();
    all.holds[1].until = 21;
    assert!(check(&all, &[done()]).unwrap_err().contains("two leases"));

    let mut other = given(2);
    other.token = LeaseToken::NONE;
    let said = broken(vec![What::Renewed(given(2)), What::Renewed(other)]);
    assert!(said.contains("two tokens"), "{said}");

    let last = seen(2, JobStatus::Completed, Some("of nobody"));
    let said = check(&history(Vec::new()), &[last]).unwrap_err();
    assert!(said.contains("nobody reported"), "{said}");
}
