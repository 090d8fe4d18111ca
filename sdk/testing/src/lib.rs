//! Tests of durable objects with plain `cargo test`: the real host inside the test.
//!
//! The compiled component runs in the very host that serves it in production, with
//! its storage, gates, alarms and sockets. What is exchanged is the world around it:
//! the network is a pipe, the disk is memory that can lose what was not synced, the
//! clock stands still, and chance follows from a seed.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use dormouse_testing::TestHost;
//!
//! #[test]
//! # fn hidden() {}
//! fn a_counter_counts_and_survives() {
//!     let host = TestHost::start();
//!     let alice = host.object("Counter", "alice");
//!     assert_eq!(alice.get("/").text(), "1\n");
//!     host.crash();
//!     assert_eq!(alice.get("/").text(), "2\n");
//!     host.advance(Duration::from_secs(60));
//!     assert!(!alice.is_awake());
//! }
//! ```
//!
//! In `Cargo.toml` of the guest, the host comes for tests only:
//!
//! ```toml
//! [dev-dependencies]
//! dormouse-testing = "0.1"
//! # The compiler of components, which is slow without optimization.
//! [profile.dev.package.cranelift-codegen]
//! opt-level = 2
//! ```
//!
//! # Nothing runs beside the test
//!
//! A host of a test has one thread: the test's own. While the test waits for a
//! response, everything goes on that can; when nothing can, what was written is
//! committed and its gates open. So every run takes the same course, a test never
//! sleeps, and waiting for what cannot come is a panic that says why instead of a
//! test that hangs: mostly the clock has to be moved first, see
//! [`Object::start_fetch`] and [`TestHost::advance`].
//!
//! # What to test
//!
//! | what | with |
//! |---|---|
//! | requests, several clients | [`Object::fetch`], [`Object::with_header`] |
//! | WebSockets, cut or slow | [`Object::connect`], [`Socket`] |
//! | time, alarms | [`TestHost::advance`], [`TestHost::run_next_alarm`], [`Object::next_alarm`] |
//! | sleep and reset | [`Object::evict`], [`Object::reset`], [`Object::is_awake`] |
//! | crashes, lost power, a full disk | [`TestHost::crash`], [`TestHost::cut_power`], [`TestHost::crash_at`], [`TestHost::limit_disk`] |
//! | recovery at every moment | [`for_every_crash_point`] |
//! | races | [`for_every_schedule`] |
//! | methods, as other objects call them | [`Object::call`] |
//! | the outside, failing or slow | [`TestHost::script`], [`TestHost::sent`] |
//! | worker and files | [`TestHost::client`] |
//! | several apps that call each other | [`Builder::app`], [`TestHost::app`] |
//! | what it keeps | [`Object::sql`], [`Object::kv`], [`Object::sockets`], [`TestHost::objects`] |
//! | what was logged | [`Object::logs`] |
//!
//! A test that fails prints the log of its host in order, keeps the databases of its
//! objects below `target`, and prints the commands that open them.

#![warn(missing_docs)]

mod app;
mod call;
mod client;
mod crash;
mod host;
mod http;
mod inspect;
mod logs;
mod object;
mod outcome;
mod outgoing;
mod pending;
mod schedule;
mod socket;

pub use call::CallError;
pub use client::Client;
pub use crash::{CrashAt, for_every_crash_point};
pub use dormouse::egress::{Reply, Sent};
pub use host::{Builder, TestHost};
pub use http::{Request, Response};
pub use inspect::{Listed, OpenSocket, Rows};
pub use logs::Record;
pub use object::Object;
pub use pending::Pending;
pub use schedule::for_every_schedule;
pub use socket::{Heard, Message, Socket};
