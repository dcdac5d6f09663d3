//! Building the index of one segment.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use super::layout::{
    ALIGN, CentroidRow, HEADER_CRC_AT, HEADER_LEN, MAGIC, SECTION_ENTRY_LEN, SECTIONS, SECTIONS_AT, VERSION,
};
use super::query::{divisor, prepare_row};
use crate::error::{Error, ErrorKind, Result};
use crate::vector::kmeans::{Codebook, Points, invert};
use crate::vector::rabitq::{BlockWriter, Factors, one_bit};
use crate::vector::random::Random;
use crate::vector::rotate::{Rotation, padded};
use crate::vector::simd::kernels;
use crate::vector::{Metric, parallel, validate, validate_dimension};

mod encode;
#[cfg(test)]
mod tests;

pub use encode::CodeSink;
use encode::encode_all;

/// Rows of one task of a pass over the rows.
const TASK_ROWS: usize = 1024;
/// A pass over rows that are not in memory holds one part in this many of what may be in memory.
const CHUNKS_IN_MEMORY: usize = 4;
/// Most rows of such a chunk: enough that what is set up for each costs nothing.
const MAX_CHUNK_ROWS: usize = 16 << 10;
/// Names the sequence of random numbers that chooses the sample.
const SAMPLE_STREAM: u64 = 5;

/// What [`build`] needs to know besides the vectors.
#[derive(Debug, Clone)]
pub struct BuildParams {
    /// How vectors are compared.
    pub metric: Metric,
    /// Dimensions of every vector, `1..=MAX_DIMENSIONS`.
    pub dim: usize,
    /// Seed of the rotation and of the training; the same input and seed give the same bytes.
    pub seed: u64,
    /// Threads to use (0 counts as 1); the bytes do not depend on it.
    pub threads: usize,
    /// About how many lists to make; `None` chooses by the number of rows.
    pub lists: Option<usize>,
}

/// The index of one segment, ready to be written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BuiltIndex {
    /// `order[ordinal]` = input row: the order in which the segment must store its rows. Within a list, input order.
    pub order: Vec<u32>,
    /// Everything needed before postings are read: rotation, mean, centroids, directory. Decoded by `Head::decode`.
    pub head: Vec<u8>,
    /// One-bit codes, list after list, in blocks of 32 rows.
    pub postings: Vec<u8>,
    /// 8-bit codes, one fixed-size record per ordinal.
    pub row_codes: Vec<u8>,
}

/// Lists for a number of rows: where bytes per probe and number of ranges balance (measured). Up to about 16k rows all
/// lists are probed anyway, and lists only make the codes more accurate.
fn default_lists(rows: usize) -> usize {
    let rows_per_list = match rows {
        0..=8_192 => 512,
        8_193..=200_000 => 256,
        200_001..=2_000_000 => 512,
        _ => 1_024,
    };
    rows.div_ceil(rows_per_list).max(1)
}

/// Where the vectors of a build come from. They are read several times, in parts.
pub trait VectorInput: Sync {
    /// Number of vectors.
    fn rows(&self) -> usize;

    /// Appends the values of a run of rows.
    ///
    /// # Errors
    /// Those of what it reads from.
    fn read(&self, rows: Range<usize>, out: &mut Vec<f32>) -> Result<()>;
}

struct InMemory<'a>(Points<'a>);

impl VectorInput for InMemory<'_> {
    fn rows(&self) -> usize {
        self.0.len()
    }

    fn read(&self, rows: Range<usize>, out: &mut Vec<f32>) -> Result<()> {
        out.extend_from_slice(&self.0.values[rows.start * self.0.dim..rows.end * self.0.dim]);
        Ok(())
    }
}

/// Builds the index of `vectors` (`n * dim` original values, row-major; `n` may be 0). Needs about as much memory again
/// as `vectors` takes. The result is the same for any number of threads and on any CPU.
///
/// Errors: `OutOfRange` for the dimension or more than `u32::MAX` rows, `Invalid` if the length is no multiple of `dim`,
/// a value is not finite, or (cosine) a row is all zeros.
pub fn build(params: &BuildParams, vectors: &[f32]) -> Result<BuiltIndex> {
    validate_dimension(params.dim)?;
    if !vectors.len().is_multiple_of(params.dim) {
        return Err(Error::invalid(format!(
            "{} values are no whole number of {}-dimensional vectors",
            vectors.len(),
            params.dim
        )));
    }
    build_from(params, &InMemory(Points { values: vectors, dim: params.dim }), usize::MAX)
}

