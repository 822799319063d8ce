//! The asking side's proof: the other side's first, then this one's. Nothing else is sent before both.

use axum::http::header::{CONTENT_TYPE, HOST};
use axum::http::{Request, StatusCode};
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::client::conn::http1::SendRequest;
use serde::Serialize;

use super::connection::Means;
use super::door::{HELLO, PROVE};
use super::error::LinkError;
use super::hello::{Answer, Ask, Introduction, Prove};
use super::outgoing::Outgoing;
use super::place::Place;
use super::proof::{Nonce, Parley, Session, Side};

/// How long the answer of somebody who has proved nothing may be.
const INTRODUCTION: usize = 64 << 10;
/// How much of a stranger's words is repeated.
const SHOWN: usize = 200;

/// Says that whoever is there is not believed.
pub fn unproven(place: &Place, why: impl Into<String>) -> LinkError {
    LinkError::Unproven {
        url: place.key.clone(),
        why: why.into(),
    }
}

/// Has both sides prove that they know the secret, and returns who the other is.
///
/// # Errors
/// When it does not.
pub async fn prove(
    mut sender: SendRequest<Outgoing>,
    place: &Place,
    means: Means<'_>,
) -> Result<(SendRequest<Outgoing>, Session, Introduction), LinkError> {
    let Means {
        secrets,
        me,
        nonces,
        lives: _,
    } = means;
    let drawn = nonces.draw();
    let asked = drawn.nonce;
    let ask = Ask {
        protocol: me.protocol,
        member: me.member,
        name: me.name,
        cluster: me.cluster,
        nonce: asked.text(),
        keys: secrets.ids(),
    };
    let bytes = introduce(&mut sender, place, HELLO, &ask).await?;
    let answer: Answer = serde_json::from_slice(&bytes).map_err(|_| {
        unproven(
            place,
            "its answer is none of a coordinator with this protocol",
        )
    })?;
    let answered = Nonce::parse(&answer.nonce).filter(|answered| *answered != asked);
    let key = secrets.shared(std::slice::from_ref(&answer.key));
    let wrong = || unproven(place, "it does not know the secret of this cluster");
    let (Some(answered), Some(key)) = (answered, key) else {
        return Err(wrong());
    };
    let parley = Parley {
        client: me.member,
        server: answer.member,
        asked,
        answered,
    };
    let proves = |side: Side| parley.is_proof(key, side, &answer.proof);
    let url = || place.key.clone();
    let is_me = answer.member == me.member;
    if is_me && proves(Side::Twin) {
        return Err(match (me.cluster, answer.cluster) {
            (Some(own), Some(other)) if own != other => unproven(
                place,
                "it has this one's number and is of another cluster, as a copy is after \
                 `skyclaw peer remove --force-new-cluster`",
            ),
            _ => LinkError::Twin { url: url() },
        });
    }
    if !proves(Side::Server) {
        return Err(wrong());
    }
    if is_me {
        return Err(LinkError::Myself { url: url() });
    }
    let proof = parley.proof(key, Side::Client);
    introduce(&mut sender, place, PROVE, &Prove { proof }).await?;
    Ok((sender, parley.session(key), answer.who()))
}

/// Sends one of the two requests that a stranger may see, and returns the answer.
async fn introduce<A: Serialize>(
    sender: &mut SendRequest<Outgoing>,
    place: &Place,
    path: &str,
    body: &A,
) -> Result<Bytes, LinkError> {
    let bytes = serde_json::to_vec(body).map_err(|error| unproven(place, error.to_string()))?;
    let request = Request::post(format!("{}{path}", place.prefix))
        .header(HOST, &place.authority)
        .header(CONTENT_TYPE, "application/json")
        .body(Outgoing::Whole(Some(bytes.into())))
        .map_err(|error| unproven(place, error.to_string()))?;
    let exchanged = async {
        sender.ready().await?;
        sender.send_request(request).await
    };
    let answer = exchanged
        .await
        .map_err(|error| unproven(place, format!("it broke off: {error}")))?;
    let status = answer.status();
    let bytes = Limited::new(answer.into_body(), INTRODUCTION)
        .collect()
        .await
        .map_err(|error| unproven(place, format!("its answer broke off: {error}")))?
        .to_bytes();
    if status.is_success() {
        return Ok(bytes);
    }
    let why = if status.is_redirection() {
        "it sends callers elsewhere, and members do not follow".to_owned()
    } else {
        let (_, text) = refusal(status, &bytes);
        format!("it answered {}: {text}", status.as_u16())
    };
    Err(unproven(place, why))
}

/// Returns the code and the text of a refusal, short and without anything that a terminal would obey.
pub fn refusal(status: StatusCode, bytes: &[u8]) -> (String, String) {
    #[derive(serde::Deserialize)]
    struct Body {
        error: String,
        #[serde(default)]
        code: String,
    }
    let clean = |text: &str| -> String {
        let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
        plain.take(SHOWN).collect()
    };
    match serde_json::from_slice::<Body>(bytes) {
        Ok(body) => (clean(&body.code), clean(&body.error)),
        Err(_) => {
            let reason = status.canonical_reason().unwrap_or("no reason given");
            (String::new(), reason.to_owned())
        }
    }
}
