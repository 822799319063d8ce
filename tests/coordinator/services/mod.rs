//! Services: what people ask for, what hosts hear and say, and what keeps them running.

mod client;
mod hostile;
mod life;
mod logs;
mod moves;
mod original;
mod script;
mod secrets;
mod sync;
