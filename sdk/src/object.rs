//! What an author's class implements and is given: [`DurableObject`], [`State`],
//! [`Env`].

use std::fmt;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use crate::alarm::{Alarm, AlarmInfo};
use crate::bindings::dormouse::object::secrets as wit_secrets;
use crate::bindings::dormouse::object::storage as wit_storage;
use crate::bindings::dormouse::object::types as wit;
use crate::bookmark::Bookmarks;
use crate::http::{BodyError, Request, Response};
use crate::kv::Kv;
use crate::namespace::{self, Callee, Namespace};
use crate::sql::{self, Sql};
use crate::websocket::{self, Message, SocketError, WebSocket};
use crate::{Context, Error, Result, gate};

/// A class of durable objects.
///
/// One value of the type is one object: the host makes it with [`new`] when
/// the first event arrives, hands it every event after that, and drops it when
/// it sleeps. What must last belongs into [`State::sql`].
///
/// Events interleave at `.await` and nowhere else, so handlers take `&self`;
/// fields that change are [`Cell`] or [`RefCell`]. A `RefCell` borrowed across an
/// `.await` panics as soon as another event borrows it, too; clippy finds that
/// with `#![deny(clippy::await_holding_refcell_ref)]`.
///
/// ```no_run
/// use dormouse_sdk::prelude::*;
/// use std::cell::Cell;
///
/// struct Visits {
///     since_awake: Cell<u64>,
/// }
///
/// #[durable_object]
/// impl DurableObject for Visits {
///     async fn new(_state: State, _env: Env) -> Result<Self> {
///         Ok(Self { since_awake: Cell::new(0) })
///     }
///
///     async fn fetch(&self, _request: Request) -> Result<Response> {
///         self.since_awake.set(self.since_awake.get() + 1);
///         Ok(Response::text(format!("{}\n", self.since_awake.get())))
///     }
/// }
/// # fn main() {}
/// ```
///
/// [`new`]: Self::new
/// [`Cell`]: std::cell::Cell
/// [`RefCell`]: std::cell::RefCell
#[allow(
    async_fn_in_trait,
    reason = "a component has one thread; no future is ever sent"
)]
pub trait DurableObject: Sized + 'static {
    /// Makes the object; no event reaches it before this returns. The place to
    /// create tables and to read what the handlers keep in memory.
    ///
    /// An error fails the event that woke the object; the next event tries again.
    async fn new(state: State, env: Env) -> Result<Self>;

    /// Answers one HTTP request.
    ///
    /// An error is logged and answered with status 500; what was written before
    /// it stays written (see [`Sql::transaction`]). A panic undoes the writes
    /// since the last `.await` and restarts the object.
    async fn fetch(&self, request: Request) -> Result<Response> {
        let _ = request;
        Ok(Response::not_found())
    }

    /// Runs when the time of an [`Alarm`] has come: never early, at least once.
    ///
    /// If it succeeds, the alarm is gone, together with what the handler wrote last.
    /// An error or a panic, or taking more than 15 minutes, has it called again: up to
    /// six times, after 2, 4, 8, 16, 32 and 64 seconds and a little more at random.
    /// After that the alarm is a dead letter, which stays until it is run again by
    /// hand or set anew.
    ///
    /// A class that does not implement this cannot set alarms.
    async fn alarm(&self, info: AlarmInfo) -> Result<()> {
        let _ = info;
        Ok(())
    }

    /// Handles a message. Messages of one socket come strictly one after the
    /// other; an error is logged and the socket stays open.
    async fn websocket_message(&self, socket: WebSocket, message: Message) -> Result<()> {
        let _ = (socket, message);
        Ok(())
    }

    /// The socket is closed: by the peer, by this object, or because the
    /// connection was lost (code 1006, not clean). Its attachment can still be read.
    async fn websocket_close(
        &self,
        socket: WebSocket,
        code: u16,
        reason: String,
        was_clean: bool,
    ) -> Result<()> {
        let _ = (socket, code, reason, was_clean);
        Ok(())
    }

    /// The peer broke the protocol; [`websocket_close`](Self::websocket_close)
    /// follows.
    async fn websocket_error(&self, socket: WebSocket, error: String) -> Result<()> {
        let _ = (socket, error);
        Ok(())
    }
}

/// What an object is and has: its id, its database, its background work.
///
/// Cheap to clone; every clone is the same object's.
#[derive(Clone, Debug)]
pub struct State {
    id: Rc<ObjectId>,
}

impl State {
    pub(crate) fn new(id: ObjectId) -> Self {
        Self { id: Rc::new(id) }
    }

    /// Which object this is.
    pub fn id(&self) -> &ObjectId {
        &self.id
    }

    /// The object's own database.
    pub fn sql(&self) -> Sql {
        Sql::new()
    }

    /// The object's key-value pairs.
    pub fn kv(&self) -> Kv {
        Kv::new()
    }

