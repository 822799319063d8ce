//! `~/.picoclaw/.security.yml`: the one place where PicoClaw looks for the key of a model.

use super::config::MODEL_NAME;
use super::yaml::{self, Node, Value};
use crate::support::secret::Secret;

/// A `.security.yml` that cannot be changed safely. It is left alone; somebody has to repair or move it.
///
/// The file holds keys, so no text from it is shown.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not the YAML that PicoClaw writes.
    #[error(
        "~/.picoclaw/.security.yml cannot be read and was left alone ({reason}): repair it or move it away"
    )]
    Broken {
        /// Where, or why.
        reason: String,
    },
    /// A part has another form than PicoClaw gives it.
    #[error(
        "~/.picoclaw/.security.yml was left alone: {0} is not a plain list of entries; repair it or move the file away"
    )]
    Shape(&'static str),
}

/// Sets the key of the model `fleet`. Everything else is kept, but for comments between entries.
///
/// # Errors
/// When the existing text is not YAML, or not of the form that PicoClaw gives it.
pub fn merge_security(existing: Option<&str>, key: &Secret) -> Result<Secret, Error> {
    let original = existing.unwrap_or_default();
    let mut root = yaml::read(original).map_err(|error| Error::Broken {
        reason: error.to_string(),
    })?;
    let models = root
        .entry("model_list")
        .ok_or(Error::Shape("the whole file"))?;
    let fleet = models.entry(MODEL_NAME).ok_or(Error::Shape("model_list"))?;
    // An anchored entry is shared: changing it here would change it elsewhere.
    if fleet.has_anchor() {
        return Err(Error::Shape("model_list.fleet"));
    }
    let keys = fleet
        .entry("api_keys")
        .ok_or(Error::Shape("model_list.fleet"))?;
    if keys.has_anchor() {
        return Err(Error::Shape("model_list.fleet.api_keys"));
    }
    *keys = Value::List(vec![Node::text(key.expose())]).into();
    let merged = Secret::new(yaml::write(&root, original));
    // The file is somebody's only copy of their keys: what was written must mean what was read.
    match yaml::read(merged.expose()) {
        Ok(written) if written == root => Ok(merged),
        Ok(_) | Err(_) => Err(Error::Broken {
            reason: "it is written in an unusual way".to_owned(),
        }),
    }
}

/// What is left of the file without the key of the model `fleet`.
#[derive(Debug, PartialEq, Eq)]
pub enum Unmerged {
    /// The key is not in it.
    Unchanged,
    /// Nothing else is in it.
    Empty,
    /// The rest.
    Rest(Secret),
}

/// Takes the key of the model `fleet` out again. Everything else is kept, as [`merge_security`] keeps it.
///
/// # Errors
/// As [`merge_security`].
pub fn unmerge_security(existing: &str) -> Result<Unmerged, Error> {
    let mut root = yaml::read(existing).map_err(|error| Error::Broken {
        reason: error.to_string(),
    })?;
    let entries = root.entries().ok_or(Error::Shape("the whole file"))?;
    let path = ["model_list", MODEL_NAME, "api_keys"];
    if !remove(entries, &path)? {
        return Ok(Unmerged::Unchanged);
    }
    if entries.is_empty() {
        return Ok(Unmerged::Empty);
    }
    Ok(Unmerged::Rest(Secret::new(yaml::write(&root, existing))))
}

/// Removes the entry at `path` and the maps that are empty without it; tells whether it was there.
fn remove(entries: &mut Vec<(Node, Node)>, path: &[&'static str]) -> Result<bool, Error> {
    let Some((name, rest)) = path.split_first() else {
        return Ok(false);
    };
    let Some(at) = entries.iter().position(|(key, _)| key.is_called(name)) else {
        return Ok(false);
    };
    let Some((_, value)) = entries.get_mut(at) else {
        return Ok(false);
    };
    // What has an anchor is used elsewhere too.
    if value.has_anchor() {
        return Err(Error::Shape(name));
    }
    if !rest.is_empty() {
        let below = value.entries().ok_or(Error::Shape(name))?;
        if !remove(below, rest)? {
            return Ok(false);
        }
        if !below.is_empty() {
            return Ok(true);
        }
    }
    entries.remove(at);
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merge(existing: Option<&str>) -> Result<String, Error> {
        let key = Secret::new("sk-\"1".into());
        merge_security(existing, &key).map(|text| text.expose().to_owned())
    }

    const FRESH: &str = "model_list:\n  fleet:\n    api_keys:\n      - \"sk-\\\"1\"\n";

    #[test]
    fn sets_the_key_and_keeps_the_rest() {
        let cases = [
            (None, FRESH.to_owned()),
            (Some("{}\n"), FRESH.to_owned()),
            (Some("model_list:\n"), FRESH.to_owned()),
            (Some("# mine\n"), format!("# mine\n{FRESH}")),
            (
                Some("model_list: {fleet: {api_keys: [old], note: x}, other: {api_keys: ['0012', 0012]}}\nweb: {}\n"),
                "model_list:\n  fleet:\n    api_keys:\n      - \"sk-\\\"1\"\n    note: x\n  other:\n    api_keys:\n      - \"0012\"\n      - 0012\nweb: {}\n".to_owned(),
            ),
        ];
        for (existing, text) in cases {
            let once = merge(existing).unwrap();
            assert_eq!(once, text, "{existing:?}");
            assert_eq!(merge(Some(&once)).unwrap(), once, "twice is once");
        }
    }

    #[test]
    fn takes_out_its_own_key_and_nothing_else() {
        let rest = |text: &str| Unmerged::Rest(Secret::new(text.to_owned()));
        let cases = [
            ("", Unmerged::Unchanged),
            ("# mine\n", Unmerged::Unchanged),
            (
                "model_list: {other: {api_keys: [k]}}\n",
                Unmerged::Unchanged,
            ),
            (FRESH, Unmerged::Empty),
            (
                "model_list: {fleet: {api_keys: [k]}, other: {api_keys: ['0012']}}\n",
                rest("model_list:\n  other:\n    api_keys:\n      - \"0012\"\n"),
            ),
            (
                "# mine\nmodel_list: {fleet: {api_keys: [k], note: x}}\n",
                rest("# mine\nmodel_list:\n  fleet:\n    note: x\n"),
            ),
            (
                "model_list: {fleet: {api_keys: [k]}}\nweb: 1\n",
                rest("web: 1\n"),
            ),
        ];
        for (existing, left) in cases {
            assert_eq!(unmerge_security(existing).unwrap(), left, "{existing:?}");
        }
        for broken in ["model_list: [", "- k", "model_list: k", "a: *x"] {
            assert!(unmerge_security(broken).is_err(), "{broken:?}");
        }
    }

    #[test]
    fn a_broken_file_is_named_and_its_text_is_not_shown() {
        let cases = [
            "model_list: [sk-hidden",
            "- sk-hidden",
            "model_list: sk-hidden",
            "model_list: {fleet: [sk-hidden]}",
            "a: &x {api_keys: [sk-hidden]}\nmodel_list: {fleet: *x}",
            "model_list: {fleet: &x {api_keys: [sk-hidden]}}\nb: *x",
            "sk-hidden: 1\nsk-hidden: 2",
        ];
        for existing in cases {
            let error = merge(Some(existing)).unwrap_err();
            let shown = format!("{error} {error:?}");
            assert!(shown.contains("security.yml"), "{shown}");
            assert!(!shown.contains("hidden"), "{shown}");
        }
    }
}
