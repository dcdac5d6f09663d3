//! Writing an object while the checksum of each of its pages is computed.

use std::io::{self, Write};

use crate::cache::PAGE_BYTES;

/// Passes bytes on, and remembers the CRC32 of each page.
#[derive(Debug)]
pub struct PagedWriter<W> {
    to: W,
    len: u64,
    page: crc32fast::Hasher,
    crcs: Vec<u32>,
}

impl<W: Write> PagedWriter<W> {
    /// Nothing written.
    pub fn new(to: W) -> Self {
        Self { to, len: 0, page: crc32fast::Hasher::new(), crcs: Vec::new() }
    }

    /// Bytes so far.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// What was written to, and the checksum of each page: those of [`crate::cache::page_crcs`].
    pub fn finish(mut self) -> (W, Vec<u32>) {
        if !self.len.is_multiple_of(PAGE_BYTES as u64) {
            self.crcs.push(self.page.finalize());
        }
        (self.to, self.crcs)
    }
}

impl<W: Write> Write for PagedWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.to.write(bytes)?;
        let mut rest = &bytes[..count];
        while !rest.is_empty() {
            let room = PAGE_BYTES - (self.len % PAGE_BYTES as u64) as usize;
            let (now, later) = rest.split_at(room.min(rest.len()));
            self.page.update(now);
            self.len += now.len() as u64;
            if now.len() == room {
                self.crcs.push(std::mem::take(&mut self.page).finalize());
            }
            rest = later;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
mod tests;
