//! `fleet deploy --component host` on macOS, as far as stand-ins can show it: launchd looks after what looks after the
//! daemon, and where it does not want to, cron does.

use std::fs;
use std::time::Duration;

use super::daemon::Site;
use super::fakes::{calls, with_launchd};
use crate::common::eventually;

const SOON: Duration = Duration::from_secs(60);
const PLIST: &str = "Library/LaunchAgents/skyclaw-host.plist";

#[test]
fn launchd_keeps_the_daemon_running_where_there_is_one() {
    let Some(site) = Site::new(with_launchd) else {
        return;
    };
    let row = site.deploy(&[]);
    assert_eq!(row["result"], "installed", "{row}");
    assert_eq!(row["service"], "launchd", "{row}");
    assert!(
        row["warnings"].as_array().is_none_or(Vec::is_empty),
        "{row}"
    );
    let home = site.bed.server.home();
    let wanted = concat!(env!("CARGO_MANIFEST_DIR"), "/templates/skyclaw-host.plist");
    let plist = site.bed.read(PLIST);
    assert_eq!(plist, fs::read_to_string(wanted).unwrap());
    let mut tags = plist.lines().map(str::trim);
    assert!(tags.any(|line| line == "<key>KeepAlive</key>"), "{plist}");
    let said = calls(home);
    let loaded = said.lines().find(|line| line.contains(" bootstrap "));
    let loaded = loaded.unwrap();
    assert!(
        loaded.contains(" user/") && loaded.ends_with(PLIST),
        "{said}"
    );
    assert!(
        !home.join("crontab").exists(),
        "one thing starts it, not two"
    );
    let pid = site.daemon().unwrap().pid;

    let again = site.deploy(&[]);
    assert_eq!(again["result"], "unchanged", "{again}");
    assert_eq!(site.daemon().unwrap().pid, pid);

    site.teardown(&["--component", "host"]);
    eventually(SOON, || site.daemon().is_none());
    assert!(!home.join(PLIST).exists());
    assert!(calls(home).contains(" bootout "), "{}", calls(home));
}

#[test]
fn where_launchd_refuses_the_script_runs_without_it() {
    let Some(site) = Site::new(with_launchd) else {
        return;
    };
    let home = site.bed.server.home();
    fs::write(home.join("launchd-fails"), "").unwrap();
    let row = site.deploy(&[]);
    assert_eq!(row["result"], "installed", "{row}");
    assert_eq!(row["service"], "keeper", "{row}");
    assert!(!home.join(PLIST).exists());
    assert!(site.bed.read("crontab").contains("@reboot"));
    site.teardown(&["--component", "host"]);
    eventually(SOON, || site.daemon().is_none());
}
