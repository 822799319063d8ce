//! From flags, variables and files to the settings of a coordinator.

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use super::super::error::Failure;
use super::super::given::Given;
use super::secrets::Secrets;
use super::{Args, millis};
use crate::coordinator::{Hooks, Settings, Webhook};
use crate::protocol::Invalid;
use crate::queue::sweeper::Retention;
use crate::support::secret::Secret;
use crate::support::{ids, paths, span};

/// Returns the settings.
///
/// # Errors
/// When a value is out of range or the node id cannot be kept.
pub fn read(args: &Args, secrets: &Secrets, db: &Path) -> anyhow::Result<Settings> {
    let node_id = match Given::of(&args.node_id) {
        Some(id) => id.clone(),
        None => kept_node_id(db)?,
    };
    let defaults = Settings::new(node_id);
    let lease_for = Given::of(&args.lease_ms).map_or(defaults.lease_for, |ms| millis(*ms));
    if lease_for < Duration::from_millis(100) {
        return Err(Failure::usage("--lease-ms must be at least 100").into());
    }
    Ok(Settings {
        public_url: Given::of(&args.public_url).cloned(),
        tokens: secrets.tokens.clone(),
        keys: secrets.keys.clone(),
        cors_origin: Given::of(&args.public_cors_origin).cloned(),
        lease_for,
        idempotency_ttl: Given::of(&args.idempotency_ttl_ms)
            .map_or(defaults.idempotency_ttl, |ms| millis(*ms)),
        min_replications: Given::of(&args.min_replications)
            .copied()
            .unwrap_or(defaults.min_replications),
        max_queued: Given::of(&args.max_queued)
            .copied()
            .unwrap_or(defaults.max_queued),
        retention: Given::of(&args.retention).map_or(defaults.retention, |kept| {
            kept.applied_to(defaults.retention)
        }),
        hooks: hooks(args, secrets.webhook.clone())?,
        ..defaults
    })
}

fn hooks(args: &Args, signature: Option<Secret>) -> Result<Hooks, Failure> {
    let webhook = match &args.webhook {
        None => None,
        Some(text) => {
            let url: reqwest::Url = text
                .parse()
                .map_err(|error| Failure::usage("--webhook is not a URL").because(error))?;
            if !matches!(url.scheme(), "http" | "https") {
                return Err(Failure::usage(
                    "--webhook must begin with http:// or https://",
                ));
            }
            Some(Webhook {
                url,
                secret: signature,
            })
        }
    };
    Ok(Hooks {
        command: args.on_done.clone(),
        webhook,
    })
}

/// Returns the id that is kept beside the database, made if there is none. A coordinator that comes
/// back is the same one to others.
fn kept_node_id(db: &Path) -> anyhow::Result<String> {
    let path = db.with_extension("node-id");
    let fresh = format!("node_{}", ids::time_ordered());
    if paths::create_private(&path, fresh.as_bytes())? {
        return Ok(fresh);
    }
    let kept = std::fs::read_to_string(&path).map_err(|error| {
        Failure::new(
            super::Exit::Failed,
            format!("read the node id {}", path.display()),
        )
        .because(error)
    })?;
    let kept = kept.trim();
    if kept.is_empty() {
        paths::write_private(&path, fresh.as_bytes())?;
        return Ok(fresh);
    }
    Ok(kept.to_owned())
}

/// How long, and how many: `7d`, `12h,5000`, `0` for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    ended_for: Duration,
    most: Option<u64>,
}

impl Kept {
    /// Returns the rule that this makes of `default`.
    pub fn applied_to(self, default: Retention) -> Retention {
        Retention {
            ended_for: self.ended_for,
            keep_ended: self.most.unwrap_or(default.keep_ended),
            ..default
        }
    }
}

impl FromStr for Kept {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let wrong = || Invalid::new("retention", format!("`{text}` is not like 7d or 12h,5000"));
        let (span, most) = match text.split_once(',') {
            None => (text, None),
            Some((span, most)) => (span, Some(most.trim().parse().map_err(|_| wrong())?)),
        };
        let span = span::parse(span.trim()).map_err(|_| wrong())?;
        let ended_for = if span.is_zero() { Duration::MAX } else { span };
        Ok(Self { ended_for, most })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retention_is_a_span_and_perhaps_a_number() {
        let week: Kept = "7d".parse().unwrap();
        assert_eq!(
            (week.ended_for, week.most),
            (Duration::from_secs(604_800), None)
        );
        let both: Kept = "12h, 5000".parse().unwrap();
        assert_eq!(both.most, Some(5000));
        assert_eq!(
            "90".parse::<Kept>().unwrap().ended_for,
            Duration::from_secs(90)
        );
        for (text, span) in [
            ("0", Duration::MAX),
            ("0d", Duration::MAX),
            ("1h30m", Duration::from_secs(5400)),
            ("500ms", Duration::from_millis(500)),
        ] {
            assert_eq!(text.parse::<Kept>().unwrap().ended_for, span, "{text}");
        }
        for bad in ["d", "7w", "-1d", "7d,", "7d,x"] {
            assert!(bad.parse::<Kept>().is_err(), "{bad}");
        }
    }
}
