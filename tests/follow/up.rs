//! Runs that a real `fleet up` carries out over SSH.

use crate::bed::SOON;
use crate::common::{Bed, Running, eventually};

/// A fleet on one server, and a controller that works for it.
struct Up {
    bed: Bed,
    _controller: Running,
}

impl Up {
    fn start(names: &[&str]) -> Option<Self> {
        let bed = Bed::named(names)?;
        let controller = Self::controller(&bed);
        Some(Self {
            bed,
            _controller: controller,
        })
    }

    fn controller(bed: &Bed) -> Running {
        let controller = bed.world.spawn(&["fleet", "up", "--port", "0"]);
        controller.wait_for_line(" serves http://", SOON);
        controller
    }

    fn run(&self, args: &[&str]) -> crate::common::Output {
        self.bed.run(args)
    }

    /// Who carried the newest run out.
    fn went_through(&self, done: &crate::common::Output) -> bool {
        done.err().contains("`fleet up` runs it")
    }
}

#[test]
fn output_codes_and_words_are_those_of_a_run_of_its_own() {
    let Some(up) = Up::start(&["web1", "web2"]) else {
        return;
    };
    let tries: [(&[&str], i32); 6] = [
        (
            &["web1", "--shell", "printf out; printf err >&2; exit 3"],
            3,
        ),
        (
            &[
                "--shell",
                "echo \"$SSH_CONNECTION\" | cut -c1-4; pwd; exit 0",
            ],
            0,
        ),
        (
            &["web1", "--timeout", "1s", "--shell", "echo part; sleep 300"],
            124,
        ),
        (&["web1", "--shell", "kill -9 $$"], 137),
        (&["web1", "--", "nosuchprogram"], 127),
        (&["web1", "--cwd", "/nowhere", "--", "true"], 1),
    ];
    for (args, code) in tries {
        // A fan-out of its own keeps it in its own process.
        let own: Vec<&str> = ["-v", "fleet", "exec", "--json", "-f", "9"]
            .iter()
            .chain(args)
            .copied()
            .collect();
        let through: Vec<&str> = ["-v", "fleet", "exec", "--json"]
            .iter()
            .chain(args)
            .copied()
            .collect();
        let (own, through) = (
            up.run(&own).expect_code(code),
            up.run(&through).expect_code(code),
        );
        assert!(
            !up.went_through(&own) && up.went_through(&through),
            "{through}"
        );
        let (own, through) = (own.json(), through.json());
        for (own, through) in own["results"]
            .as_array()
            .unwrap()
            .iter()
            .zip(through["results"].as_array().unwrap())
        {
            for field in [
                "host",
                "task",
                "status",
                "exit",
                "signal",
                "error",
                "hint",
                "stdout",
                "stderr",
                "stdoutBytes",
            ] {
                assert_eq!(own.get(field), through.get(field), "{args:?}: {field}");
            }
        }
    }
}

#[test]
fn an_agent_that_is_there_answers_and_one_that_is_not_is_missing() {
    let Some(up) = Up::start(&["web1"]) else {
        return;
    };
    let missing = up
        .run(&["-v", "fleet", "dispatch", "hello"])
        .expect_code(10);
    assert!(
        up.went_through(&missing) && missing.err().contains("missing"),
        "{missing}"
    );
    up.bed
        .install(".local/bin/other", "#!/bin/sh\necho \"other: $*\"\n");
    let agent = "~/.local/bin/other {task} {name}";
    let done = up
        .run(&["-v", "fleet", "dispatch", "a 'b'\nc", "--agent", agent])
        .expect_code(0);
    assert!(up.went_through(&done), "{done}");
    assert_eq!(done.out(), "other: a 'b'\nc web1\n");
}

#[test]
fn a_run_survives_its_command_and_its_controller() {
    let Some(up) = Up::start(&["web1"]) else {
        return;
    };
    let Up { bed, _controller } = up;
    let file = |name: &str| bed.world.dir().join(name);
    let (gate, log) = (file("gate"), file("log"));
    let first = format!(
        "echo one >> {0}; while [ ! -e {1} ]; do sleep 0.1; done; echo first",
        log.display(),
        gate.display()
    );
    let second = format!("echo two >> {}; echo second", log.display());
    std::fs::write(file("tasks"), format!("{first}\n{second}\n")).unwrap();
    let tasks = file("tasks").display().to_string();
    let running = bed.world.spawn(&["fleet", "exec", "--tasks", &tasks]);
    eventually(SOON, || log.exists());
    running.kill9();
    std::fs::write(&gate, "").unwrap();
    let done = bed
        .run(&["fleet", "exec", "--resume", "last"])
        .expect_code(0);
    assert!(
        done.out().contains("] first") && done.out().contains("] second"),
        "{done}"
    );
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "one\ntwo\n");
    drop(_controller);
    let listed = bed.run(&["fleet", "runs", "--json"]).expect_code(0).json();
    assert_eq!(listed["runs"][0]["ok"], 2, "{listed}");
}

#[test]
fn other_hosts_and_other_fleet_files_are_not_for_this_controller() {
    let Some(up) = Up::start(&["web1"]) else {
        return;
    };
    let fleet = up.bed.world.fleet_path();
    let other = up.bed.world.dir().join("other.json");
    std::fs::copy(&fleet, &other).unwrap();
    let args = [
        "-v",
        "fleet",
        "exec",
        "--config",
        other.to_str().unwrap(),
        "--",
        "true",
    ];
    let done = up.run(&args).expect_code(0);
    assert!(
        !up.went_through(&done) && done.err().contains("another fleet file"),
        "{done}"
    );
    let more = ["web1", "web9"].map(|name| up.bed.server.fleet_host(name));
    up.bed.world.fleet(&more);
    let done = up
        .run(&["-v", "fleet", "exec", "--", "true"])
        .expect_code(0);
    assert!(
        !up.went_through(&done) && done.err().contains("web9"),
        "{done}"
    );
}
