//! Tells others of jobs that ended: a command on this machine, a URL elsewhere.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use reqwest::{Client, Url};
use sha2::Sha256;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{sleep, timeout};

use super::Room;
use super::api::described_job;
use crate::protocol::JobId;
use crate::support::ids;
use crate::support::secret::Secret;

/// How long one command or one request may take.
const WITHIN: Duration = Duration::from_secs(60);
/// After the first try, each wait twice as long as the one before.
const RETRIES: u32 = 5;
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// How many commands run at once, and how many webhooks are under way.
const AT_ONCE: usize = 4;
/// How many ended jobs wait to be told of; more are dropped, with a warning.
pub const WAITING: usize = 10_000;

/// Whom to tell when a job ended.
#[derive(Debug, Clone, Default)]
pub struct Hooks {
    /// A shell command; the job comes on its standard input.
    pub command: Option<String>,
    /// Where the job is posted.
    pub webhook: Option<Webhook>,
}

/// Where jobs are posted.
#[derive(Debug, Clone)]
pub struct Webhook {
    /// The address.
    pub url: Url,
    /// Signs bodies: `x-skyclaw-signature: sha256=` and the HMAC in hexadecimal.
    pub secret: Option<Secret>,
}

impl Hooks {
    /// Tells whether nobody is to be told.
    pub const fn is_empty(&self) -> bool {
        self.command.is_none() && self.webhook.is_none()
    }
}

/// Tells of jobs as they come, as long as the coordinator runs. The two ways have a line each: one that hangs
/// does not hold up the other.
pub async fn run(room: Arc<Room>, hooks: Hooks, mut ended: mpsc::Receiver<JobId>) {
    let mut lines = Vec::new();
    if let Some(command) = hooks.command {
        let command: Arc<str> = command.into();
        lines.push(line("command", &room, move |job, body| {
            let command = Arc::clone(&command);
            async move { perform(job, &command, &body).await }
        }));
    }
    if let Some(webhook) = hooks.webhook {
        match client() {
            Ok(client) => {
                let webhook = Arc::new(webhook);
                lines.push(line("webhook", &room, move |job, body| {
                    let (client, webhook) = (client.clone(), Arc::clone(&webhook));
                    async move { post(&client, job, &webhook, &body).await }
                }));
            }
            Err(error) => tracing::error!(%error, "the webhook cannot be used"),
        }
    }
    while let Some(job) = ended.recv().await {
        for (way, line) in &lines {
            if line.try_send(job).is_err() {
                tracing::warn!(%job, way, "too many ended jobs wait to be told of; one is dropped");
            }
        }
    }
}

/// Starts a line of ended jobs that are told of in one way. It ends when nobody can put jobs into it any more.
fn line<F>(
    way: &'static str,
    room: &Arc<Room>,
    tell: impl Fn(JobId, Vec<u8>) -> F + Send + 'static,
) -> (&'static str, mpsc::Sender<JobId>)
where
    F: Future<Output = ()> + Send + 'static,
{
    let (sender, mut ended) = mpsc::channel(WAITING);
    let room = Arc::clone(room);
    let parts = room.parts.clone();
    tokio::spawn(parts.watched("what tells of ended jobs", async move {
        let places = Arc::new(Semaphore::new(AT_ONCE));
        while let Some(job) = ended.recv().await {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                return;
            };
            if let Some(body) = described_job(&room, job).await {
                let told = tell(job, body);
                tokio::spawn(
                    room.parts
                        .watched("what tells of an ended job", async move {
                            told.await;
                            drop(place);
                        }),
                );
            }
        }
    }));
    (way, sender)
}

fn client() -> reqwest::Result<Client> {
    crate::support::tls::use_ring();
    Client::builder()
        .user_agent(concat!("skyclaw/", env!("CARGO_PKG_VERSION")))
        .timeout(WITHIN)
        .redirect(reqwest::redirect::Policy::none())
        .build()
}

async fn perform(job: JobId, command: &str, body: &[u8]) {
    let run = async {
        let mut child = Command::new("/bin/sh")
            .args(["-c", command])
            .env_remove("SKYCLAW_TOKEN")
            .env_remove("SKYCLAW_PUBLIC_API_KEYS")
            .env_remove("SKYCLAW_SECRETS_ON_STDIN")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // A command that does not care for its input is none the worse for it.
            let _ = stdin.write_all(body).await;
        }
        child.wait().await
    };
    match timeout(WITHIN, run).await {
        Ok(Ok(status)) if status.success() => {}
        Ok(Ok(status)) => tracing::warn!(%job, %status, "the command for ended jobs failed"),
        Ok(Err(error)) => tracing::warn!(%job, %error, "the command for ended jobs cannot run"),
        Err(_) => tracing::warn!(%job, "the command for ended jobs took too long"),
    }
}

async fn post(client: &Client, job: JobId, webhook: &Webhook, body: &[u8]) {
    let signature = webhook
        .secret
        .as_ref()
        .and_then(|secret| signature(secret, body));
    let mut wait = FIRST_WAIT;
    for left in (0..=RETRIES).rev() {
        let mut request = client
            .post(webhook.url.clone())
            .header("content-type", "application/json; charset=utf-8")
            .header("x-skyclaw-delivery", job.to_string())
            .body(body.to_vec());
        if let Some(signature) = &signature {
            request = request.header("x-skyclaw-signature", signature);
        }
        // Addresses may carry a password, so they stay out of the log.
        let problem = match request.send().await {
            Ok(response) if response.status().is_success() => return,
            Ok(response) => response.status().to_string(),
            Err(error) => error.without_url().to_string(),
        };
        if left == 0 {
            tracing::warn!(%job, problem, "the webhook was given up");
            return;
        }
        tracing::debug!(%job, problem, "the webhook is tried again");
        sleep(wait).await;
        wait *= 2;
    }
}

fn signature(secret: &Secret, body: &[u8]) -> Option<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()).ok()?;
    mac.update(body);
    Some(format!("sha256={}", ids::hex(&mac.finalize().into_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_the_usual_one() {
        // RFC 4231, test case 2.
        let secret = Secret::new("Jefe".to_owned());
        let signature = signature(&secret, b"what do ya want for nothing?").unwrap();
        assert_eq!(
            signature,
            "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }
}
