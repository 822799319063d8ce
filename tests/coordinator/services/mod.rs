//! Services: what people ask for, what hosts hear and say, and what keeps them running.

mod hostile;
mod life;
mod logs;
mod moves;
mod original;
mod script;
mod secrets;
mod sync;
