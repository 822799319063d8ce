//! Hosts with a daemon of this controller: it pulls through a tunnel, and nothing is pushed.

use std::path::PathBuf;

use rustix::process::Signal;
use skyclaw::protocol::JobStatus;
use skyclaw::protocol::api::DeployService;

use crate::common::http::Http;
use crate::common::{Running, eventually, require_program};
use crate::place::{Place, SOON, out};

impl Place {
    /// The file that leads the host's daemon here.
    pub fn coordinator_file(&self) -> PathBuf {
        let id = std::fs::read_to_string(self.state("controller-id")).unwrap();
        let below = format!(".local/state/skyclaw/tunnel/{}.json", id.trim());
        self.bed.server.home().join(below)
    }

    /// Writes the settings of a daemon there, as deploy would.
    pub fn seat(&self) -> PathBuf {
        let settings = self.bed.server.home().join(".config/skyclaw/host.env");
        std::fs::create_dir_all(settings.parent().unwrap()).unwrap();
        let text = format!(
            "SKYCLAW_COORDINATOR_FILE={}\nSKYCLAW_HOST_NAME=web1\n",
            self.coordinator_file().display()
        );
        std::fs::write(&settings, text).unwrap();
        settings
    }

    fn daemon(&self) -> Running {
        self.daemon_with(&[])
    }

    /// The daemon, set up besides by these variables.
    pub fn daemon_with(&self, more: &[(&str, &str)]) -> Running {
        let home = self.bed.server.home();
        let mut command = self.bed.world.clean(env!("CARGO_BIN_EXE_skyclaw"));
        command
            .arg("host")
            .env("HOME", home)
            .env("XDG_STATE_HOME", home.join(".local/state"))
            .env("SKYCLAW_HOST_NAME", "web1")
            .env("SKYCLAW_ALLOWED_COMMANDS", "sh")
            .env("SKYCLAW_COORDINATOR_FILE", self.coordinator_file())
            .envs(more.iter().copied())
            .current_dir(home);
        Running::start(command, None)
    }

    /// Waits until the host is known and `job` and the list of hosts say that its daemon has still to come.
    fn wait_for_its_daemon(&self, job: skyclaw::protocol::JobId) {
        let not_yet = "its daemon has not connected through the tunnel yet";
        eventually(SOON, || {
            let hosts = self.hosts();
            let why = hosts.first().and_then(|host| host.blocked.as_deref());
            hosts.len() == 1 && why.is_some_and(|why| why.contains(not_yet))
        });
        let explained = self.block_on(self.client().explain(job)).unwrap();
        let said = explained.summary;
        assert!(
            said.starts_with("web1: ") && said.ends_with(not_yet),
            "{said}"
        );
    }

    pub fn ran_by(&self, job: skyclaw::protocol::JobId) -> String {
        let attempts = self.block_on(self.client().attempts(job)).unwrap().attempts;
        attempts.last().unwrap().host.to_string()
    }
}

#[test]
fn a_host_is_pushed_to_or_pulls_and_never_both() {
    let Some(place) = Place::ready(&["web1"], 1) else {
        return;
    };
    let pushed = place.sh(Some("web1"), "echo pushed");
    assert_eq!(out(&place.wait(pushed)), "pushed\n");
    assert_eq!(place.ran_by(pushed), "web1");

    // The settings of a daemon are there: it is its turn.
    let settings = place.seat();
    // Whoever changes something on hosts has the controller look at them.
    let changed = ["fleet", "teardown", "web1", "-y"];
    place.bed.run(&changed).expect_code(0);
    let controller = place.controller.as_ref().unwrap();
    controller.wait_for_line("web1: its daemon pulls", SOON);
    let waits = place.sh(Some("web1"), "echo pulled");
    place.wait_for_its_daemon(waits);
    assert_eq!(place.record(waits).status, JobStatus::Queued);
    let daemon = place.daemon();
    assert_eq!(out(&place.wait(waits)), "pulled\n");
    assert!(
        place.ran_by(waits).starts_with("host_"),
        "{}",
        place.ran_by(waits)
    );
    // It speaks for the host alone, and says nothing against work.
    eventually(SOON, || place.hosts().len() == 1);
    assert_eq!(place.hosts()[0].blocked, None);

    // The tunnel comes back by itself, and the daemon with it.
    place.bed.server.drop_connections();
    let again = place.sh(Some("web1"), "echo again");
    assert_eq!(out(&place.wait(again)), "again\n");

    // The daemon is gone, and so are its settings: jobs are pushed again.
    daemon.terminate();
    assert_eq!(daemon.wait(SOON).code, 0);
    std::fs::remove_file(settings).unwrap();
    let controller = place.controller.as_ref().unwrap();
    controller.signal(Signal::HUP);
    place.wait_for_hosts(1);
    let pushed = place.sh(Some("web1"), "echo pushed");
    assert_eq!(out(&place.wait(pushed)), "pushed\n");
    assert_eq!(place.ran_by(pushed), "web1");
    assert!(
        !place.coordinator_file().exists(),
        "nothing of the tunnel is left"
    );
}

