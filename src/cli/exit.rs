//! The one table of exit codes, and how many outcomes become one.

use std::process::ExitCode;

/// How a command, or one part of it, came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Exit {
    /// Everything asked for succeeded, or nothing was left to do: 0.
    Success,
    /// A task, job or host step ran and failed, or an internal error: 1.
    Failed,
    /// Usage or configuration error; nothing was contacted: 2.
    Usage,
    /// A host was unreachable, refused login or failed its host-key check: 4.
    Unreachable,
    /// The agent is not installed on the host: 10.
    NotInstalled,
    /// No coordinator could be reached: 69.
    NoCoordinator,
    /// A task or a wait ran into its limit: 124.
    TimedOut,
    /// Stopped by SIGINT: 130.
    Interrupted,
    /// Stopped by SIGTERM: 143.
    Terminated,
    /// Single-host run: SSH itself failed, as `ssh` reports it: 255.
    Ssh,
    /// Single-host run: the remote exit code, passed on unchanged.
    Remote(u8),
}

impl Exit {
    /// Returns the number the process ends with.
    pub const fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Unreachable => 4,
            Self::NotInstalled => 10,
            Self::NoCoordinator => 69,
            Self::TimedOut => 124,
            Self::Interrupted => 130,
            Self::Terminated => 143,
            Self::Ssh => 255,
            Self::Remote(code) => code,
        }
    }

    /// Folds outcomes into one: a single one stays as it is; of several the gravest counts.
    ///
    /// Gravest first: stopped by a signal, usage, no coordinator, failed, not installed, timed out,
    /// unreachable. A remote code or an SSH failure counts as failed or unreachable there.
    pub fn fold(outcomes: impl IntoIterator<Item = Self>) -> Self {
        let mut outcomes = outcomes.into_iter();
        let Some(first) = outcomes.next() else {
            return Self::Success;
        };
        let Some(second) = outcomes.next() else {
            return first;
        };
        [first, second]
            .into_iter()
            .chain(outcomes)
            .map(Self::among_several)
            .min_by_key(|outcome| outcome.rank())
            .unwrap_or(Self::Success)
    }

    const fn among_several(self) -> Self {
        match self {
            Self::Remote(0) => Self::Success,
            Self::Remote(_) => Self::Failed,
            Self::Ssh => Self::Unreachable,
            other => other,
        }
    }

    const fn rank(self) -> u8 {
        match self {
            Self::Interrupted | Self::Terminated => 0,
            Self::Usage => 1,
            Self::NoCoordinator => 2,
            Self::Failed | Self::Remote(_) => 3,
            Self::NotInstalled => 4,
            Self::TimedOut => 5,
            Self::Unreachable | Self::Ssh => 6,
            Self::Success => 7,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::Exit::*;
    use super::*;

    #[test]
    fn several_fold_into_the_gravest() {
        let cases: &[(&[Exit], Exit)] = &[
            (&[], Success),
            (&[Success, Success], Success),
            (&[Success, Unreachable], Unreachable),
            (&[Unreachable, TimedOut], TimedOut),
            (&[TimedOut, NotInstalled], NotInstalled),
            (&[NotInstalled, Failed, TimedOut], Failed),
            (&[Failed, Usage], Usage),
            (&[Usage, Terminated, Failed], Terminated),
            (&[Interrupted, Terminated], Interrupted),
            (&[Terminated, Interrupted], Terminated),
            (&[Remote(3), Success], Failed),
            (&[Remote(0), Success], Success),
            (&[Ssh, Success], Unreachable),
        ];
        for (outcomes, folded) in cases {
            assert_eq!(
                Exit::fold(outcomes.iter().copied()),
                *folded,
                "{outcomes:?}"
            );
        }
    }

    #[test]
    fn a_single_outcome_stays_as_it_is() {
        for one in [Remote(42), Ssh, Remote(0), Unreachable] {
            assert_eq!(Exit::fold([one]), one);
        }
        assert_eq!(Remote(42).code(), 42);
        assert_eq!(Ssh.code(), 255);
    }
}
