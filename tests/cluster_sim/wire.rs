//! What goes over the simulated network: one frame there, one frame back.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use skyclaw::protocol::{JobId, JobStatus};
use skyclaw::queue::cluster::{Member, MemberId};
use skyclaw::queue::{
    ClaimRequest, Claimed, Completion, Idempotency, LeaseRef, Renewed, Report, Submit,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use turmoil::net::TcpStream;

/// Where members listen.
pub const PORT: u16 = 7000;

/// The mark of a frame with a client's request or its answer.
pub const CLIENT: u8 = 0;

/// What a client or the administrator asks of a member.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Ask {
    Submit(Submit, Idempotency),
    Claim(ClaimRequest, Idempotency),
    /// A claim that has a name, as hosts send it.
    ClaimNamed(ClaimRequest, String),
    Renew(Vec<LeaseRef>),
    Complete(LeaseRef, Report, Idempotency),
    /// A report and a claim in one.
    Exchange(Vec<(LeaseRef, Report)>, ClaimRequest, Idempotency),
    Release(Vec<LeaseRef>),
    Cancel(Vec<JobId>),
    Read(JobId),
    /// Who a member is; every member answers for itself.
    Who,
    Add(MemberId, Member),
    Promote(MemberId),
    Remove(MemberId),
    /// Who votes; only the leader answers.
    Voters,
}

/// What a member answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Answer {
    Submitted(Vec<JobId>),
    Claimed(Vec<Claimed>),
    Renewed(Vec<Renewed>),
    Completed(Completion),
    Released(Vec<Completion>),
    Cancelled {
        ended: Vec<JobId>,
        asked: Vec<JobId>,
    },
    Read {
        seen: Option<Seen>,
        applied: u64,
    },
    Who {
        id: MemberId,
    },
    Voters(Vec<MemberId>),
    Done,
    /// Ask there, or anywhere if nobody is named.
    NotLeader(Option<String>),
    /// It may have been done or not.
    Unknown(String),
    /// It was not done and will not be.
    Refused(String),
}

/// A job as somebody saw it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Seen {
    pub job: JobId,
    pub attempts: u16,
    pub status: JobStatus,
    /// What the holder whose report ended it wrote into the report.
    pub mark: Option<String>,
}

/// Counts what members send one another.
#[derive(Default, Clone, Copy, Debug)]
pub struct Tally {
    pub messages: u64,
    pub bytes: u64,
}

/// Per sending member and kind of frame.
pub type Traffic = Arc<Mutex<BTreeMap<(String, &'static str), Tally>>>;

/// Sends one frame.
pub async fn send(stream: &mut TcpStream, mark: u8, body: &[u8]) -> io::Result<()> {
    let mut frame = Vec::with_capacity(body.len() + 5);
    frame.extend((body.len() as u32).to_be_bytes());
    frame.push(mark);
    frame.extend(body);
    // In one piece: each write travels, and may be lost, by itself.
    stream.write_all(&frame).await
}

/// Receives one frame.
pub async fn receive(stream: &mut TcpStream) -> io::Result<(u8, Vec<u8>)> {
    let length = stream.read_u32().await? as usize;
    let mark = stream.read_u8().await?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok((mark, body))
}

/// Connections to others, kept while nothing goes wrong on them.
#[derive(Default)]
pub struct Lines {
    idle: Mutex<BTreeMap<String, Vec<TcpStream>>>,
}

impl Lines {
    /// Sends a frame to `host` and waits for the answer. A connection on which that failed or was given up
    /// is never used again: what it lost would be missing in the next exchange.
    pub async fn exchange(
        &self,
        host: &str,
        frame: (u8, &[u8]),
        within: Duration,
    ) -> io::Result<(u8, Vec<u8>)> {
        let idle = self.idle.lock().unwrap().get_mut(host).and_then(Vec::pop);
        let work = async {
            let mut stream = match idle {
                Some(stream) => stream,
                None => TcpStream::connect((host, PORT)).await?,
            };
            send(&mut stream, frame.0, frame.1).await?;
            let answer = receive(&mut stream).await?;
            io::Result::Ok((stream, answer))
        };
        let done = tokio::time::timeout(within, work).await;
        let (stream, answer) = done.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        let mut idle = self.idle.lock().unwrap();
        idle.entry(host.to_owned()).or_default().push(stream);
        Ok(answer)
    }
}

/// Returns the name of the host in an address such as `http://m1:7000`.
pub fn host_of(url: &str) -> String {
    let rest = url.strip_prefix("http://").unwrap_or(url);
    rest.split(':').next().unwrap_or(rest).to_owned()
}

/// Returns the address of a host.
pub fn url_of(host: &str) -> String {
    format!("http://{host}:{PORT}")
}
