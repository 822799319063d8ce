//! One command of a channel: a child that leads its own session, and its three pipes.
//!
//! As with sshd, the command's stdin ends when the client ends it, when the command is gone and when
//! the channel is gone; the exit status is sent at once, and the channel closes after the output.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::BytesMut;
use russh::server::{Handle, Msg};
use russh::{ChannelWriteHalf, Sig};
use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};

use super::gate::{Gate, Piece};
use super::{Account, Tether};

/// What runs commands, whatever shell the user of this machine likes.
const SHELL: &str = "/bin/sh";
/// One read of a pipe: what a pipe holds at most.
const CHUNK: usize = 64 << 10;
/// The extended data that is stderr (RFC 4254, 5.2).
const STDERR: u32 = 1;
/// A packet that is not taken after this time waits for the client to open its window.
const STARVES_AFTER: Duration = Duration::from_millis(20);
/// What a command may still do after its channel went away. Longer than a supervisor's grace.
const LAST_WORDS: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(50);

/// Makes the command lead a session of its own. Without it (macOS) it leads a process group.
static SETSID: LazyLock<Option<PathBuf>> = LazyLock::new(|| {
    [
        "/usr/bin/setsid",
        "/bin/setsid",
        "/run/current-system/sw/bin/setsid",
    ]
    .iter()
    .map(PathBuf::from)
    .find(|path| path.exists())
});

/// A command to run.
pub(super) struct Exec<'a> {
    pub(super) account: &'a Account,
    pub(super) command: Option<&'a [u8]>,
    pub(super) connection: (Option<SocketAddr>, Option<SocketAddr>),
}

/// A started command that nobody listens to yet.
pub(super) struct Started {
    child: Child,
    pid: Option<Pid>,
}

/// The connection's end of a command. Dropping it means that the channel is gone.
pub(super) struct Feed {
    input: Option<mpsc::UnboundedSender<Piece>>,
    _present: oneshot::Sender<()>,
}

impl Feed {
    /// Queues input. What comes after the end, or for a command that is gone, is dropped.
    pub(super) fn give(&self, piece: Piece) {
        if let Some(input) = &self.input {
            let _ = input.send(piece);
        }
    }

    /// Ends the input after what is queued.
    pub(super) fn end(&mut self) {
        self.input = None;
    }
}

impl Exec<'_> {
    /// Starts it.
    pub(super) fn spawn(&self) -> std::io::Result<Started> {
        let mut command = match SETSID.as_deref() {
            Some(setsid) => {
                let mut command = Command::new(setsid);
                command.arg(SHELL);
                command
            }
            None => {
                let mut command = Command::new(SHELL);
                command.process_group(0);
                command
            }
        };
        if let Some(line) = self.command {
            command.arg("-c").arg(OsStr::from_bytes(line));
        }
        self.environment(&mut command);
        command
            .current_dir(&self.account.home)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = command.spawn()?;
        let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        Ok(Started { child, pid })
    }

    fn environment(&self, command: &mut Command) {
        let Account {
            user,
            home,
            environment,
        } = self.account;
        command
            .env_clear()
            .env("HOME", home)
            .env("USER", user)
            .env("LOGNAME", user)
            .env("SHELL", SHELL)
            .envs(environment.iter().map(|(name, value)| (name, value)));
        if let (Some(peer), Some(own)) = self.connection {
            let text = format!("{} {} {} {}", peer.ip(), peer.port(), own.ip(), own.port());
            command.env("SSH_CONNECTION", text);
        }
    }
}

impl Started {
    /// Attends to the command in the background, until nothing of it is left.
    pub(super) fn attend(
        self,
        channel: ChannelWriteHalf<Msg>,
        handle: Handle,
        gate: Arc<Gate>,
        tether: Tether,
    ) -> Feed {
        let (input, queue) = mpsc::unbounded_channel();
        let (_present, gone) = oneshot::channel();
        let client = Client {
            channel,
            handle,
            gate,
        };
        tokio::spawn(attend(self, client, queue, gone, tether));
        Feed {
            input: Some(input),
            _present,
        }
    }

