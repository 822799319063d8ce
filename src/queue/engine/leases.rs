//! What holders of leases do: claim, renew, complete, release.

use std::time::Duration;

use super::{Queue, mixed_up};
use crate::protocol::{JobId, LeaseToken, OUTPUT_LIMIT};
use crate::queue::command::{
    ClaimMark, ClaimRequest, Claimed, Command, Completion, Envelope, Idempotency, LeaseRef,
    Outcome, Renewed, Report,
};
use crate::queue::domain::backoff;
use crate::queue::error::Error;
use crate::queue::store::Applied;
use crate::support::ids;

/// An answer, and whether it was remembered from an earlier request with the same key.
pub type Keyed<T> = Result<(T, bool), Error>;

impl Queue {
    /// Gives leases on waiting jobs to the hosts that ask. No work is an empty list.
    ///
    /// # Errors
    /// When the file fails.
    pub async fn claim(&self, request: ClaimRequest) -> Result<Vec<Claimed>, Error> {
        self.claim_keyed(request, None)
            .await
            .map(|(given, _)| given)
    }

    /// Claims as [`Self::claim`] does; asked again with the same key, it gives the same leases. The
    /// second value tells that it did.
    ///
    /// # Errors
    /// When the key was used otherwise or the file fails.
    pub async fn claim_keyed(
        &self,
        request: ClaimRequest,
        idempotency: Option<Idempotency>,
    ) -> Result<(Vec<Claimed>, bool), Error> {
        let command = self.claim_command(request, Vec::new());
        claimed(self.apply_keyed(command, idempotency).await?)
    }

    /// Claims as [`Self::claim`] does. Whoever has a mark among `marks`, which stand in the order of those who ask, and
    /// holds leases that were given by it gets those again and no others, each with a whole lease time.
    ///
    /// # Errors
    /// When the file fails.
    pub async fn claim_once(
        &self,
        request: ClaimRequest,
        marks: Vec<Option<ClaimMark>>,
    ) -> Result<Vec<Claimed>, Error> {
        let command = self.claim_command(request, marks);
        let (given, _) = claimed(self.apply(command.into()).await?)?;
        Ok(given)
    }

    fn claim_command(&self, request: ClaimRequest, marks: Vec<Option<ClaimMark>>) -> Command {
        let wanted: usize = request
            .claimants
            .iter()
            .map(|claimant| usize::from(claimant.max))
            .sum();
        let now = self.now.get();
        let tokens = (0..wanted).map(|_| LeaseToken::fresh()).collect();
        if marks.iter().all(Option::is_none) {
            return Command::Claim {
                now,
                request,
                tokens,
            };
        }
        Command::ClaimOnce {
            now,
            request,
            tokens,
            marks,
        }
    }

    /// Lets the host that lost a job have it again at once, because nobody else could run it. Tells whether the
    /// job avoided it.
    ///
    /// # Errors
    /// When the file fails.
    pub async fn readmit(&self, job: JobId) -> Result<bool, Error> {
        let now = self.now.get();
        let command = Command::Readmit { now, job };
        match self.apply(command.into()).await?.outcome {
            Outcome::Readmitted(was) => Ok(was),
            other => Err(mixed_up(&other)),
        }
    }

