//! A map that forgets what was used longest ago once its values weigh more than a budget.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Values by key within a budget of bytes. Values are cheap to clone (`Arc`); whoever holds one keeps it after it was
/// forgotten here, so a value larger than the budget works, it is only not remembered.
#[derive(Debug)]
pub struct Bounded<K, V> {
    inner: Mutex<Inner<K, V>>,
}

#[derive(Debug)]
struct Inner<K, V> {
    budget: usize,
    used: usize,
    clock: u64,
    slots: HashMap<K, Slot<V>>,
    /// By time of last use.
    order: BTreeMap<u64, K>,
}

#[derive(Debug)]
struct Slot<V> {
    value: V,
    bytes: usize,
    used_at: u64,
}

impl<K: Hash + Eq + Clone, V: Clone> Bounded<K, V> {
    /// An empty map with a budget in bytes.
    pub fn new(budget: usize) -> Self {
        let inner = Inner { budget, used: 0, clock: 0, slots: HashMap::new(), order: BTreeMap::new() };
        Self { inner: Mutex::new(inner) }
    }

    /// The value, which counts as used now.
    pub fn get(&self, key: &K) -> Option<V> {
        self.lock().get(key).map(|slot| slot.value.clone())
    }

    /// The same for a value that grows while it is used: it has the weight that `weigh` says from now on.
    pub fn get_weighed(&self, key: &K, weigh: impl Fn(&V) -> usize) -> Option<V> {
        let mut guard = self.lock();
        let inner = &mut *guard;
        let slot = inner.get(key)?;
        let (value, before) = (slot.value.clone(), slot.bytes);
        slot.bytes = weigh(&value);
        let now = slot.bytes;
        inner.used = inner.used - before + now;
        inner.shrink();
        Some(value)
    }

    /// Remembers a value of that weight, forgetting others as needed.
    pub fn insert(&self, key: K, value: V, bytes: usize) {
        let mut inner = self.lock();
        inner.remove(&key);
        if bytes > inner.budget {
            return;
        }
        inner.clock += 1;
        let used_at = inner.clock;
        inner.used += bytes;
        inner.order.insert(used_at, key.clone());
        inner.slots.insert(key, Slot { value, bytes, used_at });
        inner.shrink();
    }

    /// Forgets everything.
    pub fn clear(&self) {
        let mut inner = self.lock();
        inner.slots.clear();
        inner.order.clear();
        inner.used = 0;
    }

    /// Changes the budget.
    pub fn resize(&self, budget: usize) {
        let mut inner = self.lock();
        inner.budget = budget;
        inner.shrink();
    }

    /// Values and bytes held now.
    pub fn usage(&self) -> (usize, usize) {
        let inner = self.lock();
        (inner.slots.len(), inner.used)
    }

    fn lock(&self) -> MutexGuard<'_, Inner<K, V>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Hash + Eq + Clone, V> Inner<K, V> {
    fn get(&mut self, key: &K) -> Option<&mut Slot<V>> {
        let slot = self.slots.get_mut(key)?;
        self.clock += 1;
        self.order.remove(&slot.used_at);
        slot.used_at = self.clock;
        self.order.insert(self.clock, key.clone());
        Some(slot)
    }
}

impl<K: Hash + Eq, V> Inner<K, V> {
    fn remove(&mut self, key: &K) {
        if let Some(slot) = self.slots.remove(key) {
            self.order.remove(&slot.used_at);
            self.used -= slot.bytes;
        }
    }

    fn shrink(&mut self) {
        while self.used > self.budget
            && let Some((_, key)) = self.order.pop_first()
        {
            if let Some(slot) = self.slots.remove(&key) {
                self.used -= slot.bytes;
            }
        }
    }
}

#[cfg(test)]
mod tests;
