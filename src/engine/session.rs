//! What the engine keeps for one connection: its open scans.

use std::collections::HashMap;
use std::sync::Arc;

use super::scan::{Scan, ScanPart};
use super::{Engine, Provider};
use crate::error::{Error, ErrorKind, Result};
use crate::ipc::message::ScanRequest;
use crate::limits::MAX_OPEN_SCANS;

/// One connection. Whatever it holds is gone when it is dropped.
#[derive(Debug)]
pub struct Session {
    engine: Arc<Engine>,
    open: HashMap<u64, Scan>,
    /// The last number given out; numbers are never used again.
    last: u64,
}

impl Session {
    /// A connection that has nothing open.
    pub fn new(engine: Arc<Engine>) -> Self {
        Self { engine, open: HashMap::new(), last: 0 }
    }

    /// The engine.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Opens a scan: its number, and its first rows. An exhausted one is forgotten at once.
    ///
    /// # Errors
    /// As [`Engine::scan_open`]; `Exhausted` with [`MAX_OPEN_SCANS`] open.
    pub async fn scan_open(&mut self, request: ScanRequest, provider: &mut dyn Provider) -> Result<(u64, ScanPart)> {
        self.room()?;
        let (scan, part) = self.engine.scan_open(request, provider).await?;
        let number = self.number();
        if !part.exhausted {
            self.open.insert(number, scan);
        }
        Ok((number, part))
    }

    /// The next rows of a scan. One that fails is over.
    ///
    /// # Errors
    /// As [`Engine::scan_next`]; `NotFound` for a number that is not open.
    pub async fn scan_next(&mut self, number: u64, rows: u32) -> Result<ScanPart> {
        let mut scan = self
            .open
            .remove(&number)
            .ok_or_else(|| Error::new(ErrorKind::NotFound, format!("scan {number} is not open on this connection")))?;
        let part = self.engine.scan_next(&mut scan, rows).await?;
        if !part.exhausted {
            self.open.insert(number, scan);
        }
        Ok(part)
    }

    /// Forgets scans; unknown numbers are fine.
    pub fn close(&mut self, numbers: &[u64]) {
        for number in numbers {
            self.open.remove(number);
        }
    }

    fn room(&self) -> Result<()> {
        if self.open.len() < MAX_OPEN_SCANS {
            return Ok(());
        }
        let message = format!("this session has {MAX_OPEN_SCANS} index scans open, and more are not allowed");
        Err(Error::new(ErrorKind::Exhausted, message).with_hint("Close cursors that are not needed any more."))
    }

    fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }
}
