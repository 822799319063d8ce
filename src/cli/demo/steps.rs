//! The commands of the demo, in their order, with the exit code each must end with.

/// The host that dies in the middle.
pub const KILLED: &str = "sandbox2";

/// One command.
#[derive(Debug)]
pub struct Step {
    /// What is to be seen, in one line.
    pub why: &'static str,
    /// The words after `skyclaw`.
    pub words: &'static [&'static str],
    /// The exit code it must end with.
    pub expected: i32,
    /// When this is in its output, a host dies.
    pub kills_when: Option<&'static str>,
    /// It stays in the background once this is in a line of its output.
    pub stays_when: Option<&'static str>,
    /// The address at the end of that line is given to later commands in this variable.
    pub exports: Option<&'static str>,
    /// No command: the first of those in the background is killed, once all of them belong together.
    pub kills_first: bool,
    /// What stayed in the background ends before it begins.
    pub ends_background: bool,
}

impl Step {
    fn new(why: &'static str, words: &'static [&'static str], expected: i32) -> Self {
        Self {
            why,
            words,
            expected,
            kills_when: None,
            stays_when: None,
            exports: None,
            kills_first: false,
            ends_background: false,
        }
    }

    /// A coordinator on a port and a database of its own, whose address the next command gets as `exports`.
    fn coordinator(
        why: &'static str,
        words: &'static [&'static str],
        exports: &'static str,
    ) -> Self {
        Self {
            stays_when: Some("listening on http"),
            exports: Some(exports),
            ..Self::new(why, words, 0)
        }
    }

    /// Returns the command as one would type it.
    pub fn shown(&self) -> String {
        if self.kills_first {
            return "kill -9 %1".to_owned();
        }
        let mut line = String::from("skyclaw");
        for word in self.words {
            if word.contains([' ', '[', '*']) {
                line.push_str(&format!(" '{word}'"));
            } else {
                line.push_str(&format!(" {word}"));
            }
        }
        if self.stays_when.is_some() {
            line.push_str(" &");
        }
        line
    }
}

