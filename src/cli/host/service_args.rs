//! The arguments of `skyclaw host` that say how services are run.

use clap::Args as ClapArgs;

use crate::cli::given::Given;

/// How services are run.
#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "Services")]
pub struct ServiceArgs {
    /// Whether services run here, if this host may run any command at all: on or off [default: on]
    #[arg(
        long,
        value_name = "WORD",
        env = "SKYCLAW_SERVICE_HOST_ENABLED",
        hide_env_values = true
    )]
    pub service_host: Option<Given<String>>,
    /// The lowest port that a service is given [default: 3100]
    #[arg(
        long,
        value_name = "PORT",
        env = "SKYCLAW_SERVICE_BASE_PORT",
        hide_env_values = true
    )]
    pub service_base_port: Option<Given<u16>>,
    /// Where others reach services here, without a port: http://lab.example [default: the address the coordinator sees]
    #[arg(
        long,
        value_name = "URL",
        env = "SKYCLAW_SERVICE_HOST_PUBLIC_BASE_URL",
        hide_env_values = true
    )]
    pub service_public_url: Option<Given<String>>,
}
