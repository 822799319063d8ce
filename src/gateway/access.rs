//! The access log: one JSON line for each request, written by a thread of its own so that no request waits for a
//! disk. What cannot be written fast enough is dropped and counted.
//!
//! Paths are written without their query, which may hold what must not be seen; headers are not written at all.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::net::IpAddr;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use hyper::Method;
use hyper::header::HeaderValue;
use serde::Serialize;

use crate::support::clock::Timestamp;
use crate::support::paths;

/// How many lines may wait to be written.
const WAITING: usize = 8192;

/// What is written of one request.
#[derive(Debug, Clone)]
pub struct Record {
    /// When its head had been read.
    pub at: Timestamp,
    /// Its id.
    pub id: HeaderValue,
    /// Who made it.
    pub client: IpAddr,
    /// The label of the key it showed.
    pub key: Option<String>,
    /// The method.
    pub method: Method,
    /// The path as it was written, without the query.
    pub path: String,
    /// The service's name.
    pub service: Option<String>,
    /// Where it went last.
    pub endpoint: Option<String>,
    /// How often it was sent again.
    pub retries: u32,
    /// What was answered; none if the caller left first.
    pub status: Option<u16>,
    /// How long the answer's head took.
    pub first_byte: Duration,
    /// How long everything took.
    pub total: Duration,
    /// How much body came.
    pub received: u64,
    /// How much body went.
    pub sent: u64,
    /// What went wrong on the way.
    pub error: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'r> {
    time: Timestamp,
    request: &'r str,
    client: IpAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'r str>,
    method: &'r str,
    path: &'r str,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint: Option<&'r str>,
    #[serde(skip_serializing_if = "is_zero")]
    retries: u32,
    status: Option<u16>,
    first_byte_ms: f64,
    total_ms: f64,
    received: u64,
    sent: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'r str>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Record {
    fn line(&self) -> Line<'_> {
        Line {
            time: self.at,
            request: self.id.to_str().unwrap_or_default(),
            client: self.client,
            key: self.key.as_deref(),
            method: self.method.as_str(),
            path: &self.path,
            service: self.service.as_deref(),
            endpoint: self.endpoint.as_deref(),
            retries: self.retries,
            status: self.status,
            first_byte_ms: millis(self.first_byte),
            total_ms: millis(self.total),
            received: self.received,
            sent: self.sent,
            error: self.error,
        }
    }
}

/// Milliseconds with three digits behind the point.
fn millis(span: Duration) -> f64 {
    let micros = u32::try_from(span.as_micros()).map_or(f64::from(u32::MAX), f64::from);
    micros / 1000.0
}

/// Where lines go.
#[derive(Debug)]
pub struct AccessLog {
    lines: SyncSender<Record>,
}

impl AccessLog {
    /// Writes to stderr.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn to_stderr() -> std::io::Result<Self> {
        Self::to(std::io::stderr())
    }

    /// Appends to a file that only its owner may read.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn to_file(path: &Path) -> Result<Self, paths::Error> {
        let file: File = paths::append_private(path)?;
        Self::to(file).map_err(|source| paths::Error::Io {
            act: "start to write",
            path: path.to_owned(),
            source,
        })
    }

    fn to(out: impl Write + Send + 'static) -> std::io::Result<Self> {
        let (lines, waiting) = sync_channel(WAITING);
        std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || write(&waiting, out))?;
        Ok(Self { lines })
    }

    /// Has a line written. Never waits; tells whether there was room for it.
    pub fn tell(&self, record: Record) -> bool {
        self.lines.try_send(record).is_ok()
    }
}

fn write(waiting: &Receiver<Record>, out: impl Write) {
    let mut out = BufWriter::new(out);
    while let Ok(record) = waiting.recv() {
        let mut next = Some(record);
        while let Some(record) = next {
            let written = serde_json::to_writer(&mut out, &record.line())
                .map_err(std::io::Error::from)
                .and_then(|()| out.write_all(b"\n"));
            if let Err(error) = written {
                tracing::debug!(%error, "a line of the access log was not written");
            }
            next = waiting.try_recv().ok();
        }
        // Nobody else has a line now: what is there should be seen.
        if let Err(error) = out.flush() {
            tracing::debug!(%error, "the access log cannot be written");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_one_line() {
        let record = Record {
            at: Timestamp::from_millis(0),
            id: HeaderValue::from_static("r1"),
            client: "::1".parse().unwrap(),
            key: Some("ann".to_owned()),
            method: Method::GET,
            path: "/v1/gateway/api/a\nb".to_owned(),
            service: Some("api".to_owned()),
            endpoint: Some("http://h:1".to_owned()),
            retries: 1,
            status: None,
            first_byte: Duration::from_micros(1500),
            total: Duration::from_millis(2),
            received: 1,
            sent: 2,
            error: None,
        };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.log");
        let log = AccessLog::to_file(&path).unwrap();
        assert!(log.tell(record.clone()) && log.tell(record));
        let whole = || std::fs::read_to_string(&path).unwrap();
        while whole().lines().count() < 2 {
            std::thread::yield_now();
        }
        let text = whole();
        assert_eq!(text.lines().count(), 2);
        let line: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!(
            line,
            serde_json::json!({
                "time": "1970-01-01T00:00:00.000Z", "request": "r1", "client": "::1", "key": "ann", "method": "GET",
                "path": "/v1/gateway/api/a\nb", "service": "api", "endpoint": "http://h:1", "retries": 1,
                "status": null, "firstByteMs": 1.5, "totalMs": 2.0, "received": 1, "sent": 2,
            })
        );
    }
}