/// Returns the tour.
pub fn steps() -> Vec<Step> {
    vec![
        Step::new(
            "All three hosts can be reached; the agent is on none of them yet.",
            &["fleet", "status"],
            0,
        ),
        Step::new(
            "Put a sample agent on all of them. It takes PicoClaw's commands and asks no model.",
            &["fleet", "deploy", "--from", "sample-agent.sh"],
            0,
        ),
        Step::new("Now they are ready.", &["fleet", "status"], 0),
        Step::new(
            "One host will run a service later; its owner writes down where others reach it.",
            &[
                "fleet",
                "exec",
                "sandbox3",
                "--",
                "sh",
                "-c",
                "mkdir -p ~/.config/skyclaw; echo SKYCLAW_SERVICE_HOST_PUBLIC_BASE_URL=http://127.0.0.1 > ~/.config/skyclaw/host.env",
            ],
            0,
        ),
        Step::new(
            "One task on every host at once; output is shown while it comes.",
            &["fleet", "dispatch", "sleep 1 and look around"],
            0,
        ),
        Step::new(
            "A task that takes too long is ended with all its processes; its output is kept.",
            &[
                "fleet",
                "dispatch",
                "sleep 60",
                "--on",
                "sandbox[1,3]",
                "--timeout",
                "2s",
            ],
            124,
        ),
        Step {
            kills_when: Some("[sandbox2] working: second 2"),
            ..Step::new(
                "A host dies in the middle; it is reported, and the others finish.",
                &["fleet", "dispatch", "sleep 3 and report"],
                1,
            )
        },
        Step::new(
            "Now skyclaw itself on one host: a daemon there will fetch its work, and no port is opened for it.",
            &["fleet", "deploy", "--component", "host", "sandbox3"],
            0,
        ),
        Step::new(
            "A controller that stays: it has a queue, and holds a connection to every host it can reach.",
            &["fleet", "up", "--detach", "--port", "0", "sandbox[1,3]"],
            0,
        ),
        Step::new(
            "This job is pushed to its host over the connection that is open already.",
            &[
                "enqueue-shell",
                "--follow",
                "--on-host",
                "sandbox1",
                "sh",
                "-c",
                "echo pushed to $HOME",
            ],
            0,
        ),
        Step::new(
            "This one is pulled by the daemon of its host, through the same kind of connection, which the controller opened.",
            &[
                "enqueue-shell",
                "--follow",
                "--on-host",
                "sandbox3",
                "sh",
                "-c",
                "echo pulled as $SKYCLAW_JOB_ID",
            ],
            0,
        ),
        Step::new(
            "These six go wherever there is room: pushed or pulled, each once.",
            &[
                "enqueue-shell",
                "--wait",
                "--array",
                "1-6",
                "sh",
                "-c",
                "sleep 0.1",
            ],
            0,
        ),
        Step::new(
            "The hosts, as the controller sees them.",
            &["host", "list"],
            0,
        ),
        Step::new(
            "A service: a process that always runs. Here it is a web server that every host with skyclaw has, a coordinator.",
            &[
                "deploy-service",
                "web",
                "--health",
                "/health",
                "--drain",
                "0",
                "--wait",
                "sh",
                "-c",
                "echo up on port $PORT; exec ~/.local/bin/skyclaw coordinator --port $PORT --db web.db",
            ],
            0,
        ),
        Step::new(
            "It answers, and would be started again if it died.",
            &["service", "list"],
            0,
        ),
        Step {
            stays_when: Some("listening on http"),
            exports: Some("SKYCLAW_GATEWAY_URLS"),
            ..Step::new(
                "A gateway knows where services are.",
                &["gateway", "--port", "0"],
                0,
            )
        },
        Step::new(
            "So whoever calls the service need not.",
            &["call", "web/health"],
            0,
        ),
        Step::new(
            "What the service printed.",
            &["service", "logs", "web", "--tail", "5"],
            0,
        ),
        Step {
            ends_background: true,
            ..Step::new("The controller ends when told to.", &["fleet", "down"], 0)
        },
        Step::coordinator(
            "A queue need not hang on one machine. Here is a coordinator,",
            &[
                "coordinator",
                "--port",
                "0",
                "--node-id",
                "one",
                "--db",
                "one.db",
            ],
            "SKYCLAW_PEER_URLS",
        ),
        Step::coordinator(
            "a second one that joins through it,",
            &[
                "coordinator",
                "--port",
                "0",
                "--node-id",
                "two",
                "--db",
                "two.db",
            ],
            "SKYCLAW_PEER_URLS",
        ),
        Step::coordinator(
            "and a third that is told of the second alone. They are one queue.",
            &[
                "coordinator",
                "--port",
                "0",
                "--node-id",
                "three",
                "--db",
                "three.db",
            ],
            "SKYCLAW_COORDINATOR_URL",
        ),
        Step {
            stays_when: Some("host registered"),
            ..Step::new(
                "A host that knows the third one.",
                &["host", "--name", "here"],
                0,
            )
        },
        Step::new(
            "A job, taken by the third and given out by whichever leads.",
            &[
                "enqueue-shell",
                "--follow",
                "sh",
                "-c",
                "echo before $SKYCLAW_JOB_ID",
            ],
            0,
        ),
        Step {
            kills_first: true,
            ..Step::new("The first one, which leads, dies.", &[], 0)
        },
        Step::new(
            "The others choose another leader, and the queue goes on.",
            &[
                "enqueue-shell",
                "--follow",
                "sh",
                "-c",
                "echo after $SKYCLAW_JOB_ID",
            ],
            0,
        ),
        Step::new("Two of three are up.", &["peer", "list"], 0),
        Step {
            ends_background: true,
            ..Step::new("Every run is on record.", &["fleet", "runs"], 0)
        },
        Step::new(
            "This is what came of the last one.",
            &["fleet", "show", "last"],
            0,
        ),
        Step::new(
            "Remove agent and daemon again. The dead host cannot be reached, the others are done.",
            &[
                "fleet",
                "teardown",
                "--all",
                "--component",
                "all",
                "--purge",
                "-y",
            ],
            4,
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_shown_as_one_would_type_them() {
        let step = Step::new("", &["fleet", "dispatch", "sleep 1", "--on", "a[1-3]"], 0);
        assert_eq!(
            step.shown(),
            "skyclaw fleet dispatch 'sleep 1' --on 'a[1-3]'"
        );
    }
}
