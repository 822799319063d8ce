//! What the daemon tells its watcher: one record of fixed size for each group that starts or ends.

use crate::protocol::{AttemptNo, JobId};

/// Small enough that a socket takes it whole or not at all.
pub(in crate::host) const SIZE: usize = 32;

/// A record as it travels.
pub(in crate::host) type Bytes = [u8; SIZE];

const BEGAN: u8 = b'+';
const ENDED: u8 = b'-';

/// What happened to a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::host) enum Record {
    /// It starts; said by its leader before it becomes the job's program.
    Began(i32, JobId, AttemptNo),
    /// It is over.
    Ended(i32),
}

/// Returns the record of a start, for the leader to put its id into.
pub(in crate::host) fn template(job: JobId, attempt: AttemptNo) -> Bytes {
    let mut bytes = [0; SIZE];
    put(&mut bytes, 0, &[BEGAN]);
    put(&mut bytes, 2, &attempt.get().to_le_bytes());
    put(&mut bytes, 8, job.as_bytes());
    bytes
}

/// Returns the record of a session that is of no job in particular.
pub(in crate::host) fn stray(session: i32) -> Bytes {
    let mut bytes = [0; SIZE];
    put(&mut bytes, 0, &[BEGAN]);
    with_pid(bytes, session)
}

/// Puts the leader's id into the record. Allocates nothing and cannot panic: it runs between fork and exec.
pub(in crate::host) fn with_pid(mut template: Bytes, pid: i32) -> Bytes {
    put(&mut template, 4, &pid.to_le_bytes());
    template
}

/// Returns the record of an end.
pub(in crate::host) fn ended(pid: i32) -> Bytes {
    let mut bytes = [0; SIZE];
    put(&mut bytes, 0, &[ENDED]);
    with_pid(bytes, pid)
}

/// Reads a record.
pub(in crate::host) fn read(bytes: &[u8]) -> Option<Record> {
    let pid = i32::from_le_bytes(bytes.get(4..8)?.try_into().ok()?);
    match *bytes.first()? {
        BEGAN => {
            let attempt = u16::from_le_bytes(bytes.get(2..4)?.try_into().ok()?);
            let job = JobId::from_bytes(bytes.get(8..24)?.try_into().ok()?);
            Some(Record::Began(pid, job, AttemptNo::new(attempt)))
        }
        ENDED => Some(Record::Ended(pid)),
        _ => None,
    }
}

fn put(bytes: &mut Bytes, at: usize, what: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + what.len()) {
        place.copy_from_slice(what);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_read_back() {
        let job = JobId::fresh();
        let began = with_pid(template(job, AttemptNo::new(3)), 70_000);
        assert_eq!(
            read(&began),
            Some(Record::Began(70_000, job, AttemptNo::new(3)))
        );
        assert_eq!(read(&ended(12)), Some(Record::Ended(12)));
        assert_eq!(read(b"x"), None);
    }
}
