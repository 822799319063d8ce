//! The arguments of `skyclaw host` that say what jobs may do.

use clap::Args as ClapArgs;

use crate::cli::given::Given;

/// What jobs may do.
#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "Jobs")]
pub struct RuleArgs {
    /// Commands that jobs may run, with commas; * means any [default: openclaw,automaton,picoclaw,node,bash,sh,npm,pnpm]
    #[arg(
        long,
        value_name = "LIST",
        env = "SKYCLAW_ALLOWED_COMMANDS",
        hide_env_values = true
    )]
    pub allowed_commands: Option<Given<String>>,
    /// Whole commands that jobs may run, as JSON: [["git","pull"],["ls","..."]]; * and ? match within a word
    #[arg(
        long,
        value_name = "JSON",
        env = "SKYCLAW_ALLOWED_ARGV",
        hide_env_values = true
    )]
    pub allowed_argv: Option<Given<String>>,
    /// The program for openclaw-run jobs [default: openclaw]
    #[arg(
        long,
        value_name = "COMMAND",
        env = "SKYCLAW_OPENCLAW_COMMAND",
        hide_env_values = true
    )]
    pub openclaw_command: Option<Given<String>>,
    /// The program for automaton-run jobs [default: automaton]
    #[arg(
        long,
        value_name = "COMMAND",
        env = "SKYCLAW_AUTOMATON_COMMAND",
        hide_env_values = true
    )]
    pub automaton_command: Option<Given<String>>,
    /// The program for picoclaw-task jobs [default: picoclaw]
    #[arg(
        long,
        value_name = "COMMAND",
        env = "SKYCLAW_PICOCLAW_COMMAND",
        hide_env_values = true
    )]
    pub picoclaw_command: Option<Given<String>>,
    /// Variables of this host that jobs get, with commas
    #[arg(
        long,
        value_name = "LIST",
        env = "SKYCLAW_ENV_PASS",
        hide_env_values = true
    )]
    pub env_pass: Option<Given<String>>,
    /// Variables that jobs may set although they change which code runs, with commas
    #[arg(
        long,
        value_name = "LIST",
        env = "SKYCLAW_ENV_ALLOW",
        hide_env_values = true
    )]
    pub env_allow: Option<Given<String>>,
    /// Directories that jobs name must lie in this one
    #[arg(
        long,
        value_name = "DIR",
        env = "SKYCLAW_WORKDIR",
        hide_env_values = true
    )]
    pub workdir: Option<Given<String>>,
    /// Where jobs run that name no directory [default: each in a fresh one]
    #[arg(
        long,
        value_name = "DIR",
        env = "SKYCLAW_JOB_DIR",
        hide_env_values = true
    )]
    pub job_dir: Option<Given<String>>,
    /// What runs picoclaw-task jobs: picoclaw, openclaw or a command with {task}, as `agent` of the fleet file
    #[arg(
        long,
        value_name = "AGENT",
        env = "SKYCLAW_AGENT",
        hide_env_values = true
    )]
    pub agent: Option<Given<String>>,
    /// Keep the fresh directories of failed jobs
    #[arg(long)]
    pub keep_failed: bool,
    /// How long a job may run that does not say [default: 300000]
    #[arg(
        long,
        value_name = "MS",
        env = "SKYCLAW_TIMEOUT_MS",
        hide_env_values = true
    )]
    pub timeout_ms: Option<Given<u64>>,
    /// How long a job may tidy up between TERM and KILL: 10s, 500ms [default: 10s] [env: SKYCLAW_GRACE_MS, in milliseconds]
    #[arg(long, value_name = "SPAN", value_parser = crate::support::span::parse)]
    pub grace: Option<std::time::Duration>,
    /// How much of each output stream a result keeps [default: 131072]
    #[arg(
        long,
        value_name = "BYTES",
        env = "SKYCLAW_MAX_OUTPUT_BYTES",
        hide_env_values = true
    )]
    pub max_output_bytes: Option<Given<usize>>,
}
