//! The proof as it is on the wire, made once more here: what other versions of the program must be able to speak to.

use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use skyclaw::queue::cluster::MemberId;

use crate::common::http::{Http, Reply};

pub fn code(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    for part in parts {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    mac.finalize().into_bytes().to_vec()
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn unhex(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// Somebody who speaks the protocol byte by byte.
pub struct Stranger {
    pub id: String,
    key: Vec<u8>,
    pub nonce: String,
}

impl Stranger {
    pub fn knows(secret: &str) -> Self {
        Self {
            id: MemberId::random().to_string(),
            key: code(secret.as_bytes(), &[b"skyclaw cluster key 1"]),
            nonce: format!("{:032x}{:032x}", rand(), rand()),
        }
    }

    pub fn key_id(&self) -> String {
        hex(&code(&self.key, &[b"name"])[..8])
    }

    pub fn hello(&self) -> Value {
        json!({
            "protocol": 1, "member": self.id, "name": "stranger", "cluster": null,
            "nonce": self.nonce, "keys": [self.key_id()],
        })
    }

    fn over(&self, what: &[u8], side: &[u8], answer: &Value) -> Vec<u8> {
        let text = |name: &str| answer[name].as_str().unwrap();
        let (asked, answered) = (unhex(&self.nonce), unhex(text("nonce")));
        let parts: [&[u8]; 6] = [
            what,
            side,
            &asked,
            &answered,
            self.id.as_bytes(),
            text("member").as_bytes(),
        ];
        code(&self.key, &parts)
    }

    pub fn proof(&self, side: &str, answer: &Value) -> String {
        hex(&self.over(b"skyclaw proof 1", side.as_bytes(), answer))
    }

    pub fn seal(&self, answer: &Value, count: u64, path: &str, on_behalf: Option<&str>) -> String {
        let session = self.over(b"skyclaw session 1", b"client", answer);
        let given: &[u8] = if on_behalf.is_some() { b"1" } else { b"0" };
        let parts: [&[u8]; 5] = [
            &count.to_be_bytes(),
            b"POST",
            path.as_bytes(),
            given,
            on_behalf.unwrap_or_default().as_bytes(),
        ];
        format!("{count}.{}", hex(&code(&session, &parts)))
    }
}

fn rand() -> u128 {
    let half = || u128::from_str_radix(&MemberId::random().to_string(), 16).unwrap();
    half() << 64 | half()
}

pub fn post(http: &mut Http, path: &str, body: &Value) -> Reply {
    http.send("POST", path, body.to_string().as_bytes())
        .unwrap()
}

pub fn post_with(http: &mut Http, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
    let mut head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let mut bytes = format!("{head}\r\n").into_bytes();
    bytes.extend_from_slice(body);
    http.raw(&bytes).unwrap();
    http.reply().unwrap()
}
