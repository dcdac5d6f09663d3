//! What the engine keeps for one connection: its open scans and scorers.

use std::collections::HashMap;
use std::sync::Arc;

use super::compact::Running;
use super::scan::{Scan, ScanPart};
use super::texts::Scorer;
use super::{Engine, Provider};
use crate::error::{Error, ErrorKind, Result};
use crate::ipc::message::{CompactRequest, CompactState, ScanRequest, ScorerRequest};
use crate::limits::MAX_OPEN_SCANS;

/// One connection. Whatever it holds is gone when it is dropped.
#[derive(Debug)]
pub struct Session {
    engine: Arc<Engine>,
    open: HashMap<u64, Open>,
    /// The last number given out; numbers are never used again.
    last: u64,
}

/// Scans, scorers and compactions share their numbers.
#[derive(Debug)]
enum Open {
    Scan(Box<Scan>),
    Scorer(Scorer),
    Compaction(Running),
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
        self.close(&request.close);
        self.room()?;
        let (scan, part) = self.engine.scan_open(request, provider).await?;
        let number = self.number();
        if !part.exhausted {
            self.open.insert(number, Open::Scan(Box::new(scan)));
        }
        Ok((number, part))
    }

    /// The next rows of a scan. One that fails is over.
    ///
    /// # Errors
    /// As [`Engine::scan_next`]; `NotFound` for a number that is not open.
    pub async fn scan_next(&mut self, number: u64, rows: u32) -> Result<ScanPart> {
        if !matches!(self.open.get(&number), Some(Open::Scan(_))) {
            return Err(not_open("scan", number));
        }
        // Taken out while it works: one whose request fails or is dropped is gone.
        let Some(Open::Scan(scan)) = self.open.remove(&number) else { return Err(not_open("scan", number)) };
        let (scan, part) = self.engine.scan_next(scan, rows).await?;
        if !part.exhausted {
            self.open.insert(number, Open::Scan(scan));
        }
        Ok(part)
    }

    /// Opens a scorer: its number.
    ///
    /// # Errors
    /// As [`Engine::scorer`]; `Exhausted` with [`MAX_OPEN_SCANS`] open.
    pub async fn scorer_open(&mut self, request: ScorerRequest, provider: &mut dyn Provider) -> Result<u64> {
        self.room()?;
        let scorer = self.engine.scorer(request, provider).await?;
        let number = self.number();
        self.open.insert(number, Open::Scorer(scorer));
        Ok(number)
    }

    /// Scores of texts.
    ///
    /// # Errors
    /// As [`Engine::score_texts`]; `NotFound` for a number that is not open.
    pub async fn score_texts(&self, number: u64, texts: Vec<String>) -> Result<Vec<f32>> {
        match self.open.get(&number) {
            Some(Open::Scorer(scorer)) => self.engine.score_texts(scorer, texts).await,
            _ => Err(not_open("scorer", number)),
        }
    }

    /// Starts a compaction: its number.
    ///
    /// # Errors
    /// `Exhausted` with [`MAX_OPEN_SCANS`] open.
    pub fn compact(&mut self, request: CompactRequest) -> Result<u64> {
        self.room()?;
        let number = self.number();
        self.open.insert(number, Open::Compaction(Engine::start_compaction(&self.engine, request)));
        Ok(number)
    }

    /// The state of a compaction, after its end or that many milliseconds. One that has ended is forgotten.
    ///
    /// # Errors
    /// Of [`Engine::compact`]; `NotFound` for a number that is not open.
    pub async fn compact_poll(&mut self, number: u64, wait_ms: u32) -> Result<CompactState> {
        let Some(Open::Compaction(running)) = self.open.get_mut(&number) else {
            return Err(not_open("compaction", number));
        };
        let state = running.poll(std::time::Duration::from_millis(wait_ms.into())).await;
        if !matches!(state, Ok(CompactState::Running(_))) {
            self.open.remove(&number);
        }
        state
    }

    /// Forgets scans and scorers, ends compactions; unknown numbers are fine.
    pub fn close(&mut self, numbers: &[u64]) {
        for number in numbers {
            self.open.remove(number);
        }
    }

    fn room(&self) -> Result<()> {
        if self.open.len() < MAX_OPEN_SCANS {
            return Ok(());
        }
        let message =
            format!("this session has {MAX_OPEN_SCANS} index scans and scorers open, and more are not allowed");
        Err(Error::new(ErrorKind::Exhausted, message).with_hint("Close cursors that are not needed any more."))
    }

    fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }
}

fn not_open(what: &str, number: u64) -> Error {
    Error::new(ErrorKind::NotFound, format!("{what} {number} is not open on this connection"))
}
