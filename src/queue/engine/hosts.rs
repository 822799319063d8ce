//! What concerns hosts, the output of running jobs, and the switch that stops all giving out.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::{Queue, mixed_up};
use crate::protocol::api::HostMode;
use crate::protocol::{AttemptNo, HostId, JobId};
use crate::queue::command::{
    Command, Completion, HeldLease, HostEntry, Idempotency, LeaseRef, NewHost, NewPiece, Outcome,
    Piece, Retried,
};
use crate::queue::error::Error;
use crate::queue::store::Reader;

impl Queue {
    /// Takes note of a host. With `held`, its leases that are not named there are lost at once.
    /// The second value tells that the answer was remembered from an earlier request with the same key.
    ///
    /// # Errors
    /// When the key was used otherwise or the file fails.
    pub async fn register_host(
        &self,
        host: NewHost,
        held: Option<Vec<LeaseRef>>,
        idempotency: Option<Idempotency>,
    ) -> Result<(HostEntry, bool), Error> {
        let names_stay = false;
        match self.introduce(host, held, idempotency, names_stay).await? {
            (Some(entry), replayed) => Ok((entry, replayed)),
            (None, _) => Err(mixed_up(&Outcome::Host(None))),
        }
    }

    /// Takes note of a host as [`Queue::register_host`] does, unless its id is known under another
    /// name: then nothing is changed, and nothing is returned.
    ///
    /// # Errors
    /// When the key was used otherwise or the file fails.
    pub async fn register_host_of_name(
        &self,
        host: NewHost,
        held: Option<Vec<LeaseRef>>,
        idempotency: Option<Idempotency>,
    ) -> Result<Option<(HostEntry, bool)>, Error> {
        let names_stay = true;
        let (entry, replayed) = self.introduce(host, held, idempotency, names_stay).await?;
        Ok(entry.map(|entry| (entry, replayed)))
    }

    async fn introduce(
        &self,
        host: NewHost,
        held: Option<Vec<LeaseRef>>,
        idempotency: Option<Idempotency>,
        names_stay: bool,
    ) -> Result<(Option<HostEntry>, bool), Error> {
        let command = Command::RegisterHost {
            now: self.now.get(),
            host,
            held,
            names_stay,
        };
        let applied = self.apply_keyed(command, idempotency).await?;
        match applied.outcome {
            Outcome::Host(entry) => Ok((entry.map(|entry| *entry), applied.replayed)),
            other => Err(mixed_up(&other)),
        }
    }

    /// Returns who made which try of each of these jobs, running ones last. Jobs that are not known
    /// are left out.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn holders(
        &self,
        jobs: Vec<JobId>,
    ) -> Result<HashMap<JobId, Vec<(AttemptNo, HostId)>>, Error> {
        self.read(move |reader| reader.holders(&jobs)).await
    }

    /// Decides whether a host is given work; nothing if there is no such host.
    ///
    /// # Errors
    /// When the file fails.
    pub async fn set_host_mode(
        &self,
        host: HostId,
        mode: HostMode,
    ) -> Result<Option<HostEntry>, Error> {
        let now = self.now.get();
        let command = Command::SetHostMode { now, host, mode };
        match self.apply(command.into()).await?.outcome {
            Outcome::Host(entry) => Ok(entry.map(|entry| *entry)),
            other => Err(mixed_up(&other)),
        }
    }

    /// Forgets a host; what it held is lost at once. Returns whether it was known.
    ///
    /// # Errors
    /// When the file fails.
    pub async fn forget_host(&self, host: HostId) -> Result<bool, Error> {
        let now = self.now.get();
        let command = Command::ForgetHost { now, host };
        match self.apply(command.into()).await?.outcome {
            Outcome::Forgotten(known) => Ok(known),
            other => Err(mixed_up(&other)),
        }
    }

    /// Gives back unharmed what `host` was given more than `settled` ago and does not know of.
    ///
    /// # Errors
    /// When the file fails.
    pub async fn give_back(
        &self,
        host: HostId,
        held: Vec<LeaseRef>,
        settled: Duration,
    ) -> Result<Vec<Completion>, Error> {
        let now = self.now.get();
        let command = Command::GiveBack {
            now,
            host,
            held,
            given_before: now.minus(settled),
        };
        match self.apply(command.into()).await?.outcome {
            Outcome::Released(given) => Ok(given),
            other => Err(mixed_up(&other)),
        }
    }

    /// Stops giving out, or goes on with it. Kept over a restart.
    ///
    /// # Errors
    /// When the file fails.
    pub async fn set_paused(&self, paused: bool) -> Result<(), Error> {
        let now = self.now.get();
        let command = Command::SetPaused { now, paused };
        match self.apply(command.into()).await?.outcome {
            Outcome::Paused(_) => Ok(()),
            other => Err(mixed_up(&other)),
        }
    }

    /// Keeps output of running jobs. Tells of each piece whether its sender holds the lease.
    ///
    /// # Errors
    /// When the file fails.
    pub async fn append_log(&self, pieces: Vec<NewPiece>) -> Result<Vec<bool>, Error> {
        let now = self.now.get();
        let command = Command::AppendLog { now, pieces };
        match self.apply(command.into()).await?.outcome {
            Outcome::Logged(kept) => Ok(kept),
            other => Err(mixed_up(&other)),
        }
    }

    /// Asks for ended jobs again, as new jobs.
    ///
    /// # Errors
    /// When the key was used otherwise or the file fails.
    pub async fn retry(
        &self,
        jobs: Vec<JobId>,
        idempotency: Option<Idempotency>,
    ) -> Result<(Retried, bool), Error> {
        let command = Command::Retry {
            now: self.now.get(),
            jobs: jobs.into_iter().map(|old| (old, JobId::fresh())).collect(),
        };
        let applied = self.apply_keyed(command, idempotency).await?;
        match applied.outcome {
            Outcome::Retried(done) => Ok((done, applied.replayed)),
            other => Err(mixed_up(&other)),
        }
    }

    /// Returns the host with this id.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn host(&self, id: HostId) -> Result<Option<HostEntry>, Error> {
        self.read(move |reader| reader.host(&id)).await
    }

    /// Returns every host, by name.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn hosts(&self) -> Result<Vec<HostEntry>, Error> {
        self.read(Reader::hosts).await
    }

    /// Returns how many leases each host holds, for those that hold any.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn held_counts(&self) -> Result<BTreeMap<HostId, u32>, Error> {
        self.read(Reader::held_counts).await
    }

    /// Returns the leases that a host holds.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn leases_of(&self, host: HostId) -> Result<Vec<HeldLease>, Error> {
        self.read(move |reader| reader.leases_of(&host)).await
    }

    /// Tells whether nothing is given out.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn paused(&self) -> Result<bool, Error> {
        self.read(Reader::paused).await
    }

    /// Returns kept output of a job after piece number `after` (0 for all), at most about `limit`
    /// bytes and at least one piece if there is any; nothing if there is no such job.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn log(
        &self,
        job: JobId,
        after: i64,
        limit: usize,
    ) -> Result<Option<Vec<Piece>>, Error> {
        self.read(move |reader| reader.log(job, after, limit)).await
    }
}