    /// Moments of the object's database, and going back to them.
    pub fn bookmarks(&self) -> Bookmarks {
        Bookmarks::new()
    }

    /// Commits what is written and starts the object anew: events that it has not
    /// answered fail, the next one finds a new instance. Sockets stay open.
    ///
    /// What a restore waits for, see [`Bookmarks::restore_on_next_session`].
    pub async fn end_session(&self, reason: &str) -> ! {
        crate::bindings::dormouse::object::bookmark::end_session(reason.to_owned()).await;
        unreachable!("the host drops the instance")
    }

    /// Deletes everything the object keeps: tables, key-value pairs, alarms.
    ///
    /// At once and for good: what the turn has written before is undone, and a later
    /// panic brings nothing back. The database can be used afterwards; tables must
    /// be made anew, or the object waits for its next start with that. Not allowed
    /// inside a transaction.
    pub fn delete_all(&self) -> Result<(), sql::Error> {
        Ok(wit_storage::delete_all()?)
    }

    /// The object's open sockets, oldest first.
    pub fn websockets(&self) -> Vec<WebSocket> {
        websocket::list(None)
    }

    /// Those with a tag.
    pub fn websockets_tagged(&self, tag: &str) -> Vec<WebSocket> {
        websocket::list(Some(tag))
    }

    /// Sends one message to every socket; how many it went to. The message is
    /// encoded once.
    pub fn broadcast(&self, message: impl Into<Message>) -> u32 {
        websocket::broadcast(message.into(), None, None)
    }

    /// Sends one message to the sockets with a tag (or to all), except one.
    pub fn broadcast_to(
        &self,
        message: impl Into<Message>,
        tag: Option<&str>,
        except: Option<&WebSocket>,
    ) -> u32 {
        websocket::broadcast(message.into(), tag, except)
    }

    /// From now on the host answers a text frame equal to `request` with
    /// `response` itself, without waking the object. At most 2,048 bytes each.
    pub fn set_auto_response(&self, request: &str, response: &str) -> Result<(), SocketError> {
        websocket::set_auto_response(Some((request, response)))
    }

    /// No more auto-response.
    pub fn clear_auto_response(&self) -> Result<(), SocketError> {
        websocket::set_auto_response(None)
    }

    /// From now on a handler of a socket's event that takes longer resets the
    /// object; its sockets stay open. 1 ms to 7 days; `None`: no limit.
    pub fn set_websocket_event_timeout(
        &self,
        timeout: Option<Duration>,
    ) -> Result<(), SocketError> {
        websocket::set_event_timeout(timeout)
    }

    /// How long a handler of a socket's event may take.
    pub fn websocket_event_timeout(&self) -> Option<Duration> {
        websocket::event_timeout()
    }

    /// The object's default alarm.
    pub fn alarm(&self) -> Alarm {
        Alarm::new(None)
    }

    /// A further alarm; a name is 1 to 256 bytes, and an object has up to 1,000.
    ///
    /// ```no_run
    /// # use dormouse_sdk::prelude::*;
    /// # use std::time::Duration;
    /// # fn handler(state: &State) -> Result<()> {
    /// state.alarm_named("typing").set(Duration::from_secs(5))?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn alarm_named(&self, name: &str) -> Alarm {
        Alarm::new(Some(name))
    }

    /// Runs `work` while the object does nothing else: no event starts, and those
    /// under way stand still until it is done. For work that awaits and must not be
    /// interleaved with anything; without an `.await` nothing interleaves anyway, and
    /// [`new`](DurableObject::new) is alone from the start.
    ///
    /// An error resets the object, with its words for the log and 500 for everyone
    /// who waits for an answer; so does taking more than 30 seconds. What was
    /// written and committed stays. Sections nest, 64 deep.
    ///
    /// ```no_run
    /// # use dormouse_sdk::prelude::*;
    /// # async fn ask_somebody() -> Result<String> { Ok(String::new()) }
    /// # async fn handler(state: &State) -> Result<()> {
    /// let token = state
    ///     .block_concurrency_while(async {
    ///         let token = ask_somebody().await?;
    ///         state.kv().put("token", &token)?;
    ///         Ok(token)
    ///     })
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn block_concurrency_while<T>(
        &self,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        gate::block_concurrency_while(work).await
    }

    /// Keeps everything that `work` writes (SQL, pairs, alarms), or, if it answers
    /// with an error, nothing of it. Unlike [`Sql::transaction`] it may await.
    ///
    /// The object does nothing else meanwhile, as in
    /// [`block_concurrency_while`](Self::block_concurrency_while), and it has 30
    /// seconds; but an error is only passed on. What the object sends meanwhile waits
    /// for the end of the transaction. Transactions nest.
    ///
    /// ```no_run
    /// # use dormouse_sdk::prelude::*;
    /// # async fn ask_somebody() -> Result<bool> { Ok(true) }
    /// # async fn handler(state: &State) -> Result<()> {
    /// state
    ///     .transaction(async {
    ///         state.sql().exec("UPDATE stock SET left = left - 1", ())?;
    ///         ensure!(ask_somebody().await?, "they said no");
    ///         Ok(())
    ///     })
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn transaction<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        gate::transaction(work).await
    }

    /// Waits until everything the object has written is durable. Seldom needed: what
    /// leaves the object waits for that by itself. Not allowed in a transaction.
    pub async fn sync(&self) -> Result<(), sql::Error> {
        Ok(wit_storage::sync().await?)
    }

    /// What this turn writes need not be durable before the object is heard: faster
    /// answers, and a crash of the host can lose writes that somebody was told of.
    /// For what can be made again. It lasts until the next `.await`.
    pub fn allow_unconfirmed(&self) {
        wit_storage::allow_unconfirmed();
    }

    /// Goes on with `work` after the event has been answered, and keeps the
    /// object awake until it ends. An error is logged.
    ///
    /// ```no_run
    /// # use dormouse_sdk::prelude::*;
    /// # use std::time::Duration;
    /// # fn handler(state: &State) {
    /// let sql = state.sql();
    /// state.wait_until(async move {
    ///     sleep(Duration::from_secs(5)).await;
    ///     sql.exec("DELETE FROM typing", ())?;
    ///     Ok(())
    /// });
    /// # }
    /// ```
    pub fn wait_until(&self, work: impl Future<Output = Result<()>> + 'static) {
        run_in_background(work);
    }
}

