//! Messages of the cluster over links.

use std::time::Duration;

use axum::http::HeaderValue;
use futures_util::future::BoxFuture;
use reqwest::Url;

use super::door::MESSAGE;
use super::error::LinkError;
use super::links::{Links, Message};
use crate::queue::cluster::{Carrier, CarryError, Kind, Member, MemberId};

const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");

impl Carrier for Links {
    fn carry(
        &self,
        to: MemberId,
        at: &Member,
        kind: Kind,
        body: Vec<u8>,
        within: Duration,
    ) -> BoxFuture<'static, Result<Vec<u8>, CarryError>> {
        let links = self.clone();
        let url = self.moved().place(to, &at.url);
        Box::pin(async move {
            if body.len() > MESSAGE {
                return Err(CarryError::TooLarge);
            }
            let url = Url::parse(&url)
                .map_err(|error| CarryError::Unreachable(format!("{url}: {error}")))?;
            let message = Message {
                path: format!("/raft/{}", kind.path()),
                kind: OCTETS,
                bytes: body.into(),
            };
            let carried = links.exchange(&url, Some(to), message, within).await;
            carried.map(Into::into).map_err(failed)
        })
    }
}

fn failed(error: LinkError) -> CarryError {
    match error {
        LinkError::Answer { status: 413, .. } => CarryError::TooLarge,
        LinkError::Answer { status, text, .. } => {
            CarryError::Refused(format!("it answered {status}: {text}"))
        }
        // Whoever is not who it should be may be again, so it is tried again as if nobody were there.
        LinkError::Address { .. }
        | LinkError::Unreachable { .. }
        | LinkError::Unproven { .. }
        | LinkError::Myself { .. }
        | LinkError::Twin { .. }
        | LinkError::Another { .. }
        | LinkError::Unfit { .. }
        | LinkError::Lost { .. } => CarryError::Unreachable(error.to_string()),
    }
}
