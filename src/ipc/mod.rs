//! The protocol between a backend and the engine: messages here, framing in `frame.rs`.
//!
//! One Unix-socket connection carries one request at a time. A request may be answered by [`Response::Need`]: the engine
//! lacks bytes that only the database has (payloads of buffered entries, delete vectors); the backend answers with
//! [`Request::Provide`] and the engine goes on. Closing the connection cancels whatever runs for it.

pub mod frame;
pub mod message;
