//! Socket: WebSockets, owned by the host and outliving the instance.
//!
//! `hub` holds the sockets of one object: tags, attachments; `line` is what waits
//! to be written on one of them. `pump` joins one connection and its object:
//! `reader` puts messages together, `writer` sends them, `message` and `deflate`
//! encode them. An instance only borrows all this, so sleep, reset and new code
//! close nothing. Events name what is here; nothing here names them. Frame heads and close codes are tungstenite's; the rest of the
//! protocol is here because no maintained library compresses within bounds and
//! keeps sleeping sockets small. Knows neither guest nor storage.

mod deflate;
mod hub;
mod line;
mod message;
mod pump;
mod reader;
mod writer;

pub use deflate::{Agreed, Deflate, negotiate};
pub use hub::{Error, Hub, OpenSocket, Owner, SocketId, SocketInfo, SocketState};
pub use message::{Close, Message, Outgoing, SocketEvent, SocketMessage};
pub use pump::{Deliver, Delivered, Packing, pump};
