//! Members that are broken on purpose, to show that the simulation notices.

/// How a simulated cluster is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// Not at all.
    None,
    /// Says that jobs are accepted before a majority has them.
    AcknowledgesEarly,
    /// Answers reads without asking whether it still leads.
    ReadsUnconfirmed,
    /// Does a repeated request again.
    ForgetsKeys,
    /// A new leader gives leases no fresh time.
    NoReprieve,
    /// The disk says that it wrote, and at a crash shows what it held two seconds before.
    DiskLies,
    /// The disk says that it wrote the queue when it was synced, and did not: only the log gets there.
    SyncLies,
    /// Another machine starts with a copy of a member's files.
    Twin,
}

/// All of them.
pub const ALL: [Flaw; 8] = [
    Flaw::None,
    Flaw::AcknowledgesEarly,
    Flaw::ReadsUnconfirmed,
    Flaw::ForgetsKeys,
    Flaw::NoReprieve,
    Flaw::DiskLies,
    Flaw::SyncLies,
    Flaw::Twin,
];

impl std::str::FromStr for Flaw {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut all = ALL.into_iter();
        let found = all.find(|flaw| format!("{flaw:?}").eq_ignore_ascii_case(text));
        found.ok_or_else(|| format!("there is no flaw {text:?}"))
    }
}
