//! What every promise needs: guests, hosts, a client, the log.

mod client;
mod disk;
pub(crate) mod guests;
mod lines;
mod logs;
mod process;
mod wait;
mod web;
mod world;

pub(crate) use client::{Answer, Body, Client, Connection, Ran, empty, stream, whole};
pub(crate) use guests::{
    bank, chat, counter, feed, front, lobby, probe, reminder, root, tinybase, wasip3_worker,
    wstd_worker,
};
pub(crate) use logs::{Record, logs_of};
pub(crate) use process::{Process, Talker, app_folder, dormouse};
pub(crate) use wait::{bounded, eventually};
pub(crate) use web::{Script, has_browser};
pub(crate) use world::{World, app, probe_app, share_compiled_code};
