//! Tables of what placing makes of a service: `host:generation:phase`, one word for each assignment.

use std::time::Duration;

use super::tests::{HOUR, NODE, host, service};
use super::*;
use crate::protocol::api::service::Form;
use crate::protocol::api::{Assignment, ChangeService, Phase, ServiceStatus};
use crate::support::clock::Timestamp;

const NOW: Timestamp = HOUR;
/// When what is there was last changed.
const BEFORE: Timestamp = Timestamp::from_millis(HOUR.as_millis() - 60_000);

fn phase(word: &str) -> Option<Phase> {
    match word {
        "old" => None,
        "drain" => Some(Phase::Draining),
        "crash" => Some(Phase::CrashLoop),
        other => serde_json::from_value(other.into()).unwrap(),
    }
}

fn word(phase: Option<Phase>) -> String {
    match phase {
        None => "old".to_owned(),
        Some(Phase::Draining) => "drain".to_owned(),
        Some(Phase::CrashLoop) => "crash".to_owned(),
        Some(other) => serde_json::to_value(other)
            .unwrap()
            .as_str()
            .unwrap()
            .into(),
    }
}

fn assignment(number: usize, text: &str) -> Assignment {
    let parts: Vec<&str> = text.split(':').collect();
    let phase = phase(parts[2]);
    let status = phase.map_or(ServiceStatus::Running, Phase::status);
    Assignment {
        id: phase.map_or_else(String::new, |_| format!("asg_{number}")),
        generation: parts[1].parse().unwrap(),
        phase,
        restarts: 0,
        last_output: None,
        host_id: HostId::new(parts[0]).unwrap(),
        status,
        updated_at: BEFORE,
        endpoint: None,
        error: None,
        started_at: (status == ServiceStatus::Running).then_some(NOW),
    }
}

/// A service of generation `generation` whose generation 1 was up once.
fn made(replicas: u32, generation: u64, assignments: &str) -> ServiceRecord {
    let mut made = service("run", replicas);
    made.generation = generation;
    if generation > 1 {
        made.kept.settled = Some(1);
        made.kept.forms = vec![Form {
            generation: 1,
            ..super::form::current(&made)
        }];
    }
    let words = assignments.split_whitespace().enumerate();
    made.assignments = words
        .map(|(number, text)| assignment(number, text))
        .collect();
    made
}

/// `a-` is dead, `a~` takes nothing new, `a?` does not sync, `a!` can do nothing.
fn hosts(words: &str) -> Vec<ServiceHost> {
    let each = words.split_whitespace().map(|word| {
        let id = word.trim_end_matches(['-', '~', '?', '!', '>']);
        let mut host = host(id);
        host.alive = !word.ends_with('-');
        host.leaving = word.ends_with('>');
        host.takes_new = !word.ends_with('~') && !host.leaving;
        host.syncs = !word.ends_with('?');
        if word.ends_with('!') {
            host.capabilities.clear();
        }
        host
    });
    each.collect()
}

fn shown(service: &ServiceRecord) -> String {
    let each = service.assignments.iter().map(|one| {
        let (host, phase) = (&one.host_id, word(one.phase));
        format!("{host}:{}:{phase}", one.generation)
    });
    each.collect::<Vec<_>>().join(" ")
}

fn placed(service: &ServiceRecord, on: &str, now: Timestamp) -> ServiceRecord {
    let mut all = place(
        std::slice::from_ref(service),
        &hosts(on),
        [7; 16],
        NODE,
        now,
    );
    all.pop().unwrap_or_else(|| service.clone())
}

