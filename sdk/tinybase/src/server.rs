//! The server: relays frames between the sockets of one path, and takes part with a
//! store of its own if there is a persister.
//!
//! Called by the object's handlers, which [`ws_server_durable_object!`] writes. It
//! knows no layout and no protocol detail. Everything it sends waits for the writes
//! of its turn, and what cannot be written is not sent, so nobody hears of an edit
//! that a crash could take back.
//!
//! [`ws_server_durable_object!`]: crate::ws_server_durable_object

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use dormouse_sdk::http::{Request, Response};
use dormouse_sdk::websocket::{Message, ReadyState, WebSocket};
use dormouse_sdk::{Env, Error, Result, State, log};

use crate::core::{
    Clock, Edit, Frames, Moment, Outgoing, Participant, Received, Store, Whole, random_id, split,
};
use crate::persist::Persister;

/// The client id of the server's own participant.
pub const SERVER_CLIENT_ID: &str = "S";

const CLIENT_ID_CHARACTERS: usize = 24;

/// How the connection of a client ends whose change cannot be saved.
const NOT_SAVED: (u16, &str) = (1011, "the change cannot be saved");

/// What every client hears first.
const GREETING: &str = "S\n[null,1,\"\"]";

/// Whether a path or a client came or went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    Added,
    Removed,
}

/// A class that TinyBase clients synchronize through: implement it and name it in
/// [`ws_server_durable_object!`](crate::ws_server_durable_object).
///
/// Every method but the first two has a default, and may be overridden, as those of
/// TinyBase's `WsServerDurableObject`.
#[allow(
    async_fn_in_trait,
    reason = "a component has one thread; no future is ever sent"
)]
pub trait WsServerDurableObject: Sized + 'static {
    /// Makes the object when an event wakes it.
    async fn new(state: State, env: Env) -> Result<Self>;

    /// The server, a field of the object: [`WsServer::new`].
    fn server(&self) -> &WsServer;

    /// Where the store is kept. Without a persister the object only relays.
    /// Called once, when the first request or message comes.
    fn create_persister(&self) -> Option<Persister> {
        None
    }

    /// The path that all clients of this object share: the object's name.
    fn path_id(&self) -> &str {
        self.server().path_id()
    }

    /// The ids of the clients that are connected, oldest first.
    fn client_ids(&self) -> Vec<String> {
        self.server().client_ids()
    }

    /// The first client came, or the last one goes.
    fn on_path_id(&self, path_id: &str, presence: Presence) {
        let _ = (path_id, presence);
    }

    /// A client came, or one goes, who is then still listed.
    fn on_client_id(&self, path_id: &str, client_id: &str, presence: Presence) {
        let _ = (path_id, client_id, presence);
    }

    /// A message is relayed, or sent by the server itself (`S`). An empty `to` is
    /// everybody; `remainder` is the frame behind the client id.
    fn on_message(&self, from: &str, to: &str, remainder: &str) {
        let _ = (from, to, remainder);
    }

    /// The size in bytes above which the server's own messages go in fragments.
    fn fragment_size(&self) -> Option<usize> {
        None
    }

    /// How long a client may take for an answer or a message's fragments.
    fn request_timeout(&self) -> Duration {
        Duration::from_secs(1)
    }

    /// Something went wrong that the server goes on after: a frame that is none, or
    /// a change that cannot be saved. Its sender's connection ends, and nobody else
    /// gets it.
    fn on_ignored_error(&self, error: &Error) {
        log::warn!("{error:#}");
    }

    /// Answers a request: [`WsServer::fetch`]. Override it to serve more.
    async fn fetch(&self, request: Request) -> Result<Response> {
        self.server().fetch(self, request)
    }
}

/// Makes a type that implements [`WsServerDurableObject`] a class of the component.
///
/// ```no_run
/// use dormouse_sdk::prelude::*;
/// use dormouse_tinybase::{Persister, WsServer, WsServerDurableObject};
///
/// struct Room {
///     server: WsServer,
/// }
///
/// impl WsServerDurableObject for Room {
///     async fn new(state: State, _env: Env) -> Result<Self> {
///         Ok(Self { server: WsServer::new(state) })
///     }
///
///     fn server(&self) -> &WsServer {
///         &self.server
///     }
///
///     fn create_persister(&self) -> Option<Persister> {
///         Some(Persister::fragmented(self.server.state().sql(), "", None))
///     }
/// }
///
/// dormouse_tinybase::ws_server_durable_object!(Room);
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! ws_server_durable_object {
    ($class:ident) => {
        #[::dormouse_sdk::durable_object]
        impl ::dormouse_sdk::DurableObject for $class {
            async fn new(
                state: ::dormouse_sdk::State,
                env: ::dormouse_sdk::Env,
            ) -> ::dormouse_sdk::Result<Self> {
                <Self as $crate::WsServerDurableObject>::new(state, env).await
            }

            async fn fetch(
                &self,
                request: ::dormouse_sdk::http::Request,
            ) -> ::dormouse_sdk::Result<::dormouse_sdk::http::Response> {
                <Self as $crate::WsServerDurableObject>::fetch(self, request).await
            }

            async fn websocket_message(
                &self,
                socket: ::dormouse_sdk::websocket::WebSocket,
                message: ::dormouse_sdk::websocket::Message,
            ) -> ::dormouse_sdk::Result<()> {
                $crate::WsServerDurableObject::server(self).message(self, &socket, &message)
            }

            async fn websocket_close(
                &self,
                socket: ::dormouse_sdk::websocket::WebSocket,
                _code: u16,
                _reason: ::std::string::String,
                _was_clean: bool,
            ) -> ::dormouse_sdk::Result<()> {
                $crate::WsServerDurableObject::server(self).closed(self, &socket);
                Ok(())
            }
        }
    };
}

