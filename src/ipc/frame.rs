//! Framing: 16 bytes of header, then the message in postcard.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 4 | magic `ELAC` |
//! | 4 | 1 | version of the framing |
//! | 5 | 1 | kind: 1 request, 2 response |
//! | 6 | 2 | reserved, 0 |
//! | 8 | 4 | length of the body, little endian |
//! | 12 | 4 | CRC32 of the body, little endian |
//!
//! No input makes anything here panic or allocate more than was received plus [`READ_CHUNK`].

use crate::error::{Error, ErrorKind, Result};
use crate::limits::MAX_FRAME_BYTES;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// First four bytes of every frame.
pub const MAGIC: [u8; 4] = *b"ELAC";
/// Version of the header; what the messages mean has its own, [`super::message::PROTOCOL_VERSION`].
pub const FRAME_VERSION: u8 = 1;
/// Bytes before the body.
pub const HEADER_BYTES: usize = 16;
/// Most bytes a [`Decoder`] makes room for at once: a length that lies costs no more than this.
pub const READ_CHUNK: usize = 256 << 10;

/// The direction of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// From a backend or worker to the engine.
    Request = 1,
    /// From the engine.
    Response = 2,
}

/// One message as a frame.
///
/// # Errors
/// `OutOfRange` when the message is larger than [`MAX_FRAME_BYTES`].
pub fn encode<T: Serialize>(kind: Kind, message: &T) -> Result<Vec<u8>> {
    let mut frame = postcard::to_extend(message, vec![0; HEADER_BYTES])
        .map_err(|e| Error::internal(format!("message cannot be encoded: {e}")))?;
    let length = frame.len() - HEADER_BYTES;
    if length > MAX_FRAME_BYTES {
        return Err(Error::new(
            ErrorKind::OutOfRange,
            format!("message of {length} bytes is larger than the limit of {MAX_FRAME_BYTES}"),
        ));
    }
    let length = u32::try_from(length).expect("invariant: MAX_FRAME_BYTES fits a u32");
    let (header, body) = frame.split_at_mut(HEADER_BYTES);
    let crc = crc32fast::hash(body);
    header[0..4].copy_from_slice(&MAGIC);
    header[4] = FRAME_VERSION;
    header[5] = kind as u8;
    header[8..12].copy_from_slice(&length.to_le_bytes());
    header[12..16].copy_from_slice(&crc.to_le_bytes());
    Ok(frame)
}

/// Collects the bytes of one frame after the other, whatever the pieces they arrive in.
///
/// Read into [`Decoder::space`], tell [`Decoder::advance`] how much came, then ask [`Decoder::take`]. It never asks for
/// bytes beyond the current frame.
#[derive(Debug)]
pub struct Decoder {
    kind: Kind,
    buffer: Vec<u8>,
    filled: usize,
    /// Bytes of the whole frame, once the header is there.
    total: Option<usize>,
}

impl Decoder {
    /// Accepts frames of `kind` only.
    pub fn new(kind: Kind) -> Self {
        Self { kind, buffer: Vec::new(), filled: 0, total: None }
    }

    /// True between frames: an end of the stream here is no loss.
    pub fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// Where the next bytes go; never empty unless [`Self::take`] has a frame to give.
    pub fn space(&mut self) -> &mut [u8] {
        let end = self.total.unwrap_or(HEADER_BYTES).min(self.filled.saturating_add(READ_CHUNK));
        if self.buffer.len() < end {
            self.buffer.resize(end, 0);
        }
        &mut self.buffer[self.filled..end]
    }

    /// `count` bytes of [`Self::space`] were filled.
    pub fn advance(&mut self, count: usize) {
        self.filled = self.buffer.len().min(self.filled.saturating_add(count));
    }

    /// The message, once its frame is complete; then the decoder is ready for the next frame.
    ///
    /// # Errors
    /// `Corrupt` when the bytes are no frame of ours; the stream is then useless and must be closed.
    pub fn take<T: DeserializeOwned>(&mut self) -> Result<Option<T>> {
        if self.total.is_none() {
            if self.filled < HEADER_BYTES {
                return Ok(None);
            }
            self.total = Some(HEADER_BYTES + self.body_length()?);
        }
        let total = self.total.unwrap_or(HEADER_BYTES);
        if self.filled < total {
            return Ok(None);
        }
        let body = &self.buffer[HEADER_BYTES..total];
        let expected = read_u32(&self.buffer, 12);
        let actual = crc32fast::hash(body);
        if expected != actual {
            return Err(corrupt(12, format!("checksum {expected:08x} expected, {actual:08x} found")));
        }
        let (message, rest) =
            postcard::take_from_bytes(body).map_err(|e| corrupt(HEADER_BYTES, format!("message is not valid: {e}")))?;
        if !rest.is_empty() {
            return Err(corrupt(total - rest.len(), format!("{} bytes after the message", rest.len())));
        }
        self.total = None;
        self.filled = 0;
        // A connection lives as long as a session: one large frame must not stay in its memory.
        if self.buffer.capacity() > READ_CHUNK {
            self.buffer = Vec::new();
        }
        Ok(Some(message))
    }

    fn body_length(&self) -> Result<usize> {
        let header = &self.buffer[..HEADER_BYTES];
        if header[0..4] != MAGIC {
            return Err(corrupt(0, "no frame of elacsym"));
        }
        if header[4] != FRAME_VERSION {
            return Err(corrupt(4, format!("framing version {} is not {FRAME_VERSION}", header[4])));
        }
        if header[5] != self.kind as u8 || header[6..8] != [0, 0] {
            return Err(corrupt(5, format!("kind {} is not {}", header[5], self.kind as u8)));
        }
        let length = read_u32(header, 8) as usize;
        if length > MAX_FRAME_BYTES {
            return Err(corrupt(8, format!("length {length} is above the limit of {MAX_FRAME_BYTES}")));
        }
        Ok(length)
    }
}

fn read_u32(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

fn corrupt(offset: usize, what: impl std::fmt::Display) -> Error {
    Error::corrupt("frame", offset as u64, what)
}

#[cfg(test)]
mod tests;
