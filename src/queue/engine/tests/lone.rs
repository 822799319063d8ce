//! What the queue promises, when it writes by itself.

use super::*;

#[path = "again.rs"]
mod again;
#[path = "basics.rs"]
mod basics;
#[path = "hosts.rs"]
mod hosts;
#[path = "leases.rs"]
mod leases;
#[path = "pruning.rs"]
mod pruning;
#[path = "random.rs"]
mod random;
#[path = "services.rs"]
mod services;
#[path = "set_back.rs"]
mod set_back;
