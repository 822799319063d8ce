//! What stdout and stderr are like: terminal or not, how wide, with colour or without.

use std::ffi::OsString;
use std::io::{self, IsTerminal};

use super::Format;
use crate::cli::args::{Colour, Global};

/// Tables on a terminal that does not tell its width.
const USUAL_WIDTH: u16 = 80;

/// What the two streams are like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Streams {
    /// Width of the terminal behind stdout; none if it is no terminal.
    pub out_width: Option<u16>,
    /// Whether stderr is a terminal.
    pub err_terminal: bool,
    /// Whether stdout gets colour.
    pub out_colour: bool,
    /// Whether stderr gets colour.
    pub err_colour: bool,
    /// Whether notes are held back.
    pub quiet: bool,
}

impl Streams {
    /// Returns what the streams of this process are like.
    pub fn of_process(format: Format, global: &Global) -> Self {
        let out_terminal = io::stdout().is_terminal();
        let variable = |name: &str| std::env::var_os(name);
        Self {
            out_width: out_terminal.then(terminal_width),
            err_terminal: io::stderr().is_terminal(),
            out_colour: format == Format::Human
                && wants_colour(global.colour, out_terminal, variable),
            err_colour: global.colour_on_stderr(),
            quiet: global.quiet,
        }
    }
}

/// Tells whether a stream gets colour: the flag, then NO_COLOR, CLICOLOR_FORCE, then the terminal.
pub fn wants_colour(
    flag: Colour,
    terminal: bool,
    variable: impl Fn(&str) -> Option<OsString>,
) -> bool {
    let given = |name: &str| variable(name).filter(|value| !value.is_empty());
    match flag {
        Colour::Always => true,
        Colour::Never => false,
        Colour::Auto if given("NO_COLOR").is_some() => false,
        Colour::Auto if given("CLICOLOR_FORCE").is_some_and(|force| force != "0") => true,
        Colour::Auto => terminal && given("TERM").is_none_or(|term| term != "dumb"),
    }
}

fn terminal_width() -> u16 {
    let mut probe = comfy_table::Table::new();
    probe.set_content_arrangement(comfy_table::ContentArrangement::Dynamic);
    probe
        .width()
        .filter(|width| *width > 0)
        .unwrap_or(USUAL_WIDTH)
}
