//! The protocol between a backend and the engine: messages here, framing in `frame.rs`.
//!
//! One Unix-socket connection carries one request at a time. A request may be answered by [`message::Response::Need`]:
//! the engine lacks bytes that only the database has (payloads of buffered entries, delete vectors); the backend answers
//! with [`message::Request::Provide`] and the engine goes on. Closing the connection cancels whatever runs for it.
//! `docs/protocol.md` describes the bytes and the order of frames.

pub mod activity;
pub mod frame;
pub mod message;
pub mod reply;
#[cfg(feature = "engine")]
pub mod server;
