//! Shows a run while it happens, sums it up, and turns it into an exit code, whoever carries it out.

use std::sync::Arc;

use super::exit::Exit;
use super::output::{Format, Output};
use super::perform::Outcome;
use super::progress::Progress;
use super::show::Show;
use super::summary;
use super::task_args::ShowArgs;
use crate::fleet::file::Host;
use crate::fleet::run::RunEvent;
use crate::protocol::GroupId;
use crate::support::clock::{Clock, SystemClock, Timestamp};
use crate::support::shutdown::Cause;

/// A run as it is shown.
#[derive(Debug)]
pub struct Stage<'a> {
    /// Its id.
    pub run: GroupId,
    /// What made it.
    pub kind: &'static str,
    /// One line for people.
    pub title: String,
    /// Its hosts, as far as the fleet file has them.
    pub hosts: &'a [Arc<Host>],
    /// The names of all its hosts.
    pub names: Vec<String>,
    /// The task of each unit.
    pub tasks: Vec<usize>,
    /// How output is shown.
    pub show: &'a ShowArgs,
    /// Whether only the agent's answer is printed.
    pub strip: bool,
    /// Whether the hosts are candidates of which one is enough.
    pub one_by_one: bool,
    /// When it began.
    pub started_at: Timestamp,
}

/// Tells whether output is shown while it comes.
pub fn is_live(show: &ShowArgs, strip: bool, output: &Output) -> bool {
    !show.group && !show.gather && output.format() != Format::Json && !strip
}

impl Stage<'_> {
    /// Shows the run until `carrying` and its events have ended, and sums it up. Returns what became of
    /// `carrying`, and the exit code.
    ///
    /// # Errors
    /// When the result cannot be written, or `carrying` failed.
    pub async fn play<E>(
        self,
        carrying: impl Future<Output = Result<(), E>>,
        events: tokio::sync::mpsc::Receiver<RunEvent>,
        cause: impl Fn() -> Option<Cause>,
        output: &Output,
    ) -> anyhow::Result<Exit>
    where
        anyhow::Error: From<E>,
    {
        let show = self.show;
        let several = !self.one_by_one && self.names.len() > 1 || self.tasks.len() > 1;
        let showing = Show {
            run: self.run,
            kind: self.kind,
            title: self.title,
            names: self.names,
            tasks: self.tasks,
            several,
            live: is_live(show, self.strip, output),
            strip: self.strip,
            group: show.group,
            raw: show.raw,
        };
        let progress = match several {
            true => Progress::start(output, self.kind, showing.tasks.len()),
            // Its raw output goes to the terminal as it comes, and a bar would be drawn into it.
            false => Progress::none(output),
        };
        let (carried, outcome) = showing.during(carrying, events, output, &progress).await;
        drop(progress);
        let mut outcome = Outcome {
            cause: cause().or(outcome.cause),
            ..outcome
        };
        if self.one_by_one && outcome.reports.iter().all(|report| report.host.is_some()) {
            // A candidate that could not be used is worth a word, but another one did the work.
            for (name, _, why, _) in outcome.down.drain(..) {
                output.note(&format!("{name} could not be used: {why}"));
            }
        }
        // These count whoever did the work.
        outcome.down.append(&mut outcome.unclean);
        let took = SystemClock.now().since(self.started_at);
        let exit = summary::exit(&outcome);
        let context = summary::Context {
            run: self.run,
            kind: self.kind,
            hosts: self.hosts,
            took,
            exit,
            strip: self.strip,
        };
        if show.gather {
            summary::gather(&outcome, show.similar, &context, output);
        }
        let written = match &show.output_dir {
            Some(dir) => summary::write_files(dir, &outcome, &context),
            None => Ok(()),
        };
        // Files that cannot be written must not hide what came of the tasks.
        summary::print(&outcome, &context, several, output)?;
        carried?;
        written?;
        Ok(exit)
    }
}
