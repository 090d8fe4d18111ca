//! The promises of the product, each proved at its door: real HTTP, compiled guests.
//!
//! One file per promise. `harness` builds the guests once, and starts hosts: a
//! [`harness::World`] inside the test with a clock that stands still, or a
//! [`harness::Process`], the real binary. No test sleeps: it moves the clock, or
//! asks again and again, within a bound, for what it waits for.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod harness;

mod admin;
mod admin_sql;
mod admin_tls;
mod alarms;
mod apps;
mod assets;
mod backup;
mod bank;
mod bindings;
mod bodies;
mod calls;
mod chat;
mod classes;
mod command_line;
mod counter_survives;
mod crowds;
mod dashboard;
mod deflate;
mod deploy;
mod deployments;
mod feed;
mod gates;
mod gigabyte;
mod guests;
mod guide;
mod held;
mod idle;
mod interleaving;
mod kill_loop;
mod kit;
mod limits;
mod lobby;
mod log_records;
mod methods;
mod migrations;
mod neighbours;
mod one_instance;
mod outgoing;
mod outgoing_tls;
mod output_gate;
mod page;
mod pairs;
mod parallel;
mod refusals;
mod rollout;
mod routing;
mod shutdown;
mod sockets;
mod sql;
mod standard;
mod stores;
mod template;
mod test_command;
mod test_kit;
mod time_travel;
mod tinybase;
mod tls;
mod tools;
mod traces;
mod traps;
mod travel;
mod turns;
mod versions;
mod worker;
