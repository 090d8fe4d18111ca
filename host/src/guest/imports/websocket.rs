//! `dormouse:object/websocket`: a guest's handles on sockets the host owns.
//!
//! What is sent becomes an effect of the turn and passes the output gate; tags
//! and attachments change at once.

use std::time::Duration;

use wasmtime::component::Resource;

use crate::guest::bindings::dormouse::object::websocket::{
    Error, Host, HostSocket, HostUpgrade, Message, State,
};
use crate::guest::context::{Context, Identity, Who};
use crate::guest::instance::{CallId, Effect};
use crate::socket::{self, Outgoing, Owner, SocketId, SocketState};

/// A guest's handle on a socket.
#[allow(unreachable_pub)] // the bindings re-export it
#[derive(Debug)]
pub struct Socket(pub(in crate::guest) SocketId);

/// The chance to take the socket that a request asks for.
#[allow(unreachable_pub)] // the bindings re-export it
#[derive(Debug)]
pub struct Upgrade {
    pub(in crate::guest) call: CallId,
    pub(in crate::guest) protocols: Vec<String>,
}

impl Context {
    fn socket(&self, socket: &Resource<Socket>) -> wasmtime::Result<SocketId> {
        Ok(self.table.get(socket)?.0)
    }

    fn transmit(&mut self, socket: SocketId, frame: Outgoing) {
        self.effects.push(Effect::Frame { socket, frame });
    }
}

impl Host for Context {
    fn sockets(&mut self, tag: Option<String>) -> wasmtime::Result<Vec<Resource<Socket>>> {
        let ids = self.hub.list(tag.as_deref());
        let handles = ids.into_iter().map(|id| Ok(self.table.push(Socket(id))?));
        handles.collect()
    }

    fn broadcast(
        &mut self,
        message: Message,
        tag: Option<String>,
        except: Option<SocketId>,
    ) -> wasmtime::Result<u32> {
        let message = socket::Message::from(message);
        let sockets = self.hub.reserve_for_all(&message, tag.as_deref(), except);
        let count = sockets.len() as u32;
        self.effects.push(Effect::Broadcast { sockets, message });
        Ok(count)
    }

    fn set_auto_response(
        &mut self,
        pair: Option<(String, String)>,
    ) -> wasmtime::Result<Result<(), Error>> {
        Ok(self.hub.set_auto_response(pair).map_err(Into::into))
    }

    fn auto_response(&mut self) -> wasmtime::Result<Option<(String, String)>> {
        Ok(self.hub.auto_response())
    }

    fn set_event_timeout(&mut self, ms: Option<u32>) -> wasmtime::Result<Result<(), Error>> {
        let timeout = ms.map(|ms| Duration::from_millis(ms.into()));
        Ok(self.hub.set_event_timeout(timeout).map_err(Into::into))
    }

    fn event_timeout(&mut self) -> wasmtime::Result<Option<u32>> {
        let timeout = self.hub.event_timeout();
        Ok(timeout.map(|timeout| timeout.as_millis() as u32))
    }
}

impl HostUpgrade for Context {
    fn protocols(&mut self, upgrade: Resource<Upgrade>) -> wasmtime::Result<Vec<String>> {
        Ok(self.table.get(&upgrade)?.protocols.clone())
    }

    fn accept(
        &mut self,
        upgrade: Resource<Upgrade>,
        tags: Vec<String>,
        attachment: Option<Vec<u8>>,
    ) -> wasmtime::Result<Result<Resource<Socket>, Error>> {
        let call = self.table.delete(upgrade)?.call;
        if !self.is_running(call) {
            return Ok(Err(Error::Spent));
        }
        let Who::Object(Identity { app, class, object }) = (*self.who).clone() else {
            return Ok(Err(Error::Invalid(
                "a worker keeps no sockets; hand the request on to an object, which accepts it"
                    .to_owned(),
            )));
        };
        let owner = Owner { app, class, object };
        let socket = match self.hub.accept(owner, tags, attachment) {
            Ok(socket) => socket,
            Err(error) => return Ok(Err(error.into())),
        };
        let handle = self.table.push(Socket(socket.id))?;
        self.accepted.push((call, socket));
        Ok(Ok(handle))
    }

