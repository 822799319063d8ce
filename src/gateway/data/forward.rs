//! One request: to a backend over a connection of its own, with its body kept whole for a second try.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::{BodyExt, Either, Full, Limited};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http1;
use hyper::http::request::Parts;
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::gateway::answer::Answer;
use crate::gateway::choose::Pick;
use crate::gateway::directory::Reader;
use crate::gateway::gate::{Caller, Gate};
use crate::gateway::health::Outcome;
use crate::gateway::settings::CONNECT_WITHIN;
use crate::gateway::visit::Visit;

/// What goes to the caller.
pub type Out = Either<Full<Bytes>, Carried>;

/// Answers one request.
pub async fn answer(
    gate: &Arc<Gate>,
    reader: &mut Reader,
    caller: Caller,
    request: Request<Incoming>,
) -> Response<Out> {
    let (mut head, body) = request.into_parts();
    let own = |answer: Answer| {
        answer
            .into_response()
            .map(|body| Either::Left(Full::new(body)))
    };
    let mut visit = match gate.admit(reader, caller, &mut head) {
        Ok(visit) => visit,
        Err(answer) => return own(answer),
    };
    let limit = usize::try_from(gate.settings.body_limit).unwrap_or(usize::MAX);
    let body = match Limited::new(body, limit).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            return own(visit.refuses(gate.too_large()));
        }
        Err(_) => {
            let broken = visit.failed(Outcome::CallersDoing, "the body could not be read");
            return own(visit.refuses(broken.closing()));
        }
    };
    visit.received = body.len() as u64;
    visit.clean(&mut head.headers);
    match carry(&mut visit, &mut head, body).await {
        Err(answer) => own(visit.refuses(answer)),
        Ok((response, pick)) => {
            let (mut head, body) = response.into_parts();
            visit.answers(&mut head);
            let carried = Carried { body, visit, pick };
            Response::from_parts(head, Either::Right(carried))
        }
    }
}

async fn carry(
    visit: &mut Visit,
    head: &mut Parts,
    body: Bytes,
) -> Result<(Response<Incoming>, Pick), Answer> {
    // An answer that is a failure of the server's, kept for the case that nobody has a better one.
    let mut poor: Option<(Response<Incoming>, Pick)> = None;
    loop {
        let pick = match visit.pick() {
            Ok(pick) => pick,
            Err(answer) => return poor.ok_or(answer),
        };
        let (outcome, cause, response) = match send(visit, &pick, head, &body).await {
            Ok(response) => {
                let outcome = Outcome::Answered(response.status().as_u16());
                (outcome, "", Some(response))
            }
            Err((outcome, cause)) => (outcome, cause, None),
        };
        let again = visit.came(&pick, outcome, true);
        match response {
            Some(response) if !again => return Ok((response, pick)),
            Some(response) => poor = Some((response, pick)),
            None if !again => return poor.ok_or_else(|| visit.failed(outcome, cause)),
            None => {}
        }
    }
}

async fn send(
    visit: &Visit,
    pick: &Pick,
    head: &mut Parts,
    body: &Bytes,
) -> Result<Response<Incoming>, (Outcome, &'static str)> {
    let place = &pick.endpoint().place;
    if place.tls {
        return Err((Outcome::Unreachable, "TLS to backends is not spoken"));
    }
    let connecting = TcpStream::connect((&*place.host, place.port));
    let stream = match tokio::time::timeout(CONNECT_WITHIN, connecting).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(_)) => return Err((Outcome::Unreachable, "no connection to it")),
        Err(_) => return Err((Outcome::Unreachable, "no connection to it in time")),
    };
    let _ = stream.set_nodelay(true);
    let broken = |_| {
        (
            Outcome::Broken,
            "it closed the connection without an answer",
        )
    };
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    tokio::spawn(connection);
    let mut request = Request::new(Full::new(body.clone()));
    *request.method_mut() = head.method.clone();
    let target = visit.target(pick.endpoint());
    *request.uri_mut() = target
        .map(Uri::from)
        .ok_or((Outcome::CallersDoing, "its path cannot be passed on"))?;
    *request.headers_mut() = head.headers.clone();
    request.headers_mut().remove(hyper::header::CONTENT_LENGTH);
    request
        .headers_mut()
        .remove(hyper::header::TRANSFER_ENCODING);
    Visit::address(request.headers_mut(), pick.endpoint());
    let answering = sender.send_request(request);
    match tokio::time::timeout(visit.gate().settings.first_byte, answering).await {
        Ok(answered) => answered.map_err(broken),
        Err(_) => Err((Outcome::Silent, "it gave no answer in time")),
    }
}

/// The body of a backend's answer, with what is counted until its end.
pub struct Carried {
    body: Incoming,
    visit: Visit,
    pick: Pick,
}

impl Body for Carried {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        match &frame {
            Poll::Ready(Some(Ok(frame))) => {
                let length = frame.data_ref().map_or(0, Bytes::len);
                self.visit.sent += length as u64;
            }
            Poll::Ready(Some(Err(_))) => {
                self.pick.note(Outcome::Broken);
                self.visit.broke("broken");
            }
            Poll::Ready(None) | Poll::Pending => {}
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
