//! Socket: WebSockets, owned by the host and outliving the instance.
//!
//! `hub` holds the sockets of one object: tags, attachments, queues; `pump` moves
//! frames between one connection and its object. An instance only borrows both,
//! so sleep, reset and new code close nothing. Knows neither guest nor storage.

mod hub;
mod pump;

pub use hub::{Error, Hub, MAX_MESSAGE_BYTES, OpenSocket, SocketId, SocketInfo, SocketState};
pub use pump::{Deliver, pump};
