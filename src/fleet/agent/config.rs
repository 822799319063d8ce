//! `~/.picoclaw/config.json`: points PicoClaw at a model, with everything else in the file kept.
//!
//! The text is edited in place, so the order and spelling of other settings stay as they are.

use jsonc_parser::ParseOptions;
use jsonc_parser::cst::{CstInputValue, CstNode, CstObject, CstRootNode};

use super::picoclaw::Settings;

/// What the file's model entry is called; `.security.yml` uses the same name for its key.
pub const MODEL_NAME: &str = "fleet";

/// The form of the file that we write.
const VERSION: usize = 3;

/// A `config.json` that cannot be changed safely. It is left alone; somebody has to repair or move it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not JSON.
    #[error(
        "~/.picoclaw/config.json is not valid JSON and was left alone: repair it or move it away"
    )]
    Broken(#[source] serde_json::Error),
    /// A part has another form than PicoClaw gives it.
    #[error(
        "~/.picoclaw/config.json was left alone: {part} is not {expected}; repair it or move the file away"
    )]
    Shape {
        /// The part.
        part: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// Our own edit did not come out as JSON; a defect of skyclaw.
    #[error("~/.picoclaw/config.json was left alone: the changed text would not be valid JSON")]
    Edit(#[source] serde_json::Error),
}

/// Makes `fleet` the default model, without shared history, and defines it by `settings`.
///
/// A `version` that the file already has is kept: PicoClaw itself brings older forms up to date.
///
/// # Errors
/// When the existing text is not JSON, or not of the form that PicoClaw gives it.
pub fn merge_config(existing: Option<&str>, settings: &Settings) -> Result<String, Error> {
    let text = existing.filter(|text| !text.trim().is_empty());
    let text = text.unwrap_or("{}\n");
    // The editing parser is lenient; PicoClaw's is not, so a file that only looks right is refused here.
    serde_json::from_str::<serde::de::IgnoredAny>(text).map_err(Error::Broken)?;
    let whole = Error::Shape {
        part: "the whole file",
        expected: "an object",
    };
    let document = CstRootNode::parse(text, &ParseOptions::default());
    // The document must outlive its parts: they reach each other through it.
    let Ok(document) = document else {
        return Err(whole);
    };
    let root = document.object_value().ok_or(whole)?;
    if root.get("version").is_none() {
        root.insert(0, "version", VERSION.into());
    }
    let agents = object_in(&root, "agents", "agents")?;
    let defaults = object_in(&agents, "defaults", "agents.defaults")?;
    set(&defaults, "model_name", MODEL_NAME.into());
    let profile = object_in(&defaults, "turn_profile", "agents.defaults.turn_profile")?;
    set(&profile, "enabled", true.into());
    let history = object_in(&profile, "history", "agents.defaults.turn_profile.history")?;
    set(&history, "mode", "off".into());
    set_model(&root, settings)?;

    let mut merged = document.to_string();
    if !merged.ends_with('\n') {
        merged.push('\n');
    }
    serde_json::from_str::<serde::de::IgnoredAny>(&merged).map_err(Error::Edit)?;
    Ok(merged)
}

/// Returns the object called `name`, made if it is missing or null.
fn object_in(parent: &CstObject, name: &str, part: &'static str) -> Result<CstObject, Error> {
    clear_null(parent, name);
    parent.object_value_or_create(name).ok_or(Error::Shape {
        part,
        expected: "an object",
    })
}

/// Go writes an absent object or list as null; both mean that nothing is there yet.
fn clear_null(parent: &CstObject, name: &str) {
    if let Some(property) = parent.get(name)
        && let Some(CstNode::Leaf(leaf)) = property.value()
        && leaf.to_string() == "null"
    {
        property.remove();
    }
}

fn set(object: &CstObject, name: &str, value: CstInputValue) {
    match object.get(name) {
        Some(property) => property.set_value(value),
        None => {
            object.append(name, value);
        }
    }
}

/// Replaces what we own of the first entry called `fleet`, or appends the entry.
fn set_model(root: &CstObject, settings: &Settings) -> Result<(), Error> {
    clear_null(root, "model_list");
    let models = root
        .array_value_or_create("model_list")
        .ok_or(Error::Shape {
            part: "model_list",
            expected: "a list",
        })?;
    let ours = models.elements().into_iter().find(is_ours);
    let text = |name: &str, value: &str| (name.to_owned(), value.into());
    let entry = CstInputValue::Object(vec![
        text("model_name", MODEL_NAME),
        text("provider", &settings.provider),
        text("model", &settings.model),
        text("api_base", &settings.api_base),
        ("enabled".to_owned(), true.into()),
    ]);
    match ours {
        Some(ours) => {
            // Replacing it where it stands would lose its indent.
            let index = models.elements().iter().position(is_ours);
            ours.remove();
            models.insert(index.unwrap_or_default(), entry);
        }
        None => {
            models.append(entry);
        }
    }
    Ok(())
}

fn is_ours(entry: &CstNode) -> bool {
    let name = entry.as_object().and_then(|entry| entry.get("model_name"));
    let name = name.and_then(|name| name.value()?.as_string_lit()?.decoded_value().ok());
    name.as_deref() == Some(MODEL_NAME)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn settings() -> Settings {
        Settings::resolve("anthropic", None, None).unwrap()
    }

    fn merged(existing: Option<&str>) -> String {
        merge_config(existing, &settings()).unwrap()
    }

    #[test]
    fn a_fresh_file_is_the_smallest_that_works() {
        let expected = json!({
            "version": 3,
            "agents": {"defaults": {"model_name": "fleet",
                "turn_profile": {"enabled": true, "history": {"mode": "off"}}}},
            "model_list": [{"model_name": "fleet", "provider": "anthropic",
                "model": "claude-sonnet-4-6", "api_base": "https://api.anthropic.com/v1", "enabled": true}]
        });
        for existing in [
            None,
            Some(""),
            Some("\n"),
            Some("{}"),
            Some(r#"{"agents":null,"model_list":null}"#),
        ] {
            let text = merged(existing);
            assert_eq!(
                serde_json::from_str::<Value>(&text).unwrap(),
                expected,
                "{text}"
            );
            assert!(text.ends_with('\n'));
        }
    }

    #[test]
    fn other_settings_keep_their_order_and_their_spelling() {
        let existing = r#"{
  "zeta": 1.10,
  "version": 2,
  "agents": {
    "defaults": { "workspace": "~/w", "model_name": "old", "max_tokens": 12345678901234567890 },
    "list": []
  },
  "model_list": [
    { "model_name": "old", "api_keys": ["x"] },
    { "model_name": "fleet", "model": "gone", "rpm": 5 }
  ],
  "alpha": null
}
"#;
        let text = merged(Some(existing));
        for kept in [
            r#""zeta": 1.10"#,
            r#""version": 2"#,
            r#""max_tokens": 12345678901234567890"#,
            r#"    {
      "model_name": "fleet","#,
            r#"{ "model_name": "old", "api_keys": ["x"] }"#,
            r#""alpha": null"#,
        ] {
            assert!(text.contains(kept), "{kept} in {text}");
        }
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["model_list"].as_array().unwrap().len(), 2);
        assert_eq!(value["model_list"][1]["model"], "claude-sonnet-4-6");
        assert!(text.find("zeta") < text.find("alpha"));
        assert_eq!(merged(Some(&text)), text, "twice is once");
    }

    #[test]
    fn values_are_escaped() {
        let odd = "a\"b\\c\n";
        let settings = Settings {
            model: odd.into(),
            ..settings()
        };
        let text = merge_config(None, &settings).unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["model_list"][0]["model"], odd);
    }

    #[test]
    fn a_broken_file_is_named_and_refused() {
        let cases = [
            "{",
            "[]",
            "{\"a\":1,}",
            "// c\n{}",
            r#"{"agents": 1}"#,
            r#"{"agents": {"defaults": []}}"#,
            r#"{"model_list": {}}"#,
            r#"{"agents": {"defaults": {"turn_profile": "x"}}}"#,
        ];
        for existing in cases {
            let error = merge_config(Some(existing), &settings()).unwrap_err();
            assert!(error.to_string().contains("config.json"), "{existing}");
        }
    }
}
