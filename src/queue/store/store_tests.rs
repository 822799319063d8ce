//! The same commands give the same file, however they are batched; and a file without room.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::protocol::{
    AttemptNo, GroupId, HostId, JobId, JobResult, LeaseToken, Output, Payload, Reason, Requirement,
};
use crate::queue::command::{
    Cancel, ClaimRequest, Claimant, Command, Idempotency, IntoGroup, LeaseRef, NewGroup, NewJob,
    Outcome, Prune, Report, Submit, Verdict,
};
use crate::support::clock::Timestamp;

/// Makes commands from small numbers. Knows what it was answered, so that it can name real leases.
#[derive(Default)]
struct Maker {
    made: u8,
    seconds: i64,
    held: Vec<LeaseRef>,
    jobs: Vec<JobId>,
    groups: Vec<GroupId>,
}

impl Maker {
    /// Returns bytes that were not returned before and are the same in every run.
    fn fresh(&mut self) -> [u8; 16] {
        self.made += 1;
        [self.made; 16]
    }

    fn submit(&mut self, choice: u8) -> Submit {
        let group = (choice.is_multiple_of(4)).then(|| {
            let id = GroupId::from_bytes(self.fresh());
            self.groups.push(id);
            IntoGroup::New(NewGroup {
                id,
                kind: "dispatch".into(),
                title: "t".into(),
                parent: None,
                meta: Payload::parse("{}").unwrap(),
            })
        });
        let mut job = job(self.fresh(), usize::from(choice) * 40);
        self.jobs.push(job.id);
        job.retries = u16::from(choice % 3);
        job.priority = i8::try_from(choice % 5).unwrap();
        if choice.is_multiple_of(7) {
            job.requirement = Requirement::pinned("h1");
        }
        if choice.is_multiple_of(11) {
            job.start_by = Some(self.now().plus(Duration::from_secs(40)));
        }
        Submit {
            group,
            jobs: vec![job],
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.seconds * 1000)
    }

    fn lease(&self, choice: u8) -> LeaseRef {
        let nobodys = LeaseRef::new(
            JobId::from_bytes([255; 16]),
            AttemptNo::new(1),
            LeaseToken::from_bytes([0; 16]),
        );
        let index = usize::from(choice) % self.held.len().max(1);
        self.held.get(index).cloned().unwrap_or(nobodys)
    }

    fn target(&self, choice: u8) -> Cancel {
        match self.groups.last() {
            Some(group) if choice.is_multiple_of(2) => Cancel::Group(*group),
            Some(_) | None => Cancel::Jobs(self.jobs.last().copied().into_iter().collect()),
        }
    }

    fn next(&mut self, kind: u8, choice: u8) -> Envelope {
        let now = self.now();
        let lease = self.lease(choice);
        let command = match kind {
            0 | 1 => Command::Submit {
                now,
                submit: self.submit(choice),
            },
            2 => Command::Claim {
                now,
                request: asks(&format!("h{}", choice % 3)),
                tokens: vec![LeaseToken::from_bytes(self.fresh())],
            },
            3 => Command::Renew {
                now,
                leases: vec![lease],
            },
            4 => Command::Complete {
                now,
                lease,
                report: report(choice),
                jitter: u32::from(choice),
            },
            5 => Command::Release {
                now,
                leases: vec![lease],
                delay: Duration::from_secs(u64::from(choice % 2) * 9),
            },
            6 => Command::Cancel {
                now,
                target: self.target(choice),
                reason: None,
                grace: None,
                limit: 10,
            },
            7 => {
                self.seconds += i64::from(choice);
                let now = self.now();
                Command::ExpireDue { now, limit: 10 }
            }
            8 => Command::Reprieve { now },
            _ => Command::Prune {
                now,
                rule: Prune {
                    ended_before: now.minus(Duration::from_secs(60)),
                    keep_ended: 5,
                    keep_groups: (choice.is_multiple_of(2)).then_some(2),
                    limit: 3,
                },
            },
        };
        // Some submits come twice with one key; the body is what the number says.
        let idempotency = (kind == 1).then(|| Idempotency {
            key: format!("k{}", choice % 4),
            body_hash: [choice; 32],
            expires_at: now.plus(Duration::from_secs(30)),
        });
        Envelope {
            command,
            idempotency,
        }
    }

    fn learn(&mut self, applied: &Applied) {
        if let Outcome::Claimed(given) = &applied.outcome {
            self.held.extend(given.iter().map(|one| one.lease()));
        }
    }
}

