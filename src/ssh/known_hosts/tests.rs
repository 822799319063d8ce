//! The decisions, table by table; the files are real, the keys fresh.

use std::sync::Arc;

use russh::keys::ssh_key::certificate::{Builder, CertType};
use russh::keys::ssh_key::{Algorithm, PrivateKey};

use super::*;

const NOW: u64 = 1_800_000_000;

fn key() -> PrivateKey {
    PrivateKey::random(&mut russh::keys::key::safe_rng(), Algorithm::Ed25519).unwrap()
}

fn shown(key: &PrivateKey) -> PublicKeyOrCertificate {
    key.public_key().clone().into()
}

struct Files {
    dir: tempfile::TempDir,
}

impl Files {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("sub/known_hosts")
    }

    fn with(lines: &[String]) -> Self {
        let files = Self::new();
        std::fs::create_dir_all(files.path().parent().unwrap()).unwrap();
        std::fs::write(files.path(), lines.join("\n")).unwrap();
        files
    }

    fn load(&self, policy: HostKeyPolicy) -> KnownHosts {
        KnownHosts::load(policy, Some(self.path()), &[self.path()])
    }
}

fn line(prefix: &str, key: &PrivateKey) -> String {
    format!("{prefix} {} a comment", entry::key_text(key.public_key()))
}

#[test]
fn a_new_host_is_remembered_once_and_then_held_to_its_key() {
    let (files, first, second) = (Files::new(), key(), key());
    let known = files.load(HostKeyPolicy::AcceptNew);
    known.check("Web1", 2222, &shown(&first), NOW).unwrap();
    known.check("web1", 2222, &shown(&first), NOW).unwrap();
    let text = std::fs::read_to_string(files.path()).unwrap();
    assert_eq!(
        text,
        format!("[web1]:2222 {}\n", entry::key_text(first.public_key()))
    );
    for policy in [
        HostKeyPolicy::AcceptNew,
        HostKeyPolicy::Strict,
        HostKeyPolicy::Off,
    ] {
        let refused = files
            .load(policy)
            .check("web1", 2222, &shown(&second), NOW)
            .unwrap_err();
        assert!(
            matches!(refused, Refusal::Changed { .. }),
            "{policy:?} {refused}"
        );
        assert!(refused.to_string().contains("known_hosts:1"), "{refused}");
    }
    files
        .load(HostKeyPolicy::Strict)
        .check("web1", 2222, &shown(&first), NOW)
        .unwrap();
}

#[test]
fn unknown_hosts_follow_the_policy() {
    let (files, key) = (Files::new(), key());
    let strict = files
        .load(HostKeyPolicy::Strict)
        .check("a", 22, &shown(&key), NOW);
    assert!(matches!(strict, Err(Refusal::Unknown { .. })));
    files
        .load(HostKeyPolicy::Off)
        .check("a", 22, &shown(&key), NOW)
        .unwrap();
    assert!(!files.path().exists(), "neither policy writes");
}

#[test]
fn hashed_wildcard_and_negated_names() {
    let (good, bad) = (key(), key());
    let mac = Hmac::<sha1::Sha1>::new_from_slice(b"salt")
        .unwrap()
        .chain_update("secret.example");
    let hashed = format!("|1|{}|{}", b64(b"salt"), b64(&mac.finalize().into_bytes()));
    let files = Files::with(&[
        "# comment".into(),
        "rubbish".into(),
        line(&hashed, &good),
        line("*.lab,!odd.lab", &good),
        line("two,[two]:23", &good),
    ]);
    let known = files.load(HostKeyPolicy::Strict);
    for (host, port) in [
        ("secret.example", 22),
        ("a.lab", 22),
        ("two", 22),
        ("two", 23),
    ] {
        known.check(host, port, &shown(&good), NOW).unwrap();
        let refused = known.check(host, port, &shown(&bad), NOW);
        assert!(matches!(refused, Err(Refusal::Changed { .. })), "{host}");
    }
    let odd = known.check("odd.lab", 22, &shown(&good), NOW);
    assert!(matches!(odd, Err(Refusal::Unknown { .. })));
}

use hmac::{Hmac, KeyInit, Mac};

fn b64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[test]
fn a_revoked_key_is_refused_even_where_it_is_listed() {
    let key = key();
    let files = Files::with(&[line("web1", &key), line("@revoked *", &key)]);
    let refused = files
        .load(HostKeyPolicy::Off)
        .check("web1", 22, &shown(&key), NOW);
    assert!(matches!(refused, Err(Refusal::Revoked { .. })));
}

