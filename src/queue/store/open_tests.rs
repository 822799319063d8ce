//! Opening: new, old, newer and damaged files.

use std::os::unix::fs::PermissionsExt;

use super::*;

fn version_of(path: &Path) -> i64 {
    version(&Connection::open(path).unwrap()).unwrap()
}

#[test]
fn a_new_file_is_private_and_an_old_one_is_brought_forward() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state/queue.db");
    drop(open(&path, false).unwrap());
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    // The next version is made up, so that the way there is kept in order.
    let steps = [
        schema::STEPS[0],
        schema::STEPS[1],
        schema::STEPS[2],
        "ALTER TABLE grp ADD COLUMN later TEXT NOT NULL DEFAULT 'x'",
    ];
    let old = Connection::open(&path).unwrap();
    old.execute_batch("INSERT INTO grp VALUES (1, x'00', 'k', 't', 0, NULL, '{}')")
        .unwrap();
    drop(old);
    let mut opened = open(&path, true).unwrap();
    migrate(&mut opened.connection, &path, &steps).unwrap();
    let row = |sql: &str| -> (i64, String) {
        let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
        opened.connection.query_row(sql, [], read).unwrap()
    };
    assert_eq!(row("SELECT seq, later FROM grp"), (1, "x".to_owned()));
    assert_eq!(version_of(&path), 4);
    assert!(matches!(
        open(&path, false),
        Err(Error::Newer { found: 4, .. })
    ));
}

#[test]
fn jobs_of_the_first_version_are_brought_forward() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("queue.db");
    let old = Connection::open(&path).unwrap();
    old.execute_batch(schema::STEPS[0]).unwrap();
    old.execute_batch(
        "INSERT INTO job (seq, id, state, attempt, lost, failed, max_attempts, retries, host, token, \
         since, lease_ms, due_at, pin, need, priority, created_at, updated_at, payload) VALUES \
         (1, x'00112233445566778899aabbccddeeff', 2, 1, 0, 0, 3, 0, 'a', x'00112233445566778899aabbccddeeff', \
         5, 60000, 60005, '', '-', 0, 1, 5, '{}'); PRAGMA user_version = 1",
    )
    .unwrap();
    drop(old);
    let opened = open(&path, true).unwrap();
    let held: i64 = opened
        .connection
        .query_row(
            "SELECT count(*) FROM job INDEXED BY job_holder WHERE state = 2 AND host = 'a'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!((held, version_of(&path)), (1, 3));
}

#[test]
fn newer_and_damaged_files_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let newer = dir.path().join("newer.db");
    Connection::open(&newer)
        .unwrap()
        .pragma_update(None, "user_version", 99)
        .unwrap();
    assert!(matches!(
        open(&newer, false),
        Err(Error::Newer { found: 99, .. })
    ));
    assert_eq!(version_of(&newer), 99);
    let damaged = dir.path().join("damaged.db");
    std::fs::write(&damaged, vec![7; 8192]).unwrap();
    let Err(error) = open(&damaged, false) else {
        panic!("a file of rubbish was opened");
    };
    assert!(
        error.to_string().contains("damaged.db is damaged"),
        "{error}"
    );
}
