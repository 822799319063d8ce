//! Keeps this process from the eyes of others of the same user.

/// Keeps memory and environment of this process from others of the same user: jobs are such others.
pub fn hide() {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};
        if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
            tracing::warn!(%error, "jobs may be able to look into this process");
        }
    }
}
