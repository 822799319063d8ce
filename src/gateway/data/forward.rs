//! One request, from its head to the answer's head: through the gate, to endpoints until one answers, and back.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use hyper::body::{Body, Incoming};
use hyper::header::HeaderValue;
use hyper::upgrade::OnUpgrade;
use hyper::{Request, Response, StatusCode, Version};

use super::caller::Session;
use super::connect::Wish;
use super::download::{Carried, Download};
use super::framing;
use super::lease::Lease;
use super::send::{Failure, Message, send};
use super::stall::Stall;
use super::tunnel;
use super::upload::{Cut, Rules, Upload};
use crate::gateway::answer::Answer;
use crate::gateway::choose::Pick;
use crate::gateway::health::Outcome;
use crate::gateway::visit::Visit;

/// An endpoint's answer, with the connection it comes over.
struct Answered {
    lease: Lease,
    response: Response<Incoming>,
    pick: Pick,
}

/// Answers one request. There is no error: what goes wrong is an answer of our own.
pub async fn answer(session: &Session, mut request: Request<Incoming>) -> Response<Download> {
    let has_body = !request.body().is_end_stream();
    let upgrade = request
        .headers()
        .contains_key(hyper::header::UPGRADE)
        .then(|| hyper::upgrade::on(&mut request));
    let (mut head, body) = request.into_parts();
    let gate = &session.gate;
    let settled = framing::settle(&mut head)
        .map_err(|answer| gate.turned_away(session.caller, &head, answer));
    let admitted = settled
        .and_then(|()| session.with_reader(|reader| gate.admit(reader, session.caller, &mut head)));
    let mut visit = match admitted {
        Ok(visit) => visit,
        Err(answer) => return own(session, answer, has_body),
    };
    let protocol = framing::wanted(&head, has_body);
    visit.clean(&mut head.headers);
    framing::frame(&mut head.headers, has_body);
    let upgrade = upgrade.zip(protocol.clone());
    if let Some(protocol) = protocol {
        framing::offer(&mut head.headers, protocol);
    }
    let rules = Rules {
        limit: gate.settings.body_limit,
        idle: gate.settings.idle,
        wait: head
            .headers
            .contains_key(hyper::header::CONTENT_LENGTH)
            .then_some(gate.settings.body_wait),
        keep: has_body && visit.keeps_body(),
    };
    let upload = has_body.then(|| Upload::new(body, rules, Arc::clone(&session.lingers)));
    // Another protocol can follow on HTTP/1.1 only.
    let wish = match upgrade {
        Some(_) => Wish::One,
        None => Wish::Best,
    };
    let message = Message { head, upload, wish };
    match carry(&mut visit, &message, upgrade.is_some()).await {
        Ok(answered) => {
            let carried = (message.upload, session.two);
            hand_over(visit, answered, carried, upgrade)
        }
        Err(answer) => {
            let mut unread = false;
            if let Some(upload) = &message.upload {
                unread = upload.leave() || upload.cut().is_some();
                visit.received = upload.received();
            }
            own(session, visit.refuses(answer), unread)
        }
    }
}

/// Returns an answer of the gateway's own. After one to a request that was not read to its end nothing else is
/// understood on the connection.
fn own(session: &Session, mut answer: Answer, unread: bool) -> Response<Download> {
    if unread {
        answer.closes = true;
        session.lingers.store(true, Ordering::Relaxed);
    }
    // HTTP/2 has no such header, and needs none: only this one stream is affected.
    answer.closes &= !session.two;
    answer.into_response().map(|body| Download::Own(Some(body)))
}

/// Sends it to one endpoint after the other, as far as the rules of retries go.
async fn carry(visit: &mut Visit, message: &Message, upgrades: bool) -> Result<Answered, Answer> {
    // An answer that is a failure of the server's, kept for the case that nobody has a better one.
    let mut poor: Option<Answered> = None;
    loop {
        let pick = match visit.pick() {
            Ok(pick) => pick,
            Err(answer) => return poor.ok_or(answer),
        };
        let mut sent = send(visit, pick.endpoint(), message).await;
        if let Ok((lease, response)) = &mut sent
            && let Some(cause) = improper(response, upgrades && !lease.is_shared())
        {
            sent = Err(Failure::Endpoint(Outcome::Broken, cause));
        }
        let (outcome, cause) = match &sent {
            Ok((_, response)) => (Outcome::Answered(response.status().as_u16()), ""),
            Err(Failure::Endpoint(outcome, cause)) => (*outcome, *cause),
            Err(Failure::Caller(cut)) => {
                visit.came(&pick, Outcome::CallersDoing, false);
                return Err(refused(visit, *cut));
            }
        };
        let again = visit.came(&pick, outcome, message.is_whole());
        match sent {
            Ok((lease, response)) => {
                let answered = Answered {
                    lease,
                    response,
                    pick,
                };
                if !again {
                    return Ok(answered);
                }
                poor = Some(answered);
            }
            Err(_) if !again => return poor.ok_or_else(|| visit.failed(outcome, cause)),
            Err(_) => {}
        }
    }
}

/// Returns why an answer cannot be passed on, if so.
fn improper(response: &mut Response<Incoming>, upgrades: bool) -> Option<&'static str> {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS && !upgrades {
        Some("it changed the protocol without being asked to")
    } else if !framing::is_sound(response.headers_mut()) {
        Some("its answer could be read in two ways")
    } else {
        None
    }
}

fn refused(visit: &Visit, cut: Cut) -> Answer {
    match cut {
        Cut::TooLong => visit.gate().too_large(),
        Cut::Broken | Cut::NotWanted => {
            let why = "the body could not be read";
            visit.failed(Outcome::CallersDoing, why).closing()
        }
        Cut::Silent => {
            let why = "the body did not come in time";
            Answer::refused(StatusCode::REQUEST_TIMEOUT, why).closing()
        }
    }
}

/// Hands an endpoint's answer to the caller, or the whole connection.
fn hand_over(
    mut visit: Visit,
    answered: Answered,
    (upload, to_stream): (Option<Arc<Upload>>, bool),
    upgrade: Option<(OnUpgrade, HeaderValue)>,
) -> Response<Download> {
    let Answered {
        lease,
        mut response,
        pick,
    } = answered;
    let switches = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    let backend = switches.then(|| hyper::upgrade::on(&mut response));
    let (mut head, body) = response.into_parts();
    let spoken = head.headers.get(hyper::header::UPGRADE).cloned();
    visit.answers(&mut head);
    // Whatever the backend speaks; the caller is answered in its own version.
    head.version = Version::HTTP_11;
    if let Some((backend, (caller, asked))) = backend.zip(upgrade) {
        framing::offer(&mut head.headers, spoken.unwrap_or(asked));
        pick.note(Outcome::Answered(head.status.as_u16()));
        tokio::spawn(tunnel::join(caller, backend, visit, pick));
        return Response::from_parts(head, Download::Own(None));
    }
    let idle = visit.gate().settings.idle;
    let carried = Carried {
        body,
        lease: Some(lease),
        upload,
        visit,
        outcome: Outcome::Answered(head.status.as_u16()),
        pick,
        stall: Stall::new(idle),
        to_stream,
        ended: false,
    };
    Response::from_parts(head, Download::Carried(Box::new(carried)))
}
