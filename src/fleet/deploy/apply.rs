//! Does the steps of a plan on a host.

use std::time::Duration;

use super::daemon::{Daemon, Service};
use super::desk::Desk;
use super::error::{DeployError, Undone};
use super::fetch::{Fetched, fetch};
use super::observe::{File, Files, look_at_files};
use super::plan::{Former, Provider, Step, files_to_write};
use super::trial::{self, Run};
use super::write::write;
use super::{Component, Progress, Supply};
use crate::fleet::ask::ask;
use crate::fleet::release::Artifact;
use crate::ssh::Connection;
use crate::ssh::shell::Code;
use crate::ssh::upload::{self, Upload, path_word};
use crate::support::mask::Masker;

const UNDO: &str = include_str!("../../../templates/deploy-undo.sh");
const UNDO_LIMIT: Duration = Duration::from_secs(20);

/// What the steps brought.
#[derive(Debug, Default)]
pub(super) struct Applied {
    /// What each tested program says it is.
    pub(super) versions: Vec<(Component, String)>,
    /// Programs that turned out to be there already.
    pub(super) same: Vec<Component>,
    /// Files of ours that were written.
    pub(super) written: Vec<File>,
    /// Files of the daemon that were written, and whether nothing stood there.
    pub(super) paths: Vec<(String, bool)>,
    /// The daemon, if it was started.
    pub(super) service: Option<Service>,
    /// What went wrong without stopping the deploy.
    pub(super) warnings: Vec<String>,
}

/// What to think of what was seen when the steps were planned.
enum Again {
    /// It may be out of date.
    Look,
    /// It is fresh.
    Trust,
}

/// A host in work.
pub(super) struct Work<'a, 'c> {
    pub(super) desk: &'a mut Desk<'c>,
    pub(super) provider: Option<&'a Provider>,
    pub(super) daemon: Option<&'a Daemon>,
    /// Our files as they were when the steps were planned.
    pub(super) files: &'a Files,
    pub(super) onboard_limit: Duration,
    /// Install programs that are there already.
    pub(super) force: bool,
    pub(super) report: &'a (dyn Fn(Progress) + Send + Sync),
}

impl Work<'_, '_> {
    /// Does `steps` in order and stops at the first that fails.
    pub(super) async fn apply(&mut self, steps: &[Step]) -> Result<Applied, DeployError> {
        let mut applied = Applied::default();
        if steps.contains(&Step::Onboard) {
            // The test comes before it: two commands are worth a runner from the first one on.
            self.desk.connection().parked().earn();
        }
        for step in steps {
            match step {
                Step::Install {
                    component,
                    supply: Supply::Here(artifact),
                    former,
                } => self.install(*component, artifact, *former).await?,
                Step::Install {
                    component,
                    supply: Supply::There(remote),
                    former,
                } => {
                    (self.report)(Progress::Downloading);
                    let force = self.force;
                    let fetching = self
                        .desk
                        .beside(|connection| fetch(connection, *component, remote, *former, force));
                    if fetching.await? == Fetched::Same {
                        applied.same.push(*component);
                    }
                }
                Step::SelfTest { component, former } => {
                    (self.report)(Progress::Testing);
                    let former = former.filter(|_| !applied.same.contains(component));
                    let version = self.self_test(*component, former).await?;
                    applied.versions.push((*component, version));
                }
                Step::Onboard => {
                    (self.report)(Progress::Onboarding);
                    applied.warnings.extend(self.onboard().await?);
                }
                // All at once below: what they become depends on what onboard wrote.
                Step::Merge(_) => {}
                // Last of all: the daemon looks for agents and their settings when it starts.
                Step::DaemonSettings | Step::DaemonStart => {}
            }
        }
        if let Some(provider) = self.provider
            && steps.iter().any(|step| matches!(step, Step::Merge(_)))
        {
            (self.report)(Progress::Settings);
            // Onboard writes them, and an upload takes long enough for somebody else to.
            let slow = |step: &Step| matches!(step, Step::Onboard | Step::Install { .. });
            let again = match steps.iter().any(slow) {
                true => Again::Look,
                false => Again::Trust,
            };
            applied.written = self.merge(provider, again).await?;
        }
        if let Some(daemon) = self.daemon {
            self.run_daemon(daemon, steps, &mut applied).await?;
        }
        Ok(applied)
    }

