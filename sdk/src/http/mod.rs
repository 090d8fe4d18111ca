//! Requests, responses and their bodies.
//!
//! Names and values are those of the [`http`](https://docs.rs/http) crate,
//! re-exported here.

mod body;
mod request;
mod response;

pub use body::{Body, BodyError, BodyWriter};
pub use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
pub use request::Request;
pub use response::Response;
