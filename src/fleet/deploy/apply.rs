//! Does the steps of a plan on a host.

use std::time::Duration;

use super::error::{DeployError, Undone};
use super::observe::{File, observe};
use super::plan::{Former, Provider, Step, files_to_write};
use super::{Component, Progress};
use crate::fleet::ask::ask;
use crate::fleet::capture::Capture;
use crate::fleet::release::Artifact;
use crate::fleet::remote::{Command, Value, Word};
use crate::fleet::supervise::{self, Ended, Finished, Limits, NotStarted, Sink};
use crate::ssh::shell::Code;
use crate::ssh::upload::{Upload, path_word};
use crate::ssh::{Connection, Exit};
use crate::support::mask::Masker;
use crate::support::shutdown;

const UNDO: &str = include_str!("../../../templates/deploy-undo.sh");
/// A program that only prints its version and takes longer than this is not what it should be.
const TEST_LIMIT: Duration = Duration::from_secs(20);
const UNDO_LIMIT: Duration = Duration::from_secs(20);
const GRACE: Duration = Duration::from_secs(2);
/// Output kept of a test or of onboard; only its end is shown.
const MOST_OUTPUT: u64 = 64 << 10;
/// Another process may hold the fresh file open for writing for a moment (it was forked meanwhile).
const BUSY_TRIES: u32 = 5;
const BUSY_PAUSE: Duration = Duration::from_millis(50);

/// What the steps brought.
#[derive(Debug, Default)]
pub(super) struct Applied {
    /// What each tested program says it is.
    pub(super) versions: Vec<(Component, String)>,
    /// Files of ours that were written.
    pub(super) written: Vec<File>,
    /// What went wrong without stopping the deploy.
    pub(super) warnings: Vec<String>,
}

/// A host in work.
pub(super) struct Work<'a> {
    pub(super) connection: &'a Connection,
    pub(super) provider: Option<&'a Provider>,
    pub(super) onboard_limit: Duration,
    pub(super) report: &'a (dyn Fn(Progress) + Send + Sync),
}