/// As [`build`], of vectors that need not be in memory: besides the index it holds about `rows_in_memory` of them. Of more
/// the lists are trained on a sample of so many.
///
/// # Errors
/// As [`build`], and those of `input`.
pub fn build_from(params: &BuildParams, input: &dyn VectorInput, rows_in_memory: usize) -> Result<BuiltIndex> {
    let mut built = BuiltIndex::default();
    (built.order, built.head) = build_into(params, input, rows_in_memory, &mut built)?;
    Ok(built)
}

/// As [`build_from`], giving the codes to `sink` while they are made, so that besides about `rows_in_memory` vectors it holds 16
/// bytes for each row and the centroids. Returns order and head: see [`BuiltIndex`].
///
/// # Errors
/// As [`build_from`], and those of `sink`.
pub fn build_into(
    params: &BuildParams,
    input: &dyn VectorInput,
    rows_in_memory: usize,
    sink: &mut dyn CodeSink,
) -> Result<(Vec<u32>, Vec<u8>)> {
    let (metric, threads) = (params.metric, params.threads.max(1));
    validate_dimension(params.dim)?;
    let rows = u32::try_from(input.rows()).map_err(|_| {
        Error::new(ErrorKind::OutOfRange, format!("{} rows are too many for one segment", input.rows()))
    })?;
    let mean = mean(metric, params.dim, input, threads)?;
    let exponent = exponent(metric, params.dim, input, &mean, threads)?;
    let rotation = Rotation::new(padded(params.dim), params.seed);
    let rows_at_once = (rows_in_memory / CHUNKS_IN_MEMORY).clamp(TASK_ROWS, MAX_CHUNK_ROWS);
    let mut prepared =
        Prepared { metric, dim: params.dim, input, rotation, mean, exponent, threads, rows_at_once, values: None };
    if input.rows() <= rows_in_memory {
        let mut values = Vec::new();
        prepared.append(0..input.rows(), &mut values)?;
        prepared.values = Some(values);
    }
    let lists = train(params, &prepared, rows_in_memory)?;
    let spreads = encode_all(&prepared, &lists, sink)?;
    let head = write_head(params, rows, exponent, &prepared.rotation, &prepared.mean, &lists, &spreads);
    Ok((lists.members.concat(), head))
}

/// The rows as they are indexed: normalised, centred, scaled, padded, rotated.
struct Prepared<'a> {
    metric: Metric,
    dim: usize,
    input: &'a dyn VectorInput,
    rotation: Rotation,
    mean: Vec<f32>,
    exponent: i32,
    threads: usize,
    /// Of a pass over all of them.
    rows_at_once: usize,
    /// All of them, if they are in memory.
    values: Option<Vec<f32>>,
}

impl Prepared<'_> {
    /// Appends a run of rows.
    fn append(&self, rows: Range<usize>, out: &mut Vec<f32>) -> Result<()> {
        let (padded, start) = (self.rotation.padded(), out.len());
        out.resize(start + rows.len() * padded, 0.0);
        let failed = Mutex::new(None);
        parallel::for_chunks(self.threads, &mut out[start..], TASK_ROWS * padded, |task, chunk| {
            let first = rows.start + task * TASK_ROWS;
            let mut values = Vec::with_capacity(TASK_ROWS * self.dim);
            if let Err(error) = self.input.read(first..first + chunk.len() / padded, &mut values) {
                failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                return;
            }
            for (row, out) in values.chunks_exact(self.dim).zip(chunk.chunks_exact_mut(padded)) {
                prepare_row(self.metric, &self.rotation, &self.mean, self.exponent, row, out);
            }
        });
        failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }

    /// Some rows (ascending), in the calling thread.
    fn gather(&self, rows: impl Iterator<Item = usize>) -> Result<Vec<f32>> {
        let padded = self.rotation.padded();
        let (mut values, mut row_values) = (Vec::new(), Vec::with_capacity(self.dim));
        for row in rows {
            match &self.values {
                Some(all) => values.extend_from_slice(&all[row * padded..(row + 1) * padded]),
                None => {
                    row_values.clear();
                    self.input.read(row..row + 1, &mut row_values)?;
                    let start = values.len();
                    values.resize(start + padded, 0.0);
                    let out = &mut values[start..];
                    prepare_row(self.metric, &self.rotation, &self.mean, self.exponent, &row_values, out);
                }
            }
        }
        Ok(values)
    }
}

