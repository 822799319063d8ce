//! From flags and variables to the settings of a gateway.

use std::time::Duration;

use super::super::error::Failure;
use super::super::given::Given;
use super::Args;
use crate::gateway::forwarded::{Network, Trusted};
use crate::gateway::keys::Keys;
use crate::gateway::settings::{MetricsFor, Probes, Settings};
use crate::gateway::tls::Certificate;
use crate::support::secret::Secret;

/// As in the original: less is taken for this much.
const SHORTEST_PROBE: u64 = 500;
const SHORTEST_COOLDOWN: u64 = 1000;
/// Less would be a flood, not a question.
const SHORTEST_PAUSE: u64 = 100;

/// Returns the settings.
///
/// # Errors
/// When a value is out of range.
pub fn read(args: &Args, keys: Keys, token: Option<Secret>) -> Result<Settings, Failure> {
    let defaults = Settings::default();
    let span = |given: &Option<Given<u64>>, least: u64, default: Duration| {
        Given::of(given).map_or(default, |ms| Duration::from_millis((*ms).max(least)))
    };
    let mut rules = defaults.rules;
    rules.balance = Given::of(&args.lb).copied().unwrap_or(rules.balance);
    rules.in_flight = Given::of(&args.max_in_flight)
        .copied()
        .unwrap_or(rules.in_flight);
    rules.cooldown = span(&args.cooldown_ms, SHORTEST_COOLDOWN, rules.cooldown);
    if rules.in_flight == 0 {
        return Err(Failure::usage("--max-in-flight must be at least 1"));
    }
    let path = Given::of(&args.health_path);
    let probes = Probes {
        every: span(&args.probe_ms, SHORTEST_PAUSE, defaults.probes.every),
        timeout: span(
            &args.probe_timeout_ms,
            SHORTEST_PROBE,
            defaults.probes.timeout,
        ),
        path: path.cloned().unwrap_or(defaults.probes.path),
        path_is_chosen: path.is_some(),
    };
    let metrics = match token {
        _ if args.metrics_open => MetricsFor::All,
        Some(token) => MetricsFor::Token(token),
        None if keys.is_empty() => MetricsFor::All,
        None => MetricsFor::Nobody,
    };
    Ok(Settings {
        rules,
        sticky: Given::of(&args.sticky).cloned(),
        attempts: Given::of(&args.retries)
            .copied()
            .unwrap_or(defaults.attempts),
        refresh: span(&args.refresh_ms, SHORTEST_PAUSE, defaults.refresh),
        probes,
        keys,
        trusted: trusted(args)?,
        body_limit: Given::of(&args.max_body)
            .copied()
            .unwrap_or(defaults.body_limit),
        first_byte: span(&args.first_byte_ms, 1, defaults.first_byte),
        idle: span(&args.idle_ms, 1, defaults.idle),
        body_wait: match Given::of(&args.body_wait_ms) {
            Some(0) => Duration::MAX,
            _ => span(&args.body_wait_ms, 1, defaults.body_wait),
        },
        connections: Given::of(&args.max_connections)
            .copied()
            .unwrap_or(defaults.connections),
        tls: certificate(args)?,
        metrics,
        stop: defaults.stop,
    })
}

fn certificate(args: &Args) -> Result<Option<Certificate>, Failure> {
    match (Given::of(&args.tls_cert), Given::of(&args.tls_key)) {
        (None, None) => Ok(None),
        (Some(certificate), Some(key)) => Certificate::read(certificate, key)
            .map(Some)
            .map_err(|error| Failure::usage("TLS for callers").because(error)),
        (Some(_), None) => Err(Failure::usage("--tls-cert needs --tls-key as well")),
        (None, Some(_)) => Err(Failure::usage("--tls-key needs --tls-cert as well")),
    }
}

fn trusted(args: &Args) -> Result<Trusted, Failure> {
    let list = Given::of(&args.trusted_proxies)
        .map(String::as_str)
        .unwrap_or_default();
    list.split(',')
        .map(str::trim)
        .filter(|text| !text.is_empty())
        .map(str::parse::<Network>)
        .collect::<Result<_, _>>()
        .map(Trusted)
        .map_err(|error| Failure::usage("--trusted-proxies").because(error))
}
