//! What makes a host run the daemon for good: the unit, the script where there is no systemd, the line for cron.
//! Pure.

use std::time::Duration;

const UNIT: &str = include_str!("../../../templates/skyclaw-host.service");
const KEEPER: &str = include_str!("../../../templates/keeper.sh");

/// What has launchd keep the script running that keeps the daemon running.
pub const PLIST: &str = include_str!("../../../templates/skyclaw-host.plist");

/// What the daemon needs beside its jobs to end: to kill what is left, and to hand in the last results.
const BESIDE_JOBS: Duration = Duration::from_secs(60);

/// The line for cron. Its variable is cron's own.
pub const CRON: &str = "@reboot /bin/sh \"$HOME/.local/state/skyclaw/service/keeper.sh\"";

/// Returns how long a daemon may take to end whose jobs may go on for `drain`.
pub fn stop_limit(drain: Duration) -> Duration {
    drain.saturating_add(BESIDE_JOBS)
}

/// Returns the unit for a daemon whose jobs may go on for `drain` when it is stopped.
pub fn unit(drain: Duration) -> String {
    let limit = stop_limit(drain).as_secs();
    let lines = UNIT.lines().map(|line| match line.split_once('=') {
        Some(("TimeoutStopSec", _)) => format!("TimeoutStopSec={limit}\n"),
        _ => format!("{line}\n"),
    });
    lines.collect()
}

/// Returns the script that keeps the daemon running where systemd does not.
pub fn keeper() -> &'static str {
    KEEPER
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systemd_waits_for_jobs_as_long_as_the_daemon_does() {
        let unit = unit(Duration::from_secs(120));
        for line in [
            "TimeoutStopSec=180",
            "Restart=always",
            "RestartSec=5",
            "KillMode=mixed",
            "ExecStart=%h/.local/bin/skyclaw host",
            "EnvironmentFile=-%h/.config/skyclaw/host.env",
        ] {
            assert!(unit.lines().any(|other| other == line), "{line} in {unit}");
        }
        assert!(!unit.contains("TOKEN="), "{unit}");
    }
}
