//! What an agent says it used: tokens, money, and which model that was.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Number;
use utoipa::ToSchema;

use super::{JobResult, Payload};

/// What one turn of a model used, as the agent counted it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// Tokens that went in.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub input: Option<u64>,
    /// Tokens that came out.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub output: Option<u64>,
    /// All tokens that are charged for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub total: Option<u64>,
    /// What it cost, in US dollars.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(value_type = Option<f64>)]
    pub cost_usd: Option<Number>,
    /// Which model answered.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub model: Option<String>,
    /// Who runs that model.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub provider: Option<String>,
}

/// The document that `openclaw agent exec --json` prints, as far as it is of use here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Said {
    usage: Counts,
    #[serde(default)]
    cost_usd: Option<Number>,
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    provider: Option<String>,
}

#[derive(Deserialize)]
struct Counts {
    #[serde(default)]
    input: Option<u64>,
    #[serde(default)]
    output: Option<u64>,
    #[serde(default)]
    total: Option<u64>,
}

impl Usage {
    /// Returns what a job of OpenClaw used, if its agent was asked for JSON and said so.
    #[must_use]
    pub fn of(payload: &Payload, result: &JobResult) -> Option<Self> {
        #[derive(Deserialize)]
        struct Kind {
            kind: String,
        }
        let is_document = result.stdout.bytes.trim_ascii_start().starts_with(b"{");
        if !is_document || result.stdout.truncated {
            return None;
        }
        let kind: Kind = serde_json::from_str(payload.as_str()).ok()?;
        if kind.kind != "openclaw-run" {
            return None;
        }
        let said: Said = serde_json::from_slice(&result.stdout.bytes).ok()?;
        Some(Self {
            input: said.usage.input,
            output: said.usage.output,
            total: said.usage.total,
            cost_usd: said.cost_usd,
            model: said.model,
            provider: said.provider,
        })
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tokens = |count: Option<u64>, what: &str| count.map(|count| format!("{count} {what}"));
        let said = [
            tokens(self.input, "tokens in"),
            tokens(self.output, "tokens out"),
            tokens(self.total, "in all"),
            self.cost_usd.as_ref().map(|cost| format!("{cost} USD")),
            self.model.clone(),
        ];
        f.write_str(&said.into_iter().flatten().collect::<Vec<_>>().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Output;

    const SAID: &str = r#"{"ok":true,"status":"ok","final":"2","payloads":[{"text":"2"}],
        "usage":{"input":812,"output":9,"total":821},"costUsd":0.0031,"model":"m-1","provider":"p"}"#;

    fn of(kind: &str, stdout: &str, limit: usize) -> Option<Usage> {
        let payload = Payload::parse(format!(r#"{{"kind":"{kind}","args":[]}}"#)).unwrap();
        let result = JobResult {
            stdout: Output::of(stdout.into(), limit),
            ..JobResult::default()
        };
        Usage::of(&payload, &result)
    }

    #[test]
    fn what_openclaw_counted_is_found() {
        let usage = of("openclaw-run", SAID, 4096).unwrap();
        assert_eq!((usage.input, usage.output), (Some(812), Some(9)));
        let shown = "812 tokens in, 9 tokens out, 821 in all, 0.0031 USD, m-1";
        assert_eq!(usage.to_string(), shown);
        let json = serde_json::to_value(&usage).unwrap();
        assert_eq!(json["costUsd"], 0.0031);
        assert_eq!(json["provider"], "p");
    }

    #[test]
    fn nothing_is_made_up() {
        assert_eq!(of("shell", SAID, 4096), None);
        assert_eq!(of("openclaw-run", "2\n", 4096), None);
        assert_eq!(of("openclaw-run", r#"{"ok":false}"#, 4096), None);
        assert_eq!(of("openclaw-run", SAID, 100), None, "cut");
        let strange = SAID.replace("812", "\"many\"");
        assert_eq!(of("openclaw-run", &strange, 4096), None);
    }
}
