//! Finds and ends processes by a variable of their environment, which even a new session inherits.

use rustix::process::{Pid, Signal, kill_process};

/// Rounds of looking for what was started while we looked.
const ROUNDS: usize = 50;

/// Kills every process whose environment has a variable that begins with `start`, such as `NAME=/dir/`.
///
/// Does nothing where there is no `/proc`; there only process groups are ended.
pub fn end_with_variable(start: &str) {
    for _ in 0..ROUNDS {
        let found = with_variable(start.as_bytes());
        if found.is_empty() {
            return;
        }
        for pid in found {
            // Gone already is fine.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

fn with_variable(start: &[u8]) -> Vec<Pid> {
    let own = std::process::id();
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let Some(number) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        // A zombie has no environment left, nor has a process of another user for us.
        let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        let has = environment
            .split(|byte| *byte == 0)
            .any(|variable| variable.starts_with(start));
        if has && number != own.cast_signed() {
            found.extend(Pid::from_raw(number));
        }
    }
    found
}
