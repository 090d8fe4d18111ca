//! Hub: the sockets of one object.
//!
//! Shared by the guest's imports (which ask and queue), the object's output gate
//! (which lets frames go) and the pumps (which write them). Lives as long as the
//! object is awake or has a socket. Frames wait at two places: behind the gate,
//! then in the socket's line; both count as buffered. Sizes are bytes of payload.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::line::Line;
use super::message::{Close, Message, Outgoing};

use crate::id::ObjectName;

const MAX_SOCKETS: usize = 32_768;
const MAX_TAGS: usize = 10;
const MAX_TAG_BYTES: usize = 256;
const MAX_ATTACHMENT_BYTES: usize = 16_384;
const MAX_AUTO_RESPONSE_BYTES: usize = 2_048;
const MAX_REASON_BYTES: usize = 123;
pub(super) const MAX_MESSAGE_BYTES: usize = 32 << 20;
/// A reader this far behind is closed with 1013; one message always fits.
const MAX_BUFFERED_BYTES: u64 = 16 << 20;
const MAX_EVENT_TIMEOUT: Duration = Duration::from_millis(604_800_000);

/// Unique within an object as long as the host runs.
pub type SocketId = u64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketState {
    Open,
    Closing,
    Closed,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    #[error("{0}")]
    Limit(String),
    #[error("the socket is closed")]
    Closed,
    #[error("{0}")]
    Invalid(String),
}

/// The object that took a socket.
#[derive(Clone, Debug)]
pub struct Owner {
    pub app: Arc<str>,
    pub class: Arc<str>,
    pub object: ObjectName,
}

#[derive(Debug, Default)]
pub struct Hub(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    next: SocketId,
    sockets: BTreeMap<SocketId, Entry>,
    auto_response: Option<AutoResponse>,
    event_timeout: Option<Duration>,
}

#[derive(Debug)]
struct AutoResponse {
    request: String,
    response: String,
    encoded: Message,
}

#[derive(Debug)]
struct Entry {
    tags: Vec<String>,
    attachment: Option<Vec<u8>>,
    state: SocketState,
    line: Arc<Line>,
    auto_response_at: Option<Duration>,
}

/// One socket, for an operator.
#[derive(Clone, Debug)]
pub struct SocketInfo {
    pub id: SocketId,
    pub tags: Vec<String>,
    pub state: SocketState,
    /// Bytes that wait for the reader.
    pub buffered_bytes: u64,
    pub attachment_bytes: usize,
    /// When the auto-response last answered, since 1970.
    pub auto_response_at: Option<Duration>,
}

/// The pump's end of a socket; dropping it removes the socket.
#[derive(Debug)]
pub struct OpenSocket {
    pub id: SocketId,
    /// Whose it is. Not always the object that the client asked: a request can be
    /// passed on.
    pub owner: Arc<Owner>,
    pub(super) hub: Arc<Hub>,
    pub(super) line: Arc<Line>,
}

impl Hub {
    /// Takes a socket in; frames queue until a pump carries them.
    pub fn accept(
        self: &Arc<Self>,
        owner: Owner,
        tags: Vec<String>,
        attachment: Option<Vec<u8>>,
    ) -> Result<OpenSocket, Error> {
        let tags = checked_tags(tags)?;
        check_attachment(attachment.as_deref())?;
        let mut state = self.lock();
        if state.sockets.len() >= MAX_SOCKETS {
            return Err(Error::Limit(format!(
                "only {MAX_SOCKETS} websockets can be accepted on a single object"
            )));
        }
        let id = state.next;
        state.next += 1;
        let line = Arc::new(Line::default());
        let entry = Entry {
            tags,
            attachment,
            state: SocketState::Open,
            line: line.clone(),
            auto_response_at: None,
        };
        state.sockets.insert(id, entry);
        Ok(OpenSocket {
            id,
            owner: Arc::new(owner),
            hub: self.clone(),
            line,
        })
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lock().sockets.is_empty()
    }

    /// Sockets that are not closed, oldest first.
    #[must_use]
    pub fn list(&self, tag: Option<&str>) -> Vec<SocketId> {
        let state = self.lock();
        let sockets = state.sockets.iter();
        let wanted = sockets.filter(|(_, entry)| tag.is_none_or(|tag| entry.has(tag)));
        wanted.map(|(id, _)| *id).collect()
    }

    /// Every socket, oldest first.
    #[must_use]
    pub fn describe(&self) -> Vec<SocketInfo> {
        let state = self.lock();
        let sockets = state.sockets.iter();
        sockets.map(|(id, entry)| entry.describe(*id)).collect()
    }

