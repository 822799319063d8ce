//! Our stores under openraft's own exercise, and clusters whose members talk through this process.
//!
//! The log is kept much shorter here than elsewhere: see `compact`.

mod copies;
mod cut_short;
mod faults;
mod harness;
mod logs;
mod membership;
mod old;
mod simulated;
mod suite;
mod writes;
