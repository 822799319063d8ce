//! Members that belong together find each other, and nobody else gets anything.

use std::sync::atomic::Ordering;
use std::time::Duration;

use skyclaw::coordinator::cluster::{LinkError, Links, Secrets};
use skyclaw::coordinator::{Caller, Tokens};
use skyclaw::queue::cluster::{Carrier, CarryError, Kind, MemberId, Role};
use skyclaw::support::secret::Secret;

use crate::bed::{Peer, SOON, links, member_at, until, url};
use crate::relay::{Relay, assert_absent, assert_present};

const TOKEN: &str = "correct-horse-battery";

fn asking(tokens: &str) -> Links {
    links(MemberId::random(), tokens)
}

#[tokio::test]
async fn members_find_each_other_and_one_connection_serves_everything() {
    let peer = Peer::open(TOKEN).await;
    let relay = Relay::to(peer.address).await;
    let there = url(relay.address);
    let links = asking(TOKEN);
    let hello = links.hello(&there).await.unwrap();
    assert_eq!(hello.who.member, peer.id);
    assert_eq!(hello.who.name, format!("node_{}", peer.id));
    assert_eq!(hello.who.role, Role::Lone);
    assert_eq!(hello.who.url.as_deref(), Some("http://there:8787"));
    assert_eq!(hello.who.peers, ["http://other:8787"]);
    assert_eq!(hello.who.now.as_millis(), 1_700_000_000_000);
    let (id, at) = (peer.id, member_at(relay.address));
    for number in 0..20_u64 {
        let double: u64 = links
            .ask(&there, "/raft/double", &number, SOON)
            .await
            .unwrap();
        assert_eq!(double, number * 2);
        let body = vec![1, 2, number as u8];
        let carried = links
            .carry(id, &at, Kind::Append, body, SOON)
            .await
            .unwrap();
        assert_eq!(carried, [number as u8, 2, 1]);
    }
    let large = vec![7; 12 << 20];
    let carried = links
        .carry(id, &at, Kind::Snapshot, large.clone(), SOON)
        .await;
    assert_eq!(carried.unwrap(), large);
    links
        .carry(id, &at, Kind::Vote, Vec::new(), SOON)
        .await
        .unwrap();
    assert_eq!(peer.connections(), 1, "a connection is used again");
    let received = peer.echo.0.lock().unwrap().clone();
    assert_eq!(received.len(), 22);
    assert_eq!(received[20], (Kind::Snapshot, 12 << 20));
    assert_eq!(received[21], (Kind::Vote, 0));
    let seen = relay.seen();
    assert_present(&seen, "/raft/prove");
    assert_absent(&seen, &[TOKEN]);
}

#[tokio::test]
async fn many_at_once_have_a_connection_each_and_keep_them() {
    let peer = Peer::open(TOKEN).await;
    let (links, there) = (asking(TOKEN), peer.url());
    for _ in 0..3 {
        let asks = (0..8_u64)
            .map(|number| links.ask::<_, u64>(&there, "/raft/double", number_ref(number), SOON));
        for answer in futures_util::future::join_all(asks).await {
            answer.unwrap();
        }
    }
    assert!(peer.connections() <= 8 + 4, "{}", peer.connections());
}

fn number_ref(number: u64) -> &'static u64 {
    const NUMBERS: [u64; 8] = [0, 1, 2, 3, 4, 5, 6, 7];
    &NUMBERS[number as usize]
}