    #[must_use]
    pub fn state(&self, id: SocketId) -> SocketState {
        let state = self.lock();
        let entry = state.sockets.get(&id);
        entry.map_or(SocketState::Closed, |entry| entry.state)
    }

    #[must_use]
    pub fn tags(&self, id: SocketId) -> Vec<String> {
        let state = self.lock();
        let entry = state.sockets.get(&id);
        entry.map_or_else(Vec::new, |entry| entry.tags.clone())
    }

    pub fn set_tags(&self, id: SocketId, tags: Vec<String>) -> Result<(), Error> {
        let tags = checked_tags(tags)?;
        self.entry(id, |entry| entry.tags = tags)
    }

    #[must_use]
    pub fn attachment(&self, id: SocketId) -> Option<Vec<u8>> {
        self.lock().sockets.get(&id)?.attachment.clone()
    }

    pub fn set_attachment(&self, id: SocketId, bytes: Option<Vec<u8>>) -> Result<(), Error> {
        check_attachment(bytes.as_deref())?;
        self.entry(id, |entry| entry.attachment = bytes)
    }

    #[must_use]
    pub fn buffered(&self, id: SocketId) -> u64 {
        let state = self.lock();
        let entry = state.sockets.get(&id);
        entry.map_or(0, |entry| entry.line.buffered())
    }

    #[must_use]
    pub fn auto_response_at(&self, id: SocketId) -> Option<Duration> {
        self.lock().sockets.get(&id)?.auto_response_at
    }

    pub fn set_auto_response(&self, pair: Option<(String, String)>) -> Result<(), Error> {
        if let Some((request, response)) = &pair
            && request.len().max(response.len()) > MAX_AUTO_RESPONSE_BYTES
        {
            return Err(Error::Limit(format!(
                "an auto-response has at most {MAX_AUTO_RESPONSE_BYTES} bytes on each side"
            )));
        }
        self.lock().auto_response = pair.map(|(request, response)| AutoResponse {
            request,
            encoded: Message::text(response.clone()),
            response,
        });
        Ok(())
    }

    #[must_use]
    pub fn auto_response(&self) -> Option<(String, String)> {
        let state = self.lock();
        let pair = state.auto_response.as_ref()?;
        Some((pair.request.clone(), pair.response.clone()))
    }

    /// How long a handler of a socket's event may take; `None`: for ever.
    #[must_use]
    pub fn event_timeout(&self) -> Option<Duration> {
        self.lock().event_timeout
    }

    pub fn set_event_timeout(&self, timeout: Option<Duration>) -> Result<(), Error> {
        if timeout.is_some_and(|timeout| timeout.is_zero() || timeout > MAX_EVENT_TIMEOUT) {
            return Err(Error::Limit(format!(
                "an event time-out is 1 to {} ms",
                MAX_EVENT_TIMEOUT.as_millis()
            )));
        }
        self.lock().event_timeout = timeout;
        Ok(())
    }

    /// The answer to a frame that the object need not see.
    pub(super) fn auto_answer(&self, id: SocketId, text: &str, now: Duration) -> Option<Message> {
        let mut state = self.lock();
        let pair = state.auto_response.as_ref()?;
        if pair.request != text {
            return None;
        }
        let answer = pair.encoded.clone();
        state.sockets.get_mut(&id)?.auto_response_at = Some(now);
        Some(answer)
    }

    /// Counts a message that the guest sends; it leaves with `transmit`.
    pub fn reserve(&self, id: SocketId, message: &Message) -> Result<(), Error> {
        if message.bytes() > MAX_MESSAGE_BYTES {
            return Err(Error::Limit(format!(
                "a message has at most {MAX_MESSAGE_BYTES} bytes; this one has {}",
                message.bytes()
            )));
        }
        let mut state = self.lock();
        let entry = state.sockets.get_mut(&id).ok_or(Error::Closed)?;
        entry.reserve(message.bytes() as u64)
    }

    /// Reserves one message for all sockets with a tag but one; who gets it.
    #[must_use]
    pub fn reserve_for_all(
        &self,
        message: &Message,
        tag: Option<&str>,
        except: Option<SocketId>,
    ) -> Vec<SocketId> {
        let mut state = self.lock();
        let bytes = message.bytes() as u64;
        let sockets = state.sockets.iter_mut();
        let wanted = sockets
            .filter(|(id, entry)| Some(**id) != except && tag.is_none_or(|tag| entry.has(tag)));
        let reached = wanted.filter_map(|(id, entry)| entry.reserve(bytes).ok().map(|()| *id));
        reached.collect()
    }

