//! Asking for consent: on a terminal only, and never so that Ctrl-C is lost.

use std::io::{self, BufRead, IsTerminal};
use std::thread;

use super::Output;
use crate::cli::error::Failure;
use crate::cli::exit::Exit;
use crate::cli::sanitize;

impl Output {
    /// Asks for consent before something is changed or destroyed. `yes` is the `-y` flag.
    ///
    /// # Errors
    /// Without a terminal (code 2, naming `-y`), and on Ctrl-C (code 130).
    pub async fn confirm(&self, question: &str, yes: bool) -> Result<bool, Failure> {
        if yes {
            return Ok(true);
        }
        if !(io::stdin().is_terminal() && self.streams.err_terminal) {
            return Err(
                Failure::usage(format!("{question} There is no terminal to ask on"))
                    .hint("give -y to go on without being asked"),
            );
        }
        let text = sanitize::text(question);
        self.state().write_err(format!("{text} [y/N] ").as_bytes());
        // A thread of its own, not the runtime's: nothing can interrupt a read from a terminal.
        let (sender, answer) = tokio::sync::oneshot::channel();
        thread::spawn(move || {
            let mut line = String::new();
            let read = io::stdin().lock().read_line(&mut line).map(|_| line);
            let _ = sender.send(read);
        });
        tokio::select! {
            answer = answer => match answer {
                Ok(Ok(line)) => Ok(matches!(line.trim(), "y" | "Y" | "yes" | "Yes")),
                Ok(Err(_)) | Err(_) => Ok(false),
            },
            _ = tokio::signal::ctrl_c() => {
                self.state().write_err(b"\n");
                Err(Failure::new(Exit::Interrupted, "stopped at the question; nothing was done"))
            }
        }
    }
}
