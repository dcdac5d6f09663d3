//! Fetches under way: of concurrent readers of one block one fetches it and the others wait.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::watch;

use super::BlockKey;

/// None while under way. The sender goes away without a value when the fetch failed or was cancelled.
type Landing = Option<Bytes>;

#[derive(Debug, Clone, Default)]
pub(super) struct Flights {
    under_way: Arc<Mutex<HashMap<BlockKey, watch::Receiver<Landing>>>>,
}

/// The answer to "who fetches this block?".
#[derive(Debug)]
pub(super) enum Claim {
    /// The caller does. Dropping the flight without landing it lets somebody else try.
    Mine(Flight),
    /// Somebody else does.
    Other(Wait),
}

/// The right and duty to fetch one block.
#[derive(Debug)]
pub(super) struct Flight {
    flights: Flights,
    key: BlockKey,
    sender: watch::Sender<Landing>,
}

/// A fetch of somebody else.
#[derive(Debug)]
pub(super) struct Wait {
    receiver: watch::Receiver<Landing>,
}

impl Flights {
    pub(super) fn claim(&self, key: BlockKey) -> Claim {
        match self.lock().entry(key) {
            Entry::Occupied(other) => Claim::Other(Wait { receiver: other.get().clone() }),
            Entry::Vacant(free) => {
                let (sender, receiver) = watch::channel(None);
                free.insert(receiver);
                Claim::Mine(Flight { flights: self.clone(), key, sender })
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<BlockKey, watch::Receiver<Landing>>> {
        // The map is consistent between any two of its operations, whoever panicked.
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Flight {
    /// Hands the block to everybody who waits. It must be in the cache already, so that later readers find it there.
    pub(super) fn land(self, bytes: Bytes) {
        self.sender.send_replace(Some(bytes));
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.flights.lock().remove(&self.key);
    }
}

impl Wait {
    /// The block, or none if the fetch failed: then claim again.
    pub(super) async fn landed(mut self) -> Option<Bytes> {
        self.receiver.wait_for(Option::is_some).await.ok().and_then(|landing| landing.clone())
    }
}

#[cfg(test)]
mod tests;
