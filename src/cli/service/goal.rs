//! When a change of a service has come to its end, and how. Pure: one look at the record.

use std::collections::BTreeSet;

use super::words::{Standing, is_current, is_down, phase, phase_word, wanted};
use crate::protocol::api::{Assignment, Phase, ServiceRecord};

/// What is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Goal {
    /// All that are wanted answer, and nothing old is left.
    Up(Before),
    /// It runs nowhere.
    Stopped,
    /// It is forgotten.
    Gone,
}

/// What was so before the change and says nothing about it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Before {
    /// Why an earlier update failed.
    error: Option<String>,
    /// Replicas that had ended.
    ended: BTreeSet<String>,
}

/// How far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// There.
    Reached,
    /// On the way.
    UnderWay,
    /// Down, and only a host that takes it over could still help.
    Stuck(String),
    /// It will not get there.
    Failed(String),
}

impl Goal {
    /// Waits for what was deployed or restarted.
    pub fn up() -> Self {
        Self::Up(Before::default())
    }

    /// Waits for more or fewer of what runs already, as the answer to that request shows it.
    pub fn adjusted(answer: &ServiceRecord) -> Self {
        let ended = answer
            .assignments
            .iter()
            .filter(|one| phase(one) == Phase::Stopped)
            .map(|one| one.id.clone());
        Self::Up(Before {
            error: answer.update_error.clone(),
            ended: ended.collect(),
        })
    }

    /// Judges a service; none means that the coordinator has forgotten it.
    pub fn judge(&self, service: Option<&ServiceRecord>) -> Verdict {
        let Some(service) = service else {
            return match self {
                Self::Gone => Verdict::Reached,
                Self::Up(_) | Self::Stopped => Verdict::Failed("it was removed meanwhile".into()),
            };
        };
        match self {
            Self::Gone => Verdict::UnderWay,
            Self::Up(_) | Self::Stopped if service.removing => {
                Verdict::Failed("it is being removed".into())
            }
            Self::Stopped if !service.stopped => {
                Verdict::Failed("it was started again meanwhile".into())
            }
            Self::Stopped if Standing::of(service).live == 0 => Verdict::Reached,
            Self::Stopped => Verdict::UnderWay,
            Self::Up(before) => up(service, before),
        }
    }
}

fn up(service: &ServiceRecord, before: &Before) -> Verdict {
    if service.stopped {
        return Verdict::Failed("it was stopped meanwhile".into());
    }
    if let Some(error) = &service.update_error
        && before.error.as_ref() != Some(error)
    {
        return Verdict::Failed(error.clone());
    }
    let standing = Standing::of(service);
    // After an update that failed the older form is what stays.
    let good = match service.update_error {
        Some(_) => standing.ready,
        None => standing.current,
    };
    if good == wanted(service) && standing.live == good {
        return Verdict::Reached;
    }
    if good >= wanted(service) || standing.moving > 0 {
        return Verdict::UnderWay;
    }
    match (down(service, before), &service.update_waits) {
        (Some(one), _) => Verdict::Stuck(why(one)),
        (None, Some(waits)) => Verdict::Stuck(waits.clone()),
        (None, None) => Verdict::UnderWay,
    }
}

fn down<'s>(service: &'s ServiceRecord, before: &Before) -> Option<&'s Assignment> {
    service.assignments.iter().find(|one| {
        is_current(service, one) && is_down(phase(one)) && !before.ended.contains(&one.id)
    })
}

/// Returns why a replica is down.
pub fn why(one: &Assignment) -> String {
    let word = match phase(one) {
        Phase::CrashLoop => "it ends again and again (crash-loop)".to_owned(),
        Phase::Stopped => "it ended by itself and is not to be started again".to_owned(),
        Phase::Failed => "it does not run".to_owned(),
        other => phase_word(other).to_owned(),
    };
    match &one.error {
        Some(error) => format!("{word}: {error}"),
        None => word,
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::placed;
    use super::*;

    #[test]
    fn an_update_is_over_when_only_new_ones_are_left() {
        use Phase::{Assigned, Backoff, CrashLoop, Draining, Failed, Lost, Ready, Stopped};
        let stuck =
            |service: &ServiceRecord| matches!(Goal::up().judge(Some(service)), Verdict::Stuck(_));
        let reached = [
            placed(1, &[(1, Ready)]),
            placed(2, &[(2, Ready), (1, Stopped), (2, Ready), (2, Lost)]),
        ];
        for service in reached {
            assert_eq!(Goal::up().judge(Some(&service)), Verdict::Reached);
        }
        let going_on = [
            placed(1, &[]),
            placed(1, &[(1, Lost)]),
            placed(1, &[(1, Ready), (2, Assigned)]),
            placed(1, &[(2, Ready), (1, Draining)]),
            placed(1, &[(1, Ready), (1, Ready)]),
            placed(2, &[(1, CrashLoop), (1, Backoff)]),
            placed(1, &[(2, Ready), (1, Ready), (1, Stopped)]),
        ];
        for service in going_on {
            assert_eq!(
                Goal::up().judge(Some(&service)),
                Verdict::UnderWay,
                "{:?}",
                service.assignments
            );
        }
        assert!(stuck(&placed(1, &[(1, CrashLoop)])));
        assert!(stuck(&placed(2, &[(1, Ready), (1, Failed)])));
        assert!(stuck(&placed(1, &[(1, Stopped)])));
        let mut failed = placed(1, &[(1, Ready), (2, Failed)]);
        failed.update_error = Some("not ready in 30s".into());
        let verdict = Goal::up().judge(Some(&failed));
        assert_eq!(verdict, Verdict::Failed("not ready in 30s".into()));
    }

    #[test]
    fn what_went_wrong_before_does_not_fail_a_change_of_the_number() {
        let mut answer = placed(2, &[(1, Phase::Ready), (2, Phase::Failed)]);
        answer.update_error = Some("not ready".into());
        let goal = Goal::adjusted(&answer);
        let mut grown = placed(
            2,
            &[(1, Phase::Ready), (2, Phase::Failed), (1, Phase::Ready)],
        );
        grown.update_error = Some("not ready".into());
        assert_eq!(goal.judge(Some(&grown)), Verdict::Reached);
        let stopped = placed(1, &[(1, Phase::Stopped)]);
        let goal = Goal::adjusted(&stopped);
        assert_eq!(goal.judge(Some(&stopped)), Verdict::UnderWay);
    }

    #[test]
    fn stopped_and_gone_are_ends_too() {
        let mut service = placed(1, &[(1, Phase::Draining)]);
        assert_eq!(Goal::Gone.judge(Some(&service)), Verdict::UnderWay);
        assert_eq!(Goal::Gone.judge(None), Verdict::Reached);
        service.stopped = true;
        assert_eq!(Goal::Stopped.judge(Some(&service)), Verdict::UnderWay);
        service.assignments[0].phase = Some(Phase::Stopped);
        assert_eq!(Goal::Stopped.judge(Some(&service)), Verdict::Reached);
        assert!(matches!(
            Goal::up().judge(Some(&service)),
            Verdict::Failed(_)
        ));
        assert!(matches!(Goal::up().judge(None), Verdict::Failed(_)));
    }
}