    async fn run_daemon(
        &mut self,
        daemon: &Daemon,
        steps: &[Step],
        applied: &mut Applied,
    ) -> Result<(), DeployError> {
        if steps.contains(&Step::DaemonSettings) {
            (self.report)(Progress::Settings);
            let path = daemon.write_settings(self.desk).await?;
            applied.paths.push(path);
        }
        if steps.contains(&Step::DaemonStart) {
            (self.report)(Progress::Starting);
            let (service, path) = daemon.start(self.desk).await?;
            applied.paths.extend(path);
            if let Some(why) = &service.why_no_systemd {
                applied.warnings.push(format!("not run by systemd: {why}"));
            }
            applied.service = Some(service);
        }
        Ok(())
    }

    async fn install(
        &mut self,
        component: Component,
        artifact: &Artifact,
        former: Former,
    ) -> Result<(), DeployError> {
        (self.report)(Progress::Uploading {
            bytes: artifact.size,
        });
        let path = format!("~/{}", component.path());
        let upload = Upload {
            keep_old_as: (former == Former::Kept).then(|| format!("{path}.prev")),
            path,
            mode: 0o755,
            size: artifact.size,
            sha256: artifact.sha256.to_string(),
        };
        let mut file = upload::open(&upload, &artifact.path).await?;
        self.desk.put(&upload, &mut file).await
    }

    /// Runs the program and returns its version; takes a freshly installed one back if it has none.
    async fn self_test(
        &mut self,
        component: Component,
        former: Option<Former>,
    ) -> Result<String, DeployError> {
        let masker = Masker::new(self.provider.map(|provider| provider.key.clone()));
        let testing = self
            .desk
            .beside(|connection| trial::version(connection, component, &masker));
        match testing.await? {
            Ok(version) => Ok(version),
            Err(why) => Err(DeployError::SelfTest {
                component,
                why,
                after: self.undo(component, former).await,
            }),
        }
    }

    async fn run(
        &mut self,
        component: Component,
        argument: &str,
        limit: Duration,
    ) -> Result<Run, DeployError> {
        let masker = Masker::new(self.provider.map(|provider| provider.key.clone()));
        let command = trial::command(component, argument);
        let running = self
            .desk
            .beside(|connection| trial::run(connection, &command, limit, &masker));
        running.await
    }

    async fn undo(&mut self, component: Component, former: Option<Former>) -> Undone {
        let path = format!("~/{}", component.path());
        let former = match former {
            Some(Former::None) => Undone::Removed,
            Some(Former::Kept) => Undone::Restored,
            Some(Former::Same) | None => return Undone::Left,
        };
        let prev = (former == Undone::Restored).then(|| format!("{path}.prev"));
        let undoing = self
            .desk
            .beside(|connection| put_back(connection, &path, prev.as_deref()));
        match undoing.await {
            Ok(()) => former,
            Err(DeployError::PutBack { why, .. }) => Undone::Failed(why),
            Err(error) => Undone::Failed(error.to_string()),
        }
    }

    /// Runs onboard. Its failure is a warning: the settings we write are enough for PicoClaw.
    async fn onboard(&mut self) -> Result<Option<String>, DeployError> {
        let run = self
            .run(Component::Picoclaw, "onboard", self.onboard_limit)
            .await?;
        if run.succeeded() {
            return Ok(None);
        }
        Ok(Some(format!("onboard failed: {}", run.explain())))
    }

    /// Writes the files that are not as they should be. Where they may have changed since they were
    /// looked at, they are looked at again.
    async fn merge(&mut self, provider: &Provider, again: Again) -> Result<Vec<File>, DeployError> {
        let changed = match again {
            Again::Look => files_to_write(&look_at_files(self.desk).await?, provider)?,
            Again::Trust => files_to_write(self.files, provider)?,
        };
        if !changed.is_empty() {
            write(self.desk, &changed).await?;
        }
        Ok(changed.into_iter().map(|(file, _)| file).collect())
    }
}

/// Moves `former` to `path`, or removes `path` if there is none.
pub(super) async fn put_back(
    connection: &Connection,
    path: &str,
    former: Option<&str>,
) -> Result<(), DeployError> {
    let mut code = path_word(Code::new().raw("p="), path).raw(";k=");
    if let Some(former) = former {
        code = path_word(code, former);
    }
    let answer = ask(connection, UNDO, code, UNDO_LIMIT).await?;
    if answer.words == "ok" {
        return Ok(());
    }
    Err(DeployError::PutBack {
        path: path.to_owned(),
        why: answer.words,
    })
}
