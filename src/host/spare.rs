//! When this machine has capacity to spare: the owner's conditions, all of which must hold.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use crate::support::clock::{Clock, SystemClock};
use crate::support::span;

/// One of the owner's conditions.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    /// `load<0.7`: the load of one minute for each processor is below this.
    Load(f64),
    /// `idle>10m`: nobody has touched a terminal for so long.
    Idle(Duration),
    /// `hours=22-07`: the local time is within these hours.
    Hours(Hours),
    /// `ac`: the machine does not run on battery.
    Ac,
}

/// Hours of a day, in minutes from midnight; the end may be the next day's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hours {
    from: u16,
    to: u16,
}

impl Condition {
    /// Reads conditions with commas or spaces between them.
    ///
    /// # Errors
    /// When one of them has none of the four forms.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, String> {
        text.split([',', ' '])
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .map(Self::parse)
            .collect()
    }

    fn parse(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{text}` is no condition: write load<0.7, idle>10m, hours=22-07 or ac");
        if text == "ac" {
            return Ok(Self::Ac);
        }
        if let Some(most) = text.strip_prefix("load<") {
            let most: f64 = most.trim().parse().map_err(|_| wrong())?;
            return (most.is_finite() && most > 0.0)
                .then_some(Self::Load(most))
                .ok_or_else(wrong);
        }
        if let Some(least) = text.strip_prefix("idle>") {
            return span::parse(least.trim())
                .map(Self::Idle)
                .map_err(|_| wrong());
        }
        let (from, to) = text
            .strip_prefix("hours=")
            .and_then(|hours| hours.split_once('-'))
            .ok_or_else(wrong)?;
        let from = minutes(from).ok_or_else(wrong)?;
        let to = minutes(to).ok_or_else(wrong)?;
        Ok(Self::Hours(Hours { from, to }))
    }
}

/// Reads `7`, `07` or `07:30`; `24` is midnight.
fn minutes(text: &str) -> Option<u16> {
    let (hour, minute) = text.trim().split_once(':').unwrap_or((text.trim(), "0"));
    let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
    let at = hour * 60 + minute;
    (hour <= 24 && minute < 60 && at <= 24 * 60).then_some(at)
}

impl Hours {
    fn contains(self, at: u16) -> bool {
        if self.from <= self.to {
            (self.from..self.to).contains(&at)
        } else {
            at >= self.from || at < self.to
        }
    }
}

/// What the machine is like now, as far as a condition asks.
#[derive(Debug, Clone, Copy, Default)]
struct Machine {
    load_per_cpu: Option<f64>,
    idle: Option<Duration>,
    minute: Option<u16>,
    on_battery: bool,
}

/// Returns why no work is to be taken now, or nothing if all conditions hold. Looks at files of the
/// system and may run `date`: not for async code.
pub(super) fn blocked(conditions: &[Condition]) -> Option<String> {
    let asked = |which: fn(&Condition) -> bool| conditions.iter().any(which);
    let machine = Machine {
        load_per_cpu: asked(|c| matches!(c, Condition::Load(_)))
            .then(load_per_cpu)
            .flatten(),
        idle: asked(|c| matches!(c, Condition::Idle(_)))
            .then(idle)
            .flatten(),
        minute: asked(|c| matches!(c, Condition::Hours(_)))
            .then(local_minute)
            .flatten(),
        on_battery: asked(|c| matches!(c, Condition::Ac)) && on_battery(),
    };
    conditions
        .iter()
        .find_map(|condition| unmet(condition, machine))
}

/// What cannot be found out does not block: the owner would never learn why.
fn unmet(condition: &Condition, machine: Machine) -> Option<String> {
    match condition {
        Condition::Load(most) => machine
            .load_per_cpu
            .filter(|load| load >= most)
            .map(|load| format!("load {load:.2} is not below {most}")),
        Condition::Idle(least) => machine
            .idle
            .filter(|idle| idle < least)
            .map(|_| format!("in use: not idle for {}", span::human(*least))),
        Condition::Hours(hours) => machine
            .minute
            .filter(|minute| !hours.contains(*minute))
            .map(|_| format!("outside of hours {}-{}", clock(hours.from), clock(hours.to))),
        Condition::Ac => machine.on_battery.then(|| "on battery".to_owned()),
    }
}

fn clock(minutes: u16) -> String {
    format!("{:02}:{:02}", minutes / 60, minutes % 60)
}

fn load_per_cpu() -> Option<f64> {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    super::facts::load().map(|load| load / cpus as f64)
}

/// How long ago somebody last typed at a terminal or a console.
fn idle() -> Option<Duration> {
    let now = SystemTime::UNIX_EPOCH
        + Duration::from_millis(u64::try_from(SystemClock.now().as_millis()).ok()?);
    let consoles = (1..=12).map(|number| format!("/dev/tty{number}").into());
    let terminals = std::fs::read_dir("/dev/pts")
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name() != "ptmx")
        .map(|entry| entry.path());
    terminals
        .chain(consoles)
        .filter_map(|path: std::path::PathBuf| std::fs::metadata(path).ok()?.accessed().ok())
        .filter_map(|at| now.duration_since(at).ok())
        .min()
}

/// The local time of day. The system's own program knows the time zone.
fn local_minute() -> Option<u16> {
    let output = Command::new("date")
        .arg("+%H:%M")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    minutes(std::str::from_utf8(&output.stdout).ok()?)
}

fn on_battery() -> bool {
    let supplies = std::fs::read_dir("/sys/class/power_supply");
    let mut mains = supplies
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| read(path, "type") == "Mains")
        .peekable();
    // Without a mains supply there is no battery worth asking for.
    mains.peek().is_some() && mains.all(|path| read(&path, "online") == "0")
}

fn read(dir: &Path, name: &str) -> String {
    std::fs::read_to_string(dir.join(name))
        .map(|text| text.trim().to_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_read() {
        let read = Condition::parse_list("load<0.7, idle>10m hours=22-07:30,ac").unwrap();
        assert_eq!(
            read,
            [
                Condition::Load(0.7),
                Condition::Idle(Duration::from_secs(600)),
                Condition::Hours(Hours {
                    from: 1320,
                    to: 450
                }),
                Condition::Ac
            ]
        );
        for wrong in ["load<x", "load>1", "idle>", "hours=22", "hours=25-3", "dc"] {
            assert!(Condition::parse_list(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_first_unmet_condition_is_the_reason() {
        let night = Condition::parse_list("hours=22-07").unwrap();
        let at = |minute: u16| Machine {
            minute: Some(minute),
            ..Machine::default()
        };
        let why =
            |conditions: &[Condition], machine| conditions.iter().find_map(|c| unmet(c, machine));
        assert_eq!(why(&night, at(23 * 60)), None);
        assert_eq!(why(&night, at(6 * 60 + 59)), None);
        assert_eq!(
            why(&night, at(7 * 60)),
            Some("outside of hours 22:00-07:00".into())
        );
        let busy = Machine {
            load_per_cpu: Some(0.9),
            on_battery: true,
            ..Machine::default()
        };
        let both = Condition::parse_list("ac,load<0.7").unwrap();
        assert_eq!(why(&both, busy), Some("on battery".into()));
        assert_eq!(
            why(&both[1..], busy),
            Some("load 0.90 is not below 0.7".into())
        );
        assert_eq!(
            why(&both, Machine::default()),
            None,
            "unknown does not block"
        );
    }

    #[test]
    fn the_local_time_is_known() {
        assert!(local_minute().is_some());
    }
}