/// The state of a [`WsServerDurableObject`]: a field of it.
#[derive(Debug)]
pub struct WsServer {
    state: State,
    /// Set when the first request or message comes.
    persister: OnceCell<Option<Persister>>,
    /// There is one if there is a persister. Never borrowed while a hook runs.
    participant: RefCell<Option<Participant>>,
    /// By socket.
    frames: RefCell<BTreeMap<u64, Frames>>,
    /// Sockets whose end was told here; the host lists them a moment longer.
    gone: RefCell<BTreeSet<u64>>,
}

impl WsServer {
    /// Wants the object's own state.
    #[must_use]
    pub fn new(state: State) -> Self {
        Self {
            state,
            persister: OnceCell::new(),
            participant: RefCell::new(None),
            frames: RefCell::default(),
            gone: RefCell::default(),
        }
    }

    /// The object's state.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The object's name; empty for one that is too long to be kept.
    pub fn path_id(&self) -> &str {
        self.state.id().name().unwrap_or_default()
    }

    /// The ids of the clients that are connected, oldest first.
    pub fn client_ids(&self) -> Vec<String> {
        self.sockets().iter().map(client_id).collect()
    }

    /// Those of clients that have not gone.
    fn sockets(&self) -> Vec<WebSocket> {
        let mut sockets = self.state.websockets();
        let gone = self.gone.borrow();
        sockets.retain(|socket| !gone.contains(&socket.id()));
        sockets
    }

    /// Takes a client's WebSocket. Any other request is answered with 426, and a
    /// path of more than 1,024 bytes with 414.
    pub fn fetch<T>(&self, object: &T, mut request: Request) -> Result<Response>
    where
        T: WsServerDurableObject,
    {
        let Some(upgrade) = request.upgrade() else {
            return Ok(Response::text("Upgrade required").with_status(426));
        };
        let Some(path_id) = self.state.id().name() else {
            return Ok(Response::text("the path is longer than 1024 bytes\n").with_status(414));
        };
        let woke = self.start(object)?;
        let is_first = self.sockets().is_empty();
        let client_id = random_id(&mut random, CLIENT_ID_CHARACTERS);
        let socket = upgrade.with_tag(&client_id).accept()?;
        if is_first {
            object.on_path_id(path_id, Presence::Added);
        }
        object.on_client_id(path_id, &client_id, Presence::Added);
        socket.send(GREETING)?;
        if woke && !is_first {
            self.greet(object)?;
        }
        Ok(Response::websocket())
    }

    /// Takes a message of a client's socket.
    pub fn message<T>(&self, object: &T, socket: &WebSocket, message: &Message) -> Result<()>
    where
        T: WsServerDurableObject,
    {
        // After its first wrong frame nobody listens to a client any more.
        if socket.ready_state() != ReadyState::Open {
            return Ok(());
        }
        let woke = self.start(object)?;
        // No bytes are a frame; an empty text is none, either.
        let frame = message.as_text().unwrap_or_default();
        let taken = {
            let mut frames = self.frames.borrow_mut();
            let frames = frames.entry(socket.id()).or_default();
            frames.take(frame, now_ms(), timeout_ms(object))
        };
        match taken {
            Ok(Some(whole)) => self.relay(object, socket, whole)?,
            Ok(None) => {}
            Err(error) => {
                socket.close(error.close_code(), &error.to_string())?;
                object.on_ignored_error(&Error::new(error));
            }
        }
        if woke {
            self.greet(object)?;
        }
        Ok(())
    }

    /// A socket is closed.
    pub fn closed<T: WsServerDurableObject>(&self, object: &T, socket: &WebSocket) {
        self.frames.borrow_mut().remove(&socket.id());
        let path_id = self.path_id();
        object.on_client_id(path_id, &client_id(socket), Presence::Removed);
        if self.sockets().iter().all(|other| other == socket) {
            object.on_path_id(path_id, Presence::Removed);
        }
        let listed: BTreeSet<u64> = self.state.websockets().iter().map(WebSocket::id).collect();
        let mut gone = self.gone.borrow_mut();
        gone.retain(|id| listed.contains(id));
        gone.insert(socket.id());
    }

    /// Looks into the store; `None` without a persister.
    pub fn with_store<T, R>(&self, object: &T, look: impl FnOnce(&Store) -> R) -> Result<Option<R>>
    where
        T: WsServerDurableObject,
    {
        self.start(object)?;
        let participant = self.participant.borrow();
        Ok(participant.as_ref().map(|own| look(own.store())))
    }

