//! The controller itself: its coordinator, its workers, what it shows, and how it ends.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use super::Args;
use super::coordinator::{Coordinator, Guests};
use super::lines::Lines;
use super::screen::{Screen, Seen};
use crate::cli::args::load_fleet;
use crate::cli::connect::{CONNECT_TIMEOUT, selected};
use crate::cli::error::Failure;
use crate::cli::exit::Exit;
use crate::cli::given::Given;
use crate::cli::output::{Output, problem_line};
use crate::client;
use crate::fleet::controller::{self, Lock, Place, Running, Taken};
use crate::fleet::file::{self, Host};
use crate::fleet::seat::ControllerId;
use crate::fleet::work::{Crew, Happened, Means, Window};
use crate::protocol::api::Instance;
use crate::support::ids;
use crate::support::secret::Secret;
use crate::support::shutdown::{self, Shutdown};

/// How long running jobs may go on when nobody says.
pub(super) const DRAIN: Duration = Duration::from_secs(30);
/// A detached controller's log is cut when it is longer, and looked at this often.
const LOG: u64 = 4 << 20;
const LOOK_AT_LOG: Duration = Duration::from_secs(30);

/// How long the live view waits for the hosts.
const HOSTS: Duration = Duration::from_millis(500);

/// Runs the verb in this process.
///
/// # Errors
/// When the controller cannot be started, or another one runs.
pub async fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    if args.detached {
        // Away from the terminal whose end would end us. Fails only for who leads a group already.
        let _ = rustix::process::setsid();
    }
    // Before anything is open, so that a signal never finds it without an owner.
    let on_terminal = !args.detached && std::io::stdin().is_terminal();
    let shutdown = if on_terminal {
        Shutdown::listen()
    } else {
        Shutdown::listen_without_hangup()
    };
    let shutdown = shutdown.context("listen for signals")?;
    let mut asked = Asked::listen(!on_terminal).context("listen for signals")?;
    output.leave_on(&shutdown);
    let hosts = hosts(args, output)?;
    let place = Place::of_this_machine()?;
    let mut lock = match place.take()? {
        Taken::Ours(lock) => lock,
        Taken::Theirs(other) => return Err(runs_already(other).into()),
    };
    lock.say(&Running {
        pid: pid(),
        url: None,
        drain_ms: None,
        fleet: None,
        hosts: None,
    })?;
    let controller = ControllerId::of_this_machine()?;
    let token = token(&place)?;
    let guests = Guests::default();
    guests.are(&hosts);
    let (coordinator, visits) =
        Coordinator::start(args, &place, &controller, (&token, guests.clone()), output).await?;
    let (tell, told) = mpsc::unbounded_channel();
    let means = Means {
        client: coordinator.client()?,
        links: args.connect.links(CONNECT_TIMEOUT),
        instance: Instance {
            state_id: controller.to_string(),
            process_id: ids::random_hex::<8>(),
        },
        drain: drain(args),
        visits: Some(visits),
        outlets: coordinator.outlets.clone(),
        tell: Box::new(move |happened| {
            // Nobody listens any more only at the very end.
            let _ = tell.send(happened);
        }),
    };
    let mut crew = Crew::new(means, controller);
    crew.forget_others(&hosts).await;
    crew.work_for(&hosts);
    lock.say(&running(args, &coordinator, &hosts)?)?;
    output.line(&format!(
        "[skyclaw] controller {} serves {} for {} hosts",
        pid(),
        coordinator.url,
        hosts.len()
    ));
    output.event(
        "up",
        &serde_json::json!({ "pid": pid(), "url": coordinator.url, "hosts": hosts.len() }),
    )?;
    let mut view = View {
        lines: Lines::new(output, args.detached),
        client: coordinator.client()?,
        screen: Screen::start(output),
        told,
    };
    let log = args.detached.then(|| place.log());
    watch(
        args,
        (&coordinator, &guests),
        (&mut crew, &mut lock),
        &mut view,
        (&mut asked, log),
        &shutdown,
        output,
    )
    .await?;
    let window = crew.window();
    let stopping = crew.stop(shutdown.clone());
    tokio::pin!(stopping);
    loop {
        tokio::select! {
            () = &mut stopping => break,
            () = view.screen.due() => view.draw(&window, &coordinator).await,
            happened = view.told.recv() => view.happened(happened)?,
        }
    }
    view.screen.finish();
    while let Ok(happened) = view.told.try_recv() {
        view.happened(Some(happened))?;
    }
    coordinator.stop().await;
    view.lines.finish()?;
    output.line("[skyclaw] controller ended");
    drop(lock);
    Ok(Exit::Success)
}

/// The signals that have the fleet file read and the hosts looked at again.
struct Asked {
    /// On a terminal it is that terminal's end.
    hangup: Option<Signal>,
    /// Other commands of ours send this one: [`Place::look_again`].
    user: Signal,
}

impl Asked {
    fn listen(to_hangup: bool) -> std::io::Result<Self> {
        let hangup = to_hangup.then(|| signal(SignalKind::hangup()));
        Ok(Self {
            hangup: hangup.transpose()?,
            user: signal(SignalKind::user_defined1())?,
        })
    }

    /// Waits until one of them comes.
    async fn again(&mut self) {
        let hung_up = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = hung_up => {}
            _ = self.user.recv() => {}
        }
    }
}

/// What is shown, and what it is made of.
struct View<'o> {
    lines: Lines<'o>,
    screen: Screen<'o>,
    client: client::Client,
    told: mpsc::UnboundedReceiver<Happened>,
}