/// The rows of one task of a pass over the rows.
fn rows_of(task: usize, dim: usize, input: &dyn VectorInput) -> Result<Vec<f32>> {
    let mut values = Vec::with_capacity(TASK_ROWS * dim);
    input.read(task * TASK_ROWS..input.rows().min((task + 1) * TASK_ROWS), &mut values)?;
    Ok(values)
}

/// The mean of the rows as they are indexed (cosine: of unit vectors); zeros if there are none. Checks every row.
fn mean(metric: Metric, dim: usize, input: &dyn VectorInput, threads: usize) -> Result<Vec<f32>> {
    let parts = parallel::map(threads, input.rows().div_ceil(TASK_ROWS), |task| {
        let mut sums = vec![0.0f64; dim];
        for (i, row) in rows_of(task, dim, input)?.chunks_exact(dim).enumerate() {
            validate(row, dim, metric).map_err(|error| {
                error.with_detail(format!("the vector is row {} of the segment's input", task * TASK_ROWS + i))
            })?;
            let norm = divisor(metric, row);
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum += f64::from(*value) / norm;
            }
        }
        Ok(sums)
    });
    let mut sums = vec![0.0f64; dim];
    for part in parts {
        for (sum, value) in sums.iter_mut().zip(part?) {
            *sum += value;
        }
    }
    Ok(sums.into_iter().map(|sum| (sum / input.rows().max(1) as f64) as f32).collect())
}

/// The exponent of the power of two that brings the largest element, once centred, into [0.5, 1): squares can neither
/// overflow nor vanish.
fn exponent(metric: Metric, dim: usize, input: &dyn VectorInput, mean: &[f32], threads: usize) -> Result<i32> {
    let parts = parallel::map(threads, input.rows().div_ceil(TASK_ROWS), |task| {
        let mut largest = 0.0f64;
        for row in rows_of(task, dim, input)?.chunks_exact(dim) {
            let norm = divisor(metric, row);
            for (value, mean) in row.iter().zip(mean) {
                largest = largest.max((f64::from(*value) / norm - f64::from(*mean)).abs());
            }
        }
        Ok(largest)
    });
    let largest = parts.into_iter().collect::<Result<Vec<f64>>>()?;
    let largest = largest.into_iter().fold(0.0f64, f64::max);
    // The exponent field of the f64 itself; a difference of f32 values is never subnormal in f64, and below f32's
    // smallest value it is rounding noise of the mean.
    let exponent = ((largest.to_bits() >> 52) as i32) - 1022;
    Ok(if exponent < -149 { 0 } else { -exponent })
}

/// The lists of a segment.
struct Lists {
    /// Stored elements of the centroids.
    elements: Vec<u8>,
    /// (middle, step) of every centroid.
    scales: Vec<(f32, f32)>,
    /// Values of the centroids as stored, row-major.
    centroids: Vec<f32>,
    /// Rows of every list, ascending; no list is empty.
    members: Vec<Vec<u32>>,
}