    async fn wait(&mut self) -> std::io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Kills the command and its group.
    ///
    /// The number may be another's only if it was given anew within the seconds we wait, after going
    /// once through all numbers there are.
    fn kill(&self) {
        if let Some(pid) = self.pid {
            let _ = kill_process_group(pid, Signal::KILL);
            // Until `setsid` has run there is no such group, only the process.
            if self.child.id().is_some() {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }

    fn has_members(&self) -> bool {
        self.child.id().is_some()
            || self
                .pid
                .is_some_and(|pid| test_kill_process_group(pid).is_ok())
    }
}

/// The way back to the client.
struct Client {
    channel: ChannelWriteHalf<Msg>,
    handle: Handle,
    gate: Arc<Gate>,
}

async fn attend(
    mut started: Started,
    client: Client,
    queue: mpsc::UnboundedReceiver<Piece>,
    gone: oneshot::Receiver<()>,
    mut tether: Tether,
) {
    let served = tokio::select! {
        served = serve(&mut started, &client, queue) => served,
        _ = gone => false,
        () = tether.cut() => false,
    };
    // Our ends of the pipes are closed now. What a command that ended by itself has left behind lives
    // on, as with sshd.
    if served {
        return;
    }
    let end_at = Instant::now() + LAST_WORDS;
    while started.has_members() && Instant::now() < end_at {
        tokio::select! {
            () = tether.cut() => break,
            _ = started.wait(), if started.child.id().is_some() => {}
            () = sleep(POLL) => {}
        }
    }
    started.kill();
    let _ = started.wait().await;
}

/// Carries input and output until the command and its output have ended. Returns false if the
/// connection went away before.
async fn serve(
    started: &mut Started,
    client: &Client,
    queue: mpsc::UnboundedReceiver<Piece>,
) -> bool {
    let (stdin, stdout, stderr) = (
        started.child.stdin.take(),
        started.child.stdout.take(),
        started.child.stderr.take(),
    );
    let life = async {
        let status = tokio::select! {
            status = started.child.wait() => status,
            // After the end of the input the command still runs.
            () = async { feed(stdin, queue).await; std::future::pending().await } => return None,
        };
        Some(client.report(status.ok()).await)
    };
    let (told, out, err) = tokio::join!(
        life,
        client.carry(stdout, None),
        client.carry(stderr, Some(STDERR))
    );
    let _ = client.channel.eof().await;
    let closed = client.channel.close().await.is_ok();
    told == Some(true) && out && err && closed
}

/// Writes the queue to the command until one of them ends, then closes the command's stdin.
async fn feed(stdin: Option<ChildStdin>, mut queue: mpsc::UnboundedReceiver<Piece>) {
    let Some(mut stdin) = stdin else { return };
    while let Some(piece) = queue.recv().await {
        if stdin.write_all(&piece.bytes).await.is_err() {
            return;
        }
    }
}

impl Client {
    /// Sends one pipe of the command to its end. Returns false if the connection went away before.
    async fn carry(&self, pipe: Option<impl AsyncRead + Unpin>, stream: Option<u32>) -> bool {
        let Some(mut pipe) = pipe else { return true };
        let mut buffer = BytesMut::new();
        loop {
            buffer.reserve(CHUNK);
            match pipe.read_buf(&mut buffer).await {
                Ok(0) | Err(_) => return true,
                Ok(_) => {}
            }
            let bytes = buffer.split().freeze();
            let sending = async {
                match stream {
                    None => self.channel.data_bytes(bytes).await,
                    Some(code) => self.channel.extended_data_bytes(code, bytes).await,
                }
            };
            tokio::pin!(sending);
            let sent = match timeout(STARVES_AFTER, &mut sending).await {
                Ok(sent) => sent,
                Err(_) => {
                    let _starving = self.gate.starving();
                    sending.await
                }
            };
            if sent.is_err() {
                return false;
            }
        }
    }

    /// Sends how the command ended. Returns whether the connection was still there.
    async fn report(&self, status: Option<ExitStatus>) -> bool {
        let id = self.channel.id();
        let Some(status) = status else { return true };
        match (status.code(), status.signal()) {
            (Some(code), _) => self
                .channel
                .exit_status(u32::from_ne_bytes(code.to_ne_bytes()))
                .await
                .is_ok(),
            (None, Some(signal)) => self
                .handle
                .exit_signal_request(
                    id,
                    signal_name(signal),
                    status.core_dumped(),
                    String::new(),
                    String::new(),
                )
                .await
                .is_ok(),
            (None, None) => true,
        }
    }
}

/// Returns the name a signal has in SSH; those the standard does not know get OpenSSH's suffix.
fn signal_name(number: i32) -> Sig {
    let Some(signal) = Signal::from_named_raw(number) else {
        return Sig::Custom(format!("{number}@openssh.com"));
    };
    match signal {
        Signal::ABORT => Sig::ABRT,
        Signal::ALARM => Sig::ALRM,
        Signal::FPE => Sig::FPE,
        Signal::HUP => Sig::HUP,
        Signal::ILL => Sig::ILL,
        Signal::INT => Sig::INT,
        Signal::KILL => Sig::KILL,
        Signal::PIPE => Sig::PIPE,
        Signal::QUIT => Sig::QUIT,
        Signal::SEGV => Sig::SEGV,
        Signal::TERM => Sig::TERM,
        Signal::USR1 => Sig::USR1,
        Signal::USR2 => Sig::Custom("USR2".into()),
        Signal::BUS => Sig::Custom("BUS@openssh.com".into()),
        Signal::SYS => Sig::Custom("SYS@openssh.com".into()),
        Signal::TRAP => Sig::Custom("TRAP@openssh.com".into()),
        Signal::XCPU => Sig::Custom("XCPU@openssh.com".into()),
        Signal::XFSZ => Sig::Custom("XFSZ@openssh.com".into()),
        other => Sig::Custom(format!("{}@openssh.com", other.as_raw())),
    }
}
