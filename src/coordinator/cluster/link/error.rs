//! What can go wrong between two members.

use axum::http::Request;
use hyper::body::Incoming;

/// Why another member was not asked, or did not answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LinkError {
    /// The URL is none of a member, or leads where none may be. Nothing was sent, and trying again does not help.
    #[error("{url} is not asked: {why}")]
    Address {
        /// The URL.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// Nobody could be reached there in time. Nothing was sent.
    #[error("no connection to {url}: {why}")]
    Unreachable {
        /// The URL.
        url: String,
        /// Why.
        why: String,
    },
    /// Whoever is there did not prove to be a member of this cluster. Nothing but an introduction was sent.
    #[error("{url} is no member of this cluster: {why}")]
    Unproven {
        /// The URL.
        url: String,
        /// What it did instead.
        why: String,
    },
    /// This coordinator itself is there.
    #[error("{url} is this coordinator itself")]
    Myself {
        /// The URL.
        url: String,
    },
    /// Another process with this coordinator's number is there: one of the two runs on a copy of the other's data.
    #[error(
        "another coordinator at {url} runs on a copy of this one's data, with the same member number: stop one of the two. \
         To make a member of its own of it, move its database and the files beside it away and start it with SKYCLAW_PEER_URLS"
    )]
    Twin {
        /// The URL.
        url: String,
    },
    /// Another member than the one that was meant is there. Nothing but an introduction was sent.
    #[error("another member is at {url}: {found}")]
    Another {
        /// The URL.
        url: String,
        /// Its number.
        found: String,
    },
    /// The request cannot be passed on at all. Nothing was sent.
    #[error("this request cannot be passed on: {why}")]
    Unfit {
        /// Why.
        why: &'static str,
    },
    /// It was asked, and may have done it; its answer did not come.
    #[error("{url} gave no whole answer: {why}")]
    Lost {
        /// The URL.
        url: String,
        /// Why.
        why: String,
    },
    /// It answered, and refused.
    #[error("{text}")]
    Answer {
        /// The HTTP status.
        status: u16,
        /// For programs; empty if it gave none.
        code: String,
        /// For people.
        text: String,
    },
}

impl LinkError {
    /// Tells whether the other side may have read the request.
    pub const fn may_have_arrived(&self) -> bool {
        match self {
            Self::Lost { .. } | Self::Answer { .. } => true,
            Self::Address { .. }
            | Self::Unreachable { .. }
            | Self::Unproven { .. }
            | Self::Myself { .. }
            | Self::Twin { .. }
            | Self::Another { .. }
            | Self::Unfit { .. } => false,
        }
    }
}

/// Why a request that was to be passed on has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// Nothing of it was sent. It may be passed on to somebody else.
    #[error("{why}")]
    Unsent {
        /// The request, as it was.
        request: Box<Request<Incoming>>,
        /// Why.
        why: LinkError,
    },
    /// It may have been done.
    #[error("{why}")]
    Unknown {
        /// Why.
        why: LinkError,
    },
}

impl ForwardError {
    /// Returns why.
    pub const fn why(&self) -> &LinkError {
        match self {
            Self::Unsent { why, .. } | Self::Unknown { why } => why,
        }
    }
}