#[test]
fn placing_does_what_the_table_says() {
    let table = [
        (
            "the first form begins everywhere at once",
            (2, 1),
            "",
            "a b c",
            "a:1:assigned b:1:assigned",
        ),
        (
            "two on one host only if there are too few",
            (3, 1),
            "",
            "a b",
            "a:1:assigned b:1:assigned a:1:assigned",
        ),
        (
            "only where it can and may run",
            (2, 1),
            "",
            "a- b~ c? d! e",
            "e:1:assigned e:1:assigned",
        ),
        ("nowhere to go", (1, 1), "", "a- b~ c? d!", ""),
        (
            "a dead host's part goes elsewhere",
            (1, 1),
            "a:1:ready",
            "a- b",
            "a:1:lost b:1:assigned",
        ),
        (
            "so does that of an unknown host",
            (1, 1),
            "a:1:ready",
            "b",
            "a:1:lost b:1:assigned",
        ),
        (
            "a host that takes nothing new keeps what it has",
            (1, 1),
            "a:1:ready",
            "a~ b",
            "a:1:ready",
        ),
        (
            "before a host leaves, another one begins",
            (1, 1),
            "a:1:ready",
            "a> b",
            "a:1:ready b:1:assigned",
        ),
        (
            "it serves until that one does",
            (2, 1),
            "a:1:ready b:1:ready c:1:starting",
            "a> b c",
            "a:1:ready b:1:ready c:1:starting",
        ),
        (
            "and ends then",
            (2, 1),
            "a:1:ready b:1:ready c:1:ready",
            "a> b c",
            "a:1:drain b:1:ready c:1:ready",
        ),
        (
            "nobody waits where there is no other host",
            (2, 1),
            "a:1:ready a:1:ready",
            "a> b~",
            "a:1:drain a:1:drain",
        ),
        (
            "nor for one that does not come up",
            (1, 1),
            "a:1:ready b:1:backoff",
            "a> b",
            "a:1:drain b:1:backoff",
        ),
        (
            "what does not serve ends at once",
            (1, 1),
            "a:1:backoff",
            "a> b",
            "a:1:drain b:1:assigned",
        ),
        (
            "all that two hosts have is replaced if they leave together",
            (2, 1),
            "a:1:ready b:1:ready",
            "a> b> c",
            "a:1:ready b:1:ready c:1:assigned c:1:assigned",
        ),
        (
            "an update goes on while a host of the old form leaves",
            (2, 2),
            "a:1:ready b:1:ready c:2:starting",
            "a> b c",
            "a:1:ready b:1:ready c:2:starting",
        ),
        (
            "and it is the first to go",
            (2, 2),
            "a:1:ready b:1:ready c:2:ready",
            "a> b c",
            "a:1:drain b:1:ready c:2:ready b:2:assigned",
        ),
        (
            "a host that drains by itself is replaced",
            (1, 1),
            "a:1:drain",
            "a~ b",
            "a:1:drain b:1:assigned",
        ),
        (
            "what was to end on a dead host is not missed",
            (1, 1),
            "a:1:drain b:1:ready",
            "a- b",
            "b:1:ready",
        ),
        (
            "an update begins with one",
            (2, 2),
            "a:1:ready b:1:ready",
            "a b c",
            "a:1:ready b:1:ready c:2:assigned",
        ),
        (
            "it waits for that one",
            (2, 2),
            "a:1:ready b:1:ready c:2:starting",
            "a b c",
            "a:1:ready b:1:ready c:2:starting",
        ),
        (
            "for a ready one an old one goes, and the next begins",
            (2, 2),
            "a:1:ready b:1:ready c:2:ready",
            "a b c",
            "a:1:ready b:1:drain c:2:ready b:2:assigned",
        ),
        (
            "the last old one goes",
            (2, 2),
            "a:1:ready b:2:ready c:2:ready",
            "a b c",
            "a:1:drain b:2:ready c:2:ready",
        ),
        (
            "with one host both run there for a while",
            (1, 2),
            "a:1:ready",
            "a",
            "a:1:ready a:2:assigned",
        ),
        (
            "an old form that never came up is not waited for",
            (2, 2),
            "a:1:backoff",
            "a b",
            "a:1:drain b:2:assigned a:2:assigned",
        ),
        (
            "what a dead host had of the old form begins as the new one",
            (2, 2),
            "a:1:ready b:1:ready",
            "a- b c d",
            "a:1:lost b:1:ready c:2:assigned",
        ),
        (
            "a crash loop goes where it has not been",
            (1, 1),
            "a:1:crash",
            "a b",
            "a:1:drain b:1:assigned",
        ),
        (
            "without such a host it is shown",
            (1, 1),
            "a:1:crash",
            "a",
            "a:1:crash",
        ),
        (
            "two on one host is no way out",
            (2, 1),
            "a:1:crash b:1:ready",
            "a b",
            "a:1:crash b:1:ready",
        ),
        (
            "fewer: first what does not serve, then the newest",
            (1, 1),
            "a:1:ready b:1:starting c:1:ready",
            "a b c",
            "a:1:ready b:1:drain c:1:drain",
        ),
        (
            "fewer: first where it is crowded",
            (2, 1),
            "a:1:ready a:1:ready b:1:ready",
            "a b",
            "a:1:ready a:1:drain b:1:ready",
        ),
        (
            "a new host takes one of a crowded one",
            (2, 1),
            "a:1:ready a:1:ready",
            "a b",
            "a:1:ready a:1:ready b:1:assigned",
        ),
        (
            "which waits until that is ready",
            (2, 1),
            "a:1:ready a:1:ready b:1:starting",
            "a b",
            "a:1:ready a:1:ready b:1:starting",
        ),
        (
            "and ends then",
            (2, 1),
            "a:1:ready a:1:ready b:1:ready",
            "a b",
            "a:1:ready a:1:drain b:1:ready",
        ),
        (
            "the original's hosts count",
            (1, 1),
            "a:1:old",
            "a? b",
            "a:1:old",
        ),
        (
            "their part is replaced as any other",
            (1, 2),
            "a:1:old",
            "a? b",
            "a:1:old b:2:assigned",
        ),
        (
            "and forgotten, for they cannot be told",
            (1, 2),
            "a:1:old b:2:ready",
            "a? b",
            "b:2:ready",
        ),
        (
            "one that syncs now was started anew",
            (1, 1),
            "a:1:old",
            "a",
            "a:1:lost a:1:assigned",
        ),
        (
            "of what is over only the latest stays",
            (1, 1),
            "a:1:lost b:1:lost c:1:failed d:1:lost e:1:ready",
            "e",
            "a:1:lost b:1:lost c:1:failed e:1:ready",
        ),
    ];
    for (what, (replicas, generation), before, on, after) in table {
        let before = made(replicas, generation, before);
        let done = placed(&before, on, NOW);
        assert_eq!(shown(&done), after, "{what}");
        assert_eq!(done.update_error, None, "{what}");
        assert_eq!(placed(&done, on, NOW), done, "once is enough: {what}");
    }
}

