//! The table: which routes are open to a host, and where each says who is concerned.

use axum::http::Method;
use bytes::Bytes;

use super::super::body;
use super::super::error::Refused;
use crate::protocol::api::{AppendLogs, CompleteMany, Heartbeat, LeaseName, Release};

/// Where a route says who is concerned.
#[derive(Debug, Clone, Copy)]
pub enum Rule {
    /// Nobody.
    Nobody,
    /// The host whose name, id and leases the body holds.
    Register,
    /// The host whose id the path holds, with the leases of the body.
    Host(Named),
    /// The host whose id the body holds, with the job in the path.
    CompleteOne,
    /// The host whose id the body holds, with a service in the path: whether that host has it, the queue knows.
    ReportService,
    /// The host that holds the job in the path just now.
    Holder,
}

/// Which leases a body names.
#[derive(Debug, Clone, Copy)]
pub enum Named {
    /// None.
    None,
    /// Those that a host works on.
    Heartbeat,
    /// Those that are over.
    Completions,
    /// Those that are given back.
    Releases,
    /// Those whose output it is.
    Logs,
    /// None, but what the host says of its services may be long.
    Services,
}

/// Returns the rule for a route; nothing if it is closed to hosts.
pub fn rule(method: &Method, path: &str) -> Option<Rule> {
    match (method.as_str(), path) {
        ("GET", "/health") => Some(Rule::Nobody),
        ("POST", "/v1/hosts/register") => Some(Rule::Register),
        ("POST", "/v1/hosts/{id}/heartbeat") => Some(Rule::Host(Named::Heartbeat)),
        ("POST", "/v1/hosts/{id}/claim" | "/v1/hosts/{id}/deregister") => {
            Some(Rule::Host(Named::None))
        }
        ("POST", "/v1/hosts/{id}/complete") => Some(Rule::Host(Named::Completions)),
        ("POST", "/v1/hosts/{id}/release") => Some(Rule::Host(Named::Releases)),
        ("POST", "/v1/hosts/{id}/logs") => Some(Rule::Host(Named::Logs)),
        ("POST", "/v1/hosts/{id}/services/sync") => Some(Rule::Host(Named::Services)),
        ("POST", "/v1/hosts/{id}/services/claim" | "/v1/hosts/{id}/services/logs") => {
            Some(Rule::Host(Named::None))
        }
        ("POST", "/v1/services/{id}/report") => Some(Rule::ReportService),
        ("POST", "/v1/jobs/{id}/complete") => Some(Rule::CompleteOne),
        ("GET", "/v1/jobs/{id}") => Some(Rule::Holder),
        (_, _) => None,
    }
}

/// Tells whether the route is one of those that `tunnel_submit` opens: submitting, and reading jobs.
pub fn submits(method: &Method, path: &str) -> bool {
    matches!(
        (method.as_str(), path),
        ("POST", "/v1/jobs" | "/v1/jobs/batch")
            | (
                "GET",
                "/v1/jobs"
                    | "/v1/jobs/{id}"
                    | "/v1/jobs/{id}/attempts"
                    | "/v1/jobs/{id}/explain"
                    | "/v1/jobs/{id}/logs"
            )
    )
}

/// Returns the leases that a body names.
///
/// # Errors
/// When the body is none of the route.
pub fn leases(named: Named, bytes: &Bytes) -> Result<Vec<LeaseName>, Refused> {
    Ok(match named {
        Named::None | Named::Services => Vec::new(),
        Named::Heartbeat => {
            let beat: Heartbeat = body::exact(bytes)?;
            beat.leases.unwrap_or_default()
        }
        Named::Completions => {
            let many: CompleteMany = body::mended(bytes)?;
            many.completions.iter().map(|one| one.lease).collect()
        }
        Named::Releases => body::exact::<Release>(bytes)?.leases,
        Named::Logs => {
            let sent: AppendLogs = body::exact(bytes)?;
            sent.chunks.iter().map(|chunk| chunk.lease).collect()
        }
    })
}
