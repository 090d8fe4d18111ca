//! Server: the public door. HTTP/1.1 and HTTP/2 in, events out.
//!
//! `listen` accepts and ends connections (`tls` if asked for), `front` finds the app, `ingress` turns a request into an event
//! for an object, `body` carries bodies both ways, `reply` and `problem` turn what
//! comes back into a response. Knows axum and hyper; neither wasm, nor SQL, nor
//! whether an object is awake.

mod assets;
mod body;
mod front;
mod ingress;
mod listen;
mod method;
mod problem;
mod reply;
mod tls;
mod upgrade;

pub use assets::Assets;
pub use front::{Behind, Front, Route, Routing};
pub use ingress::Door;
pub use listen::{Listening, Serve, Server};
pub(crate) use problem::Problem;
pub use tls::{Error as TlsError, Tls};

/// What a client may send.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// One more byte is answered with 413.
    pub request_body_bytes: u64,
    /// Names and values together; more is answered with 431.
    pub request_header_bytes: usize,
    /// Requests of all clients whose answers have not begun; one more gets 503.
    pub concurrent_requests: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_body_bytes: 100 << 20,
            request_header_bytes: 64 << 10,
            concurrent_requests: 10_000,
        }
    }
}
