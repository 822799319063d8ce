//! (room)

pub mod agent;
pub mod release;
pub mod target;
