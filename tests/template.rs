//! The tests that `dormouse new` writes, run on the guest that it copies.

use dormouse_testing::{Builder, TestHost};

use crate::harness::guests;

/// What `TestHost::builder()` means in a new project.
fn new_project() -> Builder {
    TestHost::builder().component(guests::counter())
}

mod written {
    include!(concat!(env!("OUT_DIR"), "/template_tests.rs"));
}
