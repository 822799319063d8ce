//! A host that lies at the end of its tunnel: what it can get by that, and what not.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;
use skyclaw::client::{Client, Settings, unix_url};
use skyclaw::protocol::api::{Code, HostRecord, Register, SubmitJob};
use skyclaw::protocol::{HostId, JobStatus, Requirement};

use crate::common::eventually;
use crate::place::{Place, SOON, job, shell};

impl Place {
    /// A client at the far end of the tunnel.
    fn liar(&self) -> Client {
        let file = self.coordinator_file();
        eventually(SOON, || {
            file.with_extension("sock").exists() && file.exists()
        });
        let url = unix_url(&file.with_extension("sock")).unwrap();
        Client::new(Settings::new(vec![url])).unwrap()
    }

    fn wanting(&self, requirement: Requirement) -> skyclaw::protocol::JobId {
        self.submit_job(SubmitJob {
            requirement: Some(requirement),
            ..job(None, shell("true"))
        })
    }
}

fn claims(name: &str, id: &str) -> Register {
    Register {
        name: name.to_owned(),
        host_id: Some(HostId::new(id).unwrap()),
        capabilities: Some(["shell", "gpu", "picoclaw"].map(str::to_owned).into()),
        max_parallel: Some(1000),
        weight: Some(1_000_000),
        labels: [("zone".to_owned(), "us".to_owned())].into(),
        leases: Some(Vec::new()),
        ..Register::default()
    }
}

fn of(host: &HostRecord) -> (Vec<String>, u16, Option<&str>) {
    let zone = host.labels.get("zone").map(String::as_str);
    (host.capabilities.clone(), host.max_parallel, zone)
}

#[test]
fn a_host_is_what_the_fleet_file_says_whatever_it_says_itself() {
    let Some(mut place) = Place::with(&["web1", "web2"], 2) else {
        return;
    };
    // It pulls; the other one is away, and its jobs wait.
    let away = crate::common::RefusingPort::start();
    let fleet = |place: &Place, capabilities: &[&str]| {
        let one = place.bed.server.fleet_host("web1").with("slots", 2);
        let one = one.with("labels", json!({ "zone": "eu" }));
        let one = one.with("capabilities", json!(capabilities));
        let two = crate::common::FleetHost::new("web2", "127.0.0.1", away.port());
        place.bed.world.fleet(&[one, two]);
    };
    fleet(&place, &["shell"]);
    let id = place.state("controller-id");
    std::fs::create_dir_all(id.parent().unwrap()).unwrap();
    std::fs::write(&id, "00c0ffee00c0ffee").unwrap();
    place.seat();
    place.up(&[]);
    let liar = place.liar();
    let own = format!("host_{}", "01890a5d-ac96-774b-bcce-b302099a8057");
    let host = place
        .block_on(liar.register(&claims("web1", &own)))
        .unwrap()
        .host;
    let shell_only = vec!["shell".to_owned()];
    assert_eq!(of(&host), (shell_only, 2, Some("eu")));
    // Nor is it anybody else.
    for register in [
        claims("web2", &own),
        claims("web2", "web2"),
        claims("web1", "web2"),
    ] {
        let refused = place.block_on(liar.register(&register)).unwrap_err();
        assert_eq!(refused.code(), Some(Code::Forbidden), "{refused}");
    }
    let gpu = Requirement {
        required_capabilities: vec!["gpu".into()],
        ..Requirement::default()
    };
    let us = Requirement {
        labels: [("zone".to_owned(), "us".to_owned())].into(),
        ..Requirement::default()
    };
    let others = [
        place.wanting(gpu.clone()),
        place.wanting(us),
        place.sh(Some("web2"), "true"),
    ];
    let web1 = HostId::new(own.as_str()).unwrap();
    let moment = Some(Duration::from_millis(300));
    let got = place.block_on(liar.claim(&web1, 1000, moment)).unwrap();
    assert!(got.jobs.is_empty(), "{:?}", got.jobs);
    for job in others {
        assert_eq!(place.record(job).status, JobStatus::Queued);
    }
    // It may speak for itself, and gets what is for it and no more than it may run.
    let mine: Vec<_> = (0..3).map(|_| place.sh(Some("web1"), "true")).collect();
    let got = place
        .block_on(liar.claim(&web1, 1000, moment))
        .unwrap()
        .jobs;
    assert_eq!(got.len(), 2);
    assert!(got.iter().all(|job| mine.contains(&job.id)));

    // What the fleet file says now counts once it is read again, for who registered before, too.
    fleet(&place, &["shell", "gpu"]);
    place.controller.as_ref().unwrap().signal(Signal::HUP);
    eventually(SOON, || {
        let asked = place.block_on(liar.claim(&web1, 0, None));
        asked.is_err_and(|error| error.code() == Some(Code::UnknownHost))
    });
    let host = place
        .block_on(liar.register(&claims("web1", &own)))
        .unwrap()
        .host;
    assert_eq!(of(&host).0, ["gpu", "shell"]);
}