#[test]
fn what_begins_for_ever_has_failed() {
    for phase in ["assigned", "starting"] {
        let mut before = made(1, 1, &format!("a:1:{phase}"));
        before.ready_ms = Some(5000);
        let patience = Duration::from_secs(65);
        let at = |span: Duration| placed(&before, "a b", BEFORE.plus(span));
        assert_eq!(at(patience - Duration::from_millis(1)), before);
        let done = at(patience);
        assert_eq!(shown(&done), "a:1:failed b:1:assigned");
        let why = done.assignments[0].error.as_deref().unwrap();
        assert!(why.starts_with("host a did not say within 1m05s"), "{why}");
        // Nobody is judged who could not be heard for long enough, nor one that is up or starts it again.
        let judge = |service: &ServiceRecord, heard_out| {
            let host = ServiceHost {
                heard_out,
                ..host("a")
            };
            let all = std::slice::from_ref(service);
            place(all, &[host], [7; 16], NODE, NOW.plus(patience * 10))
        };
        assert_eq!(judge(&before, false), []);
        assert_eq!(judge(&before, true).len(), 1);
        for phase in ["ready", "backoff", "crash"] {
            let other = made(1, 1, &format!("a:1:{phase}"));
            let judged = judge(&other, true);
            let same = |one: &ServiceRecord| shown(one) == format!("a:1:{phase}");
            assert!(judged.iter().all(same), "{judged:?}");
        }
    }
}

#[test]
fn an_update_that_fails_goes_no_further_and_the_old_form_stays_up() {
    for failed in ["failed", "crash"] {
        let before = made(2, 2, &format!("a:1:ready b:1:ready c:2:{failed}"));
        let done = placed(&before, "a b c", NOW);
        assert_eq!(shown(&done), "a:1:ready b:1:ready c:2:failed");
        let why = done.update_error.clone().unwrap();
        assert_eq!(why, "generation 2 failed on host c: it did not stay up");
        // A gap is filled by the form that works.
        let later = placed(&done, "a- b c", NOW);
        assert_eq!(shown(&later), "a:1:lost b:1:ready c:2:failed c:1:assigned");
        let again = change(&later, ChangeService::Restart, NODE, NOW);
        assert_eq!((again.generation, &again.update_error), (3, &None));
        assert!(again.kept.forms.iter().all(|form| form.generation == 1));
    }
    // One that was ready stays; the next one is what failed.
    let before = made(3, 2, "a:1:ready b:1:ready c:2:ready d:2:failed");
    let done = placed(&before, "a b c d", NOW);
    assert_eq!(shown(&done), "a:1:ready b:1:ready c:2:ready d:2:failed");
    assert!(done.update_error.is_some());
}

#[test]
fn a_host_that_failed_is_avoided_and_tried_again_after_a_pause() {
    let mut before = made(1, 1, "");
    let (a, b) = (HostId::new("a").unwrap(), HostId::new("b").unwrap());
    let second = Duration::from_secs(1);
    super::choose::note_failure(&mut before, &a, 1, NOW);
    assert_eq!(shown(&placed(&before, "a b", NOW)), "b:1:assigned");
    assert_eq!(shown(&placed(&before, "a", NOW.plus(9 * second))), "");
    let soon = NOW.plus(10 * second);
    assert_eq!(shown(&placed(&before, "a", soon)), "a:1:assigned");
    assert_eq!(shown(&placed(&before, "a b", soon)), "b:1:assigned");
    super::choose::note_failure(&mut before, &a, 1, soon);
    assert_eq!(shown(&placed(&before, "a", soon.plus(19 * second))), "");
    super::choose::note_failure(&mut before, &b, 1, NOW);
    let later = NOW.plus(311 * second);
    assert_eq!(shown(&placed(&before, "a b", later)), "a:1:assigned");
    // Another form has not failed anywhere.
    let other = change(&before, ChangeService::Restart, NODE, NOW);
    assert_eq!(shown(&placed(&other, "a", NOW)), "a:2:assigned");
    for _ in 0..100 {
        super::choose::note_failure(&mut before, &a, 1, NOW);
    }
    assert_eq!(before.kept.failures.len(), 32);
}

