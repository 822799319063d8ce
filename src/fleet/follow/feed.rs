//! What happens at the coordinator, as long as anybody wants to know, however often it goes away.

use std::time::Duration;

use tokio::sync::mpsc;

use crate::client::{Client, Error};
use crate::protocol::api::Event;

/// News that may wait.
const BACKLOG: usize = 1024;
/// Pauses between attempts to listen again.
const PAUSES: [Duration; 4] = [
    Duration::from_millis(200),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
];

/// What a listener hears.
#[derive(Debug)]
pub(super) enum News {
    /// Something happened.
    Event(Event),
    /// Something may have been missed: look at everything.
    Missed,
    /// Nobody answers. Said once per attempt.
    Away(Error),
}

/// Listens, from before this returns, until nobody wants the news any more.
///
/// # Errors
/// When the coordinator does not answer now.
pub(super) async fn listen(client: &Client) -> Result<mpsc::Receiver<News>, Error> {
    let first = client.events(None).await?;
    let (sender, receiver) = mpsc::channel(BACKLOG);
    let client = client.clone();
    tokio::spawn(async move {
        let mut stream = Some(first);
        let mut in_vain = 0;
        loop {
            let heard = match &mut stream {
                Some(stream) => stream.next().await.map(|heard| News::Event(heard.event)),
                None => match client.events(None).await {
                    Ok(opened) => {
                        stream = Some(opened);
                        in_vain = 0;
                        Ok(News::Missed)
                    }
                    Err(error) => Err(error),
                },
            };
            let news = match heard {
                Ok(News::Event(Event::Gap { .. })) => News::Missed,
                Ok(news) => news,
                Err(error) => {
                    stream = None;
                    News::Away(error)
                }
            };
            let away = matches!(news, News::Away(_));
            let told = tokio::select! {
                told = sender.send(news) => told,
                () = sender.closed() => return,
            };
            if told.is_err() {
                return;
            }
            if away {
                let last = PAUSES.len() - 1;
                let pause = PAUSES.get(in_vain.min(last)).copied().unwrap_or_default();
                in_vain += 1;
                tokio::time::sleep(pause).await;
            }
        }
    });
    Ok(receiver)
}
