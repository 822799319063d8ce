//! The numbers as Prometheus reads them, format 0.0.4.

use std::fmt::Write;
use std::sync::atomic::Ordering;

use super::Metrics;
use super::counts::{BUCKETS, ENDS, Sums};
use crate::gateway::health::State;
use crate::gateway::moment::Moment;
use crate::gateway::table::Table;

/// The type of what [`text`] returns.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Returns all numbers.
pub fn text(metrics: &Metrics, table: &Table, now: Moment) -> String {
    let mut services: Vec<(&str, &str, Sums)> = table
        .services()
        .map(|service| {
            (
                service.name.as_str(),
                service.id.as_str(),
                service.life.counts.sums(),
            )
        })
        .collect();
    services.sort_unstable_by_key(|(name, id, _)| (*name, *id));
    services.insert(0, ("", "", metrics.others.sums()));
    let labelled: Vec<(String, Sums)> = services
        .into_iter()
        .map(|(name, id, sums)| {
            let labels = format!("service=\"{}\",id=\"{}\"", escaped(name), escaped(id));
            (labels, sums)
        })
        .collect();
    let mut out = String::new();
    requests(&mut out, &labelled);
    durations(&mut out, &labelled);
    simple(
        &mut out,
        "retries_total",
        "Requests sent to another endpoint",
        labelled.iter().map(|(labels, sums)| (labels, sums.retries)),
    );
    simple(
        &mut out,
        "received_bytes_total",
        "Bytes of bodies from callers",
        labelled
            .iter()
            .map(|(labels, sums)| (labels, sums.received)),
    );
    simple(
        &mut out,
        "sent_bytes_total",
        "Bytes of bodies to callers",
        labelled.iter().map(|(labels, sums)| (labels, sums.sent)),
    );
    endpoints(&mut out, table, now);
    let connections = metrics.connections.load(Ordering::Relaxed);
    let unlogged = metrics.unlogged.load(Ordering::Relaxed);
    gauge(
        &mut out,
        "connections",
        "gauge",
        "Open connections of callers",
        connections,
    );
    gauge(
        &mut out,
        "unlogged_total",
        "counter",
        "Lines of the access log that were dropped",
        unlogged,
    );
    if let Some(at) = metrics.listed_at() {
        let age = now.millis().saturating_sub(at.millis());
        let name = "services_age_seconds";
        head(
            &mut out,
            name,
            "gauge",
            "Since a coordinator last told which services there are",
        );
        let _ = writeln!(out, "skyclaw_gateway_{name} {}", seconds(age * 1000));
    }
    out
}

fn simple<'l>(
    out: &mut String,
    name: &str,
    help: &str,
    values: impl Iterator<Item = (&'l String, u64)>,
) {
    head(out, name, "counter", help);
    for (labels, value) in values {
        let _ = writeln!(out, "skyclaw_gateway_{name}{{{labels}}} {value}");
    }
}

fn requests(out: &mut String, labelled: &[(String, Sums)]) {
    let name = "requests_total";
    head(
        out,
        name,
        "counter",
        "Requests by service and class of status; gone: the caller left first",
    );
    for (labels, sums) in labelled {
        for (end, count) in ENDS.iter().zip(sums.ends) {
            // A class that never came up is not there yet.
            if count > 0 {
                let _ = writeln!(
                    out,
                    "skyclaw_gateway_{name}{{{labels},status=\"{end}\"}} {count}"
                );
            }
        }
    }
}

fn durations(out: &mut String, labelled: &[(String, Sums)]) {
    let name = "request_duration_seconds";
    head(
        out,
        name,
        "histogram",
        "From a request's head to its answer's head",
    );
    for (labels, sums) in labelled {
        let mut total = 0;
        for (at, count) in sums.buckets.iter().enumerate() {
            total += count;
            let end = BUCKETS
                .get(at)
                .map_or("+Inf".to_owned(), |end| seconds(*end));
            let _ = writeln!(
                out,
                "skyclaw_gateway_{name}_bucket{{{labels},le=\"{end}\"}} {total}"
            );
        }
        let sum = seconds(sums.micros);
        let _ = writeln!(out, "skyclaw_gateway_{name}_sum{{{labels}}} {sum}");
        let _ = writeln!(out, "skyclaw_gateway_{name}_count{{{labels}}} {total}");
    }
}