impl Work<'_> {
    /// Does `steps` in order and stops at the first that fails.
    pub(super) async fn apply(&self, steps: &[Step]) -> Result<Applied, DeployError> {
        let mut applied = Applied::default();
        for step in steps {
            match step {
                Step::Install {
                    component,
                    artifact,
                    former,
                } => self.install(*component, artifact, *former).await?,
                Step::SelfTest { component, former } => {
                    (self.report)(Progress::Testing);
                    let version = self.self_test(*component, *former).await?;
                    applied.versions.push((*component, version));
                }
                Step::Onboard => {
                    (self.report)(Progress::Onboarding);
                    applied.warnings.extend(self.onboard().await?);
                }
                // All at once below: what they become depends on what onboard wrote.
                Step::Merge(_) => {}
            }
        }
        if let Some(provider) = self.provider
            && steps.iter().any(|step| matches!(step, Step::Merge(_)))
        {
            (self.report)(Progress::Settings);
            applied.written = self.merge(provider).await?;
        }
        Ok(applied)
    }

    async fn install(
        &self,
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
        self.connection.upload_file(&upload, &artifact.path).await?;
        Ok(())
    }

    /// Runs the program and returns its version; takes a freshly installed one back if it has none.
    async fn self_test(
        &self,
        component: Component,
        former: Option<Former>,
    ) -> Result<String, DeployError> {
        match self.version(component).await? {
            Ok(version) => Ok(version),
            Err(why) => Err(DeployError::SelfTest {
                component,
                why,
                after: self.undo(component, former).await,
            }),
        }
    }

    /// Returns what the program says it is, or why that is no answer.
    async fn version(&self, component: Component) -> Result<Result<String, String>, DeployError> {
        let mut tries = 0;
        loop {
            let run = self
                .run(component, component.version_argument(), TEST_LIMIT)
                .await?;
            tries += 1;
            if run.is_busy() && tries < BUSY_TRIES {
                tokio::time::sleep(BUSY_PAUSE * tries).await;
                continue;
            }
            let version = component.parse_version(&run.stdout);
            return Ok(match version {
                Some(version) if run.succeeded() => Ok(version),
                Some(_) => Err(run.explain()),
                None if run.succeeded() => Err(format!(
                    "it printed no `{component} <version>` but `{}`",
                    one_line(&run.stdout)
                )),
                None => Err(run.explain()),
            });
        }
    }

    async fn undo(&self, component: Component, former: Option<Former>) -> Undone {
        let path = format!("~/{}", component.path());
        let former = match former {
            Some(Former::None) => Undone::Removed,
            Some(Former::Kept) => Undone::Restored,
            Some(Former::Same) | None => return Undone::Left,
        };
        let prev = (former == Undone::Restored).then(|| format!("{path}.prev"));
        match put_back(self.connection, &path, prev.as_deref()).await {
            Ok(()) => former,
            Err(DeployError::PutBack { why, .. }) => Undone::Failed(why),
            Err(error) => Undone::Failed(error.to_string()),
        }
    }

    /// Runs onboard. Its failure is a warning: the settings we write are enough for PicoClaw.
    async fn onboard(&self) -> Result<Option<String>, DeployError> {
        let run = self
            .run(Component::Picoclaw, "onboard", self.onboard_limit)
            .await?;
        if run.succeeded() {
            return Ok(None);
        }
        Ok(Some(format!("onboard failed: {}", run.explain())))
    }

    /// Writes the files that are not as they should be now.
    async fn merge(&self, provider: &Provider) -> Result<Vec<File>, DeployError> {
        let observed = observe(self.connection, &[]).await?;
        let mut written = Vec::new();
        for (file, text) in files_to_write(&observed, provider)? {
            let bytes = text.expose().as_bytes();
            let upload = Upload::of_bytes(file.path(), 0o600, bytes);
            self.connection.upload(&upload, &mut &*bytes).await?;
            written.push(file);
        }
        Ok(written)
    }

    async fn run(
        &self,
        component: Component,
        argument: &str,
        limit: Duration,
    ) -> Result<Run, DeployError> {
        let command = Command {
            words: vec![Word::InHome(component.path().to_owned()), argument.into()],
            env: vec![("NO_COLOR".to_owned(), Value::Open("1".to_owned()))],
            unset: vec!["TZ".to_owned()],
            end_leftovers: true,
            ..Command::default()
        };
        let limits = Limits {
            timeout: Some(limit),
            deadline: None,
            grace: GRACE,
        };
        // The cap is below what a capture holds in memory, so no file is made.
        let capture = || Capture::new(Some(MOST_OUTPUT), "unused".into());
        let mut sink = Sink {
            stdout: capture(),
            stderr: capture(),
            live: None,
        };
        let (_nobody, mut never) = shutdown::manual();
        let finished =
            supervise::run(self.connection, &command, limits, &mut sink, &mut never).await;
        let text = |capture: &mut Capture| {
            let bytes = capture.read_all().unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let masker = Masker::new(self.provider.map(|provider| provider.key.clone()));
        let (stdout, stderr) = (text(&mut sink.stdout), text(&mut sink.stderr));
        let run = Run {
            stdout: masker.mask(&stdout).into_owned(),
            stderr: masker.mask(&stderr).into_owned(),
            finished,
            limit,
        };
        match run.finished.lost {
            Some(error) => Err(error.into()),
            None => Ok(run),
        }
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

/// A program that was run to its end.
struct Run {
    stdout: String,
    stderr: String,
    finished: Finished,
    limit: Duration,
}

impl Run {
    fn succeeded(&self) -> bool {
        self.finished.exit == Some(Exit::Code(0)) && self.finished.ended.is_none()
    }

    fn is_busy(&self) -> bool {
        let said = self.stderr.to_lowercase();
        self.finished.exit == Some(Exit::Code(126)) && said.contains("text file busy")
    }

    fn explain(&self) -> String {
        let finished = &self.finished;
        let how = match (&finished.not_started, finished.ended, &finished.exit) {
            (Some(NotStarted::Shell(said)), ..) => format!("the shell did not run it: {said}"),
            (Some(NotStarted::Missing(what)), ..) => format!("{what} is missing"),
            (Some(NotStarted::NoDirectory(what)), ..) => format!("{what} is no directory"),
            (None, Some(Ended::TimedOut | Ended::Stopped), _) => format!(
                "it did not end within {}",
                crate::support::span::human(self.limit)
            ),
            (None, None, Some(Exit::Code(code))) => format!("exit code {code}"),
            (None, None, Some(Exit::Signal(name))) => format!("ended by signal {name}"),
            (None, None, None) => "no exit status".to_owned(),
        };
        let said = if self.stderr.trim().is_empty() {
            &self.stdout
        } else {
            &self.stderr
        };
        match one_line(said) {
            said if said.is_empty() => how,
            said => format!("{how}: {said}"),
        }
    }
}

/// The most of a program's words that is repeated in a message, in characters.
const MOST_SHOWN: usize = 300;

/// Returns the end of `text` as one line.
fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = words.join(" ");
    let skip = line.chars().count().saturating_sub(MOST_SHOWN);
    if skip == 0 {
        line
    } else {
        format!("…{}", line.chars().skip(skip).collect::<String>())
    }
}
