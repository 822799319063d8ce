//! The original program itself, where there is one: its host and its command line with our coordinator.

use std::process::{Command, Stdio};

use crate::common::coordinator::Plan;
use crate::common::{SOON, eventually};

/// A child that is ended with the test.
struct Ended(std::process::Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_originals_host_and_client_work_with_our_coordinator() {
    let Ok(cli) = std::env::var("SKYCLAW_TEST_ORIGINAL") else {
        eprintln!(
            "SKIP: SKYCLAW_TEST_ORIGINAL does not name the original's command, such as `node /srv/skyclaw/cli.js`"
        );
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let coordinator = Plan::new(dir.path()).start();
    let original = |args: &[&str]| {
        let mut command = Command::new("sh");
        command
            .args(["-c", &format!("exec {cli} \"$@\""), "sh"])
            .args(args)
            .env("SKYCLAW_COORDINATOR_URL", coordinator.url())
            .env("SKYCLAW_HOST_NAME", "old")
            .current_dir(dir.path());
        command
    };
    let host = original(&["host"]).stdout(Stdio::null()).spawn().unwrap();
    let _host = Ended(host);
    let asked = original(&["enqueue-shell", "bash", "-c", "echo from the original"])
        .output()
        .unwrap();
    assert!(asked.status.success(), "{asked:?}");
    let id = String::from_utf8(asked.stdout).unwrap().trim().to_owned();
    assert!(id.starts_with("job_"), "{id}");
    eventually(SOON, || {
        let job = &coordinator.get(&format!("/v1/jobs/{id}"))["job"];
        job["status"] == "completed" && job["result"]["stdout"] == "from the original\n"
    });
}
