//! What every room may use and what itself uses no room: time, ids, paths, secrets, signals, logs.

pub mod backoff;
pub mod chain;
pub mod clock;
pub mod ids;
pub mod limits;
pub mod mask;
pub mod parts;
pub mod paths;
pub mod privacy;
pub mod secret;
pub mod shutdown;
pub mod span;
pub mod tasks;
pub mod telemetry;
pub mod tls;