fn endpoints(out: &mut String, table: &Table, now: Moment) {
    let mut rows: Vec<(String, u32, u8, u64)> = table
        .services()
        .flat_map(|service| {
            service.endpoints.iter().map(move |endpoint| {
                let labels = format!(
                    "service=\"{}\",id=\"{}\",endpoint=\"{}\"",
                    escaped(&service.name),
                    escaped(&service.id),
                    escaped(&endpoint.identity.url),
                );
                let up = u8::from(endpoint.health.state(now) == State::Up);
                (labels, endpoint.in_flight(), up, endpoint.failures())
            })
        })
        .collect();
    rows.sort_unstable();
    head(
        out,
        "endpoint_up",
        "gauge",
        "1 if an endpoint is well as far as is known",
    );
    for (labels, _, up, _) in &rows {
        let _ = writeln!(out, "skyclaw_gateway_endpoint_up{{{labels}}} {up}");
    }
    head(
        out,
        "in_flight",
        "gauge",
        "Requests under way to an endpoint",
    );
    for (labels, in_flight, _, _) in &rows {
        let _ = writeln!(out, "skyclaw_gateway_in_flight{{{labels}}} {in_flight}");
    }
    head(
        out,
        "endpoint_failures_total",
        "counter",
        "Requests that failed by an endpoint's doing",
    );
    for (labels, _, _, failures) in &rows {
        let _ = writeln!(
            out,
            "skyclaw_gateway_endpoint_failures_total{{{labels}}} {failures}"
        );
    }
}

fn gauge(out: &mut String, name: &str, kind: &str, help: &str, value: u64) {
    head(out, name, kind, help);
    let _ = writeln!(out, "skyclaw_gateway_{name} {value}");
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP skyclaw_gateway_{name} {help}");
    let _ = writeln!(out, "# TYPE skyclaw_gateway_{name} {kind}");
}

fn seconds(micros: u64) -> String {
    let whole = micros / 1_000_000;
    let text = format!("{whole}.{:06}", micros % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::gateway::table::tests::record;

    #[test]
    fn numbers_stand_beside_the_services_they_are_of() {
        let list = [record("svc_1", "a\"pi", &[("h", "running", "http://h:1")])];
        let table = Table::after(&Table::default(), &list);
        let metrics = Metrics::default();
        let counts = &table.find("svc_1").unwrap().life.counts;
        counts.ended(Some(200), Duration::from_millis(1), 5, 7);
        counts.ended(Some(502), Duration::from_secs(2), 0, 0);
        counts.retried();
        metrics.others.ended(Some(404), Duration::ZERO, 0, 0);
        metrics.listed(Moment::from_millis(1000));
        let text = text(&metrics, &table, Moment::from_millis(3500));
        let service = "service=\"a\\\"pi\",id=\"svc_1\"";
        for line in [
            format!("requests_total{{{service},status=\"2xx\"}} 1"),
            format!("requests_total{{{service},status=\"5xx\"}} 1"),
            "requests_total{service=\"\",id=\"\",status=\"4xx\"} 1".to_owned(),
            format!("request_duration_seconds_bucket{{{service},le=\"0.0005\"}} 0"),
            format!("request_duration_seconds_bucket{{{service},le=\"0.001\"}} 1"),
            format!("request_duration_seconds_bucket{{{service},le=\"+Inf\"}} 2"),
            format!("request_duration_seconds_sum{{{service}}} 2.001"),
            format!("request_duration_seconds_count{{{service}}} 2"),
            format!("retries_total{{{service}}} 1"),
            format!("received_bytes_total{{{service}}} 5"),
            format!("sent_bytes_total{{{service}}} 7"),
            format!("endpoint_up{{{service},endpoint=\"http://h:1\"}} 1"),
            format!("in_flight{{{service},endpoint=\"http://h:1\"}} 0"),
            "services_age_seconds 2.5".to_owned(),
            "connections 0".to_owned(),
        ] {
            let line = format!("skyclaw_gateway_{line}");
            assert!(text.lines().any(|one| one == line), "{line} in\n{text}");
        }
        for line in text.lines() {
            let name = line
                .trim_start_matches("# HELP ")
                .trim_start_matches("# TYPE ");
            assert!(name.starts_with("skyclaw_gateway_"), "{line}");
        }
    }
}