    /// Tells whether a request with this key has its answer already.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn remembers(&self, key: Idempotency) -> Result<bool, Error> {
        let now = self.now.get();
        self.read(move |reader| reader.remembers(&key, now)).await
    }

    /// Prolongs leases. The answers stand in the order asked and also deliver cancels.
    ///
    /// # Errors
    /// When the file fails.
    pub async fn renew(&self, leases: Vec<LeaseRef>) -> Result<Vec<Renewed>, Error> {
        let now = self.now.get();
        match self
            .apply(Command::Renew { now, leases }.into())
            .await?
            .outcome
        {
            Outcome::Renewed(answers) => Ok(answers),
            other => Err(mixed_up(&other)),
        }
    }

    /// Takes the report of an attempt. Asking again with the same lease gives the same answer.
    ///
    /// # Errors
    /// When the file fails. A lost lease is an answer.
    pub async fn complete(&self, lease: LeaseRef, report: Report) -> Result<Completion, Error> {
        self.complete_keyed(lease, report, None)
            .await
            .map(|(completion, _)| completion)
    }

    /// Completes as [`Self::complete`] does, and remembers the answer under the key. The second value
    /// tells that it was remembered.
    ///
    /// # Errors
    /// When the key was used otherwise or the file fails. A lost lease is an answer.
    pub async fn complete_keyed(
        &self,
        lease: LeaseRef,
        report: Report,
        idempotency: Option<Idempotency>,
    ) -> Result<(Completion, bool), Error> {
        let report = Report {
            result: report.result.within(OUTPUT_LIMIT),
            ..report
        };
        let command = Command::Complete {
            now: self.now.get(),
            lease,
            report,
            jitter: jitter(),
        };
        let applied = self.apply_keyed(command, idempotency).await?;
        match applied.outcome {
            Outcome::Completed(completion) => Ok((completion, applied.replayed)),
            other => Err(mixed_up(&other)),
        }
    }

    /// Takes many reports in one step; each stands alone. The answers stand in the order told; the
    /// second value tells that they were remembered from an earlier request with the same key.
    ///
    /// # Errors
    /// When the key was used otherwise or the file fails. A lost lease is an answer.
    pub async fn complete_many(
        &self,
        reports: Vec<(LeaseRef, Report)>,
        idempotency: Option<Idempotency>,
    ) -> Result<(Vec<Completion>, bool), Error> {
        let command = self.complete_command(reports);
        completed(self.apply_keyed(command, idempotency).await?)
    }

    fn complete_command(&self, reports: Vec<(LeaseRef, Report)>) -> Command {
        let reports = reports.into_iter().map(|(lease, report)| {
            let result = report.result.within(OUTPUT_LIMIT);
            (lease, Report { result, ..report }, jitter())
        });
        Command::CompleteMany {
            now: self.now.get(),
            reports: reports.collect(),
        }
    }

    /// Takes reports as [`Self::complete_many`] does and then claims as [`Self::claim_keyed`] does, in one
    /// commit. Each stands alone.
    pub async fn exchange(
        &self,
        (reports, reports_key): (Vec<(LeaseRef, Report)>, Option<Idempotency>),
        (request, request_key): (ClaimRequest, Option<Idempotency>),
    ) -> (Keyed<Vec<Completion>>, Keyed<Vec<Claimed>>) {
        let first = Envelope {
            command: self.complete_command(reports),
            idempotency: reports_key,
        };
        let second = Envelope {
            command: self.claim_command(request, Vec::new()),
            idempotency: request_key,
        };
        let [told, given] = self.apply_both(first, second).await;
        (told.and_then(completed), given.and_then(claimed))
    }

    /// Takes reports as [`Self::complete_many`] does and then claims as [`Self::claim_once`] does, in one commit. Each
    /// stands alone.
    pub async fn exchange_once(
        &self,
        (reports, reports_key): (Vec<(LeaseRef, Report)>, Option<Idempotency>),
        (request, mark): (ClaimRequest, ClaimMark),
    ) -> (Keyed<Vec<Completion>>, Keyed<Vec<Claimed>>) {
        let first = Envelope {
            command: self.complete_command(reports),
            idempotency: reports_key,
        };
        let second = self.claim_command(request, vec![Some(mark)]).into();
        let [told, given] = self.apply_both(first, second).await;
        (told.and_then(completed), given.and_then(claimed))
    }

    /// Gives jobs back unharmed; nobody gets them before `delay` is over.
    ///
    /// # Errors
    /// When the file fails. A lost lease is an answer.
    pub async fn release(
        &self,
        leases: Vec<LeaseRef>,
        delay: Duration,
    ) -> Result<Vec<Completion>, Error> {
        let command = Command::Release {
            now: self.now.get(),
            leases,
            delay,
        };
        match self.apply(command.into()).await?.outcome {
            Outcome::Released(answers) => Ok(answers),
            other => Err(mixed_up(&other)),
        }
    }
}

fn claimed(applied: Applied) -> Keyed<Vec<Claimed>> {
    match applied.outcome {
        Outcome::Claimed(given) => Ok((given, applied.replayed)),
        other => Err(mixed_up(&other)),
    }
}

fn completed(applied: Applied) -> Keyed<Vec<Completion>> {
    match applied.outcome {
        Outcome::CompletedMany(all) => Ok((all, applied.replayed)),
        other => Err(mixed_up(&other)),
    }
}

/// Draws the chance that goes into a completion.
fn jitter() -> u32 {
    // A fraction below one of a whole number below 2^20 always fits.
    (ids::fraction() * f64::from(backoff::WHOLE)) as u32
}
