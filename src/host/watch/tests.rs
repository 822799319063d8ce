use std::os::unix::fs::PermissionsExt;

use super::*;

#[test]
fn a_watcher_that_does_not_read_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("watcher");
    std::fs::write(&program, "#!/bin/sh\nexec sleep 60\n").unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let watch = Watch::start(&program, dir.path(), "state", "process").unwrap();
    let first = watch.link();
    let until = Instant::now() + 4 * SEND_TIMEOUT;
    while Arc::ptr_eq(&first, &watch.link()) {
        assert!(Instant::now() < until, "nobody replaced it");
        watch.ended(1);
    }
    let mut state = watch.state();
    assert!(runs(&state.child));
    state.child.kill().unwrap();
    state.child.wait().unwrap();
}
