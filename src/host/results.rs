//! Results that outlast a coordinator that is away, where the host's owner wants that.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::core::Core;
use super::runner::Ran;
use super::settings::OnLeaseLost;
use crate::client::holder::Report;
use crate::protocol::api::LeaseName;
use crate::support::clock::Timestamp;
use crate::support::paths;

/// How long a result is kept for a coordinator that is away.
const KEPT_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// Makes the report; if the owner wants results to outlast a lost coordinator it is written down.
pub(super) fn report(lease: LeaseName, ran: Ran, core: &Core) -> Report {
    let report = Report {
        lease,
        success: ran.success,
        reason: ran.reason,
        result: ran.result,
    };
    if core.settings.on_lease_lost == OnLeaseLost::Finish {
        let written = serde_json::to_vec(&report)
            .map_err(std::io::Error::from)
            .map(|text| paths::write_private(&file(&core.state.results(), &lease), &text));
        match written {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "cannot keep a result"),
            Err(error) => tracing::warn!(%error, "cannot keep a result"),
        }
    }
    report
}

/// Forgets a result that has arrived, or never will.
pub(super) fn forget(core: &Core, lease: &LeaseName) {
    // Also one of a former life, which may have had other settings; mostly there is none.
    let _ = fs::remove_file(file(&core.state.results(), lease));
}

fn file(dir: &Path, lease: &LeaseName) -> PathBuf {
    dir.join(format!("{}-{}", lease.job_id, lease.attempt))
}

/// Returns the results that a former life could not hand in, and drops those that are too old.
pub(super) fn kept(dir: &Path, now: Timestamp) -> Vec<Report> {
    let mut kept = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let report = fs::read(&path)
            .ok()
            .and_then(|text| serde_json::from_slice::<Report>(&text).ok());
        match report.filter(|report| now.since(report.result.finished_at) < KEPT_FOR) {
            Some(report) => {
                // Whoever was killed while writing it left it whole under another name.
                let _ = fs::rename(&path, file(dir, &report.lease));
                kept.push(report);
            }
            None => drop(fs::remove_file(&path)),
        }
    }
    kept
}
