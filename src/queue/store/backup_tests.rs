//! Copies: made while somebody writes, put back whole, refused where something is.

use std::os::unix::fs::PermissionsExt;

use super::super::open::open;
use super::*;

fn filled(path: &Path) -> super::super::open::Opened {
    let opened = open(path, false).unwrap();
    opened
        .connection
        .execute_batch("INSERT INTO grp VALUES (1, x'00', 'k', 't', 0, NULL, '{}')")
        .unwrap();
    opened
}

fn groups(path: &Path) -> i64 {
    Connection::open(path)
        .unwrap()
        .query_row("SELECT count(*) FROM grp", [], |row| row.get(0))
        .unwrap()
}

#[test]
fn a_backup_of_a_queue_in_use_is_whole_private_and_can_be_put_back() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, copy) = (dir.path().join("q.db"), dir.path().join("copy.db"));
    let opened = filled(&queue);
    // A writer in the middle of something: what it has not committed is not in the copy.
    opened
        .connection
        .execute_batch(
            "BEGIN IMMEDIATE; INSERT INTO grp VALUES (2, x'01', 'k', 't', 0, NULL, '{}')",
        )
        .unwrap();
    let bytes = back_up(&queue, &copy).unwrap();
    opened.connection.execute_batch("COMMIT").unwrap();
    let about = copy.metadata().unwrap();
    assert_eq!(
        (about.len(), about.permissions().mode() & 0o777),
        (bytes, 0o600)
    );
    let restored = dir.path().join("new/r.db");
    restore(&copy, &restored).unwrap();
    assert_eq!((groups(&restored), groups(&queue)), (1, 2));
    drop(open(&restored, true).unwrap());
}

#[test]
fn nothing_is_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, copy) = (dir.path().join("q.db"), dir.path().join("copy.db"));
    drop(filled(&queue));
    std::fs::write(&copy, "mine").unwrap();
    assert!(matches!(
        back_up(&queue, &copy),
        Err(CopyError::NotEmpty { .. })
    ));
    std::fs::write(&copy, "").unwrap();
    back_up(&queue, &copy).unwrap();
    assert!(matches!(
        restore(&copy, &queue),
        Err(CopyError::NotEmpty { .. })
    ));
    assert_eq!(groups(&queue), 1);
}

#[test]
fn what_is_no_backup_is_not_put_back() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("t.db");
    let bad = dir.path().join("bad.db");
    std::fs::write(&bad, vec![7; 8192]).unwrap();
    assert!(matches!(
        restore(&bad, &target),
        Err(CopyError::Queue(Error::Damaged { .. }))
    ));
    let other = dir.path().join("other.db");
    Connection::open(&other)
        .unwrap()
        .execute_batch("CREATE TABLE t (a)")
        .unwrap();
    assert!(matches!(
        restore(&other, &target),
        Err(CopyError::NoBackup { .. })
    ));
    let queue = dir.path().join("q.db");
    let opened = filled(&queue);
    assert!(matches!(
        restore(&queue, &target),
        Err(CopyError::NoBackup { .. })
    ));
    drop(opened);
    assert!(!target.exists());
}
