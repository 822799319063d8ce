//! One method per route, by what they are about.

mod claims;
mod cluster;
mod gateways;
mod groups;
pub(super) mod hosts;
pub(super) mod jobs;
mod public;
mod queue;
pub(super) mod services;
mod submit;
