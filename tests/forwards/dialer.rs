//! Streams from here to ports of the host: whole both ways, and a slow reader of one holds up nobody.

use skyclaw::ssh::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::{MIB, Site, exchange, soon};

#[tokio::test(flavor = "multi_thread")]
async fn a_megabyte_each_way_to_a_port_of_the_host_with_half_close() {
    let Some(site) = Site::new().await else {
        return;
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let dialer = site.link.connection.dialer();
    for _ in 0..2 {
        let here = soon(dialer.dial(port)).await.unwrap();
        let (there, _) = soon(listener.accept()).await.unwrap();
        exchange(there, here).await;
    }
    drop(listener);
    let nobody = soon(dialer.dial(port)).await.unwrap_err();
    assert!(matches!(nobody, Error::Tcp { .. }), "{nobody:?}");
    site.link.connection.close().await;
    soon(site.link.connection.closed()).await;
    let lost = soon(dialer.dial(port)).await.unwrap_err();
    assert!(matches!(lost, Error::Lost { .. }), "{lost:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_too_much_unread_is_cut_off_and_others_are_not() {
    let Some(site) = Site::new().await else {
        return;
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let dialer = site.link.connection.dialer();
    let mut unread = soon(dialer.dial(port)).await.unwrap();
    let (mut flood, _) = soon(listener.accept()).await.unwrap();
    let flooding = tokio::spawn(async move {
        let piece = vec![b'x'; MIB];
        while flood.write_all(&piece).await.is_ok() {}
    });
    // The host hears that nobody takes more.
    soon(flooding).await.unwrap();
    let here = soon(dialer.dial(port)).await.unwrap();
    let (there, _) = soon(listener.accept()).await.unwrap();
    exchange(there, here).await;
    let cut = soon(unread.read_to_end(&mut Vec::new())).await.unwrap_err();
    assert!(cut.to_string().contains("more came from the host"), "{cut}");
}
