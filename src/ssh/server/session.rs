//! The callbacks of one connection: who may log in, and which command a channel runs.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use russh::keys::PublicKey;
use russh::server::{Auth, ChannelOpenHandle, Handler, Msg, PublicKeyOffer, VerifiedPublicKey};
use russh::{Channel, ChannelId, ChannelWriteHalf};

use super::exec::{Exec, Feed};
use super::forward::Forwards;
use super::gate::Gate;
use super::{Account, Tether};

type Place = (Option<SocketAddr>, Option<SocketAddr>);

/// One connection. Dropped when it ends, which ends the commands of its channels.
pub(super) struct Session {
    client: Arc<PublicKey>,
    account: Arc<Account>,
    place: Place,
    gate: Arc<Gate>,
    tether: Tether,
    channels: HashMap<ChannelId, State>,
    forwards: Forwards,
}

enum State {
    /// Nothing runs on it yet.
    Open(ChannelWriteHalf<Msg>),
    /// A command runs, or has run.
    Running(Feed),
}

impl Session {
    pub(super) fn new(
        client: Arc<PublicKey>,
        account: Arc<Account>,
        place: Place,
        gate: Arc<Gate>,
        tether: Tether,
    ) -> Self {
        Self {
            client,
            account,
            place,
            gate,
            tether,
            channels: HashMap::new(),
            forwards: Forwards::default(),
        }
    }

    fn judge(&self, user: &str, key: &PublicKey) -> Auth {
        if user == self.account.user && key.key_data() == self.client.key_data() {
            Auth::Accept
        } else {
            Auth::reject()
        }
    }

    /// Starts a command on a channel; `None` is a shell that reads its commands from stdin.
    fn start(
        &mut self,
        id: ChannelId,
        command: Option<&[u8]>,
        session: &mut russh::server::Session,
    ) -> Result<(), russh::Error> {
        match self.channels.remove(&id) {
            Some(State::Open(channel)) => {
                let exec = Exec {
                    account: &self.account,
                    command,
                    connection: self.place,
                };
                match exec.spawn() {
                    Ok(child) => {
                        // First the answer, then what the command says.
                        session.channel_success(id)?;
                        let feed = child.attend(
                            channel,
                            session.handle(),
                            Arc::clone(&self.gate),
                            self.tether.clone(),
                        );
                        self.channels.insert(id, State::Running(feed));
                        return Ok(());
                    }
                    Err(error) => {
                        tracing::warn!(%error, "cannot start a command");
                        self.channels.insert(id, State::Open(channel));
                    }
                }
            }
            // One command a channel.
            Some(running @ State::Running(_)) => {
                self.channels.insert(id, running);
            }
            None => {}
        }
        session.channel_failure(id)
    }
}

impl Handler for Session {
    type Error = russh::Error;

    async fn auth_publickey_offered(
        &mut self,
        user: &str,
        offer: PublicKeyOffer<'_>,
    ) -> Result<Auth, Self::Error> {
        Ok(self.judge(user, offer.public_key))
    }

    async fn auth_publickey(
        &mut self,
        user: &str,
        key: VerifiedPublicKey<'_>,
    ) -> Result<Auth, Self::Error> {
        Ok(self.judge(user, key.public_key))
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut russh::server::Session,
    ) -> Result<(), Self::Error> {
        // Input is taken in `data` below: the channel's own queue would stop the connection when full.
        let (_, writer) = channel.split();
        self.channels.insert(writer.id(), State::Open(writer));
        reply.accept().await;
        Ok(())
    }

    async fn exec_request(
        &mut self,
        id: ChannelId,
        command: &[u8],
        session: &mut russh::server::Session,
    ) -> Result<(), Self::Error> {
        self.start(id, Some(command), session)
    }

    async fn shell_request(
        &mut self,
        id: ChannelId,
        session: &mut russh::server::Session,
    ) -> Result<(), Self::Error> {
        self.start(id, None, session)
    }

    async fn pty_request(
        &mut self,
        id: ChannelId,
        _term: &str,
        _columns: u32,
        _rows: u32,
        _width: u32,
        _height: u32,
        _modes: &[(russh::Pty, u32)],
        session: &mut russh::server::Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(id)
    }

    async fn env_request(
        &mut self,
        id: ChannelId,
        _name: &str,
        _value: &str,
        session: &mut russh::server::Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(id)
    }

    async fn subsystem_request(
        &mut self,
        id: ChannelId,
        _name: &str,
        session: &mut russh::server::Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(id)
    }

    async fn streamlocal_forward(
        &mut self,
        path: &str,
        session: &mut russh::server::Session,
    ) -> Result<bool, Self::Error> {
        let (home, client) = (&self.account.home, session.handle());
        Ok(self
            .forwards
            .open_socket(path, home, client, self.tether.clone()))
    }

    async fn cancel_streamlocal_forward(
        &mut self,
        path: &str,
        _session: &mut russh::server::Session,
    ) -> Result<bool, Self::Error> {
        Ok(self.forwards.close(path))
    }

    async fn tcpip_forward(
        &mut self,
        _address: &str,
        port: &mut u32,
        session: &mut russh::server::Session,
    ) -> Result<bool, Self::Error> {
        let (client, tether) = (session.handle(), self.tether.clone());
        let opened = self.forwards.open_port(*port, client, tether).await;
        *port = opened.unwrap_or(*port);
        Ok(opened.is_some())
    }

    async fn cancel_tcpip_forward(
        &mut self,
        _address: &str,
        port: u32,
        _session: &mut russh::server::Session,
    ) -> Result<bool, Self::Error> {
        Ok(self.forwards.close(&port.to_string()))
    }

    async fn data(
        &mut self,
        id: ChannelId,
        data: &[u8],
        _session: &mut russh::server::Session,
    ) -> Result<(), Self::Error> {
        if let Some(State::Running(feed)) = self.channels.get(&id) {
            feed.give(self.gate.piece(data));
        }
        Ok(())
    }

    async fn channel_eof(
        &mut self,
        id: ChannelId,
        _session: &mut russh::server::Session,
    ) -> Result<(), Self::Error> {
        if let Some(State::Running(feed)) = self.channels.get_mut(&id) {
            feed.end();
        }
        Ok(())
    }

    async fn channel_close(
        &mut self,
        id: ChannelId,
        _session: &mut russh::server::Session,
    ) -> Result<(), Self::Error> {
        self.channels.remove(&id);
        Ok(())
    }
}