    /// Changes the store and tells all clients, as one transaction; nothing without
    /// a persister. An error: it cannot be saved, and nothing has changed.
    pub fn edit<T>(&self, object: &T, edits: impl FnOnce(&mut Edit<'_>)) -> Result<()>
    where
        T: WsServerDurableObject,
    {
        self.start(object)?;
        let outgoing = self.participate(|own, moment| own.edit(edits, moment))?;
        self.send_all(object, outgoing);
        Ok(())
    }

    /// Reads the store, once. Answers whether this was the first call.
    fn start<T: WsServerDurableObject>(&self, object: &T) -> Result<bool> {
        if self.persister.get().is_some() {
            return Ok(false);
        }
        let persister = object.create_persister();
        if let Some(persister) = &persister {
            let store = persister.load()?;
            let clock = Clock::random(&mut random);
            let own = Participant::new(store, clock, timeout_ms(object), now_ms());
            self.participant.replace(Some(own));
        }
        let first = self.persister.set(persister).is_ok();
        debug_assert!(first, "nothing above awaits");
        Ok(true)
    }

    /// Clients may have gone on while the object was not there, so ask them.
    fn greet<T: WsServerDurableObject>(&self, object: &T) -> Result<()> {
        let outgoing = self.participate(|own, moment| Received {
            outgoing: own.greet(moment),
            ..Received::default()
        })?;
        self.send_all(object, outgoing);
        Ok(())
    }

    /// Takes part in what a client says, then passes it on.
    fn relay<T>(&self, object: &T, socket: &WebSocket, whole: Whole) -> Result<()>
    where
        T: WsServerDurableObject,
    {
        let from = client_id(socket);
        let outgoing = if whole.to.is_empty() || whole.to == SERVER_CLIENT_ID {
            self.participate(|own, moment| own.receive(&from, whole.envelope, moment))
        } else {
            Ok(Vec::new())
        };
        let outgoing = match outgoing {
            Ok(outgoing) => outgoing,
            Err(error) => {
                let (code, reason) = NOT_SAVED;
                socket.close(code, reason)?;
                object.on_ignored_error(&error);
                return Ok(());
            }
        };
        for remainder in &whole.remainders {
            object.on_message(&from, &whole.to, remainder);
            self.forward(&from, &whole.to, remainder, Some(socket));
        }
        self.send_all(object, outgoing);
        Ok(())
    }

    /// Lets the own participant do something and saves what came of it; what it
    /// says to that. An error: it cannot be saved, and the store is as before.
    fn participate(
        &self,
        act: impl FnOnce(&mut Participant, &mut Moment<'_>) -> Received,
    ) -> Result<Vec<Outgoing>> {
        let Some(Some(persister)) = self.persister.get() else {
            return Ok(Vec::new());
        };
        let received = match self.participant.borrow_mut().as_mut() {
            Some(own) => {
                let now_ms = now_ms();
                let random = &mut random;
                act(own, &mut Moment { now_ms, random })
            }
            None => return Ok(Vec::new()),
        };
        if received.changes.any {
            let saved = match &*self.participant.borrow() {
                Some(own) => persister.save(own.store(), &received.changes),
                None => Ok(()),
            };
            if let Err(error) = saved {
                let before = persister.load()?;
                if let Some(own) = self.participant.borrow_mut().as_mut() {
                    own.restore(before);
                }
                return Err(error);
            }
        }
        Ok(received.outgoing)
    }

    fn send_all<T: WsServerDurableObject>(&self, object: &T, outgoing: Vec<Outgoing>) {
        for outgoing in outgoing {
            self.send(object, outgoing);
        }
    }

    fn send<T: WsServerDurableObject>(&self, object: &T, outgoing: Outgoing) {
        let to = outgoing.to.unwrap_or_default();
        for remainder in split(outgoing.text, object.fragment_size(), &mut random) {
            object.on_message(SERVER_CLIENT_ID, &to, &remainder);
            self.forward(SERVER_CLIENT_ID, &to, &remainder, None);
        }
    }

    /// Sends to everybody else, or to one; nobody gets back what is his own.
    fn forward(&self, from: &str, to: &str, remainder: &str, except: Option<&WebSocket>) {
        if to == from || to == SERVER_CLIENT_ID {
            return;
        }
        let frame = format!("{from}\n{remainder}");
        if to.is_empty() {
            self.state.broadcast_to(frame, None, except);
        } else if let Some(socket) = self.state.websockets_tagged(to).first() {
            // It may be closing; then its client has no use for the frame.
            let _ = socket.send(frame);
        }
    }
}

fn client_id(socket: &WebSocket) -> String {
    socket.tags().into_iter().next().unwrap_or_default()
}

fn timeout_ms(object: &impl WsServerDurableObject) -> u64 {
    let timeout = object.request_timeout().as_millis();
    timeout.try_into().unwrap_or(u64::MAX)
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let ms = since.map_or(0, |since| since.as_millis());
    ms.try_into().unwrap_or(u64::MAX)
}

fn random(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the host gives randomness");
}
