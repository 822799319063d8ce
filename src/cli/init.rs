//! `skyclaw fleet init`: writes the template of a fleet file, never over one.

use super::args::FleetArgs;
use super::exit::Exit;
use super::output::Output;
use crate::fleet::file;

/// Write a fleet file to start from, unless there is one
///
/// The file is made 0600 with its parent directories. A file that is there is left as it is.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: skyclaw fleet init\n\nExit codes: 0 the file is there (its path is printed), 2 no place for it or it cannot be written."
)]
pub struct Args {
    /// Which fleet file.
    #[command(flatten)]
    pub fleet: FleetArgs,
}

/// Runs the verb.
///
/// # Errors
/// When the file cannot be written.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let path = args.fleet.path()?;
    let written = file::write_template(&path)?;
    output.note(if written {
        "template written; put your hosts into it"
    } else {
        "there is a fleet file already; left as it is"
    });
    output.line(&path.display().to_string());
    Ok(Exit::Success)
}