#[tokio::test]
async fn who_does_not_know_the_secret_gets_nothing_and_gives_nothing() {
    let peer = Peer::open("the-token-of-this-cluster").await;
    let relay = Relay::to(peer.address).await;
    let links = asking("some-other-token");
    let error = links.hello(&url(relay.address)).await.unwrap_err();
    assert!(matches!(error, LinkError::Unproven { .. }), "{error:?}");
    assert!(
        error.to_string().contains("not the secret of this cluster"),
        "{error}"
    );
    assert!(!error.may_have_arrived());
    let member = (peer.id, member_at(relay.address));
    let carried = links
        .carry(member.0, &member.1, Kind::Append, vec![1], SOON)
        .await;
    assert!(
        matches!(carried, Err(CarryError::Unreachable(_))),
        "{carried:?}"
    );
    let asked = links
        .ask::<_, u64>(&url(relay.address), "/raft/double", &1, SOON)
        .await;
    assert!(asked.is_err());
    assert!(peer.echo.0.lock().unwrap().is_empty());
    let seen = relay.seen();
    assert_absent(
        &seen,
        &[
            "the-token-of-this-cluster",
            "some-other-token",
            "\"proof\"",
            "/raft/prove",
        ],
    );
}

#[tokio::test]
async fn without_a_secret_only_those_without_one_are_members() {
    let (open, closed) = (Peer::open("").await, Peer::open(TOKEN).await);
    asking("").hello(&open.url()).await.unwrap();
    let error = asking("").hello(&closed.url()).await.unwrap_err();
    assert!(matches!(error, LinkError::Unproven { .. }), "{error:?}");
    let error = asking(TOKEN).hello(&open.url()).await.unwrap_err();
    assert!(error.to_string().contains("has no secret"), "{error}");
}

#[tokio::test]
async fn a_secret_can_be_changed_while_members_run() {
    let (old, both, new) = (
        Peer::open("old").await,
        Peer::open("new,old").await,
        Peer::open("new").await,
    );
    for (asks, asked, fits) in [
        ("old", &both, true),
        ("new", &both, true),
        ("new,old", &old, true),
        ("new,old", &new, true),
        ("old", &new, false),
        ("new", &old, false),
    ] {
        let found = asking(asks).hello(&asked.url()).await;
        assert_eq!(found.is_ok(), fits, "{asks}: {found:?}");
    }
}

#[tokio::test]
async fn a_secret_of_its_own_is_not_the_token() {
    let peer = Peer::open(TOKEN).await;
    let own = Secret::new("another-secret".to_owned());
    let links = Links::new(Secrets::of(Some(&own), &Tokens::parse(TOKEN)));
    let unknown = links.hello(&peer.url()).await.unwrap_err();
    assert!(unknown.to_string().contains("still starting"), "{unknown}");
    let other = crate::bed::links(MemberId::random(), "another-secret");
    assert!(other.hello(&peer.url()).await.is_err());
}

#[tokio::test]
async fn who_finds_itself_knows_it() {
    let peer = Peer::open(TOKEN).await;
    let error = peer.links.hello(&peer.url()).await.unwrap_err();
    assert!(matches!(error, LinkError::Myself { .. }), "{error:?}");
}

#[tokio::test]
async fn who_finds_another_with_its_own_number_knows_that_too() {
    let peer = Peer::open(TOKEN).await;
    let copy = crate::bed::links(peer.id, TOKEN);
    let error = copy.hello(&peer.url()).await.unwrap_err();
    assert!(matches!(error, LinkError::Twin { .. }), "{error:?}");
    assert!(
        !copy
            .hello(&peer.url())
            .await
            .unwrap_err()
            .may_have_arrived()
    );
    // Who does not know the secret is told nothing of that kind.
    let stranger = crate::bed::links(peer.id, "another-token");
    let error = stranger.hello(&peer.url()).await.unwrap_err();
    assert!(matches!(error, LinkError::Unproven { .. }), "{error:?}");
}

#[tokio::test]
async fn another_member_at_the_same_place_gets_nothing() {
    let peer = Peer::open(TOKEN).await;
    let (links, meant) = (asking(TOKEN), MemberId::random());
    // Also over a connection that lies there already.
    links.hello(&peer.url()).await.unwrap();
    let at = member_at(peer.address);
    let carried = links.carry(meant, &at, Kind::Append, vec![1], SOON).await;
    assert!(
        matches!(&carried, Err(CarryError::Unreachable(why)) if why.contains("another member")),
        "{carried:?}"
    );
    assert!(peer.echo.0.lock().unwrap().is_empty());
}

