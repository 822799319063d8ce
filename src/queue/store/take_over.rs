//! Takes over a state of the original as a command, so that every member of a cluster does it alike.

use hmac::{Hmac, KeyInit, Mac};
use rusqlite::Connection;
use sha2::Sha256;

use super::tx::Tx;
use super::{Reader, legacy, services};
use crate::protocol::{JobId, LeaseToken};
use crate::queue::Error;
use crate::queue::command::{Original, TakenOver};
use crate::queue::engine::Change;

/// Writes the records. Returns nothing, and writes nothing, if this is the `first` step and there is something already.
pub fn take_over(
    tx: &mut Tx<'_>,
    first: bool,
    seed: [u8; 16],
    original: &Original,
) -> rusqlite::Result<Option<TakenOver>> {
    if first && !is_vacant(tx.connection)? {
        return Ok(None);
    }
    let mut taken = TakenOver::default();
    for host in &original.hosts {
        let done = legacy::insert_host(tx.connection, host)?;
        count(done, &mut taken.hosts, &mut taken.skipped);
    }
    for service in &original.services {
        services::save(tx.connection, service)?;
        taken.services += 1;
    }
    for job in &original.jobs {
        let mut token = |attempt| token(seed, job.id, attempt);
        let written = legacy::insert_job(tx.connection, job, &mut token)?;
        count(written.is_some(), &mut taken.jobs, &mut taken.skipped);
        if let Some((pin, need)) = written
            && !job.has_ended()
        {
            tx.needs.add(None, &pin, &need);
            tx.changes.push(Change::Ready {
                job: job.id,
                group: None,
                avoids: false,
            });
        }
    }
    Ok(Some(taken))
}

const fn count(done: bool, taken: &mut u64, skipped: &mut u64) {
    *(if done { taken } else { skipped }) += 1;
}

impl Reader {
    /// Tells whether nobody has asked anything of this queue yet.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn is_vacant(&self) -> Result<bool, Error> {
        is_vacant(&self.connection).map_err(|error| self.failed(error))
    }
}

fn is_vacant(connection: &Connection) -> rusqlite::Result<bool> {
    let mut something = connection.prepare_cached(
        "SELECT 1 FROM job UNION ALL SELECT 1 FROM grp UNION ALL SELECT 1 FROM host \
         UNION ALL SELECT 1 FROM service LIMIT 1",
    )?;
    Ok(!something.exists([])?)
}

/// The same on every member, and nobody can know it.
#[allow(clippy::expect_used, reason = "the function takes keys of any length")]
fn token(seed: [u8; 16], job: JobId, attempt: u16) -> LeaseToken {
    let mut mac = Hmac::<Sha256>::new_from_slice(&seed).expect("a key of any length is taken");
    mac.update(job.as_bytes());
    mac.update(&attempt.to_be_bytes());
    let bytes: [u8; 32] = mac.finalize().into_bytes().into();
    let mut token = [0; 16];
    token.copy_from_slice(bytes.first_chunk::<16>().unwrap_or(&[0; 16]));
    LeaseToken::from_bytes(token)
}
