//! What must hold in the end, whatever happened: every acknowledged job is done, no two leases for one were valid at the
//! same time, no two processes ran for one, and all members say the same.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use serde_json::Value;
use skyclaw::protocol::JobId;

use crate::common::holds_within;
use crate::load::Load;
use crate::site::{SOON, Site, TOKEN};

/// Ends the load and looks at everything.
#[track_caller]
pub fn all_is_well(site: &Site, load: Load) {
    let acknowledged = load.stop(site);
    site.whole();
    done(site, &acknowledged);
    one_lease_at_a_time(site, &acknowledged);
    one_process_at_a_time(site, &acknowledged);
    all_say_the_same(site);
}

/// Returns the jobs as a member has them; nothing while it cannot say.
fn jobs(site: &Site, asked: usize, local: bool) -> Option<BTreeMap<String, Value>> {
    let state = state(site, asked, local)?;
    let jobs = state["jobs"].as_array()?.iter();
    Some(
        jobs.map(|job| (job["id"].as_str().unwrap().to_owned(), job.clone()))
            .collect(),
    )
}

fn state(site: &Site, asked: usize, local: bool) -> Option<Value> {
    let query = if local { "?consistency=local" } else { "" };
    let url = format!("{}/v1/state{query}", site.nodes[asked].url());
    let asking = async {
        let answer = reqwest::Client::new()
            .get(url)
            .header("x-skyclaw-token", TOKEN)
            .timeout(Duration::from_secs(10))
            .send()
            .await
            .ok()?;
        let answer = answer.error_for_status().ok()?;
        serde_json::from_slice(&answer.bytes().await.ok()?).ok()
    };
    site.block_on(asking)
}

#[track_caller]
fn done(site: &Site, acknowledged: &HashMap<JobId, String>) {
    let leader = site.await_leader();
    let mut left: Vec<String> = Vec::new();
    let begun = Instant::now();
    let all = holds_within(SOON * 2, || {
        let Some(jobs) = jobs(site, leader, false) else {
            return false;
        };
        left.clear();
        for id in acknowledged.keys() {
            let Some(job) = jobs.get(&id.to_string()) else {
                panic!("{id} was acknowledged and is gone");
            };
            if job["status"] != "completed" {
                left.push(format!(
                    "{} {} {}",
                    job["id"], job["status"], job["attempts"]
                ));
            }
        }
        if !left.is_empty() {
            std::thread::sleep(Duration::from_millis(200));
        }
        left.is_empty()
    });
    assert!(all, "{} jobs did not end well: {left:?}", left.len());
    eprintln!("all done {:?} after the load", begun.elapsed());
}

#[track_caller]
fn one_lease_at_a_time(site: &Site, acknowledged: &HashMap<JobId, String>) {
    let leader = site.await_leader();
    let jobs = jobs(site, leader, false).unwrap();
    let client = site.client();
    let mut again = 0;
    for id in acknowledged.keys() {
        if jobs[&id.to_string()]["attempts"].as_u64().unwrap() < 2 {
            continue;
        }
        again += 1;
        let attempts = site.block_on(client.attempts(*id)).unwrap().attempts;
        for pair in attempts.windows(2) {
            let ended = pair[0]
                .ended_at
                .expect("an attempt that was followed by another has ended");
            assert!(
                ended <= pair[1].started_at,
                "two leases at once: {attempts:#?}"
            );
        }
    }
    eprintln!("{again} jobs had more than one attempt");
}

#[derive(Default)]
struct Run {
    begin: Option<u128>,
    end: Option<u128>,
}

#[track_caller]
fn one_process_at_a_time(site: &Site, acknowledged: &HashMap<JobId, String>) {
    let text = std::fs::read_to_string(site.file("runs")).unwrap();
    let mut runs: HashMap<&str, BTreeMap<&str, Run>> = HashMap::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [tag, process, what, at] = words[..] else {
            panic!("a line in pieces: {line:?}");
        };
        let run = runs.entry(tag).or_default().entry(process).or_default();
        let at = Some(at.parse().unwrap());
        match what {
            "begin" => run.begin = at,
            _ => run.end = at,
        }
    }
    for tag in acknowledged.values() {
        let of_job = runs
            .get(tag.as_str())
            .unwrap_or_else(|| panic!("{tag} never ran"));
        for (process, run) in of_job {
            let (Some(begin), Some(end)) = (run.begin, run.end) else {
                // Killed: nobody knows when, and its host does that before its lease ends.
                continue;
            };
            let others = of_job.iter().filter(|(other, _)| *other != process);
            for (other, second) in others {
                let inside = second.begin.is_some_and(|at| begin < at && at < end);
                assert!(!inside, "{tag} ran as {process} and {other} at once");
            }
        }
    }
}

/// Everything that is agreed on. What is left out is each member's own: who it is, and whom it heard of when.
fn agreed(state: &Value) -> Value {
    let mut jobs: Vec<Value> = state["jobs"].as_array().unwrap().clone();
    for job in &mut jobs {
        let fields = job.as_object_mut().unwrap();
        fields.remove("updatedBy");
    }
    let hosts = state["hosts"].as_array().unwrap().iter();
    let hosts: HashSet<String> = hosts.map(|host| host["id"].to_string()).collect();
    let mut hosts: Vec<String> = hosts.into_iter().collect();
    hosts.sort();
    jobs.sort_by_key(|job| job["id"].as_str().unwrap().to_owned());
    serde_json::json!({ "jobs": jobs, "hosts": hosts })
}

#[track_caller]
fn all_say_the_same(site: &Site) {
    let up: Vec<usize> = (0..site.nodes.len())
        .filter(|number| site.nodes[*number].is_up())
        .collect();
    let same = holds_within(SOON, || {
        let states: Vec<Option<Value>> = up
            .iter()
            .map(|number| state(site, *number, true).as_ref().map(agreed))
            .collect();
        states
            .iter()
            .all(|state| state.is_some() && *state == states[0])
    });
    if !same {
        for number in &up {
            let path = std::env::temp_dir().join(format!("skyclaw-disagree-{number}.json"));
            let state = state(site, *number, true).as_ref().map(agreed);
            std::fs::write(&path, serde_json::to_vec_pretty(&state).unwrap()).unwrap();
        }
        panic!("members disagree; see skyclaw-disagree-*.json in the temporary directory");
    }
}
