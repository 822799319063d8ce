//! Where a message ends and what it is: what two programs could read differently goes no further.
//!
//! hyper has already refused lengths that are no number or that differ, encodings that do not end with `chunked`,
//! folded lines, control characters, and chunks without a size; the rest is put into one form when it is sent on. What
//! it would hide is made such that it refuses it (`heads.rs`): a length beside an encoding, lines that end with LF alone.

use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::http::uri::Authority;
use hyper::{StatusCode, Version};

use crate::gateway::answer::Answer;
use crate::gateway::headers::REQUEST_ID;

/// Makes a request of whatever version one of HTTP/1.1, so that everything behind sees one form.
///
/// # Errors
/// The answer to a request that could be read in two ways.
pub fn settle(head: &mut Parts) -> Result<(), Answer> {
    let encodings = head.headers.get_all(header::TRANSFER_ENCODING);
    let mut encodings = encodings.iter();
    if let Some(encoding) = encodings.next()
        && (head.version != Version::HTTP_11
            || encodings.next().is_some()
            || !encoding.as_bytes().eq_ignore_ascii_case(b"chunked"))
    {
        let why = "the request must say in one way how long its body is";
        return Err(Answer::refused(StatusCode::BAD_REQUEST, why).closing());
    }
    if head.method == hyper::Method::TRACE {
        // It would show the caller's headers to whoever gets the answer.
        return Err(Answer::refused(
            StatusCode::METHOD_NOT_ALLOWED,
            "TRACE is not answered",
        ));
    }
    if head.method == hyper::Method::CONNECT {
        // Also with a path for a target, which is malformed: what follows the answer would be nobody's request.
        let why = "the gateway is no tunnel to other hosts";
        return Err(Answer::refused(StatusCode::BAD_REQUEST, why).closing());
    }
    settle_host(head)?;
    if head.version == Version::HTTP_2 {
        join_cookies(&mut head.headers);
    }
    Ok(())
}

/// Has the request name one host in one place. A backend builds links with it, so it must be nothing else.
fn settle_host(head: &mut Parts) -> Result<(), Answer> {
    let refused = |why| Answer::refused(StatusCode::BAD_REQUEST, why).closing();
    let mut given = head.headers.get_all(header::HOST).iter();
    let (first, second) = (given.next(), given.next());
    if second.is_some() {
        return Err(refused("the request must have one host header"));
    }
    let is_host = |bytes: &[u8]| !bytes.contains(&b'@') && Authority::try_from(bytes).is_ok();
    let fits = first.is_none_or(|host| host.is_empty() || is_host(host.as_bytes()));
    // The absolute form, and HTTP/2, name the host in place of the header.
    let named = head.uri.authority().map(Authority::as_str);
    if !fits || named.is_some_and(|named| !is_host(named.as_bytes())) {
        return Err(refused("the host is malformed"));
    }
    if let Some(host) = named.and_then(|named| HeaderValue::from_str(named).ok()) {
        head.headers.insert(header::HOST, host);
    }
    Ok(())
}

/// HTTP/2 splits the cookie over several fields, which HTTP/1.1 does not know (RFC 9113, 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let crumbs = headers.get_all(header::COOKIE);
    let crumbs: Vec<&[u8]> = crumbs.iter().map(HeaderValue::as_bytes).collect();
    if crumbs.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..]))
    {
        headers.insert(header::COOKIE, joined);
    }
}

/// Changes the headers of a request to say how its body is framed towards a backend.
pub fn frame(headers: &mut HeaderMap, has_body: bool) {
    // hyper answers it itself, when the first byte of the body is asked for.
    headers.remove(header::EXPECT);
    if !has_body {
        headers.remove(header::TRANSFER_ENCODING);
    } else if !headers.contains_key(header::CONTENT_LENGTH) {
        let chunked = HeaderValue::from_static("chunked");
        headers.insert(header::TRANSFER_ENCODING, chunked);
    }
}

/// Checks an answer, whose frames are what was decoded and are framed anew.
pub fn is_sound(headers: &mut HeaderMap) -> bool {
    let Some(encoding) = headers.remove(header::TRANSFER_ENCODING) else {
        return true;
    };
    !headers.contains_key(header::CONTENT_LENGTH)
        && encoding.as_bytes().eq_ignore_ascii_case(b"chunked")
}

/// Returns the protocol that the caller would like to go on with, if it is one that can be tunnelled.
pub fn wanted(head: &Parts, has_body: bool) -> Option<HeaderValue> {
    let mut asked = head.headers.get_all(header::UPGRADE).iter();
    let first = asked.next()?;
    // Cleartext HTTP/2 would carry requests past every check here.
    let two = first.as_bytes().to_ascii_lowercase().starts_with(b"h2");
    let can = head.version == Version::HTTP_11 && !has_body && asked.next().is_none() && !two;
    (can && crate::gateway::headers::wants_upgrade(&head.headers)).then(|| first.clone())
}

/// Puts in what asks for, or agrees to, another protocol.
pub fn offer(headers: &mut HeaderMap, protocol: HeaderValue) {
    let upgrade = HeaderValue::from_static("upgrade");
    headers.insert(header::UPGRADE, protocol);
    headers.insert(header::CONNECTION, upgrade);
}

/// What may not stand behind a body: it would change how the message is read (RFC 9110, 6.5.1), or what its head says of
/// whose it is.
const NOT_BEHIND: [HeaderName; 14] = [
    header::TRANSFER_ENCODING,
    header::CONTENT_LENGTH,
    header::HOST,
    header::CONNECTION,
    header::UPGRADE,
    header::TE,
    header::TRAILER,
    header::AUTHORIZATION,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("x-api-key"),
    header::COOKIE,
    header::SET_COOKIE,
    REQUEST_ID,
    header::CONTENT_ENCODING,
];

/// Takes out of trailers what may not stand there.
pub fn clean_trailers(trailers: &mut HeaderMap) {
    for name in &NOT_BEHIND {
        trailers.remove(name);
    }
    while let Some(name) = trailers.keys().find(|name| is_ours(name)).cloned() {
        trailers.remove(name);
    }
}

fn is_ours(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.starts_with("x-skyclaw-") || name.starts_with("x-forwarded-")
}
