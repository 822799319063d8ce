//! A child process with a deadline: its streams are read as they come, it is killed on drop.

use std::io::Read;
use std::ops::DerefMut;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::wait::holds_within;

/// How a command ended and what it wrote.
#[derive(Clone, Debug)]
pub struct Output {
    /// The exit code; 128 + signal for a death by signal.
    pub code: i32,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub took: Duration,
}

impl Output {
    /// Returns stdout as text; invalid UTF-8 is replaced.
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Returns stderr as text; invalid UTF-8 is replaced.
    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// Returns stdout as one JSON document.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.stdout)
            .unwrap_or_else(|error| panic!("stdout is no JSON ({error}): {self}"))
    }

    /// Asserts the exit code and shows everything if it is another.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "exit code: {self}");
        self
    }
}

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (code, took) = (self.code, self.took);
        write!(
            f,
            "code {code} after {took:?}\n--- stdout\n{}\n--- stderr\n{}\n---",
            self.out(),
            self.err()
        )
    }
}

/// A started command. Dropping it kills its process group.
pub struct Running {
    child: Child,
    keyboard: Option<ChildStdin>,
    shown: String,
    started_at: Instant,
    stdout: Arc<Stream>,
    stderr: Arc<Stream>,
}

impl Running {
    /// Starts the command in a process group of its own, with stdin from the given bytes (none: end of file at once).
    #[track_caller]
    pub fn start(mut command: impl DerefMut<Target = Command>, stdin: Option<Vec<u8>>) -> Self {
        let stdin_kind = if stdin.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        };
        command.stdin(stdin_kind);
        let mut running = Self::spawn(command);
        if let (Some(mut pipe), Some(bytes)) = (running.keyboard.take(), stdin) {
            // A thread of its own: the child may write before it has read all.
            std::thread::spawn(move || std::io::Write::write_all(&mut pipe, &bytes));
        }
        running
    }

    #[track_caller]
    fn spawn(mut command: impl DerefMut<Target = Command>) -> Self {
        let shown = format!("{:?}", *command);
        let piped = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let mut child = piped
            .spawn()
            .unwrap_or_else(|error| panic!("start {shown}: {error}"));
        let stdout = Stream::follow(child.stdout.take().expect("stdout is piped"));
        let stderr = Stream::follow(child.stderr.take().expect("stderr is piped"));
        Self {
            keyboard: child.stdin.take(),
            child,
            shown,
            started_at: Instant::now(),
            stdout,
            stderr,
        }
    }

    /// Starts the command line on a terminal of its own, made by `script`; [`Running::type_in`] is its keyboard.
    /// What it shows there is its stdout. Ask `require_program("script")` first.
    #[track_caller]
    pub fn start_on_terminal(
        mut script: impl DerefMut<Target = Command>,
        command_line: &str,
    ) -> Self {
        script
            .args(["-qec", command_line, "/dev/null"])
            .stdin(Stdio::piped());
        Self::spawn(script)
    }

    /// Types on its terminal.
    #[track_caller]
    pub fn type_in(&mut self, text: &str) {
        let keyboard = self.keyboard.as_mut().expect("started on a terminal");
        std::io::Write::write_all(keyboard, text.as_bytes()).expect("type");
    }

    /// Waits until it shows the text, which need not be a whole line.
    #[track_caller]
    pub fn wait_for_text(&self, needle: &str, deadline: Duration) {
        let shown = holds_within(deadline, || self.stdout.text().contains(needle));
        assert!(
            shown,
            "{}: no {needle:?}: {}",
            self.shown,
            self.stdout.text()
        );
    }

    /// Returns the process id.
    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// Kills the process alone, as a crash or the kernel would: it cannot tidy up.
    pub fn kill9(&self) {
        self.signal(Signal::KILL);
    }

    /// Sends SIGTERM to the process.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Sends SIGINT to the whole process group, as a terminal does on Ctrl-C.
    pub fn interrupt(&self) {
        let _gone_already = kill_process_group(self.group(), Signal::INT);
    }

    /// Sends any signal to the process.
    pub fn signal(&self, signal: Signal) {
        let _gone_already = kill_process(self.group(), signal);
    }

    /// Returns what stdout held so far.
    pub fn stdout_so_far(&self) -> String {
        self.stdout.text()
    }

    /// Returns what stderr held so far.
    pub fn stderr_so_far(&self) -> String {
        self.stderr.text()
    }

    /// Waits for a line of stdout that holds the text and returns it.
    #[track_caller]
    pub fn wait_for_line(&self, needle: &str, deadline: Duration) -> String {
        self.line_or_panic(&self.stdout, needle, deadline)
    }

    /// Waits for a line of stderr that holds the text and returns it.
    #[track_caller]
    pub fn wait_for_error_line(&self, needle: &str, deadline: Duration) -> String {
        self.line_or_panic(&self.stderr, needle, deadline)
    }

    /// Returns whether the process still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_none())
    }

    /// Waits for the end; past the deadline the group is killed and the test fails with all that was written.
    #[track_caller]
    pub fn wait(mut self, deadline: Duration) -> Output {
        let mut ended = None;
        let in_time = holds_within(deadline, || {
            ended = self.child.try_wait().expect("wait for the child");
            ended.is_some()
        });
        let took = self.started_at.elapsed();
        if !in_time {
            self.kill_group();
        }
        // A grandchild may hold the pipes open for ever; what came within two seconds is all there is.
        for stream in [&self.stdout, &self.stderr] {
            stream.wait_closed(Duration::from_secs(2));
        }
        let output = Output {
            code: ended.map_or(-1, exit_code),
            stdout: self.stdout.bytes(),
            stderr: self.stderr.bytes(),
            took,
        };
        assert!(
            in_time,
            "{} did not end within {deadline:?}: {output}",
            self.shown
        );
        output
    }

    #[track_caller]
    fn line_or_panic(&self, stream: &Stream, needle: &str, deadline: Duration) -> String {
        stream.wait_line(needle, deadline).unwrap_or_else(|| {
            let (out, err) = (self.stdout.text(), self.stderr.text());
            panic!(
                "{}: no line with {needle:?}\n--- stdout\n{out}\n--- stderr\n{err}\n---",
                self.shown
            )
        })
    }

    fn group(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    fn kill_group(&mut self) {
        let _gone_already = kill_process_group(self.group(), Signal::KILL);
        let _reaped = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Only while the leader is not reaped: afterwards the number may belong to somebody else.
        if self.is_running() {
            self.kill_group();
        }
        if std::thread::panicking() {
            eprintln!(
                "--- {}\n--- stdout\n{}\n--- stderr\n{}",
                self.shown,
                self.stdout.text(),
                self.stderr.text()
            );
        }
    }
}

