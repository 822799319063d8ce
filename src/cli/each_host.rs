//! Does one thing on every host and returns a row for each: what `status` and `teardown` have in common.

use std::sync::Arc;

use serde::Serialize;

use super::output::Output;
use super::progress::{Line, Progress};
use crate::fleet::file::Host;
use crate::fleet::link::Links;

/// Does `work` on all `hosts`; events come as hosts answer, rows in file order.
///
/// # Errors
/// When a row is no JSON object.
pub async fn each_host<R, F>(
    verb: &str,
    hosts: &[Arc<Host>],
    links: &Links,
    output: &Output,
    work: impl Fn(Arc<Host>, Links, Line) -> F,
) -> anyhow::Result<Vec<R>>
where
    R: Serialize + Send + 'static,
    F: Future<Output = R> + Send + 'static,
{
    let progress = Progress::start(output, verb, hosts.len());
    let lines = progress.lines();
    let mut rows: Vec<Option<R>> = hosts.iter().map(|_| None).collect();
    let mut printed = Ok(());
    links
        .each(
            hosts,
            |_, host, links| {
                let line = lines.host(host.name.as_str(), "connecting");
                work(host, links, line)
            },
            |at, row| {
                progress.done();
                if printed.is_ok() {
                    printed = output.event("host", &row);
                }
                if let Some(place) = rows.get_mut(at) {
                    *place = Some(row);
                }
            },
        )
        .await;
    printed?;
    Ok(rows.into_iter().flatten().collect())
}