#[test]
fn stopped_started_and_removed() {
    let up = made(2, 1, "a:1:ready b:1:old");
    let stopped = change(&up, ChangeService::Stop, NODE, NOW);
    let stopped = placed(&stopped, "a b?", NOW);
    assert_eq!(shown(&stopped), "a:1:drain");
    assert_eq!(stopped.status, ServiceStatus::Pending);
    assert_eq!(change(&stopped, ChangeService::Stop, NODE, NOW), stopped);
    let started = change(&stopped, ChangeService::Start, NODE, NOW);
    assert_eq!(
        shown(&placed(&started, "a c", NOW)),
        "a:1:drain c:1:assigned a:1:assigned"
    );
    let removed = change(&up, ChangeService::Remove, NODE, NOW);
    assert!(!is_gone(&removed));
    let removed = placed(&removed, "a b?", NOW);
    assert_eq!(shown(&removed), "a:1:drain");
    let start = change(&removed, ChangeService::Start, NODE, NOW);
    assert_eq!(start, removed, "what is removed stays so");
    let lost = placed(&removed, "a-", NOW);
    assert!(is_gone(&lost), "{lost:?}");
    let scaled = change(&up, ChangeService::Scale { replicas: 0 }, NODE, NOW);
    assert_eq!((scaled.replicas, scaled.generation), (1, 1));
}

#[test]
fn one_that_ended_as_it_should_is_not_replaced() {
    use crate::protocol::api::Restart;
    for (restart, after) in [
        (Restart::Always, "a:1:stopped a:1:assigned"),
        (Restart::OnFailure, "a:1:stopped"),
        (Restart::Never, "a:1:stopped"),
    ] {
        let mut before = made(1, 1, "a:1:stopped");
        before.restart = restart;
        assert_eq!(shown(&placed(&before, "a", NOW)), after);
    }
}

#[test]
fn a_host_that_came_after_the_hosts_were_counted_keeps_what_it_took() {
    let mut before = made(1, 1, "b:1:old");
    before.assignments[0].updated_at = NOW;
    assert_eq!(shown(&placed(&before, "a", NOW)), "b:1:old");
    let later = NOW.plus(Duration::from_secs(2));
    assert_eq!(shown(&placed(&before, "a", later)), "b:1:lost a:1:assigned");
}

#[test]
fn an_update_that_no_host_can_take_says_so_and_goes_on_once_one_can() {
    let mut before = made(1, 2, "a:1:ready");
    before.required_capabilities.push("gpu".to_owned());
    let waits = placed(&before, "a b", NOW);
    assert_eq!(shown(&waits), "a:1:ready");
    let why = waits.update_waits.clone().unwrap();
    assert!(why.contains("generation 2") && why.contains("gpu"), "{why}");
    assert_eq!(waits.update_error, None, "nothing failed");
    assert_eq!(placed(&waits, "a b", NOW), waits, "and says it once");
    let mut able = hosts("a b");
    able[1].capabilities.push("gpu".to_owned());
    let all = place(std::slice::from_ref(&waits), &able, [7; 16], NODE, NOW);
    assert_eq!(shown(&all[0]), "a:1:ready b:2:assigned");
    assert_eq!(all[0].update_waits, None);
}

#[test]
fn what_is_never_to_be_started_again_gets_one_try_on_each_host() {
    use crate::protocol::api::Restart;
    let (a, b) = (HostId::new("a").unwrap(), HostId::new("b").unwrap());
    let mut before = made(1, 1, "");
    before.restart = Restart::Never;
    super::choose::note_failure(&mut before, &a, 1, BEFORE);
    let much_later = NOW.plus(Duration::from_secs(86_400));
    assert_eq!(shown(&placed(&before, "a", much_later)), "");
    assert_eq!(shown(&placed(&before, "a b", NOW)), "b:1:assigned");
    super::choose::note_failure(&mut before, &b, 1, BEFORE);
    assert_eq!(shown(&placed(&before, "a b", much_later)), "");
    // A person may say once more.
    let again = change(&before, ChangeService::Restart, NODE, NOW);
    assert_eq!(shown(&placed(&again, "a", NOW)), "a:2:assigned");
}
