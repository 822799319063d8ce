//! Waits until a change of a service has come to its end, and tells how it goes.
//!
//! Woken by the coordinator's events; a slow poll stands in where those cannot be had.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::goal::{Goal, Verdict};
use super::names::HostNames;
use super::words::{self, Standing};
use crate::cli::error::Failure;
use crate::cli::exit::Exit;
use crate::cli::job::PATIENCE;
use crate::cli::output::{Format, Output};
use crate::cli::sanitize;
use crate::client::{Client, Error, EventStream};
use crate::protocol::api::{Assignment, Code, Event, Phase, ServiceRecord};
use crate::support::span::{Limit, parse_limit};

/// How often the coordinator is asked although no event came.
const POLL: Duration = Duration::from_secs(3);
/// How long a replica that is down may stay so before it counts: another host may take it over.
const SETTLE: Duration = Duration::from_secs(2);

/// Whether to wait, and for how long.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct WaitArgs {
    /// Wait until it is done, and tell on stderr how it goes
    #[arg(long)]
    pub wait: bool,
    /// With --wait, how long at most; 0 means no limit [default: 0]
    #[arg(long, value_name = "SPAN", value_parser = parse_limit, requires = "wait")]
    pub timeout: Option<Limit>,
}

/// How the wait came out.
#[derive(Debug)]
pub enum End {
    /// As it should.
    Reached,
    /// It will not get there.
    Failed(String),
    /// The time was up before.
    TimedOut,
}

/// Looks at one service until its change is done.
pub struct Watch<'o> {
    client: Client,
    output: &'o Output,
    began: Instant,
    limit: Option<Duration>,
    events: Option<EventStream>,
    hosts: HostNames,
    told: BTreeMap<String, String>,
    told_why_none: bool,
}

impl<'o> Watch<'o> {
    /// Begins to listen. This comes before the change, or what follows it at once would be missed.
    pub async fn begin(client: &Client, args: WaitArgs, output: &'o Output) -> Self {
        let events = match client.events_only(&["service-changed"], None).await {
            Ok(events) => Some(events),
            Err(error) => {
                tracing::debug!(%error, "no events of services");
                None
            }
        };
        Self {
            client: client.clone(),
            output,
            began: Instant::now(),
            limit: args.timeout.and_then(|limit| limit.0),
            events,
            hosts: HostNames::default(),
            told: BTreeMap::new(),
            told_why_none: false,
        }
    }

    /// Waits for the goal and returns the service as it was last seen; none if it is forgotten.
    ///
    /// # Errors
    /// When the coordinator cannot be asked for longer than a restart of it takes.
    pub async fn until(
        &mut self,
        service: &ServiceRecord,
        goal: &Goal,
    ) -> Result<(End, Option<ServiceRecord>), Error> {
        let mut last = Some(service.clone());
        let mut stuck_since: Option<Instant> = None;
        loop {
            if let Some(service) = &last {
                self.tell(service).await;
            }
            match goal.judge(last.as_ref()) {
                Verdict::Reached => return Ok((End::Reached, last)),
                Verdict::Failed(why) => return Ok((End::Failed(why), last)),
                Verdict::Stuck(why) => {
                    let since = *stuck_since.get_or_insert_with(Instant::now);
                    if since.elapsed() >= SETTLE {
                        return Ok((End::Failed(why), last));
                    }
                }
                Verdict::UnderWay => stuck_since = None,
            }
            let left = self
                .limit
                .map(|limit| limit.saturating_sub(self.began.elapsed()));
            if left == Some(Duration::ZERO) {
                return Ok((End::TimedOut, last));
            }
            let pause = stuck_since.map_or(POLL, |_| SETTLE);
            let changed = self
                .changed(&service.id, left.map_or(pause, |left| left.min(pause)))
                .await;
            last = self.look(&service.id).await?;
            if !changed && let (Goal::Up(_), Some(service)) = (goal, &last) {
                self.tell_why_none(service);
            }
        }
    }

    /// Waits for news of the service, or for so long. Tells whether there were any.
    async fn changed(&mut self, id: &str, pause: Duration) -> bool {
        let news = async {
            loop {
                let Some(events) = &mut self.events else {
                    return std::future::pending().await;
                };
                match events.next().await {
                    Ok(happened) => match happened.event {
                        Event::ServiceChanged { service_id, .. } if service_id == id => return,
                        Event::Gap { .. } => return,
                        Event::ServiceChanged { .. }
                        | Event::JobReady { .. }
                        | Event::JobLeased { .. }
                        | Event::JobCancelAsked { .. }
                        | Event::JobEnded { .. }
                        | Event::HostRegistered { .. }
                        | Event::HostChanged { .. } => {}
                    },
                    Err(error) => {
                        tracing::debug!(%error, "no more events of services");
                        self.events = None;
                    }
                }
            }
        };
        tokio::time::timeout(pause, news).await.is_ok()
    }

