//! A host is the same to its jobs whether they are pushed to it or its daemon pulls them.

use rustix::process::Signal;
use serde_json::json;
use skyclaw::fleet::file::{Fleet, Overrides};
use skyclaw::fleet::seat::ControllerId;
use skyclaw::fleet::service::{lent, settings};
use skyclaw::protocol::Reason;

use crate::common::Running;
use crate::place::{Place, SOON, out, shell};

impl Place {
    /// What a deploy would give the daemon, by name.
    fn settings(&self) -> Vec<(String, String)> {
        let path = self.bed.world.fleet_path();
        let text = std::fs::read_to_string(&path).unwrap();
        let fleet = Fleet::parse(&path, &text, &Overrides::default()).unwrap();
        let id = ControllerId::in_dir(&self.state("")).unwrap();
        let home = self.bed.server.home().display().to_string();
        let host = &fleet.hosts[0];
        let ours = settings::of(host, &home, &settings::Asks::Controller(id)).unwrap();
        let ours = ours
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value));
        let all = ours.chain(lent::of(host).variables);
        all.map(|(name, value)| (name, value.expose().to_owned()))
            .collect()
    }

    fn deployed_daemon(&self) -> Running {
        let settings = self.settings();
        let settings: Vec<(&str, &str)> = settings
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        self.daemon_with(&settings)
    }

    /// Runs one of each kind of job; returns what they printed.
    fn try_out(&self, by: &str) -> Vec<String> {
        let payloads = [
            shell("pwd; echo $GREETING"),
            json!({ "kind": "shell", "command": "pwd", "cwd": "/" }),
            json!({ "kind": "picoclaw-task", "message": "it's \"done\" $x" }),
        ];
        let printed = payloads.map(|payload| {
            let job = self.wait(self.submit(Some("web1"), payload));
            assert!(
                self.ran_by(job.id).starts_with(by),
                "{}",
                self.ran_by(job.id)
            );
            out(&job)
        });
        printed.into()
    }
}

#[test]
fn directory_agent_limit_and_environment_are_those_of_the_fleet_file_either_way() {
    let Some(mut place) = Place::with(&["web1"], 1) else {
        return;
    };
    let dir = place.file("work dir");
    std::fs::create_dir_all(&dir).unwrap();
    place.bed.install(
        "bin/say",
        "#!/bin/sh\npwd\nfor word; do echo \"<$word>\"; done\necho $GREETING\n",
    );
    place.fleet(&["web1"], |host| {
        host.with("workdir", "~/work dir")
            .with("env", json!({ "GREETING": "hello" }))
            .with("agent", "~/bin/say '--the task' {task} {name} {host}")
            .with("timeout", "2s")
    });
    place.up(&[]);
    place.wait_for_hosts(1);
    let pushed = place.try_out("web1");
    assert_eq!(pushed[0], format!("{dir}\nhello\n"));
    let said = format!("{dir}\n<--the task>\n<it's \"done\" $x>\n<web1>\n<127.0.0.1>\nhello\n");
    assert_eq!(pushed[2], said);
    let late = place.wait(place.sh(Some("web1"), "exec sleep 600"));
    assert_eq!(late.reason, Some(Reason::Timeout));

    place.seat();
    let controller = place.controller.as_ref().unwrap();
    controller.signal(Signal::USR1);
    controller.wait_for_line("web1: its daemon pulls", SOON);
    let daemon = place.deployed_daemon();
    assert_eq!(place.try_out("host_"), pushed);
    let late = place.wait(place.sh(Some("web1"), "exec sleep 600"));
    assert_eq!(late.reason, Some(Reason::Timeout));
    daemon.terminate();
    assert_eq!(daemon.wait(SOON).code, 0);
}

#[test]
fn without_a_directory_jobs_begin_in_the_home_either_way() {
    let Some(mut place) = Place::with(&["web1"], 1) else {
        return;
    };
    place.up(&[]);
    place.wait_for_hosts(1);
    let home = place.bed.server.home().display().to_string();
    let begins = |place: &Place| out(&place.wait(place.sh(Some("web1"), "pwd")));
    assert_eq!(begins(&place), format!("{home}\n"));
    place.seat();
    let controller = place.controller.as_ref().unwrap();
    controller.signal(Signal::USR1);
    controller.wait_for_line("web1: its daemon pulls", SOON);
    let daemon = place.deployed_daemon();
    assert_eq!(begins(&place), format!("{home}\n"));
    daemon.terminate();
    assert_eq!(daemon.wait(SOON).code, 0);
}
