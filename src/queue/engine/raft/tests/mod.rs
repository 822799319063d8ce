//! Our stores under openraft's own exercise, and one member from inside.

mod suite;