#[test]
fn only_the_last_line_of_the_settings_says_whose_daemon_it_is() {
    let Some(mut place) = Place::with(&["web1"], 1) else {
        return;
    };
    let id = place.state("controller-id");
    std::fs::create_dir_all(id.parent().unwrap()).unwrap();
    std::fs::write(&id, "00c0ffee00c0ffee").unwrap();
    let settings = place.seat();
    let ours = std::fs::read_to_string(&settings).unwrap();
    // The host's owner has the last word, for the daemon as for us.
    let others = format!("{ours}SKYCLAW_COORDINATOR_FILE=/elsewhere/other.json\n");
    std::fs::write(&settings, &others).unwrap();
    place.up(&[]);
    place.wait_for_hosts(1);
    assert_eq!(
        place.ran_by(place.wait(place.sh(Some("web1"), "true")).id),
        "web1"
    );
    let file = place.coordinator_file();
    let quoted = format!("{others} SKYCLAW_COORDINATOR_FILE=\"{}\"\n", file.display());
    std::fs::write(&settings, quoted).unwrap();
    let controller = place.controller.as_ref().unwrap();
    controller.signal(Signal::HUP);
    controller.wait_for_line("web1: its daemon pulls", SOON);
}

#[test]
fn a_host_whose_daemon_was_taken_away_is_pushed_to_again_unasked() {
    let Some(place) = Place::ready(&["web1"], 1) else {
        return;
    };
    let settings = place.seat();
    let controller = place.controller.as_ref().unwrap();
    controller.signal(Signal::USR1);
    controller.wait_for_line("web1: its daemon pulls", SOON);
    let waits = place.sh(Some("web1"), "echo waited");
    place.wait_for_its_daemon(waits);
    std::fs::remove_file(settings).unwrap();
    place.wait_for_hosts(1);
    let pushed = place.sh(Some("web1"), "echo pushed");
    assert_eq!(out(&place.wait(pushed)), "pushed\n");
    assert_eq!(place.ran_by(pushed), "web1");
}

#[test]
fn a_service_of_a_host_that_pulls_is_reached_through_its_connection() {
    if !require_program("perl") {
        return;
    }
    let Some(place) = Place::ready(&["web1"], 1) else {
        return;
    };
    place.seat();
    let changed = ["fleet", "teardown", "web1", "-y"];
    place.bed.run(&changed).expect_code(0);
    let controller = place.controller.as_ref().unwrap();
    controller.wait_for_line("web1: its daemon pulls", SOON);
    let daemon = place.daemon();
    let server = r#"exec perl -MIO::Socket::INET -e '
        $s = IO::Socket::INET->new(Listen => 9, LocalAddr => "127.0.0.1", LocalPort => $ENV{PORT}) or die;
        while ($c = $s->accept) {
            while (<$c>) { last if /^\r?$/ }
            print $c "HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\nhere";
            close $c;
        }'"#;
    let ask = DeployService {
        name: "web".into(),
        command: "sh".into(),
        args: Some(vec!["-c".into(), server.into()]),
        by_name: true,
        ..DeployService::default()
    };
    let id = place
        .block_on(place.client().deploy_service(&ask))
        .unwrap()
        .id;
    let endpoint = || {
        let service = place.block_on(place.client().service(&id)).unwrap();
        let one = service.assignments.first()?.clone();
        let at = one.endpoint?.strip_prefix("http://")?.parse().ok();
        at.map(|at: std::net::SocketAddr| (at, one.error))
    };
    eventually(SOON, || endpoint().is_some());
    let (at, error) = endpoint().unwrap();
    assert!(at.ip().is_loopback() && error.is_none(), "{at} {error:?}");
    let reply = Http::connect(at).and_then(|mut http| http.send("GET", "/", b""));
    assert_eq!(reply.unwrap().body, b"here");
    daemon.terminate();
    assert_eq!(daemon.wait(SOON).code, 0);
}
