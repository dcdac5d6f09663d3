//! Time, randomness and identifiers: the only place of the engine that touches them, so that a test can fix all three.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ulid::Ulid;

/// Tells the time.
pub trait Clock: Send + Sync + Debug {
    /// Wall-clock time: for identifiers, ages and logs; may jump.
    fn now(&self) -> SystemTime;
    /// Time since a fixed point in the past: for durations and deadlines; never goes back.
    fn monotonic(&self) -> Duration;
}

/// Measures how long a thread has been at something, for giving way to others: nothing that is told to anybody depends on it.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// From now on.
    #[must_use]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Since then.
    #[must_use]
    pub fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

/// Draws numbers. Not for secrets.
pub trait Rng: Send + Sync + Debug {
    /// 64 evenly distributed bits.
    fn next_u64(&self) -> u64;

    /// A number in `[0, 1)`.
    fn unit(&self) -> f64 {
        // The top 53 bits are what an f64 holds exactly.
        (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Makes identifiers.
pub trait IdGen: Send + Sync + Debug {
    /// A fresh ULID: unique, and ordered by the millisecond it was made in.
    fn ulid(&self) -> Ulid;
}

/// The three together, cheap to clone.
#[derive(Debug, Clone)]
pub struct Env {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub rng: Arc<dyn Rng>,
    /// Identifiers.
    pub ids: Arc<dyn IdGen>,
}

impl Env {
    /// The real ones.
    pub fn system() -> Self {
        let entropy = Ulid::generate().random();
        Self {
            clock: Arc::new(SystemClock { start: Instant::now() }),
            rng: Arc::new(SplitMix::new((entropy ^ (entropy >> 64)) as u64)),
            ids: Arc::new(SystemIds),
        }
    }

    /// Repeatable ones for tests: time stands still at `start_ms` (milliseconds since the epoch) until
    /// [`FixedClock::advance`], numbers and identifiers follow from `seed`.
    pub fn fixed(seed: u64, start_ms: u64) -> (Self, Arc<FixedClock>) {
        let clock = Arc::new(FixedClock { start_ms, elapsed_us: AtomicU64::new(0) });
        let rng: Arc<dyn Rng> = Arc::new(SplitMix::new(seed));
        let ids = Arc::new(DerivedIds { clock: clock.clone(), rng: Arc::new(SplitMix::new(!seed)) });
        (Self { clock: clock.clone(), rng, ids }, clock)
    }

    /// Wall-clock milliseconds since the epoch.
    pub fn now_ms(&self) -> u64 {
        millis(self.clock.now())
    }
}

/// Milliseconds since the epoch; a time before it counts as 0.
pub fn millis(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

#[derive(Debug)]
struct SystemClock {
    start: Instant,
}

impl Clock for SystemClock {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}

#[derive(Debug)]
struct SystemIds;

impl IdGen for SystemIds {
    fn ulid(&self) -> Ulid {
        Ulid::generate()
    }
}

/// A clock that moves only when told.
#[derive(Debug)]
pub struct FixedClock {
    start_ms: u64,
    elapsed_us: AtomicU64,
}

impl FixedClock {
    /// Moves both times forward.
    pub fn advance(&self, by: Duration) {
        self.elapsed_us.fetch_add(u64::try_from(by.as_micros()).unwrap_or(u64::MAX), Ordering::SeqCst);
    }
}

impl Clock for FixedClock {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.start_ms) + self.monotonic()
    }

    fn monotonic(&self) -> Duration {
        Duration::from_micros(self.elapsed_us.load(Ordering::SeqCst))
    }
}

/// SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014): one atomic add a draw,
/// so threads share it without a lock.
#[derive(Debug)]
struct SplitMix {
    state: AtomicU64,
}

impl SplitMix {
    fn new(seed: u64) -> Self {
        Self { state: AtomicU64::new(seed) }
    }
}

impl Rng for SplitMix {
    fn next_u64(&self) -> u64 {
        const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut z = self.state.fetch_add(GAMMA, Ordering::Relaxed).wrapping_add(GAMMA);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[derive(Debug)]
struct DerivedIds {
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
}

impl IdGen for DerivedIds {
    fn ulid(&self) -> Ulid {
        let random = (u128::from(self.rng.next_u64()) << 64) | u128::from(self.rng.next_u64());
        Ulid::from_parts(millis(self.clock.now()), random)
    }
}

#[cfg(test)]
mod tests;
