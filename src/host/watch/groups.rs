//! The list on disk of the process groups that jobs lead, for the daemon that comes after a crash.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::processes::{self, Process};

/// What the names of the lists begin with; the rest is the process that wrote it.
const PREFIX: &str = "groups-";

/// One group: the process that leads it and its session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::host) struct Group {
    /// Its leader, whose id is also that of group and session.
    pub pid: i32,
    /// When the leader started, in clock ticks since boot; zero where the system does not say.
    pub start: u64,
    /// The job.
    pub job: String,
}

#[derive(Serialize, Deserialize)]
struct List {
    /// Ids and start times mean nothing after another boot.
    boot: String,
    groups: Vec<Group>,
}

/// Returns the file for the daemon process `process` in `dir`.
pub(in crate::host) fn file(dir: &Path, process: &str) -> PathBuf {
    dir.join(format!("{PREFIX}{process}"))
}

/// Replaces the list.
pub(in crate::host) fn write(path: &Path, groups: Vec<Group>) -> io::Result<()> {
    let text = serde_json::to_vec(&List {
        boot: boot_id(),
        groups,
    })?;
    let temporary = path.with_extension("new");
    // Not synced: after a crash of the whole machine there is no process left to find.
    fs::write(&temporary, text)?;
    fs::rename(&temporary, path)
}

/// Returns the groups of all former lives, and removes their lists.
pub(in crate::host) fn take(dir: &Path) -> Vec<Group> {
    let mut groups = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let list = fs::read(entry.path())
            .ok()
            .and_then(|text| serde_json::from_slice::<List>(&text).ok());
        if let Some(list) = list.filter(|list| list.boot == boot_id()) {
            groups.extend(list.groups);
        }
        let _ = fs::remove_file(entry.path());
    }
    groups
}

/// Tells whether `process` belongs to one of the sessions: not to a new one that got an old number.
pub(in crate::host) fn holds(groups: &[Group], process: &Process) -> bool {
    groups.iter().any(|group| {
        group.pid == process.session
            && process.start >= group.start
            // Its leader, if there is one with this number, is the one that we knew.
            && processes::start_of(group.pid).is_none_or(|start| start == group.start)
    })
}

fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|text| text.trim().to_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_once_and_only_in_the_same_boot() {
        let dir = tempfile::tempdir().unwrap();
        let group = Group {
            pid: 4711,
            start: 9,
            job: "job_1".into(),
        };
        write(&file(dir.path(), "a"), vec![group.clone()]).unwrap();
        fs::write(
            file(dir.path(), "b"),
            r#"{"boot":"another","groups":[{"pid":1,"start":1,"job":"j"}]}"#,
        )
        .unwrap();
        assert_eq!(take(dir.path()), [group]);
        assert!(take(dir.path()).is_empty());
    }

    #[test]
    fn a_number_used_again_is_not_ours() {
        let own = std::process::id().cast_signed();
        let start = processes::start_of(own).unwrap();
        let member = Process {
            pid: 99,
            start: start + 5,
            session: own,
            mark: None,
            job: None,
            attempt: None,
        };
        let group = |start| {
            [Group {
                pid: own,
                start,
                job: "j".into(),
            }]
        };
        assert!(holds(&group(start), &member));
        assert!(!holds(&group(start - 1), &member), "another leader");
        assert!(!holds(
            &group(start),
            &Process {
                session: 1,
                ..member
            }
        ));
    }
}