    /// Checks a close that the guest asks for; it leaves with `transmit`.
    /// `None`: the socket is closing or closed already.
    pub fn close(&self, id: SocketId, code: u16, reason: String) -> Result<Option<Close>, Error> {
        if !(1000..5000).contains(&code) || matches!(code, 1004 | 1005 | 1006 | 1015) {
            return Err(Error::Invalid(format!(
                "{code} is no close code to send; use 1000 or one of 3000 to 4999"
            )));
        }
        if reason.len() > MAX_REASON_BYTES {
            return Err(Error::Invalid(format!(
                "a close reason has at most {MAX_REASON_BYTES} bytes; this one has {}",
                reason.len()
            )));
        }
        let mut state = self.lock();
        let Some(entry) = state.sockets.get_mut(&id) else {
            return Ok(None);
        };
        if entry.state != SocketState::Open {
            return Ok(None);
        }
        entry.set_closing();
        let code = Some(code);
        Ok(Some(Close { code, reason }))
    }

    /// Hands a frame to the pump, now that the commits before it are durable.
    pub fn transmit(&self, id: SocketId, outgoing: Outgoing) {
        if let Some(entry) = self.lock().sockets.get(&id) {
            entry.line.push(outgoing);
        }
    }

    /// The same, of one message for many.
    pub fn transmit_to_all(&self, ids: &[SocketId], message: &Message) {
        let state = self.lock();
        let lines = ids.iter().filter_map(|id| state.sockets.get(id));
        lines.for_each(|entry| entry.line.push(Outgoing::Message(message.clone())));
    }

    /// Closes every socket on the host's behalf.
    pub fn close_all(&self, code: u16, reason: &str) {
        for entry in self.lock().sockets.values_mut() {
            entry.close_at_once(code, reason);
        }
    }

    pub(super) fn set_closing(&self, id: SocketId) {
        // A socket that is gone is past closing.
        let _ = self.entry(id, Entry::set_closing);
    }

    pub(super) fn set_closed(&self, id: SocketId) {
        let _ = self.entry(id, |entry| entry.state = SocketState::Closed);
    }

    fn entry(&self, id: SocketId, change: impl FnOnce(&mut Entry)) -> Result<(), Error> {
        let mut state = self.lock();
        state.sockets.get_mut(&id).map(change).ok_or(Error::Closed)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn describe(&self, id: SocketId) -> SocketInfo {
        SocketInfo {
            id,
            tags: self.tags.clone(),
            state: self.state,
            buffered_bytes: self.line.buffered(),
            attachment_bytes: self.attachment.as_ref().map_or(0, Vec::len),
            auto_response_at: self.auto_response_at,
        }
    }

    fn has(&self, tag: &str) -> bool {
        self.tags.iter().any(|own| own == tag)
    }

    fn reserve(&mut self, bytes: u64) -> Result<(), Error> {
        if self.state != SocketState::Open {
            return Err(Error::Closed);
        }
        let before = self.line.buffered();
        if before > 0 && before + bytes > MAX_BUFFERED_BYTES {
            self.close_at_once(1013, "the reader is too slow");
            return Err(Error::Closed);
        }
        self.line.reserve(bytes);
        Ok(())
    }

    fn close_at_once(&mut self, code: u16, reason: &str) {
        self.set_closing();
        self.line.push(Outgoing::Close(Close {
            code: Some(code),
            reason: reason.to_owned(),
        }));
    }

    fn set_closing(&mut self) {
        self.state = SocketState::Closing;
        self.line.set_closing();
    }
}

impl Drop for OpenSocket {
    fn drop(&mut self) {
        self.hub.lock().sockets.remove(&self.id);
    }
}

fn checked_tags(tags: Vec<String>) -> Result<Vec<String>, Error> {
    let mut unique: Vec<String> = Vec::with_capacity(tags.len());
    for tag in tags {
        if tag.len() > MAX_TAG_BYTES {
            return Err(Error::Limit(format!(
                "a tag has at most {MAX_TAG_BYTES} bytes; one has {}",
                tag.len()
            )));
        }
        if !unique.contains(&tag) {
            unique.push(tag);
        }
    }
    if unique.len() > MAX_TAGS {
        return Err(Error::Limit(format!(
            "a socket has at most {MAX_TAGS} tags; here are {}",
            unique.len()
        )));
    }
    Ok(unique)
}

fn check_attachment(bytes: Option<&[u8]>) -> Result<(), Error> {
    match bytes.map_or(0, <[u8]>::len) {
        0..=MAX_ATTACHMENT_BYTES => Ok(()),
        bytes => Err(Error::Limit(format!(
            "an attachment has at most {MAX_ATTACHMENT_BYTES} bytes; this one has {bytes}"
        ))),
    }
}
