//! A coordinator that wants exactly what a test says, and remembers what the host told it.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use skyclaw::protocol::api::{
    AssignmentReport, Phase, Register, Restart, ServiceOutput, SyncServices, SyncedServices, Want,
    WantedAssignment, WantedLogs,
};

use super::program;
use crate::bed::{Bed, SOON};
use crate::common::scripted::{Answer, serve};
use crate::common::{Running, holds_within};

/// The coordinator.
#[derive(Clone)]
pub struct Script(Arc<(Mutex<State>, Condvar)>);

#[derive(Default)]
pub struct State {
    version: u64,
    wanted: Vec<WantedAssignment>,
    /// The latest word on each assignment.
    reports: BTreeMap<String, AssignmentReport>,
    /// All phases each was in, as far as they were told.
    pub course: Vec<(String, Phase)>,
    /// What was named in the latest request.
    named: Vec<String>,
    pub leaving: bool,
    /// What runs on a host that leaves is needed there yet.
    pub keeps: bool,
    pub syncs: usize,
    /// What the host said that it can do.
    pub capabilities: Vec<String>,
    output: BTreeMap<(String, u64), (Vec<u8>, bool)>,
    away: bool,
    /// It is one of the original: these are given away, one at a time.
    pub claims: Option<Vec<Value>>,
    /// What was said of them.
    pub told: Vec<Value>,
}

impl Script {
    /// Serves where the bed's hosts look for their coordinator.
    pub fn serve(bed: &Bed) -> Self {
        let script = Self(Arc::default());
        let shared = script.clone();
        serve(bed.port(), move |path, body| shared.reply(path, body));
        script
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().unwrap()
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state();
        change(&mut state);
        state.version += 1;
        self.0.1.notify_all();
    }

    /// Wants one more assignment.
    pub fn want(&self, wanted: WantedAssignment) {
        self.change(|state| state.wanted.push(wanted));
    }

    /// Wants an assignment to end.
    pub fn drain(&self, id: &str) {
        self.alter(id, |wanted| wanted.want = Want::Drain);
    }

    /// Wants the output of an assignment.
    pub fn read_logs(&self, id: &str, logs: WantedLogs) {
        self.alter(id, |wanted| wanted.logs = Some(logs));
    }

    fn alter(&self, id: &str, alter: impl FnOnce(&mut WantedAssignment)) {
        self.change(|state| {
            let found = state.wanted.iter_mut().find(|one| one.assignment_id == id);
            alter(found.unwrap());
        });
    }

    /// Speaks of an assignment no more.
    pub fn forget(&self, id: &str) {
        self.change(|state| state.wanted.retain(|wanted| wanted.assignment_id != id));
    }

    /// Answers nothing, or answers again.
    pub fn go_away(&self, away: bool) {
        self.change(|state| state.away = away);
    }

    pub fn report(&self, id: &str) -> Option<AssignmentReport> {
        self.state().reports.get(id).cloned()
    }

    /// Waits until the host says what `holds` wants to hear of the assignment.
    #[track_caller]
    pub fn until(&self, id: &str, holds: impl Fn(&AssignmentReport) -> bool) -> AssignmentReport {
        let heard = holds_within(SOON, || {
            self.report(id).is_some_and(|report| holds(&report))
        });
        let report = self.report(id);
        assert!(heard, "{id} is {report:#?}");
        report.unwrap()
    }

    /// Waits until the assignment is in this phase.
    #[track_caller]
    pub fn until_phase(&self, id: &str, phase: Phase) -> AssignmentReport {
        self.until(id, |report| report.phase == phase)
    }

    /// Waits until the host names the assignment no more.
    #[track_caller]
    pub fn until_forgotten(&self, id: &str) {
        let gone = || !self.state().named.iter().any(|named| named == id);
        assert!(holds_within(SOON, gone), "{id} is still named");
    }

    /// Waits until the output for a reader contains the text, and returns it and whether it is all.
    #[track_caller]
    pub fn until_output(&self, id: &str, request: u64, text: &str) -> (String, bool) {
        let found = || {
            let state = self.state();
            let (bytes, end) = state.output.get(&(id.to_owned(), request))?;
            Some((String::from_utf8_lossy(bytes).into_owned(), *end))
        };
        let there = || found().is_some_and(|(output, _)| output.contains(text));
        assert!(
            holds_within(SOON, there),
            "{text:?} is not in {:?}",
            found()
        );
        found().unwrap()
    }

    fn reply(&self, path: &str, body: &[u8]) -> Option<Answer> {
        if self.state().away {
            return None;
        }
        let answer = self.answer(path, body)?;
        let status = if answer.is_null() { "404 X" } else { "200 X" };
        Some((status, answer.to_string()))
    }