    async fn look(&self, id: &str) -> Result<Option<ServiceRecord>, Error> {
        let began = Instant::now();
        loop {
            match self.client.service(id).await {
                Ok(service) => return Ok(Some(service)),
                Err(error) if error.code() == Some(Code::UnknownService) => return Ok(None),
                Err(error) if error.retry_helps() && began.elapsed() < PATIENCE => {
                    tracing::debug!(%error, "waiting for a coordinator");
                    tokio::time::sleep(POLL).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Says what is new about each replica.
    async fn tell(&mut self, service: &ServiceRecord) {
        self.hosts
            .learn(&self.client, std::slice::from_ref(service))
            .await;
        let mut told = BTreeMap::new();
        for one in &service.assignments {
            let line = progress(service, one);
            let key = format!("{}/{}", one.host_id, one.id);
            let new = self.told.get(&key) != Some(&line);
            // What was over before anybody looked is no news.
            let stale = self.told.is_empty() && words::phase(one).is_over();
            if new && !stale {
                let replica = self.hosts.replica(service, one);
                let line = sanitize::one_line(&line);
                self.output.note(&format!("{replica}: {line}"));
            }
            told.insert(key, line);
        }
        self.told = told;
    }

    /// Says once why too few hosts have it.
    fn tell_why_none(&mut self, service: &ServiceRecord) {
        let standing = Standing::of(service);
        let wanted = words::wanted(service);
        if self.told_why_none || standing.moving > 0 || standing.live >= wanted {
            return;
        }
        self.told_why_none = true;
        self.output.note(&format!(
            "{} of {wanted} replicas have a host; it must be live and take work, and have {}",
            standing.live,
            service.required_capabilities.join(", ")
        ));
    }

    /// Prints what came of it and returns the exit code.
    ///
    /// # Errors
    /// With the reason if it failed.
    pub fn report(
        &self,
        end: &End,
        service: &ServiceRecord,
        mut body: Value,
    ) -> anyhow::Result<Exit> {
        let (name, id) = (&service.name, &service.id);
        let (outcome, exit) = match end {
            End::Reached => ("reached", Exit::Success),
            End::Failed(_) => ("failed", Exit::Failed),
            End::TimedOut => ("timed-out", Exit::TimedOut),
        };
        if let Some(map) = body.as_object_mut() {
            map.insert("outcome".into(), json!(outcome));
            if let End::Failed(why) = end {
                map.insert("error".into(), json!(why));
            }
        }
        self.output.document(&body)?;
        match end {
            End::Reached => {}
            End::TimedOut => self.output.note(&format!(
                "{name} is not done yet ({}); it goes on, see `skyclaw service show {id}`",
                words::standing(service)
            )),
            End::Failed(why) => {
                self.show_last_output(service);
                let failure = Failure::new(Exit::Failed, format!("{name}: {why}")).hint(format!(
                    "`skyclaw service show {id}` and `skyclaw service logs {id}` say more"
                ));
                if self.output.format() != Format::Json {
                    return Err(failure.into());
                }
                self.output.note(&failure.to_string());
            }
        }
        Ok(exit)
    }

    fn show_last_output(&self, service: &ServiceRecord) {
        for one in service
            .assignments
            .iter()
            .filter(|one| is_suspect(service, one))
        {
            if let Some(text) = &one.last_output {
                let replica = self.hosts.replica(service, one);
                self.output.note(&format!(
                    "the last output on {replica}:\n{}",
                    words::indented(text)
                ));
            }
        }
    }
}

/// Prints the document of a wait that a signal ended.
///
/// # Errors
/// When it cannot be printed.
pub fn report_left(exit: Exit, mut body: Value, output: &Output) -> anyhow::Result<()> {
    if !matches!(exit, Exit::Interrupted | Exit::Terminated) {
        return Ok(());
    }
    if let Some(map) = body.as_object_mut() {
        map.insert("outcome".into(), json!("left"));
    }
    output.document(&body)
}

fn is_suspect(service: &ServiceRecord, one: &Assignment) -> bool {
    words::is_current(service, one) && words::phase(one) != Phase::Ready
}

/// Returns how a replica does, in a line.
fn progress(service: &ServiceRecord, one: &Assignment) -> String {
    let phase = words::phase(one);
    let mut line = match words::is_current(service, one) {
        true => words::phase_word(phase).to_owned(),
        false => format!("the old one is {}", words::phase_word(phase)),
    };
    if phase == Phase::Ready
        && let Some(endpoint) = &one.endpoint
    {
        line.push_str(&format!(" at {endpoint}"));
    }
    if one.restarts > 0 && phase != Phase::Ready {
        line.push_str(&format!(", restart {}", one.restarts));
    }
    if let Some(error) = &one.error {
        line.push_str(&format!(": {error}"));
    }
    line
}
