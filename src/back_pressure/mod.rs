//! Back-pressure of the write buffer: how long a writer waits for room, when it is refused, and what a transaction has
//! written to the buffer and taken out of it. Pure: `pg::back_pressure` keeps the figures and does the waiting.
//!
//! A writer is delayed by what is committed: that a flush can take away, and the delay gives it the time. Rows of running
//! transactions, its own among them, no flush can take, and waiting for them would be waiting for oneself. The hard stop
//! counts them too, because they fill the disk as others do.

#[cfg(test)]
mod tests;

use std::time::Duration;

/// What a buffered entry takes beside its payload: tuple header and line pointer (28 bytes), fixed columns (up to 60), its
/// place in the index (24 to 40).
pub const ENTRY_OVERHEAD: u64 = 128;
/// Longest delay of one entry. So ten entries a second still pass each session: it is slow, and visibly not dead.
pub const MAX_DELAY: Duration = Duration::from_millis(100);
/// Delays are saved up to this before somebody sleeps: less than a timer can be trusted with is not worth a system call.
pub const MIN_WAIT: Duration = Duration::from_millis(5);

/// What an entry with a payload of so many bytes counts.
pub fn entry_bytes(payload: u64) -> u64 {
    payload.saturating_add(ENTRY_OVERHEAD)
}

/// The two limits, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Beyond it writers are delayed; 0: never.
    pub delay: u64,
    /// Beyond it they are refused; 0: never. Below `delay` it counts as `delay`.
    pub stop: u64,
}

impl Limits {
    /// How long one entry waits while so many bytes are committed and not flushed: proportional to the excess, up to
    /// [`MAX_DELAY`] at twice the limit, or at the hard limit where that is less.
    pub fn delay_at(self, committed: u64) -> Duration {
        let excess = committed.saturating_sub(self.delay);
        if self.delay == 0 || excess == 0 {
            return Duration::ZERO;
        }
        let room = match self.stop {
            0 => self.delay,
            stop => stop.saturating_sub(self.delay).min(self.delay),
        };
        let share = if excess >= room { 1.0 } else { excess as f64 / room as f64 };
        MAX_DELAY.mul_f64(share)
    }

    /// Whether another entry of so many bytes is refused while `buffered` are there, those of running transactions
    /// included.
    pub fn refuses(self, buffered: u64, entry: u64) -> bool {
        self.stop != 0 && buffered.saturating_add(entry) > self.stop.max(self.delay)
    }

    /// From here on everything that is buffered is due, whatever its number and age: before anybody has to wait.
    pub fn flush_all_from(self) -> u64 {
        match (self.delay, self.stop) {
            (0, 0) => u64::MAX,
            (0, stop) => stop / 2,
            (delay, _) => delay / 2,
        }
    }
}

/// What a transaction did to the buffer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Bytes it wrote.
    pub written: u64,
    /// Bytes it took out, its own among them.
    pub removed: u64,
}

/// A running transaction's bytes, by subtransaction, so that a savepoint's go with it. Numbers of subtransactions rise, and
/// those of a subtransaction's own ones lie above its own until it ends.
#[derive(Debug, Default)]
pub struct Ledger {
    parts: Vec<(u32, Totals)>,
}

impl Ledger {
    /// An empty one.
    pub const fn new() -> Self {
        Self { parts: Vec::new() }
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    fn part(&mut self, subtransaction: u32) -> &mut Totals {
        if self.parts.last().is_none_or(|(last, _)| *last != subtransaction) {
            self.parts.push((subtransaction, Totals::default()));
        }
        let last = self.parts.len() - 1;
        &mut self.parts[last].1
    }

    /// The running subtransaction wrote so much.
    pub fn write(&mut self, subtransaction: u32, bytes: u64) {
        self.part(subtransaction).written += bytes;
    }

    /// The running subtransaction took out so much.
    pub fn remove(&mut self, subtransaction: u32, bytes: u64) {
        self.part(subtransaction).removed += bytes;
    }

    /// A subtransaction is part of its parent from now on.
    pub fn merge(&mut self, subtransaction: u32, parent: u32) {
        let totals = self.cut(subtransaction);
        if totals != Totals::default() {
            let part = self.part(parent);
            part.written += totals.written;
            part.removed += totals.removed;
        }
    }

    /// A subtransaction was rolled back: what it and its own ones did is forgotten, and returned.
    pub fn cut(&mut self, subtransaction: u32) -> Totals {
        let mut totals = Totals::default();
        while let Some((_, part)) = self.parts.pop_if(|(number, _)| *number >= subtransaction) {
            totals.written += part.written;
            totals.removed += part.removed;
        }
        totals
    }

    /// The transaction is over: all that is left of it.
    pub fn end(&mut self) -> Totals {
        self.cut(0)
    }
}
