//! The promises of the product, each proved at its door: real HTTP, compiled guests.
//!
//! One file per promise. `harness` builds the guests once, and starts hosts: a
//! [`harness::World`] inside the test with a clock that stands still, or a
//! [`harness::Process`], the real binary. No test sleeps: it moves the clock, or
//! asks again and again, within a bound, for what it waits for.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod harness;

mod admin;
mod alarms;
mod assets;
mod bank;
mod bodies;
mod calls;
mod chat;
mod classes;
mod command_line;
mod counter_survives;
mod deflate;
mod deploy;
mod deployments;
mod feed;
mod gates;
mod gigabyte;
mod idle;
mod interleaving;
mod kill_loop;
mod limits;
mod lobby;
mod log_records;
mod one_instance;
mod outgoing;
mod output_gate;
mod page;
mod pairs;
mod parallel;
mod refusals;
mod routing;
mod shutdown;
mod sockets;
mod sql;
mod standard;
mod test_kit;
mod time_travel;
mod tinybase;
mod tls;
mod tools;
mod traps;
mod turns;
mod worker;