fn job(id: [u8; 16], size: usize) -> NewJob {
    let payload = format!(r#""{}""#, "x".repeat(size));
    NewJob {
        id: JobId::from_bytes(id),
        ..NewJob::new(Payload::parse(payload).unwrap())
    }
}

fn asks(host: &str) -> ClaimRequest {
    ClaimRequest {
        claimants: vec![Claimant::new(HostId::new(host).unwrap())],
        group: None,
        lease_for: Duration::from_secs(60),
    }
}

fn report(choice: u8) -> Report {
    Report {
        verdict: match choice % 3 {
            0 => Verdict::Succeeded,
            1 => Verdict::Failed(Reason::Exit),
            _ => Verdict::Failed(Reason::Lost),
        },
        result: JobResult {
            stdout: Output::of(vec![choice; 10], 100),
            ..JobResult::default()
        },
    }
}

fn open(dir: &Path) -> Store {
    let store = Store::open(&dir.join("queue.db"), false).unwrap();
    // Nobody pulls a plug here, and waiting for the disk is most of what these tests would do.
    store
        .connection
        .execute_batch("PRAGMA synchronous = OFF")
        .unwrap();
    store
}

fn run(store: &Store, commands: &[Envelope]) -> Vec<Result<Applied, Error>> {
    let mut batch: Vec<&Envelope> = commands.iter().collect();
    store.run(&mut batch, |_| None).answers
}

/// Returns every row of every table.
fn dump(store: &Store) -> Vec<String> {
    let mut tables = store
        .connection
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
        .unwrap();
    let tables: Vec<String> = tables
        .query_map([], |row| row.get(0))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    assert!(tables.len() >= 6);
    let mut all = Vec::new();
    for table in tables {
        let sql = format!("SELECT * FROM {table} ORDER BY 1");
        let mut rows = store.connection.prepare(&sql).unwrap();
        let width = rows.column_count();
        let mut rows = rows.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let values: Vec<_> = (0..width).map(|at| row.get_ref(at).unwrap()).collect();
            all.push(format!("{table} {values:?}"));
        }
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn the_same_commands_give_the_same_file_however_they_are_batched(
        steps in proptest::collection::vec((0u8..10, 0u8..90), 1..80),
        batch in 2usize..20,
    ) {
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let first = open(dirs[0].path());
        let mut maker = Maker::default();
        let (mut commands, mut answers) = (Vec::new(), Vec::new());
        for (kind, choice) in steps {
            let envelope = maker.next(kind, choice);
            let answer = run(&first, std::slice::from_ref(&envelope)).remove(0).unwrap();
            maker.learn(&answer);
            answers.push(answer);
            commands.push(envelope);
            check_invariants(&dirs[0].path().join("queue.db"));
        }
        let mut again = Vec::new();
        for part in commands.chunks(batch) {
            // Opened anew each time: nothing that matters is kept outside the file.
            let second = open(dirs[1].path());
            again.extend(run(&second, part).into_iter().map(Result::unwrap));
        }
        prop_assert_eq!(answers, again);
        prop_assert_eq!(dump(&first), dump(&open(dirs[1].path())));
    }
}

#[test]
fn without_room_every_command_of_a_batch_is_told_and_nothing_is_kept_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut maker = Maker::default();
    let accepted = maker.next(0, 1);
    run(&store, &[accepted]).remove(0).unwrap();
    let before = dump(&store);
    let limit = |pages: i64| {
        store
            .connection
            .pragma_update(None, "max_page_count", pages)
            .unwrap();
    };
    limit(1); // Never less than there are: from here on the file cannot grow.
    let now = maker.now();
    let submit = |id, size| Command::Submit {
        now,
        submit: Submit {
            group: None,
            jobs: vec![job(id, size)],
        },
    };
    let claim = Command::Claim {
        now,
        request: asks("a"),
        tokens: vec![LeaseToken::from_bytes([9; 16])],
    };
    let batch = [claim, submit([100; 16], 10), submit([101; 16], 120_000)].map(Envelope::from);
    let answers = run(&store, &batch);
    assert_eq!(answers.len(), 3);
    for answer in answers {
        assert!(matches!(answer, Err(Error::Full { .. })), "{answer:?}");
    }
    assert_eq!(dump(&store), before);
    limit(1 << 30);
    for answer in run(&store, &batch) {
        answer.unwrap();
    }
    check_invariants(&dir.path().join("queue.db"));
}

/// A command that panics when it is looked at.
struct Broken(Option<Envelope>);

impl Borrow<Envelope> for Broken {
    fn borrow(&self) -> &Envelope {
        self.0.as_ref().unwrap()
    }
}

#[test]
fn a_panic_costs_one_command_and_not_the_writer() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut maker = Maker::default();
    let mut batch: Vec<Broken> = [Some(maker.next(0, 1)), None, Some(maker.next(0, 2))]
        .into_iter()
        .map(Broken)
        .collect();
    let answers = store.run(&mut batch, |_| None).answers;
    let kept: Vec<bool> = answers.iter().map(Result::is_ok).collect();
    assert_eq!(kept, [true, false, true]);
    run(&store, &[maker.next(0, 3)]).remove(0).unwrap();
    check_invariants(&dir.path().join("queue.db"));
}
