//! Jobs at hand: a daemon whose jobs are short fetches some before it can begin them.

use std::collections::BTreeMap;
use std::fs;

use skyclaw::protocol::api::{CancelJobs, SubmitJob, SubmitMany};
use skyclaw::protocol::{AttemptEnd, JobId, JobStatus, Reason};

use crate::bed::{Bed, SOON, assert_failed, job, shell};
use crate::common::{Running, eventually};

/// So many short jobs that the next ones are fetched ahead, and so many long ones that there is plenty left.
const SHORT: usize = 40;
const LONG: usize = 40;

/// Short is what ends, however slow the machine is; what is at hand goes back after some seconds.
const SOME: [(&str, &str); 1] = [("SKYCLAW_SHORT_MS", "2000")];
/// What is at hand does not go back by itself.
const LASTING: [(&str, &str); 1] = [("SKYCLAW_SHORT_MS", "3600000")];

/// Jobs that write their number to the file `ran` when they begin, of which the later ones wait for a file.
struct Work {
    short: Vec<JobId>,
    long: Vec<JobId>,
}

/// Submits the work. The first long job does `first` before it waits; `change` may change the long ones.
fn submit(bed: &Bed, first: &str, change: impl Fn(&mut SubmitJob)) -> Work {
    let (ran, go, mark) = (bed.file("ran"), bed.file("go"), bed.file("mark"));
    let short = (0..SHORT).map(|_| job(&shell(":")));
    let long = (0..LONG).map(|number| {
        let mut long = job(&shell(&format!(
            "echo {number} >> {ran}; if mkdir {mark} 2>/dev/null; then {first}; fi; \
             while [ ! -e {go} ]; do sleep 0.02; done"
        )));
        change(&mut long);
        long
    });
    let jobs = SubmitMany {
        jobs: short.chain(long).collect(),
        ..SubmitMany::default()
    };
    let client = bed.client();
    let mut ids = bed.block_on(client.submit_many(&jobs, None)).unwrap().ids;
    let long = ids.split_off(SHORT);
    Work { short: ids, long }
}

/// Returns how often each long job has begun.
fn begun(bed: &Bed) -> BTreeMap<usize, usize> {
    let text = fs::read_to_string(bed.file("ran")).unwrap_or_default();
    let mut begun = BTreeMap::new();
    for number in text.lines() {
        *begun.entry(number.parse().unwrap()).or_default() += 1;
    }
    begun
}

/// How the attempts of a job ended.
fn ends(bed: &Bed, job: JobId) -> Vec<Option<AttemptEnd>> {
    let attempts = bed.block_on(bed.client().attempts(job)).unwrap().attempts;
    attempts.into_iter().map(|attempt| attempt.end).collect()
}

/// Returns those of the long jobs that were at hand once and given back.
fn given_back(bed: &Bed, work: &Work) -> Vec<JobId> {
    let back = |job: &&JobId| ends(bed, **job).contains(&Some(AttemptEnd::Released));
    work.long.iter().filter(back).copied().collect()
}

fn leased(bed: &Bed, work: &Work) -> usize {
    let all = work.long.iter();
    all.filter(|job| bed.look(**job).status == JobStatus::Leased)
        .count()
}

fn let_go(bed: &Bed) {
    fs::write(bed.file("go"), "").unwrap();
}

fn all_done(bed: &Bed, work: &Work) {
    for job in work.short.iter().chain(&work.long) {
        assert_eq!(bed.wait(*job).status, JobStatus::Completed);
    }
    assert!(begun(bed).values().all(|times| *times == 1));
}

fn end(host: Running) {
    host.terminate();
    host.wait(SOON).expect_code(0);
}

#[test]
fn what_does_not_begin_soon_goes_back_and_begins_elsewhere() {
    let bed = Bed::new();
    let host = bed.host("lab", &SOME);
    let work = submit(&bed, ":", |_| {});
    bed.made("ran");
    // It has one slot. What it had at hand besides is free for others while that is busy.
    eventually(SOON, || !given_back(&bed, &work).is_empty());
    eventually(SOON, || leased(&bed, &work) == 1);
    assert_eq!(begun(&bed).len(), 1);
    let other = bed.host("other", &[("SKYCLAW_MAX_PARALLEL", "8")]);
    let back = given_back(&bed, &work);
    eventually(SOON, || leased(&bed, &work) == 9);
    assert!(back.iter().all(|job| {
        let job = bed.look(*job);
        job.status == JobStatus::Leased && job.attempts.get() > 1
    }));
    let_go(&bed);
    all_done(&bed, &work);
    end(host);
    end(other);
}

