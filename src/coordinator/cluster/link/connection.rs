//! One connection to another member: opened, proven by both sides, and then good for one request after the other.

use std::sync::Arc;
use std::time::Duration;

use axum::http::header::HOST;
use axum::http::{HeaderMap, HeaderValue, Method, Request, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

use super::error::LinkError;
use super::hears::Hears;
use super::hello::{Hello, Introduction};
use super::live::{Live, Lives};
use super::marks::{AS, SEAL};
use super::nonces::Nonces;
use super::outgoing::Outgoing;
use super::place::Place;
use super::proof::{Head, Session};
use super::prove::{prove, unproven};
use super::secret::Secrets;
use crate::coordinator::Stream;
use crate::coordinator::patient::Patient;
use crate::queue::cluster::MemberId;
use crate::support::tls;

/// How long connecting may take, the name's lookup and TLS included.
const CONNECT_WITHIN: Duration = Duration::from_millis(1500);
/// How long both proofs may take.
const PROVE_WITHIN: Duration = Duration::from_secs(2);
/// How much a connection keeps in memory in each direction.
const BUFFER: usize = 64 << 10;

/// What is needed to prove oneself.
pub struct Means<'m> {
    /// What the members know in common.
    pub secrets: &'m Secrets,
    /// Who asks.
    pub me: Introduction,
    /// What was used before.
    pub nonces: &'m Nonces,
    /// Where open connections are known.
    pub lives: &'m Arc<Lives>,
}

/// A proven connection. Dropped, it is cut off, with whatever is under way on it.
pub struct Link {
    sender: SendRequest<Outgoing>,
    session: Session,
    place: Arc<Place>,
    /// Who is at the other end.
    pub to: MemberId,
    /// Whether it has answered before. Only such a one may have been closed meanwhile through no fault of anybody.
    pub reused: bool,
    live: Live,
}

/// Ends the task of a connection that is not proven yet and that nobody waits for any more.
struct Ends(Option<AbortHandle>);

impl Drop for Ends {
    fn drop(&mut self) {
        if let Some(task) = self.0.take() {
            task.abort();
        }
    }
}

/// Why a request that was put on a link has no answer.
pub enum Unanswered {
    /// Nothing of it was sent; here it is again.
    Unsent(Box<Outgoing>),
    /// It may have arrived.
    Lost(String),
}

impl Link {
    /// Opens one and lets both sides prove themselves.
    ///
    /// # Errors
    /// Why there is none. Nothing but an introduction was sent.
    pub async fn open(place: Place, means: Means<'_>) -> Result<(Self, Hello), LinkError> {
        let unreachable = |why: String| LinkError::Unreachable {
            url: place.key.clone(),
            why,
        };
        let stream = match timeout(CONNECT_WITHIN, connect(&place)).await {
            Ok(connected) => connected?,
            Err(_) => return Err(unreachable("nobody answered in time".to_owned())),
        };
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(BUFFER)
            .handshake(TokioIo::new(Hears::new(Patient::new(stream))))
            .await
            .map_err(|error| unreachable(error.to_string()))?;
        let task = tokio::spawn(async move {
            // Whoever waits for an answer is told by hyper why there is none.
            let _ = connection.await;
        });
        let mut ends = Ends(Some(task.abort_handle()));
        let began = Instant::now();
        let place = Arc::new(place);
        let lives = Arc::clone(means.lives);
        let proving = prove(sender, &place, means);
        let Ok(proven) = timeout(PROVE_WITHIN, proving).await else {
            return Err(unproven(&place, "it gave no proof in time"));
        };
        let (sender, session, who) = proven?;
        let link = Self {
            sender,
            session,
            to: who.member,
            reused: false,
            live: Live::enter(lives, who.member, task.abort_handle()),
            place,
        };
        // From here on the link itself ends it.
        ends.0 = None;
        let took = began.elapsed();
        Ok((link, Hello { who, took }))
    }

    /// Returns where it leads, as the pool calls it.
    pub fn key(&self) -> &str {
        &self.place.key
    }

    /// Waits until the next request can be sent. Tells whether it can.
    pub async fn is_ready_within(&mut self, span: Duration) -> bool {
        matches!(timeout(span, self.sender.ready()).await, Ok(Ok(())))
    }

    /// Tells whether the other side has closed it.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Tells whether it was cut off from this side: what came over it need not be whole.
    pub fn was_cut(&self) -> bool {
        self.live.was_cut()
    }

    /// Sends a request and waits for the head of its answer. The path is as this member knows it, and the headers are
    /// what the other side shall see.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn send(
        &mut self,
        method: &Method,
        path: &str,
        mut headers: HeaderMap,
        body: Outgoing,
    ) -> Result<hyper::Response<Incoming>, Unanswered> {
        let seal = self.session.seal(Head {
            method,
            path,
            on_behalf: headers.get(AS),
        });
        let uri = format!("{}{path}", self.place.prefix).parse::<Uri>();
        let (Ok(seal), Ok(uri)) = (HeaderValue::try_from(seal), uri) else {
            return Err(Unanswered::Unsent(Box::new(body)));
        };
        headers.insert(SEAL, seal);
        if !headers.contains_key(HOST)
            && let Ok(host) = HeaderValue::from_str(&self.place.authority)
        {
            headers.insert(HOST, host);
        }
        let mut request = Request::new(body);
        *request.method_mut() = method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        match self.sender.try_send_request(request).await {
            Ok(answer) => Ok(answer),
            Err(mut error) => Err(match error.take_message() {
                Some(request) => Unanswered::Unsent(Box::new(request.into_body())),
                None => Unanswered::Lost(error.into_error().to_string()),
            }),
        }
    }
}

async fn connect(place: &Place) -> Result<Box<dyn Stream>, LinkError> {
    let stream = place.connect().await?;
    if !place.tls {
        return Ok(Box::new(stream));
    }
    let unreachable = |why: String| LinkError::Unreachable {
        url: place.key.clone(),
        why,
    };
    let config = tls::http1_client()
        .ok_or_else(|| unreachable("this machine has no certificates to check it with".into()))?;
    let name = ServerName::try_from(place.host.clone())
        .map_err(|_| unreachable("its name cannot be in a certificate".into()))?;
    let stream = TlsConnector::from(config)
        .connect(name, stream)
        .await
        .map_err(|error| unreachable(format!("the TLS handshake failed: {error}")))?;
    Ok(Box::new(stream))
}