#[tokio::test]
async fn what_is_too_long_is_said_and_not_sent() {
    let peer = Peer::open(TOKEN).await;
    let links = asking(TOKEN);
    let (id, at) = peer.member();
    let large = vec![0; (16 << 20) + 1];
    let carried = links.carry(id, &at, Kind::Snapshot, large, SOON).await;
    assert!(matches!(carried, Err(CarryError::TooLarge)), "{carried:?}");
    assert_eq!(peer.connections(), 0);
    let text = "x".repeat(17 << 20);
    let asked = links
        .ask::<_, u64>(&peer.url(), "/raft/double", &text, SOON)
        .await;
    assert!(
        matches!(asked, Err(LinkError::Answer { status: 413, .. })),
        "{asked:?}"
    );
}

#[tokio::test]
async fn refusals_of_members_keep_their_words() {
    let peer = Peer::open(TOKEN).await;
    let links = asking(TOKEN);
    let asked = links
        .ask::<_, u64>(&peer.url(), "/raft/double", &"word", SOON)
        .await;
    let Err(LinkError::Answer {
        status: 400,
        code,
        text,
    }) = asked
    else {
        panic!("{asked:?}");
    };
    assert_eq!(code, "bad_request");
    assert!(text.contains("invalid type"), "{text}");
    let asked = links
        .ask::<_, u64>(&peer.url(), "/raft/nothing", &1, SOON)
        .await;
    assert!(
        matches!(asked, Err(LinkError::Answer { status: 404, .. })),
        "{asked:?}"
    );
    // A refusal is no reason to give the connection up.
    assert_eq!(peer.connections(), 1);
}

#[tokio::test]
async fn members_speak_over_the_network_only() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let handler = crate::bed::says_for_whom();
    let peer = Peer::on(listener, TOKEN, handler, Some(Caller::Owner));
    let error = asking(TOKEN).hello(&peer.url()).await.unwrap_err();
    assert!(
        error.to_string().contains("over the network only"),
        "{error}"
    );
}

#[tokio::test]
async fn places_where_no_member_can_be_are_not_asked() {
    let links = asking(TOKEN);
    for text in [
        "http://169.254.169.254/",
        "http://[::ffff:169.254.169.254]:80/",
        "http://[fd00:ec2::254]/",
        "http://0.0.0.0:8787/",
        "ftp://127.0.0.1/",
        "http://user:word@127.0.0.1:1/",
    ] {
        let url = text.parse().unwrap();
        let error = links.hello(&url).await.unwrap_err();
        assert!(
            matches!(error, LinkError::Address { .. }),
            "{text}: {error:?}"
        );
        assert!(!error.may_have_arrived());
    }
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = url(free.local_addr().unwrap());
    drop(free);
    let error = links.hello(&nobody).await.unwrap_err();
    assert!(matches!(error, LinkError::Unreachable { .. }), "{error:?}");
    let asked = links
        .ask::<_, u64>(&nobody, "/raft/double", &1, Duration::from_secs(5))
        .await;
    assert!(!asked.unwrap_err().may_have_arrived());
}

#[tokio::test]
async fn connections_that_nobody_uses_are_closed() {
    let peer = Peer::open(TOKEN).await;
    let links = asking(TOKEN);
    let double = async || {
        links
            .ask::<_, u64>(&peer.url(), "/raft/double", &1, SOON)
            .await
    };
    double().await.unwrap();
    assert_eq!(peer.ended.load(Ordering::Relaxed), 0);
    // From here on time passes as fast as it can.
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(10)).await;
    double().await.unwrap();
    assert_eq!(peer.connections(), 1, "not yet");
    tokio::time::advance(Duration::from_secs(29)).await;
    until(|| peer.ended.load(Ordering::Relaxed) == 1).await;
    tokio::time::resume();
    double().await.unwrap();
    assert_eq!(peer.connections(), 2);
    drop(links);
}
