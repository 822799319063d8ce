//! Parses arguments, starts logging, runs the command and returns its exit code. Nothing else.

use std::process::ExitCode;

use skyclaw::cli;

fn main() -> ExitCode {
    let invocation = match cli::parse() {
        Ok(invocation) => invocation,
        Err(error) => return cli::show_usage(&error),
    };
    let global = &invocation.global;
    skyclaw::support::telemetry::start(
        global.verbosity(),
        global.colour_on_stderr(),
        invocation.command.log_form(),
    );
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return cli::show_start_failure(&error),
    };
    let code = runtime.block_on(cli::run(invocation));
    // A thread that still waits for a line on stdin must not hold the exit code back.
    runtime.shutdown_background();
    code
}
