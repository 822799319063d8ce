//! Starts logging: lines on stderr, never on stdout.

use std::io;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Verbosity {
    /// How often `-v` was given.
    pub more: u8,
    /// `-q` was given.
    pub quiet: bool,
}

impl Verbosity {
    fn filter(self) -> LevelFilter {
        match (self.quiet, self.more) {
            (true, _) => LevelFilter::ERROR,
            (false, 0) => LevelFilter::WARN,
            (false, 1) => LevelFilter::INFO,
            (false, 2) => LevelFilter::DEBUG,
            (false, _) => LevelFilter::TRACE,
        }
    }
}

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Form {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Starts logging for this process. A second call changes nothing.
pub fn start(verbosity: Verbosity, colour: bool, form: Form) {
    let lines = tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(colour && form == Form::Text)
        .with_max_level(verbosity.filter())
        .with_target(verbosity.more > 1);
    // What goes on between members of a cluster is told in our own words, once; openraft tells every try.
    let consensus = match verbosity.more {
        0 | 1 => LevelFilter::OFF,
        _ => verbosity.filter(),
    };
    let wanted = Targets::new()
        .with_default(verbosity.filter())
        .with_target("openraft", consensus);
    let _ = match form {
        Form::Text => lines.finish().with(wanted).try_init(),
        Form::Json => {
            let lines = lines.json().flatten_event(true);
            lines.finish().with(wanted).try_init()
        }
    };
}
