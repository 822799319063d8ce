//! Finds and ends processes by a variable of their environment, which even a new session inherits.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// For how long it is looked for what was started meanwhile, and for those that were killed and are not gone yet, which
/// takes a while on a busy machine.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(1);
/// So many looks in a row must find nobody: whoever replaces its program right now shows no environment for a moment.
const CALM: usize = 2;

/// Kills every process whose environment has a variable that begins with `start`, such as `NAME=/dir/`, and returns once
/// they are gone.
///
/// Does nothing where there is no `/proc`; there only process groups are ended.
pub fn end_with_variable(start: &str) {
    let began = Instant::now();
    let mut calm = 0;
    while calm < CALM && began.elapsed() < PATIENCE {
        let found = with_variable(start.as_bytes());
        calm = if found.is_empty() { calm + 1 } else { 0 };
        for pid in found {
            // Gone already is fine.
            let _ = kill_process(pid, Signal::KILL);
        }
        std::thread::sleep(PAUSE);
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