/// Starts `work` beside the event at hand; an error ends in the log.
pub(crate) fn run_in_background(work: impl Future<Output = Result<()>> + 'static) {
    wit_bindgen::spawn_local(gate::event(async {
        if let Err(error) = work.await {
            let level = background_level(&error);
            log::log!(target: "dormouse_sdk", level, "background work failed: {error:#}");
        }
    }));
}

/// A client that goes away is its own business, not a failure of the object.
fn background_level(error: &Error) -> log::Level {
    match error.downcast_ref() {
        Some(BodyError::ReaderGone) => log::Level::Debug,
        _ => log::Level::Error,
    }
}

/// The identity of an object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ObjectId {
    hex: String,
    name: Option<String>,
}

impl ObjectId {
    /// The id as 64 lower-case hexadecimal digits, unique on the host.
    pub fn hex(&self) -> &str {
        &self.hex
    }

    /// The name that the id was made from; `None` for an id that was not made
    /// from a name, or whose name is longer than 1,024 bytes.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.hex)
    }
}

impl From<ObjectId> for wit::ObjectId {
    fn from(id: ObjectId) -> Self {
        Self {
            hex: id.hex,
            name: id.name,
        }
    }
}

impl From<wit::ObjectId> for ObjectId {
    fn from(id: wit::ObjectId) -> Self {
        Self {
            hex: id.hex,
            name: id.name,
        }
    }
}

/// What the manifest gives to the app's objects.
#[derive(Clone, Debug)]
pub struct Env {
    _later: (),
}

impl Env {
    pub(crate) fn new() -> Self {
        Self { _later: () }
    }

    /// The value of a variable in the manifest's `[vars]`.
    ///
    /// ```no_run
    /// # use dormouse_sdk::prelude::*;
    /// # fn handler(env: &Env) -> Result<()> {
    /// let greeting = env.var("GREETING")?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn var(&self, name: &str) -> Result<String> {
        std::env::var(name).with_context(|| {
            format!("variable `{name}` cannot be read; add it to `[vars]` in dormouse.toml")
        })
    }

    /// The value of a secret, which the operator keeps: `dormouse secret set NAME`.
    pub fn secret(&self, name: &str) -> Result<String> {
        wit_secrets::get(name).with_context(|| {
            format!("there is no secret `{name}`; keep it with `dormouse secret set {name}`")
        })
    }

    /// The objects behind a binding of the manifest's `[namespaces]`. A class of the
    /// same component is bound under its own name anyway.
    ///
    /// ```no_run
    /// # use dormouse_sdk::prelude::*;
    /// # async fn handler(env: &Env) -> Result<()> {
    /// let lobby = env.namespace::<Stub>("ROOMS")?.get_by_name("lobby");
    /// # Ok(())
    /// # }
    /// ```
    pub fn namespace<C: Callee>(&self, binding: &str) -> Result<Namespace<C>> {
        Namespace::open(binding).map_err(|error| namespace::context(binding, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_goes_away_is_no_error() {
        let gone = Error::from(BodyError::ReaderGone).context("while streaming");
        assert_eq!(background_level(&gone), log::Level::Debug);
        assert_eq!(
            background_level(&BodyError::Unfinished.into()),
            log::Level::Error
        );
    }
}
