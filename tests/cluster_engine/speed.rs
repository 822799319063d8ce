//! How much a cluster in one process takes.
