//! Tells the coordinator how the services stand and hears what is wanted, again and again.
//!
//! A request without news waits at the coordinator; news here cut that short. One with news is answered at once and
//! is never cut short, so that a service that changes all the time cannot keep the host from being heard.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::{logs, original};
use crate::client::Error;
use crate::host::core::Core;
use crate::protocol::HostId;
use crate::protocol::api::Code;
use crate::support::backoff::Backoff;

/// How long a request without news waits. Well below what makes a host count as lost.
const WAIT: Duration = Duration::from_secs(10);
/// News within this go together.
const TOGETHER: Duration = Duration::from_millis(3);
/// Between two requests if the coordinator does not let them wait.
const HASTE: Duration = Duration::from_secs(1);
/// When a coordinator that knows no services is asked again.
const LATER: Duration = Duration::from_secs(60);
/// Between two tries while no coordinator answers.
const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(5);

/// Keeps the services as long as the daemon runs.
pub(in crate::host) async fn keep(core: &Arc<Core>) {
    if let Some(services) = &core.services {
        tokio::join!(sync(core, services), logs::keep(core, services));
    }
}

/// What was said last and to whom.
#[derive(Default)]
struct Said {
    /// Which host the coordinator knew us as.
    host: Option<HostId>,
    /// The version of its last answer.
    seen: Option<u64>,
    /// The news it has heard, and whether we leave.
    heard: Option<(u64, bool)>,
}

async fn sync(core: &Arc<Core>, services: &super::Services) {
    let mut news = services.news();
    let mut stopping = core.stopping.subscribe();
    let mut backoff = Backoff::new(FIRST, core.longest_wait(LONGEST));
    let mut said = Said::default();
    let mut first = true;
    let mut taken = original::Taken::new();
    loop {
        let session = core.session().await;
        if said.host.as_ref() != Some(&session.host) {
            said = Said {
                host: Some(session.host.clone()),
                ..Said::default()
            };
        }
        let now = (*news.borrow_and_update(), *stopping.borrow_and_update());
        let fresh = said.heard != Some(now) || said.seen.is_none();
        let wait = if fresh { Duration::ZERO } else { WAIT };
        let request = services.request(said.seen, wait, now.1);
        let sent_at = Instant::now();
        let sending = core.client.sync_services(&session.host, &request);
        let answer = if fresh {
            sending.await
        } else {
            tokio::select! {
                answer = sending => answer,
                () = changed(&mut news, &mut stopping) => {
                    sleep(TOGETHER).await;
                    continue;
                }
            }
        };
        match answer {
            Ok(answer) => {
                core.works();
                backoff.reset();
                let hasty = !fresh && said.seen == Some(answer.version);
                (said.seen, said.heard) = (Some(answer.version), Some(now));
                let mut useless = services.apply(answer, *core.stopping.borrow());
                if std::mem::take(&mut first) {
                    useless.extend(services.strangers());
                }
                services.told.send_replace(now.0);
                if now.1 {
                    services.farewells.send_modify(|count| *count += 1);
                }
                remove(useless);
                if hasty && sent_at.elapsed() < WAIT / 2 {
                    let _ = timeout(HASTE, changed(&mut news, &mut stopping)).await;
                }
            }
            Err(error) => {
                said.seen = None;
                if knows_no_sync(&error) {
                    tracing::debug!(%error, "the coordinator does not sync services");
                    // One that is newer may take its place.
                    let until = Instant::now() + LATER;
                    original::keep(core, services, &session, &mut taken, until).await;
                    let mut sessions = core.session.subscribe();
                    if sessions.borrow_and_update().as_ref() == Some(&session) {
                        let _ = timeout_at(until, sessions.changed()).await;
                    }
                } else {
                    core.failed(&error);
                    backoff.wait().await;
                }
            }
        }
    }
}

/// Waits for something to tell.
async fn changed(news: &mut watch::Receiver<u64>, stopping: &mut watch::Receiver<bool>) {
    tokio::select! {
        _ = news.changed() => {}
        _ = stopping.changed() => {}
    }
}

/// Tells whether the coordinator has no such route, or not for us: the original, or an older one.
fn knows_no_sync(error: &Error) -> bool {
    let unknown = error.code() == Some(Code::UnknownHost);
    !unknown && matches!(error.status(), Some(403..=405))
}

/// Removes directories, which may hold very much.
pub(super) fn remove(dirs: Vec<PathBuf>) {
    if dirs.is_empty() {
        return;
    }
    tokio::task::spawn_blocking(move || {
        for dir in dirs {
            if let Err(error) = std::fs::remove_dir_all(&dir)
                && error.kind() != std::io::ErrorKind::NotFound
            {
                tracing::warn!(path = %dir.display(), %error, "cannot remove a service's files");
            }
        }
    });
}
