//! `~/.picoclaw/.env`: provider and key as the first deployments wrote them.
//!
//! PicoClaw itself never reads this file; it is kept for tools that do.

use crate::support::secret::Secret;

/// A setting that does not fit on a line of the file. Trying again does not help.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// The name is not one of a variable.
    #[error("{0:?} is not a variable name: use letters, digits and _, not starting with a digit")]
    Name(String),
    /// The value would break the file apart. It is not shown, since it may be the key.
    #[error(
        "the value of {0} contains a line break or another control character: check where it comes from"
    )]
    Value(String),
}

/// Sets `PROVIDER` and the key in the text of an `.env` file. All other lines stay, in their order.
///
/// # Errors
/// When a value contains a control character or the key's name is none.
pub fn merge_env(
    existing: Option<&str>,
    provider: &str,
    key_name: &str,
    key: &Secret,
) -> Result<Secret, Error> {
    if !is_variable_name(key_name) || key_name == "PROVIDER" {
        return Err(Error::Name(key_name.to_owned()));
    }
    let text = set(existing.unwrap_or_default(), "PROVIDER", provider)?;
    set(&text, key_name, key.expose()).map(Secret::new)
}

fn is_variable_name(name: &str) -> bool {
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    starts_well && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Replaces the first line that sets `name`, drops further ones, or adds a line at the end.
fn set(text: &str, name: &str, value: &str) -> Result<String, Error> {
    if value.chars().any(char::is_control) {
        return Err(Error::Value(name.to_owned()));
    }
    let line = format!("{name}={value}\n");
    let mut out = String::with_capacity(text.len() + line.len());
    let mut written = false;
    for old in text.split_inclusive('\n') {
        if variable_of(old) != Some(name) {
            out.push_str(old);
        } else if !written {
            out.push_str(&line);
            written = true;
        }
    }
    if !written {
        if !out.is_empty() && !out.ends_with('\n') {
            out.push('\n');
        }
        out.push_str(&line);
    }
    Ok(out)
}

/// Returns the name that a line sets, with or without `export`.
fn variable_of(line: &str) -> Option<&str> {
    let (name, _) = line.split_once('=')?;
    let name = name.trim();
    let exported = name.strip_prefix("export ").map(str::trim_start);
    Some(exported.unwrap_or(name))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn merged(existing: Option<&str>) -> String {
        let key = Secret::new("sk-1".into());
        let text = merge_env(existing, "anthropic", "ANTHROPIC_API_KEY", &key).unwrap();
        text.expose().to_owned()
    }

    #[test]
    fn sets_two_lines_and_keeps_the_rest() {
        let fresh = "PROVIDER=anthropic\nANTHROPIC_API_KEY=sk-1\n";
        let cases = [
            (None, fresh.to_owned()),
            (Some(""), fresh.to_owned()),
            (Some("# mine"), format!("# mine\n{fresh}")),
            (
                Some(
                    "export ANTHROPIC_API_KEY = old\nA=1\r\n#PROVIDER=x\nPROVIDER=x\nPROVIDER=y\nB=2",
                ),
                "ANTHROPIC_API_KEY=sk-1\nA=1\r\n#PROVIDER=x\nPROVIDER=anthropic\nB=2".to_owned(),
            ),
            (
                Some("OPENAI_API_KEY=other\n"),
                format!("OPENAI_API_KEY=other\n{fresh}"),
            ),
        ];
        for (existing, text) in cases {
            assert_eq!(merged(existing), text, "{existing:?}");
        }
    }

    #[test]
    fn refuses_what_breaks_the_file_without_showing_the_key() {
        let key = Secret::new("sk-1\nB=2".into());
        let error = merge_env(None, "p", "K_KEY", &key).unwrap_err();
        assert_eq!(error, Error::Value("K_KEY".into()));
        assert!(!error.to_string().contains("sk-1"));
        let key = Secret::new("k".into());
        for name in ["", "1A", "A B", "A=B", "PROVIDER"] {
            assert!(merge_env(None, "p", name, &key).is_err(), "{name}");
        }
    }

    proptest! {
        #[test]
        fn twice_is_once_and_other_lines_stay(existing in "([ A-Z_#=a-z\r]{0,8}\n|PROVIDER=[a-z]*\n){0,6}[A-Z=]{0,5}") {
            let once = merged(Some(&existing));
            prop_assert_eq!(&merged(Some(&once)), &once);
            let others = |text: &str| -> Vec<String> {
                let ours = |line: &&str| !matches!(variable_of(line), Some("PROVIDER" | "ANTHROPIC_API_KEY"));
                text.split('\n').filter(ours).filter(|line| !line.is_empty()).map(str::to_owned).collect()
            };
            prop_assert_eq!(others(&once), others(&existing));
        }
    }
}
