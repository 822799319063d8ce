//! Puts a host back to how it was before a deploy, for runs that leave nothing behind.
//!
//! It looks first and changes only what differs, so it can be repeated, and it works after a deploy that
//! failed halfway. What PicoClaw itself made in a directory that was there before stays.

use super::Before;
use super::apply::put_back;
use super::error::DeployError;
use super::observe::{AtPath, Found, observe};
use crate::fleet::agent::picoclaw;
use crate::ssh::Connection;
use crate::ssh::upload::Upload;

/// Makes programs and files what they were in `before`.
///
/// # Errors
/// When the connection dies or the host refuses; the rest is then not put back.
pub async fn restore(connection: &Connection, before: &Before) -> Result<(), DeployError> {
    let paths: Vec<&str> = before.programs.iter().map(|(c, _)| c.path()).collect();
    let now = observe(connection, &paths).await?;
    for ((component, was), is) in before.programs.iter().zip(&now.programs) {
        if was == is {
            continue;
        }
        let path = format!("~/{}", component.path());
        let prev = format!("{path}.prev");
        let former = (*was != AtPath::Nothing).then_some(prev.as_str());
        put_back(connection, &path, former).await?;
    }
    if !before.had_home {
        let home = format!("~/{}", picoclaw::HOME);
        return match now.has_home {
            true => put_back(connection, &home, None).await,
            false => Ok(()),
        };
    }
    for (file, was) in &before.files {
        if was == now.file(*file) {
            continue;
        }
        match was {
            Found::Nothing => put_back(connection, &file.path(), None).await?,
            Found::Text { text, mode } => {
                let bytes = text.expose().as_bytes();
                let upload = Upload::of_bytes(file.path(), *mode, bytes);
                connection.upload(&upload, &mut &*bytes).await?;
            }
            // A deploy refuses to touch these.
            Found::Unusable(_) => {}
        }
    }
    Ok(())
}
