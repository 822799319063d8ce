//! A host that says of its services whatever the test wants, in the way real hosts say it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::common::http;

/// What a host makes of what it is given.
#[derive(Clone, Debug)]
pub enum Act {
    /// Everything is ready, and ends when told to.
    Well,
    /// Everything starts and starts.
    Starting,
    /// This phase, with this reason and these last lines.
    Badly(&'static str, &'static str, &'static str),
}

/// One that runs. Dropping it ends it without a word.
pub struct ScriptedHost {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    act: Mutex<Act>,
    prints: Mutex<Vec<u8>>,
    /// The latest answer.
    wanted: Mutex<Value>,
    over: AtomicBool,
}

impl ScriptedHost {
    pub fn start(coordinator: SocketAddr, name: &str, act: Act) -> Self {
        let shared = Arc::new(Shared {
            act: Mutex::new(act),
            prints: Mutex::default(),
            wanted: Mutex::default(),
            over: AtomicBool::new(false),
        });
        let body = json!({
            "name": name, "hostId": format!("id-of-{name}"), "capabilities": ["service-host"], "maxParallel": 1,
        });
        http::call(coordinator, "POST", "/v1/hosts/register", &body).expect(200);
        let (theirs, id) = (Arc::clone(&shared), format!("id-of-{name}"));
        let thread = std::thread::spawn(move || theirs.run(coordinator, &id));
        Self {
            shared,
            thread: Some(thread),
        }
    }

    pub fn act(&self, act: Act) {
        *self.shared.act.lock().unwrap() = act;
    }

    /// What it sends to readers of logs.
    pub fn prints(&self, bytes: &[u8]) {
        *self.shared.prints.lock().unwrap() = bytes.to_vec();
    }

    /// What it was told to run, as it heard it last.
    pub fn wanted(&self) -> Value {
        self.shared.wanted.lock().unwrap().clone()
    }
}

impl Shared {
    fn run(&self, to: SocketAddr, id: &str) {
        let path = format!("/v1/hosts/{id}/services/sync");
        let (mut reports, mut seen) = (Vec::<Value>::new(), Value::Null);
        // What an assignment became stays, whatever the script says later.
        let mut settled = BTreeMap::<String, Value>::new();
        let mut printed = 0;
        while !self.over.load(Ordering::Relaxed) {
            let body = json!({"assignments": reports, "seen": seen, "waitMs": 200});
            let answer = http::call(to, "POST", &path, &body).expect(200).json();
            seen = answer["version"].clone();
            let wanted = answer["assignments"].as_array().unwrap().clone();
            *self.wanted.lock().unwrap() = answer["assignments"].clone();
            let act = self.act.lock().unwrap().clone();
            settled.retain(|known, _| wanted.iter().any(|one| one["assignmentId"] == **known));
            let mut next = Vec::new();
            for (at, one) in wanted.iter().enumerate() {
                let known = one["assignmentId"].as_str().unwrap().to_owned();
                let report = report(one, &act, at, settled.get(&known));
                if report["phase"] != "starting" {
                    settled.insert(known, report.clone());
                }
                next.push(report);
                self.print(to, id, one, &mut printed);
            }
            if next != reports {
                // News is told at once.
                seen = Value::Null;
            }
            reports = next;
        }
    }

    /// Sends output once for each request.
    fn print(&self, to: SocketAddr, id: &str, one: &Value, printed: &mut u64) {
        let request = one["logs"]["request"].as_u64().unwrap_or_default();
        if request <= *printed {
            return;
        }
        *printed = request;
        let bytes = self.prints.lock().unwrap().clone();
        let body = json!({
            "assignmentId": one["assignmentId"], "request": request, "data": STANDARD.encode(bytes),
            "end": one["logs"]["follow"] == false,
        });
        let path = format!("/v1/hosts/{id}/services/logs");
        http::call(to, "POST", &path, &body).expect(200);
    }
}

fn report(one: &Value, act: &Act, at: usize, before: Option<&Value>) -> Value {
    let id = &one["assignmentId"];
    if one["want"] == "drain" {
        return json!({"assignmentId": id, "phase": "stopped"});
    }
    if let Some(before) = before {
        return before.clone();
    }
    match act {
        Act::Well => json!({
            "assignmentId": id, "phase": "ready", "port": 3100 + at,
            "endpoint": format!("http://192.0.2.7:{}", 3100 + at),
        }),
        Act::Starting => json!({"assignmentId": id, "phase": "starting", "port": 3100 + at}),
        Act::Badly(phase, error, output) => json!({
            "assignmentId": id, "phase": phase, "error": error, "lastOutput": output, "restarts": 5,
        }),
    }
}

impl Drop for ScriptedHost {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Its coordinator may be gone; that is not what the test is about.
            let _ = thread.join();
        }
    }
}
