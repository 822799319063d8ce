//! A service in a few words, for tables and progress lines.

use crate::protocol::api::{Assignment, Phase, ServiceRecord, ServiceStatus};

/// How a service stands, counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Standing {
    /// How many answer, old and new.
    pub ready: usize,
    /// How many of those are of the form that is wanted now.
    pub current: usize,
    /// How many are of an older form and not over.
    pub old: usize,
    /// How many are not over.
    pub live: usize,
    /// How many are on their way up or down.
    pub moving: usize,
}

impl Standing {
    /// Counts.
    pub fn of(service: &ServiceRecord) -> Self {
        let mut standing = Self::default();
        for one in &service.assignments {
            let phase = phase(one);
            let new = is_current(service, one);
            standing.live += usize::from(!phase.is_over());
            standing.old += usize::from(!phase.is_over() && !new);
            standing.moving += usize::from(is_moving(phase));
            if phase == Phase::Ready {
                standing.ready += 1;
                standing.current += usize::from(new);
            }
        }
        standing
    }
}

/// Returns the phase, also of hosts of the original, which know none.
pub fn phase(one: &Assignment) -> Phase {
    one.phase.unwrap_or(match one.status {
        ServiceStatus::Pending => Phase::Starting,
        ServiceStatus::Running => Phase::Ready,
        ServiceStatus::Failed => Phase::Failed,
    })
}

/// Tells whether it is of the form that is wanted now. A host of the original runs what it was given first, whatever
/// came later: there is no sense in waiting for it.
pub fn is_current(service: &ServiceRecord, one: &Assignment) -> bool {
    one.generation == service.generation || one.phase.is_none()
}

/// Tells whether it will be something else by itself soon.
fn is_moving(phase: Phase) -> bool {
    match phase {
        Phase::Assigned | Phase::Starting | Phase::Backoff | Phase::Draining => true,
        Phase::Ready | Phase::CrashLoop | Phase::Failed | Phase::Stopped | Phase::Lost => false,
    }
}

/// Tells whether it is down and nobody lifts a finger, or hardly.
pub fn is_down(phase: Phase) -> bool {
    match phase {
        Phase::CrashLoop | Phase::Failed | Phase::Stopped => true,
        Phase::Assigned
        | Phase::Starting
        | Phase::Ready
        | Phase::Backoff
        | Phase::Draining
        | Phase::Lost => false,
    }
}

/// Returns the phase as JSON writes it.
pub fn phase_word(phase: Phase) -> &'static str {
    match phase {
        Phase::Assigned => "assigned",
        Phase::Starting => "starting",
        Phase::Ready => "ready",
        Phase::Backoff => "backoff",
        Phase::CrashLoop => "crash-loop",
        Phase::Draining => "draining",
        Phase::Failed => "failed",
        Phase::Stopped => "stopped",
        Phase::Lost => "lost",
    }
}

/// Returns how many answer of how many that should.
pub fn ready(service: &ServiceRecord) -> String {
    let wanted = match service.stopped || service.removing {
        true => 0,
        false => service.replicas,
    };
    format!("{}/{wanted}", Standing::of(service).ready)
}

/// Returns where the service stands: `running`, `updating 1/3`, `crash-loop`, …
pub fn standing(service: &ServiceRecord) -> String {
    let standing = Standing::of(service);
    let wanted = wanted(service);
    if service.removing {
        return format!("removing, {} left", standing.live);
    }
    if service.stopped {
        return match standing.live {
            0 => "stopped".to_owned(),
            left => format!("stopping, {left} left"),
        };
    }
    if service.update_error.is_some() {
        return "update failed".to_owned();
    }
    if service.update_waits.is_some() {
        return format!("update waits for a host {}/{wanted}", standing.current);
    }
    if standing.old > 0 {
        return format!("updating {}/{wanted}", standing.current);
    }
    if standing.current >= wanted {
        return "running".to_owned();
    }
    let down = service
        .assignments
        .iter()
        .map(phase)
        .find(|phase| is_down(*phase));
    match down {
        _ if standing.moving > 0 => "starting".to_owned(),
        Some(phase) => phase_word(phase).to_owned(),
        None => "waits for a host".to_owned(),
    }
}

