//! What the daemon reports about the machine. Only read.

use std::path::Path;

use super::openclaw;
use crate::protocol::api::{Facts, OpenclawProfile};

/// Returns the facts that stay as they are, and those of the moment. `dir` is where jobs work.
/// What was seen on the way to the coordinator is for who sends them to add.
pub(super) fn gather(dir: &Path, openclaw: Option<OpenclawProfile>) -> Facts {
    Facts {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        os: std::env::consts::OS.to_owned(),
        arch: std::env::consts::ARCH.to_owned(),
        cpus: std::thread::available_parallelism()
            .ok()
            .and_then(|count| u32::try_from(count.get()).ok()),
        memory_bytes: memory(),
        disk_free_bytes: rustix::fs::statvfs(dir)
            .ok()
            .map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize)),
        load: load(),
        latency_ms: None,
        gpus: gpus(),
        openclaw,
    }
}

/// Returns the profile of the local OpenClaw, unless the owner does not want it told.
pub(super) fn openclaw(
    wanted: bool,
    program: Option<&Path>,
    environment: &std::collections::BTreeMap<String, String>,
) -> Option<OpenclawProfile> {
    wanted
        .then(|| openclaw::profile(program, environment))
        .flatten()
}

/// Returns the load average over one minute.
pub(super) fn load() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/loadavg").ok()?;
    text.split(' ').next()?.parse().ok()
}

fn memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// Names of NVIDIA's cards, as their driver gives them; other makers' drivers give no names.
fn gpus() -> Vec<String> {
    let cards = std::fs::read_dir("/proc/driver/nvidia/gpus");
    let mut names: Vec<String> = cards
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|card| std::fs::read_to_string(card.path().join("information")).ok())
        .filter_map(|text| {
            let model = text.lines().find_map(|line| line.strip_prefix("Model:"))?;
            Some(model.trim().to_owned())
        })
        .collect();
    names.sort();
    names
}
