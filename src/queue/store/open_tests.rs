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
    let old = dir.path().join("old.db");
    let first = Connection::open(&old).unwrap();
    first.execute_batch(schema::STEPS[0]).unwrap();
    first
        .execute_batch(
            "PRAGMA user_version = 1; INSERT INTO grp VALUES (1, x'00', 'k', 't', 0, NULL, '{}')",
        )
        .unwrap();
    drop(first);
    let opened = open(&old, true).unwrap();
    let count = |table: &str| -> i64 {
        let sql = format!("SELECT count(*) FROM {table}");
        opened
            .connection
            .query_row(&sql, [], |row| row.get(0))
            .unwrap()
    };
    assert_eq!((count("grp"), count("stray")), (1, 0));
    assert_eq!(version_of(&old), schema::VERSION);
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
