//! `--resume`