#[test]
fn a_daemon_that_is_told_to_stop_gives_back_what_has_not_begun() {
    let bed = Bed::new();
    let vars = [LASTING[0], ("SKYCLAW_MAX_PARALLEL", "4")];
    let host = bed.host("lab", &vars);
    // The first long one tells its daemon to stop.
    let work = submit(&bed, "kill -TERM $PPID", |_| {});
    let line = host.wait_for_line("stopping, ", SOON);
    let running = line.split_whitespace().rev().nth(1).unwrap();
    assert!(running.parse::<usize>().unwrap() <= 4, "{line}");
    // All that another one can run it runs, while these go on.
    let other = bed.host("other", &[("SKYCLAW_MAX_PARALLEL", "8")]);
    eventually(SOON, || begun(&bed).len() >= 9);
    let_go(&bed);
    host.wait(SOON).expect_code(0);
    all_done(&bed, &work);
    end(other);
}

#[test]
fn an_owner_who_pauses_the_host_frees_what_has_not_begun() {
    let bed = Bed::new();
    let host = bed.host("lab", &LASTING);
    let work = submit(&bed, ":", |_| {});
    bed.made("ran");
    bed.ask_host("lab", &["pause"]).expect_code(0);
    eventually(SOON, || leased(&bed, &work) == 1);
    let_go(&bed);
    let first = work.long.first().copied().unwrap();
    bed.wait(first);
    assert_eq!(begun(&bed).len(), 1);
    bed.ask_host("lab", &["resume"]).expect_code(0);
    all_done(&bed, &work);
    end(host);
}

#[test]
fn what_a_killed_daemon_had_at_hand_runs_elsewhere_once() {
    let bed = Bed::with_lease(2000);
    let host = bed.host("lab", &LASTING);
    let work = submit(&bed, "kill -9 $PPID; sleep 600", |_| {});
    host.wait(SOON);
    let_go(&bed);
    let other = bed.host("other", &[("SKYCLAW_MAX_PARALLEL", "8")]);
    for job in &work.long {
        assert_eq!(bed.wait(*job).status, JobStatus::Completed);
    }
    // Only the first one had begun.
    let begun = begun(&bed);
    assert_eq!(begun.len(), LONG);
    assert_eq!(begun.values().filter(|times| **times > 1).count(), 1);
    end(other);
}

#[test]
fn a_job_that_must_not_be_lost_is_never_at_hand() {
    let bed = Bed::with_lease(2000);
    let host = bed.host("lab", &SOME);
    let once = |job: &mut SubmitJob| job.max_attempts = Some(1);
    let work = submit(&bed, "kill -9 $PPID; sleep 600", once);
    host.wait(SOON);
    let_go(&bed);
    let other = bed.host("other", &[("SKYCLAW_MAX_PARALLEL", "8")]);
    let (first, others) = work.long.split_first().unwrap();
    assert_failed(&bed.wait(*first), Reason::Lost);
    for job in others {
        assert_eq!(bed.wait(*job).status, JobStatus::Completed);
    }
    end(other);
}

#[test]
fn what_is_cancelled_before_it_begins_never_does() {
    let bed = Bed::new();
    let host = bed.host("lab", &LASTING);
    let work = submit(&bed, ":", |_| {});
    bed.made("ran");
    let cancel = CancelJobs {
        ids: work.long.clone(),
        ..CancelJobs::default()
    };
    bed.block_on(bed.client().cancel(&cancel)).unwrap();
    for job in &work.long {
        assert_failed(&bed.wait(*job), Reason::Cancelled);
    }
    assert_eq!(begun(&bed).len(), 1);
    end(host);
}

#[test]
fn nothing_is_at_hand_for_who_does_not_want_it() {
    let bed = Bed::new();
    let host = bed.host("lab", &[("SKYCLAW_SHORT_MS", "0")]);
    let work = submit(&bed, ":", |_| {});
    bed.made("ran");
    let_go(&bed);
    all_done(&bed, &work);
    assert!(given_back(&bed, &work).is_empty());
    end(host);
}
