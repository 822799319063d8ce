//! Clocks that are an hour off.

use std::time::Duration;

use crate::common::eventually;
use crate::common::power::clock_env;
use crate::judge::all_is_well;
use crate::load::Load;
use crate::site::{SOON, Site};

const HOUR_MS: i64 = 3_600_000;

/// Three coordinators of which the first, which founds the cluster and leads, has a clock that is off.
fn with_a_clock_off(ahead_ms: i64) -> Option<Site> {
    let mut site = Site::new(3, 3)?;
    let env = clock_env(ahead_ms);
    site.nodes[0].env = env.map(|(name, value)| (name.to_owned(), value)).to_vec();
    site.start_all();
    Some(site)
}

fn leader_changes_and_leases_run_out(mut site: Site) {
    let load = Load::start(&site);
    load.more(20);
    let first = site.await_leader();
    site.nodes[first].kill();
    load.more(20);
    // By the new leader's clock, whatever the old one's said: a lease that nobody renews ends in its time.
    site.workers[0].daemon.take().unwrap().kill9();
    let client = site.client();
    eventually(SOON, || {
        let hosts = site.block_on(client.hosts()).unwrap_or_default();
        hosts
            .iter()
            .any(|host| host.id.as_str() == "w0" && host.active_leases == 0)
    });
    load.more(20);
    site.start_worker(0);
    site.nodes[first].start(None);
    site.whole();
    all_is_well(&site, load);
}

#[test]
fn a_leader_an_hour_ahead_leaves_nothing_that_waits_for_an_hour() {
    if let Some(site) = with_a_clock_off(HOUR_MS) {
        leader_changes_and_leases_run_out(site);
    }
}

#[test]
fn a_leader_an_hour_behind_disturbs_nothing() {
    if let Some(site) = with_a_clock_off(-HOUR_MS) {
        leader_changes_and_leases_run_out(site);
    }
}

#[test]
fn how_far_a_clock_is_off_is_shown() {
    let Some(site) = with_a_clock_off(HOUR_MS) else {
        return;
    };
    let leader = site.await_leader();
    let off = || {
        let members = site.members(leader);
        members
            .iter()
            .filter_map(|member| member["clockOffsetMs"].as_i64())
            .any(|off| off.unsigned_abs() > Duration::from_secs(3000).as_millis() as u64)
    };
    eventually(SOON, off);
}
