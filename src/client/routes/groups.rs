//! Looking at groups.

use super::super::ask::Ask;
use super::super::{Client, Error};
use crate::protocol::api::{GroupReply, Groups};
use crate::protocol::{GroupId, GroupRecord};

impl Client {
    /// Returns the newest groups, newest first.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn groups(&self, limit: u32) -> Result<Vec<GroupRecord>, Error> {
        let ask = Ask::get(["v1", "groups"]).query("limit", Some(limit));
        let groups: Groups = self.ask(ask).await?;
        Ok(groups.groups)
    }

    /// Returns one group.
    ///
    /// # Errors
    /// See [`Error`]; [`crate::protocol::api::Code::UnknownGroup`] means that there is none.
    pub async fn group(&self, group: GroupId) -> Result<GroupRecord, Error> {
        let ask = Ask::get(["v1", "groups", &group.to_string()]);
        let reply: GroupReply = self.ask(ask).await?;
        Ok(reply.group)
    }
}
