//! Proofs: a code over what both sides said in this one parley, so that no proof is good for another side, another
//! member or another time. After it, seals: a code on the head of each request.

use axum::http::{HeaderValue, Method};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::secret::{Key, code};
use crate::queue::cluster::MemberId;
use crate::support::ids;

const PROOF: &[u8] = b"skyclaw proof 1";
const SESSION: &[u8] = b"skyclaw session 1";

/// A number that is used once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Nonce([u8; 32]);

impl Nonce {
    /// Draws one.
    pub fn random() -> Self {
        Self(ids::random_bytes())
    }

    /// Reads one from its text.
    pub fn parse(text: &str) -> Option<Self> {
        unhex(text).map(Self)
    }

    /// Returns its text.
    pub fn text(&self) -> String {
        ids::hex(&self.0)
    }
}

/// Whose proof it is. One that is sent back to its maker proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Who was asked.
    Server,
    /// Who asked.
    Client,
    /// Who was asked, has the number of the one who asks, and is not that same process.
    Twin,
}

/// What both sides have said when they prove themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parley {
    /// Who asked.
    pub client: MemberId,
    /// Who was asked.
    pub server: MemberId,
    /// What the one drew who asked.
    pub asked: Nonce,
    /// What the other drew.
    pub answered: Nonce,
}

impl Parley {
    /// Returns the proof that `side` knows `key`.
    pub fn proof(&self, key: &Key, side: Side) -> String {
        ids::hex(&self.code(key, side))
    }

    /// Tells whether `shown` is that proof. Takes as long for a wrong one as for a right one.
    pub fn is_proof(&self, key: &Key, side: Side, shown: &str) -> bool {
        let Some(shown) = unhex::<32>(shown) else {
            return false;
        };
        self.code(key, side).ct_eq(&shown).into()
    }

    fn code(&self, key: &Key, side: Side) -> [u8; 32] {
        let side: &[u8] = match side {
            Side::Server => b"server",
            Side::Client => b"client",
            Side::Twin => b"twin",
        };
        self.over(key, PROOF, side)
    }

    /// Returns what the requests of this connection are sealed with. It is never sent.
    pub fn session(&self, key: &Key) -> Session {
        Session {
            key: Zeroizing::new(self.over(key, SESSION, b"client")),
            count: 0,
        }
    }

    fn over(&self, key: &Key, what: &[u8], side: &[u8]) -> [u8; 32] {
        let (client, server) = (self.client.to_string(), self.server.to_string());
        let parts = [
            what,
            side,
            &self.asked.0,
            &self.answered.0,
            client.as_bytes(),
            server.as_bytes(),
        ];
        code(key.expose(), &parts)
    }
}

/// One proven connection.
///
/// A program between the two, such as a proxy that keeps connections, may put a stranger's request on it. Such a
/// request has no seal. A seal counts, so that none is good twice.
pub struct Session {
    key: Zeroizing<[u8; 32]>,
    count: u64,
}

/// What a seal is over.
#[derive(Clone, Copy, Debug)]
pub struct Head<'r> {
    /// The method.
    pub method: &'r Method,
    /// The path with its query.
    pub path: &'r str,
    /// For whom the request is passed on, if it is.
    pub on_behalf: Option<&'r HeaderValue>,
}

impl Session {
    fn code(&self, count: u64, head: Head<'_>) -> [u8; 32] {
        let (on_behalf, is_passed): (&[u8], &[u8]) = match head.on_behalf {
            Some(value) => (value.as_bytes(), b"1"),
            None => (b"", b"0"),
        };
        let parts = [
            &count.to_be_bytes()[..],
            head.method.as_str().as_bytes(),
            head.path.as_bytes(),
            is_passed,
            on_behalf,
        ];
        code(self.key.as_slice(), &parts)
    }

    /// Returns the seal of the next request.
    pub fn seal(&mut self, head: Head<'_>) -> String {
        self.count += 1;
        let code = self.code(self.count, head);
        format!("{}.{}", self.count, ids::hex(&code))
    }