fn train(params: &BuildParams, prepared: &Prepared<'_>, rows_in_memory: usize) -> Result<Lists> {
    let (dim, rows, threads) = (prepared.rotation.padded(), prepared.input.rows(), prepared.threads);
    let mut lists = Lists { elements: Vec::new(), scales: Vec::new(), centroids: Vec::new(), members: Vec::new() };
    if rows == 0 {
        return Ok(lists);
    }
    let wanted = params.lists.unwrap_or_else(|| default_lists(rows)).clamp(1, rows);
    let mut book = match &prepared.values {
        Some(values) => Codebook::train(&Points { values, dim }, wanted, params.seed, threads),
        None => {
            let sample = Random::new(params.seed, SAMPLE_STREAM).sample(rows, rows_in_memory.max(1));
            let values = prepared.gather(sample.into_iter())?;
            Codebook::train(&Points { values: &values, dim }, wanted, params.seed, threads)
        }
    };
    let (mut elements, mut values) = (Vec::new(), Vec::new());
    let mut scales = Vec::with_capacity(book.len());
    for centroid in book.centroids.chunks_exact_mut(dim) {
        let start = elements.len();
        let (middle, step) = CentroidRow::quantise(centroid, &mut elements);
        let row = CentroidRow { elements: &elements[start..], middle, step, norm: 0.0, spread: 0.0 };
        row.values(&mut values);
        centroid.copy_from_slice(&values);
        scales.push((middle, step));
    }
    // Only now are rows assigned for good: to the centroids as stored.
    let assigned = match &prepared.values {
        Some(values) => book.assign(&Points { values, dim }, threads),
        None => {
            let mut assigned = Vec::with_capacity(rows);
            let mut values = Vec::new();
            while assigned.len() < rows {
                values.clear();
                prepared.append(assigned.len()..rows.min(assigned.len() + prepared.rows_at_once), &mut values)?;
                assigned.extend(book.assign(&Points { values: &values, dim }, threads));
            }
            assigned
        }
    };
    let members = invert(&assigned, book.len());
    for (list, members) in members.into_iter().enumerate() {
        if !members.is_empty() {
            lists.elements.extend_from_slice(&elements[list * dim..(list + 1) * dim]);
            lists.scales.push(scales[list]);
            lists.centroids.extend_from_slice(&book.centroids[list * dim..(list + 1) * dim]);
            lists.members.push(members);
        }
    }
    Ok(lists)
}

/// One-bit codes of the centroids themselves, as rows of a list around the mean: for ranking the lists.
fn centroid_blocks(metric: Metric, lists: &Lists, padded: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = BlockWriter::new(padded);
    let origin = vec![0.0; padded];
    let mut code = Vec::with_capacity(padded);
    for centroid in lists.centroids.chunks_exact(padded) {
        let factors: Factors = one_bit(metric, centroid, &origin, &mut code);
        writer.push(&code, &factors, &mut out);
    }
    writer.finish(&mut out);
    out
}

fn write_head(
    params: &BuildParams,
    rows: u32,
    exponent: i32,
    rotation: &Rotation,
    mean: &[f32],
    lists: &Lists,
    spreads: &[f32],
) -> Vec<u8> {
    let padded = rotation.padded();
    let mut centroid_rows = Vec::new();
    for (list, centroid) in lists.centroids.chunks_exact(padded).enumerate() {
        centroid_rows.extend_from_slice(&lists.elements[list * padded..(list + 1) * padded]);
        let (middle, step) = lists.scales[list];
        let norm = (kernels().dot)(centroid, centroid) as f32;
        for value in [middle, step, norm, spreads[list]] {
            centroid_rows.extend_from_slice(&value.to_le_bytes());
        }
    }
    let sections: [Vec<u8>; SECTIONS] = [
        rotation.signs().to_vec(),
        mean.iter().flat_map(|value| value.to_le_bytes()).collect(),
        centroid_blocks(params.metric, lists, padded),
        centroid_rows,
        lists.members.iter().flat_map(|members| (members.len() as u32).to_le_bytes()).collect(),
    ];
    let mut header = vec![0u8; HEADER_LEN];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &MAGIC);
    put(4, &VERSION.to_le_bytes());
    put(8, &[params.metric.code()]);
    put(16, &(params.dim as u32).to_le_bytes());
    put(20, &(padded as u32).to_le_bytes());
    put(24, &u64::from(rows).to_le_bytes());
    put(32, &(lists.members.len() as u32).to_le_bytes());
    put(36, &exponent.to_le_bytes());
    put(40, &params.seed.to_le_bytes());
    let mut end = HEADER_LEN;
    for (i, section) in sections.iter().enumerate() {
        let start = end.next_multiple_of(ALIGN);
        let entry = SECTIONS_AT + i * SECTION_ENTRY_LEN;
        put(entry, &(start as u64).to_le_bytes());
        put(entry + 8, &(section.len() as u64).to_le_bytes());
        put(entry + 16, &crc32fast::hash(section).to_le_bytes());
        end = start + section.len();
    }
    let crc = crc32fast::hash(&header[..HEADER_CRC_AT]);
    header[HEADER_CRC_AT..].copy_from_slice(&crc.to_le_bytes());
    let mut head = header;
    for section in sections {
        head.resize(head.len().next_multiple_of(ALIGN), 0);
        head.extend_from_slice(&section);
    }
    head
}