impl View<'_> {
    async fn draw(&mut self, window: &Window, coordinator: &Coordinator) {
        if !self.screen.is_drawn() {
            return;
        }
        let hosts = tokio::time::timeout(HOSTS, self.client.hosts()).await;
        let seen = Seen {
            hosts: hosts.ok().and_then(Result::ok),
            counts: coordinator.queue.counts().await.ok(),
        };
        self.screen.draw(&window.views(), &seen);
    }

    fn happened(&mut self, happened: Option<Happened>) -> anyhow::Result<()> {
        let Some(happened) = happened else {
            return Ok(());
        };
        self.screen.happened(&happened);
        self.lines.happened(&happened)
    }
}

/// Shows what happens and reads the fleet file again when asked, until it is time to stop.
async fn watch(
    args: &Args,
    (coordinator, guests): (&Coordinator, &Guests),
    (crew, lock): (&mut Crew, &mut Lock),
    view: &mut View<'_>,
    (asked, log): (&mut Asked, Option<PathBuf>),
    shutdown: &Shutdown,
    output: &Output,
) -> anyhow::Result<()> {
    let mut stop = shutdown.clone();
    let mut log_timer = tokio::time::interval(LOOK_AT_LOG);
    let workers = crew.parts().clone();
    loop {
        tokio::select! {
            biased;
            () = stop.reached(shutdown::Urgency::Stop) => return Ok(()),
            () = coordinator.gone() => {
                return Err(ended("the controller's coordinator has ended by itself"));
            }
            part = coordinator.parts.failed() => return Err(failed(part)),
            part = workers.failed() => return Err(failed(part)),
            () = asked.again() => {
                if let Some(hosts) = read_again(args, guests, crew, output)
                    && let Err(error) = lock.say(&running(args, coordinator, &hosts)?)
                {
                    tracing::warn!(%error, "cannot say which hosts there are");
                }
            }
            _ = log_timer.tick(), if log.is_some() => {
                if let Some(log) = &log
                    && let Err(error) = controller::bound(log, LOG)
                {
                    tracing::warn!(%error, "cannot cut the log");
                }
            }
            () = view.screen.due() => {
                view.draw(&crew.window(), coordinator).await;
            }
            happened = view.told.recv() => view.happened(happened)?,
        }
    }
}

fn failed(part: &str) -> anyhow::Error {
    ended(&format!("a part of the controller has failed: {part}"))
}

fn ended(what: &str) -> anyhow::Error {
    Failure::new(Exit::Failed, what)
        .hint("what it said before tells why; `skyclaw fleet up` starts it again")
        .into()
}

/// Takes over what the fleet file says now. What is wrong with it changes nothing.
fn read_again(
    args: &Args,
    guests: &Guests,
    crew: &mut Crew,
    output: &Output,
) -> Option<Vec<Arc<Host>>> {
    match hosts_of_now(args, output) {
        Ok(hosts) => {
            guests.are(&hosts);
            let (came, went) = crew.work_for(&hosts);
            output.line(&format!(
                "[skyclaw] fleet file read again: {} hosts, {came} new or changed, {went} gone or changed",
                hosts.len()
            ));
            Some(hosts)
        }
        Err(error) => {
            output.note(&format!("the fleet file is not used: {error:#}"));
            if let Some(file::Error::Invalid { path, problems }) = error.downcast_ref() {
                for problem in problems {
                    output.note(&problem_line(path, problem));
                }
            }
            None
        }
    }
}

fn drain(args: &Args) -> Duration {
    Given::of(&args.drain_ms).map_or(DRAIN, |millis| Duration::from_millis(*millis))
}

/// What others may know of us.
fn running(args: &Args, coordinator: &Coordinator, hosts: &[Arc<Host>]) -> anyhow::Result<Running> {
    let fleet = args.fleet.path()?;
    Ok(Running {
        pid: pid(),
        url: Some(coordinator.url.clone()),
        drain_ms: u64::try_from(drain(args).as_millis()).ok(),
        fleet: Some(fleet.canonicalize().unwrap_or(fleet)),
        hosts: Some(hosts.iter().map(|host| host.name.to_string()).collect()),
    })
}

fn hosts(args: &Args, output: &Output) -> anyhow::Result<Vec<Arc<Host>>> {
    let fleet = load_fleet(&args.fleet, output)?;
    selected(&fleet, &args.select.selection()?, output)
}

/// Returns the hosts asked for as far as the fleet file still has them.
fn hosts_of_now(args: &Args, output: &Output) -> anyhow::Result<Vec<Arc<Host>>> {
    let fleet = load_fleet(&args.fleet, output)?;
    let (selection, gone) = args.select.selection()?.still_there(&fleet);
    for text in gone {
        output.note(&format!("no host matches `{text}` any more"));
    }
    selected(&fleet, &selection, output)
}

/// Returns the token that the port asks for: the one that was given, or our own.
fn token(place: &Place) -> anyhow::Result<Secret> {
    let given = client::Settings::read(client::Given::default(), |name| {
        name.starts_with("SKYCLAW_TOKEN")
            .then(|| std::env::var(name).ok())
            .flatten()
    })
    .map_err(|error| Failure::usage("the controller's token").because(error))?;
    match given.token {
        Some(token) => Ok(token),
        None => Ok(place.token()?),
    }
}

/// Says that there is one already.
pub fn runs_already(other: Option<Running>) -> Failure {
    let who = match other {
        Some(other) => format!("a controller runs already: process {}", other.pid),
        None => "a controller is just starting".to_owned(),
    };
    Failure::new(Exit::Failed, who).hint("`skyclaw fleet down` ends it")
}

fn pid() -> i32 {
    std::process::id().cast_signed()
}
