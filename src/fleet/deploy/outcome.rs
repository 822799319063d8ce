//! What a deploy would do, and what one did.

use super::Component;
use super::apply::Applied;
use super::daemon::Service;
use super::observe::{AtPath, File, Found, Observed};
use super::plan::{Desired, Former, Step};

/// What became of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// A program is there that was not.
    Installed,
    /// A program or a setting is another.
    Updated,
    /// Nothing was written.
    Unchanged,
    /// The former program is back.
    RolledBack,
}

impl Change {
    /// Returns the word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Installed => "installed",
            Self::Updated => "updated",
            Self::Unchanged => "unchanged",
            Self::RolledBack => "rolled-back",
        }
    }
}

/// A deploy that came to its end.
#[derive(Debug, Clone)]
pub struct Deployed {
    /// The host in one word.
    pub change: Change,
    /// What each program says it is.
    pub versions: Vec<(Component, String)>,
    /// Whether the (first) program was there before.
    pub had_binary_before: bool,
    /// Whether PicoClaw had a configuration before.
    pub had_config_before: bool,
    /// The host daemon, if it was started.
    pub service: Option<Service>,
    /// Files that are there now and were not, with `~` for the home directory.
    pub created: Vec<String>,
    /// Files that were there and are others now.
    pub replaced: Vec<String>,
    /// What a person should know of.
    pub warnings: Vec<String>,
}

/// What a deploy would do.
#[derive(Debug, Clone)]
pub struct Planned {
    /// In this order.
    pub steps: Vec<Step>,
    /// What a person should know of.
    pub warnings: Vec<String>,
    pub(super) observed: Observed,
    pub(super) desired: Desired,
}

impl Planned {
    /// Tells whether a real run would write something.
    pub fn changes(&self) -> bool {
        self.steps.iter().any(Step::changes)
    }

    /// Tells whether something stands where a program would go.
    pub fn finds_program(&self) -> bool {
        let mut programs = self.observed.programs.iter();
        programs.any(|found| *found != AtPath::Nothing)
    }

    /// Puts together what the plan and its execution brought.
    pub(super) fn into_deployed(self, applied: Applied) -> Deployed {
        let Self {
            steps,
            mut warnings,
            observed,
            ..
        } = self;
        warnings.extend(applied.warnings);
        let mut paths = Paths::default();
        for step in &steps {
            paths.take(step, &applied.same);
        }
        for file in &applied.written {
            let is_new = *observed.file(*file) == Found::Nothing;
            paths.add(file.path(), is_new);
        }
        for (path, is_new) in applied.paths {
            paths.add(path, is_new);
        }
        let wrote_nothing = paths.is_empty() && applied.service.is_none();
        let Paths {
            created,
            replaced,
            has_new_program,
        } = paths;
        let change = match (has_new_program, wrote_nothing) {
            (true, _) => Change::Installed,
            (false, false) => Change::Updated,
            (false, true) => Change::Unchanged,
        };
        Deployed {
            change,
            versions: applied.versions,
            had_binary_before: observed.programs.first() != Some(&AtPath::Nothing),
            had_config_before: *observed.file(File::Config) != Found::Nothing,
            service: applied.service,
            created,
            replaced,
            warnings,
        }
    }
}

#[derive(Default)]
struct Paths {
    created: Vec<String>,
    replaced: Vec<String>,
    has_new_program: bool,
}

impl Paths {
    fn take(&mut self, step: &Step, same: &[Component]) {
        let Step::Install {
            component, former, ..
        } = step
        else {
            return;
        };
        if same.contains(component) {
            return;
        }
        let is_new = *former == Former::None;
        self.has_new_program |= is_new;
        self.add(format!("~/{}", component.path()), is_new);
    }

    fn is_empty(&self) -> bool {
        self.created.is_empty() && self.replaced.is_empty()
    }

    fn add(&mut self, path: String, is_new: bool) {
        if is_new {
            self.created.push(path);
        } else {
            self.replaced.push(path);
        }
    }
}
