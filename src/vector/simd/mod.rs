//! The hot loops, one implementation per instruction set, chosen once at run time.
//!
//! Every implementation of a kernel gives the same bits: integer kernels are exact, and float kernels fix the number of
//! partial sums and the order of the additions and never fuse a multiplication with an addition. So an index built on
//! one machine has the same bytes on any other, and a search the same results.
//!
//! This is the only module outside `pg/` with `unsafe` code.

use std::sync::atomic::{AtomicUsize, Ordering};

#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(test)]
pub(crate) mod tests;

/// Vectors of one FastScan block: two halves of 16, the lanes of one byte shuffle.
pub const BLOCK: usize = 32;

/// Dimensions that one nibble of a FastScan code covers.
pub const NIBBLE_DIMS: usize = 4;

/// Rows of the tile that [`Kernels::tile`] computes.
pub const TILE_ROWS: usize = 4;

/// Columns of the tile that [`Kernels::tile`] computes.
pub const TILE_COLUMNS: usize = 16;

/// Partial sums of the f64 reductions ([`Kernels::dot`] and its relatives).
const LANES: usize = 16;

/// Factors of one FastScan block, structure of arrays, as stored behind its codes.
#[derive(Debug, Clone, Copy)]
pub struct BlockFactors<'a> {
    /// Additive term of every vector.
    pub add: &'a [f32; BLOCK],
    /// Factor of the inner product of every vector.
    pub rescale: &'a [f32; BLOCK],
    /// Relative error of every vector, in units of 1/255, rounded up.
    pub error: &'a [u8; BLOCK],
}

/// What is the same for all vectors of a list when sums become estimates.
#[derive(Debug, Clone, Copy)]
pub struct ListTerms {
    /// Step of the lookup table: inner product = `step * sum + bias`.
    pub step: f32,
    /// See `step`.
    pub bias: f32,
    /// Added to every estimate.
    pub add: f32,
    /// Factor of [`BlockFactors::add`].
    pub multiply_add: f32,
    /// Half width of the bound per `|rescale|` and unit of [`BlockFactors::error`].
    pub error: f32,
    /// Half width of the bound per `|rescale|` that every vector has (rounding of the lookup table).
    pub error_floor: f32,
}

/// Estimates of the vectors of one block.
#[derive(Debug, Clone)]
pub struct BlockEstimates {
    /// Estimated distance.
    pub estimate: [f32; BLOCK],
    /// Estimate less the half width of its bound.
    pub lower: [f32; BLOCK],
}

impl BlockEstimates {
    /// Zeros, to be overwritten.
    #[must_use]
    pub fn new() -> Self {
        Self { estimate: [0.0; BLOCK], lower: [0.0; BLOCK] }
    }
}

impl Default for BlockEstimates {
    fn default() -> Self {
        Self::new()
    }
}

/// One implementation of every kernel.
///
/// # Panics
/// The kernels panic if slices are shorter than their contract says; none reads outside its slices.
pub struct Kernels {
    /// `portable`, `avx2` or `neon`.
    pub name: &'static str,
    /// Inner product of two vectors of equal length; f64 partial sums.
    pub dot: fn(&[f32], &[f32]) -> f64,
    /// Squared Euclidean distance of two vectors of equal length; f64 partial sums.
    pub l2_squared: fn(&[f32], &[f32]) -> f64,
    /// (inner product of the two, squared norm of the second); f64 partial sums.
    pub dot_and_norm: fn(&[f32], &[f32]) -> (f64, f64),
    /// `tile(a, depth, panel, out)`: inner products of [`TILE_ROWS`] rows (`a` = rows of `depth` values, contiguous)
    /// with [`TILE_COLUMNS`] columns (`panel[depth][TILE_COLUMNS]`), `out[row][column]`; sums run over `depth` in order.
    pub tile: fn(&[f32], usize, &[f32], &mut [f32; TILE_ROWS * TILE_COLUMNS]),
    /// FastScan: sums over all nibbles of the table entries that the codes of 32 vectors select. `codes` and `table`
    /// are `16 * groups` bytes; `table[g][v]` belongs to value `v` of nibble `g`; byte `j` of group `g` of `codes` has
    /// the nibble of vector `j` low and of vector `j + 16` high. `groups` is even.
    pub fast_scan: fn(&[u8], &[u8], &mut [u32; BLOCK]),
    /// Sums to estimates; returns the mask of vectors whose lower bound is not above the threshold (NaN counts as not
    /// above: a doubtful vector stays in).
    pub estimate: fn(&[u32; BLOCK], &BlockFactors<'_>, &ListTerms, f32, &mut BlockEstimates) -> u32,
    /// Inner product of an 8-bit row code (two's complement) with a 16-bit query, equal lengths, a multiple of 64.
    pub code_dot: fn(&[u8], &[i16]) -> i64,
}

impl std::fmt::Debug for Kernels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Kernels({})", self.name)
    }
}

/// 0 = not looked yet, otherwise 1 + index in [`available`].
static CHOSEN: AtomicUsize = AtomicUsize::new(0);

/// What this build knows, slowest first; a build for a third architecture has the portable ones only.
#[cfg(target_arch = "x86_64")]
static KNOWN: [&Kernels; 2] = [&portable::KERNELS, &x86::KERNELS];
#[cfg(target_arch = "aarch64")]
static KNOWN: [&Kernels; 2] = [&portable::KERNELS, &neon::KERNELS];
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
static KNOWN: [&Kernels; 1] = [&portable::KERNELS];

/// The kernels that this CPU can run, the portable ones first, the fastest last.
#[must_use]
pub fn available() -> &'static [&'static Kernels] {
    #[cfg(target_arch = "x86_64")]
    let supported = x86::supported();
    #[cfg(target_arch = "aarch64")]
    let supported = neon::supported();
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let supported = false;
    if supported { &KNOWN } else { &KNOWN[..1] }
}

/// The kernels in use: the fastest that this CPU can run, unless [`force`] said otherwise.
#[must_use]
pub fn kernels() -> &'static Kernels {
    let available = available();
    let chosen = match CHOSEN.load(Ordering::Relaxed) {
        0 => {
            CHOSEN.store(available.len(), Ordering::Relaxed);
            available.len()
        }
        chosen => chosen,
    };
    available[chosen - 1]
}

/// For tests and benches: makes the kernels of this name (see [`available`]) the ones in use in the whole process, or,
/// with `None` or an unknown name, the fastest again. Harmless at any time, because all give the same bits.
pub fn force(name: Option<&str>) {
    let available = available();
    let position = available.iter().position(|kernels| Some(kernels.name) == name).unwrap_or(available.len() - 1);
    CHOSEN.store(position + 1, Ordering::Relaxed);
}

/// Adds the partial sums of a reduction in the one order that all implementations share.
fn sum_lanes(lanes: &[f64; LANES]) -> f64 {
    let mut quarter = [0.0; LANES / 4];
    for (i, sum) in quarter.iter_mut().enumerate() {
        *sum = (lanes[i] + lanes[i + 4]) + (lanes[i + 8] + lanes[i + 12]);
    }
    (quarter[0] + quarter[1]) + (quarter[2] + quarter[3])
}