    fn drop(&mut self, upgrade: Resource<Upgrade>) -> wasmtime::Result<()> {
        self.table.delete(upgrade)?;
        Ok(())
    }
}

impl HostSocket for Context {
    fn id(&mut self, socket: Resource<Socket>) -> wasmtime::Result<u64> {
        self.socket(&socket)
    }

    fn state(&mut self, socket: Resource<Socket>) -> wasmtime::Result<State> {
        Ok(match self.hub.state(self.socket(&socket)?) {
            SocketState::Open => State::Open,
            SocketState::Closing => State::Closing,
            SocketState::Closed => State::Closed,
        })
    }

    fn tags(&mut self, socket: Resource<Socket>) -> wasmtime::Result<Vec<String>> {
        Ok(self.hub.tags(self.socket(&socket)?))
    }

    fn set_tags(
        &mut self,
        socket: Resource<Socket>,
        tags: Vec<String>,
    ) -> wasmtime::Result<Result<(), Error>> {
        let id = self.socket(&socket)?;
        Ok(self.hub.set_tags(id, tags).map_err(Into::into))
    }

    fn attachment(&mut self, socket: Resource<Socket>) -> wasmtime::Result<Option<Vec<u8>>> {
        Ok(self.hub.attachment(self.socket(&socket)?))
    }

    fn set_attachment(
        &mut self,
        socket: Resource<Socket>,
        attachment: Option<Vec<u8>>,
    ) -> wasmtime::Result<Result<(), Error>> {
        let id = self.socket(&socket)?;
        Ok(self.hub.set_attachment(id, attachment).map_err(Into::into))
    }

    fn send(
        &mut self,
        socket: Resource<Socket>,
        message: Message,
    ) -> wasmtime::Result<Result<(), Error>> {
        let id = self.socket(&socket)?;
        let message = socket::Message::from(message);
        if let Err(error) = self.hub.reserve(id, &message) {
            return Ok(Err(error.into()));
        }
        self.transmit(id, Outgoing::Message(message));
        Ok(Ok(()))
    }

    fn close(
        &mut self,
        socket: Resource<Socket>,
        code: u16,
        reason: String,
    ) -> wasmtime::Result<Result<(), Error>> {
        let id = self.socket(&socket)?;
        match self.hub.close(id, code, reason) {
            Ok(Some(close)) => self.transmit(id, Outgoing::Close(close)),
            Ok(None) => {}
            Err(error) => return Ok(Err(error.into())),
        }
        Ok(Ok(()))
    }

    fn buffered_amount(&mut self, socket: Resource<Socket>) -> wasmtime::Result<u64> {
        Ok(self.hub.buffered(self.socket(&socket)?))
    }

    fn auto_response_timestamp(
        &mut self,
        socket: Resource<Socket>,
    ) -> wasmtime::Result<Option<u64>> {
        let at = self.hub.auto_response_at(self.socket(&socket)?);
        Ok(at.map(|at| at.as_millis() as u64))
    }

    fn drop(&mut self, socket: Resource<Socket>) -> wasmtime::Result<()> {
        self.table.delete(socket)?;
        Ok(())
    }
}

impl From<Message> for socket::Message {
    fn from(message: Message) -> Self {
        match message {
            Message::Text(text) => Self::text(text),
            Message::Binary(bytes) => Self::binary(bytes),
        }
    }
}

impl From<socket::Error> for Error {
    fn from(error: socket::Error) -> Self {
        match error {
            socket::Error::Limit(text) => Self::Limit(text),
            socket::Error::Closed => Self::Closed,
            socket::Error::Invalid(text) => Self::Invalid(text),
        }
    }
}
