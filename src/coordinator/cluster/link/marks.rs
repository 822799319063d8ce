//! Which member has proved itself on a connection, and for whom it passes requests on.

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::{HeaderName, HeaderValue, Request};

use super::proof::{Head, Parley, Session};
use crate::coordinator::Caller;
use crate::coordinator::api::error::Refused;
use crate::coordinator::caller::Via;
use crate::protocol::api::Code;
use crate::queue::cluster::{ClusterId, MemberId};

/// Says for whom a member passes a request on.
pub const AS: HeaderName = HeaderName::from_static("x-skyclaw-as");
/// Shows that a request comes from the member that proved itself on this connection.
pub const SEAL: HeaderName = HeaderName::from_static("x-skyclaw-link");

/// A member that has proved that it knows the secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proven {
    /// Its number.
    pub member: MemberId,
    /// Its coordinator's id.
    pub name: String,
    /// What it speaks.
    pub protocol: u32,
    /// Which cluster it belonged to when it said hello.
    pub cluster: Option<ClusterId>,
    /// Where its connection comes from.
    pub address: IpAddr,
}

/// What is known of who speaks on one connection. Each connection has its own, for as long as it lives.
#[derive(Default)]
pub struct PeerMark(Mutex<State>);

#[derive(Default)]
enum State {
    /// Nobody said hello.
    #[default]
    Nobody,
    /// Somebody did, and owes a proof.
    Greeted(Box<Greeted>),
    /// It was given.
    Proven(Arc<Proven>, Session),
    /// It went wrong; this connection will not be believed any more.
    Spoiled,
}

/// Somebody who owes a proof.
pub struct Greeted {
    /// Who it claims to be.
    pub claims: Proven,
    /// What was said.
    pub parley: Parley,
    /// The name of the key that both know.
    pub key: String,
}

impl fmt::Debug for PeerMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PeerMark").field(&self.proven()).finish()
    }
}

/// For whom a request is done.
#[derive(Clone, Debug)]
pub struct Effective {
    /// Who is answered and checked: the one at the other end, or for whom a member passes the request on.
    pub caller: Arc<Caller>,
    /// Whether a member passed it on, so that it must not be passed on again.
    pub forwarded: bool,
    /// Which member that was.
    pub via: Option<Via>,
}

impl PeerMark {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns who has proved itself.
    pub fn proven(&self) -> Option<Arc<Proven>> {
        match &*self.state() {
            State::Proven(peer, _) => Some(Arc::clone(peer)),
            State::Nobody | State::Greeted(_) | State::Spoiled => None,
        }
    }

    /// Begins a hello. Only the first thing on a connection may be one.
    pub fn begins(&self) -> bool {
        let mut state = self.state();
        let first = matches!(*state, State::Nobody);
        // Whatever happens next, there is no second try on this connection.
        *state = State::Spoiled;
        first
    }

    /// Takes note of what was said.
    pub fn greeted(&self, greeted: Greeted) {
        *self.state() = State::Greeted(Box::new(greeted));
    }

    /// Takes out who owes a proof. Whoever does not give it now never will.
    pub fn owes(&self) -> Option<Greeted> {
        match std::mem::replace(&mut *self.state(), State::Spoiled) {
            State::Greeted(greeted) => Some(*greeted),
            State::Nobody | State::Proven(..) | State::Spoiled => None,
        }
    }

    /// Believes it from here on.
    pub fn believe(&self, peer: Proven, session: Session) {
        *self.state() = State::Proven(Arc::new(peer), session);
    }

    /// Returns the member that this request comes from: it has proved itself here, and the request bears its seal.
    pub fn opened<B>(&self, request: &Request<B>) -> Option<Arc<Proven>> {
        let shown = request.headers().get(SEAL)?;
        let path = request.uri().path_and_query();
        let head = Head {
            method: request.method(),
            path: path.map_or("/", |path| path.as_str()),
            on_behalf: request.headers().get(AS),
        };
        match &mut *self.state() {
            State::Proven(peer, session) => {
                session.is_sealed(shown, head).then(|| Arc::clone(peer))
            }
            State::Nobody | State::Greeted(_) | State::Spoiled => None,
        }
    }

    /// Returns for whom a request is done that came over a connection of `own`, and takes out of it what only members
    /// may say.
    ///
    /// # Errors
    /// When it claims to be passed on, and no member has proved to have done so.
    pub fn effective<B>(
        &self,
        own: &Arc<Caller>,
        request: &mut Request<B>,
    ) -> Result<Effective, Refused> {
        let peer = self.opened(request);
        let headers = request.headers_mut();
        let on_behalf = headers.remove(AS);
        headers.remove(SEAL);
        let Some(on_behalf) = on_behalf else {
            return Ok(Effective {
                caller: Arc::clone(own),
                forwarded: false,
                via: None,
            });
        };
        let Some(peer) = peer else {
            let text = "only a member of the cluster may pass a request on";
            return Err(Refused::new(Code::Unauthorized, text).closing());
        };
        let caller = read(&on_behalf)
            .ok_or_else(|| Refused::bad(format!("{AS} is neither `owner` nor an address")))?;
        Ok(Effective {
            caller: Arc::new(caller),
            forwarded: true,
            via: Some(Via {
                member: peer.member,
                address: peer.address,
            }),
        })
    }
}

fn read(on_behalf: &HeaderValue) -> Option<Caller> {
    match on_behalf.to_str().ok()? {
        "owner" => Some(Caller::Owner),
        address => Some(Caller::Network(address.parse().ok()?)),
    }
}

/// Returns how it is said for whom a request is passed on; nothing for a host, whose tunnel ends here.
pub fn written(caller: &Caller) -> Option<HeaderValue> {
    match caller {
        Caller::Owner => Some(HeaderValue::from_static("owner")),
        Caller::Network(address) => HeaderValue::try_from(address.to_string()).ok(),
        Caller::Host { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_are_read_as_they_are_written() {
        let network = |text: &str| Caller::Network(text.parse().unwrap());
        for caller in [Caller::Owner, network("10.0.0.1"), network("fd00::1")] {
            assert_eq!(read(&written(&caller).unwrap()), Some(caller));
        }
        let host = Caller::Host {
            name: "a".to_owned(),
            may_submit: true,
            said: None,
            token: None,
        };
        assert_eq!(written(&host), None);
        for garbage in ["", "Owner", "host a", "10.0.0.1:80", "owner, owner"] {
            assert_eq!(read(&HeaderValue::from_static(garbage)), None, "{garbage}");
        }
    }

    #[test]
    fn who_has_proved_nothing_passes_nothing_on() {
        let (mark, own) = (
            PeerMark::default(),
            Arc::new(Caller::Network([10, 0, 0, 1].into())),
        );
        let mut plain = Request::new(());
        let effective = mark.effective(&own, &mut plain).unwrap();
        assert_eq!((&effective.caller, effective.forwarded), (&own, false));
        let mut claims = Request::builder().header(AS, "owner").body(()).unwrap();
        let refused = mark.effective(&own, &mut claims).unwrap_err();
        assert_eq!(refused.code, Code::Unauthorized);
        let mut sealed = Request::builder()
            .header(AS, "owner")
            .header(SEAL, format!("1.{}", "0".repeat(64)))
            .body(())
            .unwrap();
        assert!(mark.effective(&own, &mut sealed).is_err());
    }
}