/// Returns how many there should be.
pub fn wanted(service: &ServiceRecord) -> usize {
    usize::try_from(service.replicas).unwrap_or(usize::MAX)
}

/// Returns where it answers, else why it does not.
pub fn endpoints(service: &ServiceRecord) -> String {
    let ready: Vec<&Assignment> = service
        .assignments
        .iter()
        .filter(|one| phase(one) == Phase::Ready)
        .collect();
    let known: Vec<&str> = ready
        .iter()
        .filter_map(|one| one.endpoint.as_deref())
        .collect();
    if !known.is_empty() {
        return known.join(", ");
    }
    if service.stopped || service.removing {
        return String::new();
    }
    let errors = ready.iter().copied().chain(&service.assignments);
    errors
        .filter_map(|one| one.error.clone())
        .next()
        .or_else(|| service.update_error.clone())
        .unwrap_or_default()
}

/// Returns the program and its arguments on one line.
pub fn command(service: &ServiceRecord) -> String {
    std::iter::once(&service.command)
        .chain(&service.args)
        .map(
            |word| match word.contains(char::is_whitespace) || word.is_empty() {
                true => format!("{word:?}"),
                false => word.clone(),
            },
        )
        .collect::<Vec<_>>()
        .join(" ")
}

/// Returns lines that a program printed, set off from our own.
pub fn indented(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(|line| format!("  {line}")).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::super::samples::placed;
    use super::*;

    #[test]
    fn where_a_service_stands_is_said_in_a_word() {
        use Phase::{Assigned, Backoff, CrashLoop, Draining, Failed, Lost, Ready, Stopped};
        let cases = [
            (placed(1, &[]), "0/1", "waits for a host"),
            (placed(1, &[(1, Lost)]), "0/1", "waits for a host"),
            (placed(2, &[(1, Ready), (1, Assigned)]), "1/2", "starting"),
            (placed(2, &[(1, Ready), (1, Ready)]), "2/2", "running"),
            (placed(1, &[(1, Backoff)]), "0/1", "starting"),
            (placed(1, &[(1, CrashLoop)]), "0/1", "crash-loop"),
            (placed(1, &[(1, Failed)]), "0/1", "failed"),
            (
                placed(3, &[(1, Ready), (1, Ready), (1, Draining), (2, Ready)]),
                "3/3",
                "updating 1/3",
            ),
            (placed(1, &[(2, Ready), (1, Stopped)]), "1/1", "running"),
        ];
        for (service, ready_of, state) in cases {
            assert_eq!(
                (ready(&service).as_str(), standing(&service).as_str()),
                (ready_of, state),
                "{:?}",
                service.assignments
            );
        }
        let mut stopped = placed(2, &[(1, Draining), (1, Stopped)]);
        stopped.stopped = true;
        assert_eq!(standing(&stopped), "stopping, 1 left");
        assert_eq!(ready(&stopped), "0/0");
        let mut failed = placed(1, &[(1, Ready), (2, Failed)]);
        failed.update_error = Some("no".to_owned());
        assert_eq!(standing(&failed), "update failed");
    }

    #[test]
    fn without_an_endpoint_the_reason_is_shown() {
        let mut service = placed(2, &[(1, Phase::Ready), (1, Phase::Ready)]);
        service.assignments[1].error = Some("not reachable: behind a tunnel".to_owned());
        assert_eq!(endpoints(&service), "not reachable: behind a tunnel");
        service.assignments[0].endpoint = Some("http://10.0.0.1:3100".to_owned());
        assert_eq!(endpoints(&service), "http://10.0.0.1:3100");
    }

    #[test]
    fn a_replica_of_the_original_counts_by_its_status() {
        let mut service = placed(1, &[(1, Phase::Ready)]);
        service.generation = 4;
        service.assignments[0].phase = None;
        assert_eq!(standing(&service), "running");
    }
}