    /// Tells whether `shown` is the seal of the next request.
    pub fn is_sealed(&mut self, shown: &HeaderValue, head: Head<'_>) -> bool {
        let parts = shown.to_str().ok().and_then(|text| text.split_once('.'));
        let Some((count, shown)) = parts else {
            return false;
        };
        let (Ok(count), Some(shown)) = (count.parse::<u64>(), unhex::<32>(shown)) else {
            return false;
        };
        let good = count == self.count + 1 && bool::from(self.code(count, head).ct_eq(&shown));
        if good {
            self.count = count;
        }
        good
    }
}

/// Reads `N` bytes from hexadecimal text.
fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        for digit in pair {
            let value = char::from(*digit).to_digit(16)?;
            *byte = *byte << 4 | u8::try_from(value).ok()?;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::super::secret::Secrets;
    use super::*;
    use crate::coordinator::Tokens;

    fn member(number: u64) -> MemberId {
        format!("{number:016x}").parse().unwrap()
    }

    fn parley() -> Parley {
        Parley {
            client: member(1),
            server: member(2),
            asked: Nonce([1; 32]),
            answered: Nonce([2; 32]),
        }
    }

    fn secrets(token: &str) -> Secrets {
        Secrets::of(None, &Tokens::parse(token))
    }

    #[test]
    fn a_proof_is_good_for_one_side_of_one_parley() {
        let (known, other) = (secrets("known"), secrets("other"));
        let (key, strange) = (
            known.shared(&known.ids()).unwrap(),
            other.shared(&other.ids()).unwrap(),
        );
        let said = parley();
        let proof = said.proof(key, Side::Server);
        assert!(said.is_proof(key, Side::Server, &proof));
        assert!(!said.is_proof(key, Side::Client, &proof), "reflected");
        assert!(!said.is_proof(strange, Side::Server, &proof));
        let others = [
            Parley {
                client: member(3),
                ..said
            },
            Parley {
                server: member(3),
                ..said
            },
            Parley {
                asked: Nonce([3; 32]),
                ..said
            },
            Parley {
                answered: Nonce([3; 32]),
                ..said
            },
            Parley {
                asked: said.answered,
                answered: said.asked,
                ..said
            },
            Parley {
                client: said.server,
                server: said.client,
                ..said
            },
        ];
        for other in others {
            assert!(!other.is_proof(key, Side::Server, &proof), "{other:?}");
        }
        for garbage in [
            "",
            "zz",
            &proof[1..],
            &format!("{proof}00"),
            &"é".repeat(32),
        ] {
            assert!(!said.is_proof(key, Side::Server, garbage), "{garbage}");
        }
    }

    #[test]
    fn a_seal_is_good_once_and_for_one_head() {
        let known = secrets("known");
        let key = known.shared(&known.ids()).unwrap();
        let (mut ours, mut theirs) = (parley().session(key), parley().session(key));
        let owner = HeaderValue::from_static("owner");
        let head = Head {
            method: &Method::POST,
            path: "/v1/jobs?x=1",
            on_behalf: Some(&owner),
        };
        let seal = HeaderValue::try_from(ours.seal(head)).unwrap();
        let other = HeaderValue::from_static("127.0.0.1");
        for wrong in [
            Head {
                method: &Method::GET,
                ..head
            },
            Head {
                path: "/v1/jobs",
                ..head
            },
            Head {
                on_behalf: Some(&other),
                ..head
            },
            Head {
                on_behalf: None,
                ..head
            },
        ] {
            assert!(!theirs.is_sealed(&seal, wrong), "{wrong:?}");
        }
        assert!(theirs.is_sealed(&seal, head));
        assert!(!theirs.is_sealed(&seal, head), "a second time");
        for garbage in ["", ".", "2.", "x.y", "99999999999999999999.00"] {
            assert!(!theirs.is_sealed(&HeaderValue::from_static(garbage), head));
        }
        let seal = HeaderValue::try_from(ours.seal(head)).unwrap();
        assert!(theirs.is_sealed(&seal, head));
    }
}