    fn answer(&self, path: &str, body: &[u8]) -> Option<Value> {
        let host = json!({
            "id": "lab-1", "name": "lab", "capabilities": ["shell"], "maxParallel": 1,
            "activeLeases": 0, "lastSeenAt": "2026-01-01T00:00:00.000Z",
            "registeredAt": "2026-01-01T00:00:00.000Z", "updatedBy": "node_1", "version": 1
        });
        let word = path.rsplit('/').next()?;
        Some(match word {
            "register" => {
                let said: Register = serde_json::from_slice(body).unwrap();
                self.state().capabilities = said.capabilities.unwrap_or_default();
                json!({"host": host, "features": ["batch"]})
            }
            "heartbeat" | "deregister" => json!({"host": host}),
            "claim" if path.contains("/services/") => {
                let mut state = self.state();
                let next = state.claims.as_mut().and_then(Vec::pop);
                json!({"service": next})
            }
            "claim" => json!({"jobs": []}),
            "report" => {
                let said: Value = serde_json::from_slice(body).unwrap();
                self.state().told.push(said);
                json!({"service": record(1, "sh", "x")})
            }
            "sync" if self.state().claims.is_some() => Value::Null,
            "sync" => {
                let answer = self.sync(serde_json::from_slice(body).unwrap())?;
                serde_json::to_value(answer).unwrap()
            }
            "logs" => {
                let sent: ServiceOutput = serde_json::from_slice(body).unwrap();
                let mut state = self.state();
                let place = (sent.assignment_id, sent.request);
                let (bytes, end) = state.output.entry(place).or_default();
                bytes.extend(STANDARD.decode(sent.data).unwrap());
                *end |= sent.end;
                json!({"wanted": true})
            }
            _ => Value::Null,
        })
    }

    fn sync(&self, said: SyncServices) -> Option<SyncedServices> {
        let mut state = self.state();
        state.syncs += 1;
        state.leaving = said.leaving;
        let lets_go = said.leaving && !state.keeps;
        let runs = |wanted: &WantedAssignment| wanted.want == Want::Run;
        if lets_go && state.wanted.iter().any(runs) {
            for wanted in &mut state.wanted {
                wanted.want = Want::Drain;
            }
            state.version += 1;
        }
        state.named.clear();
        for report in said.assignments {
            let id = report.assignment_id.clone();
            state.named.push(id.clone());
            let known = state.reports.insert(id.clone(), report.clone());
            if known.is_none_or(|known| known.phase != report.phase) {
                state.course.push((id, report.phase));
            }
        }
        let wait = Duration::from_millis(said.wait_ms.unwrap_or(0));
        let same = |state: &mut State| said.seen == Some(state.version) && !state.away;
        let waited = self.0.1.wait_timeout_while(state, wait, same);
        let state = waited.unwrap().0;
        (!state.away).then(|| SyncedServices {
            assignments: state.wanted.clone(),
            version: state.version,
            ..SyncedServices::default()
        })
    }
}

/// A service as the original has it: this script of the shell.
pub fn record(version: u64, command: &str, script: &str) -> Value {
    json!({
        "id": "svc_1", "name": "old", "command": command, "args": ["-c", script], "replicas": 1,
        "requiredCapabilities": ["service-host"], "status": "pending", "version": version,
        "createdAt": "2026-01-01T00:00:00.000Z", "updatedAt": "2026-01-01T00:00:00.000Z",
        "updatedBy": "node_1", "assignments": []
    })
}

/// The test binary as a service with this name, which is also its assignment's id.
pub fn web(name: &str) -> WantedAssignment {
    let own = std::env::current_exe().unwrap();
    let own = own.to_str().unwrap().to_owned();
    WantedAssignment {
        health: Some("/health".into()),
        args: program::ARGS.map(str::to_owned).to_vec(),
        env: BTreeMap::from([("TEST_SERVICE".into(), name.to_owned())]),
        ..command(name, &own)
    }
}

/// A script of the shell as a service. `$WEB` becomes the server.
pub fn sh(name: &str, script: &str) -> WantedAssignment {
    let server = web(name);
    let web = format!("'{}' {}", server.command, program::ARGS.join(" "));
    WantedAssignment {
        command: "sh".into(),
        args: vec!["-c".into(), script.replace("$WEB", &web)],
        ..server
    }
}

/// Any command as a service.
pub fn command(name: &str, command: &str) -> WantedAssignment {
    WantedAssignment {
        assignment_id: name.into(),
        want: Want::Run,
        service_id: format!("svc-{name}"),
        name: name.into(),
        generation: 1,
        command: command.into(),
        args: Vec::new(),
        cwd: None,
        env: BTreeMap::new(),
        secret_env: BTreeMap::new(),
        health: None,
        restart: Restart::Always,
        protocol: None,
        ready_ms: 30_000,
        drain_ms: 30_000,
        logs: None,
    }
}

/// Where the ports of this process's services begin: out of the way of those that the system gives to clients.
pub fn base() -> u16 {
    20_000 + u16::try_from(std::process::id() % 600).unwrap() * 20
}

/// A host that may run the test binary, `sh` and a program that is not there.
#[track_caller]
pub fn host(bed: &Bed, vars: &[(&str, &str)]) -> Running {
    let commands = format!("{},sh,not-on-this-machine", web("x").command);
    let base = base().to_string();
    let mut all = vec![
        ("SKYCLAW_ALLOWED_COMMANDS", commands.as_str()),
        ("SKYCLAW_SERVICE_BASE_PORT", base.as_str()),
    ];
    all.extend(vars);
    bed.host("lab", &all)
}