fn certificate(
    subject: &PrivateKey,
    authority: &PrivateKey,
    name: &str,
    until: u64,
) -> Certificate {
    let mut rng = russh::keys::key::safe_rng();
    let mut builder =
        Builder::new_with_random_nonce(&mut rng, subject.public_key(), NOW - 100, until).unwrap();
    builder.cert_type(CertType::Host).unwrap();
    builder.valid_principal(name).unwrap();
    builder.sign(authority).unwrap()
}

use russh::keys::ssh_key::Certificate;

#[test]
fn an_authority_is_believed_and_nothing_less() {
    let (host_key, authority, other) = (key(), key(), key());
    let files = Files::with(&[line("@cert-authority *.lab", &authority)]);
    let known = files.load(HostKeyPolicy::AcceptNew);
    let check = |c: Certificate| {
        known
            .check("a.lab", 22, &c.into(), NOW)
            .map_err(|e| e.to_string())
    };
    check(certificate(&host_key, &authority, "a.lab", NOW + 100)).unwrap();
    let cases = [
        (
            certificate(&host_key, &authority, "a.lab", NOW - 1),
            "expired",
        ),
        (
            certificate(&host_key, &authority, "b.lab", NOW + 100),
            "b.lab",
        ),
        (
            certificate(&host_key, &other, "a.lab", NOW + 100),
            "signature",
        ),
    ];
    for (bad, word) in cases {
        let refused = check(bad).unwrap_err();
        assert!(refused.contains(word), "{refused}");
    }
    let bare = known
        .check("a.lab", 22, &shown(&host_key), NOW)
        .unwrap_err();
    assert!(
        matches!(bare, Refusal::Certificate { .. }),
        "no trust on first use beside an authority"
    );
    assert_eq!(known.expectations("a.lab", 22), (vec![], true));
}

#[test]
fn an_unreadable_list_refuses_everybody() {
    let files = Files::new();
    std::fs::create_dir_all(files.path()).unwrap();
    let refused = files
        .load(HostKeyPolicy::Off)
        .check("a", 22, &shown(&key()), NOW);
    assert!(
        matches!(refused, Err(Refusal::Unreadable { .. })),
        "a directory is no list"
    );
}

#[test]
fn two_runs_at_once_keep_one_line_a_host_and_a_line_without_newline_stays_whole() {
    let (old, key) = (key(), key());
    let files = Files::with(&[line("old", &old)]);
    let (one, two) = (
        files.load(HostKeyPolicy::AcceptNew),
        files.load(HostKeyPolicy::AcceptNew),
    );
    one.check("new", 22, &shown(&key), NOW).unwrap();
    two.check("new", 22, &shown(&key), NOW).unwrap();
    let text = std::fs::read_to_string(files.path()).unwrap();
    assert_eq!(text.lines().count(), 2, "{text}");
    let third = files.load(HostKeyPolicy::Strict);
    third.check("old", 22, &shown(&old), NOW).unwrap();
    third.check("new", 22, &shown(&key), NOW).unwrap();
}

#[test]
fn many_threads_accept_many_hosts_into_one_file() {
    let files = Arc::new(Files::new());
    let known = Arc::new(files.load(HostKeyPolicy::AcceptNew));
    let key = Arc::new(key());
    std::thread::scope(|scope| {
        for t in 0..8 {
            let (known, key) = (Arc::clone(&known), Arc::clone(&key));
            scope.spawn(move || {
                for n in 0..20 {
                    known
                        .check(&format!("h{}", t * 20 + n), 22, &shown(&key), NOW)
                        .unwrap();
                }
            });
        }
    });
    let text = std::fs::read_to_string(files.path()).unwrap();
    assert_eq!(text.lines().count(), 160);
}

#[test]
fn marks_without_a_port_hold_on_every_port() {
    let (host_key, authority) = (key(), key());
    let files = Files::with(&[
        line("@cert-authority *.lab", &authority),
        line("@revoked bad", &host_key),
    ]);
    let known = files.load(HostKeyPolicy::AcceptNew);
    assert_eq!(known.expectations("a.lab", 2222), (vec![], true));
    let bare = known.check("a.lab", 2222, &shown(&host_key), NOW);
    assert!(matches!(bare, Err(Refusal::Certificate { .. })));
    let revoked = known.check("bad", 2222, &shown(&host_key), NOW);
    assert!(matches!(revoked, Err(Refusal::Revoked { .. })));
}