fn exit_code(status: ExitStatus) -> i32 {
    status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .unwrap_or(-1)
}

/// What a pipe gave so far.
struct Stream {
    state: Mutex<(Vec<u8>, bool)>,
    changed: Condvar,
}

impl Stream {
    fn follow(mut pipe: impl Read + Send + 'static) -> Arc<Self> {
        let stream = Arc::new(Self {
            state: Mutex::new((Vec::new(), false)),
            changed: Condvar::new(),
        });
        let writer = Arc::clone(&stream);
        std::thread::spawn(move || {
            let mut chunk = [0_u8; 65536];
            loop {
                let got = pipe.read(&mut chunk).unwrap_or(0);
                let mut state = writer.state.lock().expect("no reader panics with the lock");
                state.0.extend_from_slice(&chunk[..got]);
                state.1 = got == 0;
                writer.changed.notify_all();
                if got == 0 {
                    return;
                }
            }
        });
        stream
    }

    fn bytes(&self) -> Vec<u8> {
        self.state
            .lock()
            .expect("no reader panics with the lock")
            .0
            .clone()
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }

    fn wait_closed(&self, deadline: Duration) {
        let state = self.state.lock().expect("no reader panics with the lock");
        let _timed_out = self
            .changed
            .wait_timeout_while(state, deadline, |state| !state.1);
    }

    fn wait_line(&self, needle: &str, deadline: Duration) -> Option<String> {
        let end = Instant::now() + deadline;
        let mut state = self.state.lock().expect("no reader panics with the lock");
        loop {
            let text = String::from_utf8_lossy(&state.0).into_owned();
            // An unfinished line does not count: more of it may come.
            let whole = if state.1 {
                text.as_str()
            } else {
                text.rsplit_once('\n').map_or("", |(lines, _)| lines)
            };
            if let Some(line) = whole.lines().find(|line| line.contains(needle)) {
                return Some(line.to_owned());
            }
            let left = end.saturating_duration_since(Instant::now());
            if state.1 || left.is_zero() {
                return None;
            }
            state = self
                .changed
                .wait_timeout(state, left)
                .expect("no reader panics with the lock")
                .0;
        }
    }
}
