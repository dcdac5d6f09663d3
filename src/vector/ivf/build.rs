//! Building the index of one segment.

use super::layout::{
    ALIGN, CentroidRow, HEADER_CRC_AT, HEADER_LEN, MAGIC, SECTION_ENTRY_LEN, SECTIONS, SECTIONS_AT, VERSION,
};
use super::query::{divisor, prepare_row};
use crate::error::{Error, ErrorKind, Result};
use crate::vector::kmeans::{Codebook, Points, invert};
use crate::vector::rabitq::{BlockWriter, Factors, eight_bit, one_bit, row_len, write_row};
use crate::vector::rotate::{Rotation, padded};
use crate::vector::simd::kernels;
use crate::vector::{Metric, parallel, validate, validate_dimension};

#[cfg(test)]
mod tests;

/// Rows of one task of a pass over the rows.
const TASK_ROWS: usize = 1024;

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
#[derive(Debug, Clone, PartialEq, Eq)]
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

/// Builds the index of `vectors` (`n * dim` original values, row-major; `n` may be 0). Needs about as much memory again
/// as `vectors` takes. The result is the same for any number of threads and on any CPU.
///
/// Errors: `OutOfRange` for the dimension or more than `u32::MAX` rows, `Invalid` if the length is no multiple of `dim`,
/// a value is not finite, or (cosine) a row is all zeros.
pub fn build(params: &BuildParams, vectors: &[f32]) -> Result<BuiltIndex> {
    let (metric, dim, threads) = (params.metric, params.dim, params.threads.max(1));
    validate_dimension(dim)?;
    if !vectors.len().is_multiple_of(dim) {
        return Err(Error::invalid(format!(
            "{} values are no whole number of {dim}-dimensional vectors",
            vectors.len()
        )));
    }
    let input = Points { values: vectors, dim };
    let rows = u32::try_from(input.len())
        .map_err(|_| Error::new(ErrorKind::OutOfRange, format!("{} rows are too many for one segment", input.len())))?;
    let invalid = parallel::map(threads, input.len().div_ceil(TASK_ROWS), |task| {
        let rows = task * TASK_ROWS..input.len().min((task + 1) * TASK_ROWS);
        rows.into_iter().find_map(|row| Some((row, validate(input.row(row), dim, metric).err()?)))
    });
    if let Some((row, error)) = invalid.into_iter().flatten().next() {
        return Err(error.with_detail(format!("the vector is row {row} of the segment's input")));
    }

    let mean = mean(metric, &input, threads);
    let exponent = exponent(metric, &input, &mean, threads);
    let rotation = Rotation::new(padded(dim), params.seed);
    let padded = rotation.padded();
    let mut rotated = vec![0.0f32; input.len() * padded];
    parallel::for_chunks(threads, &mut rotated, TASK_ROWS * padded, |task, chunk| {
        for (i, out) in chunk.chunks_exact_mut(padded).enumerate() {
            prepare_row(metric, &rotation, &mean, exponent, input.row(task * TASK_ROWS + i), out);
        }
    });
    let points = Points { values: &rotated, dim: padded };

    let lists = train(params, &points, threads);
    let encoded = parallel::map(threads, lists.members.len(), |list| encode(metric, &points, &lists, list));
    let mut built = BuiltIndex { order: Vec::new(), head: Vec::new(), postings: Vec::new(), row_codes: Vec::new() };
    let mut spreads = Vec::with_capacity(encoded.len());
    for list in encoded {
        built.postings.extend_from_slice(&list.blocks);
        built.row_codes.extend_from_slice(&list.row_codes);
        spreads.push(list.spread);
    }
    built.order = lists.members.concat();
    built.head = write_head(params, rows, exponent, &rotation, &mean, &lists, &spreads);
    Ok(built)
}

/// The mean of the rows as they are indexed (cosine: of unit vectors); zeros if there are none.
fn mean(metric: Metric, input: &Points<'_>, threads: usize) -> Vec<f32> {
    let parts = parallel::map(threads, input.len().div_ceil(TASK_ROWS), |task| {
        let mut sums = vec![0.0f64; input.dim];
        for row in task * TASK_ROWS..input.len().min((task + 1) * TASK_ROWS) {
            let row = input.row(row);
            let norm = divisor(metric, row);
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum += f64::from(*value) / norm;
            }
        }
        sums
    });
    let mut sums = vec![0.0f64; input.dim];
    for part in parts {
        for (sum, value) in sums.iter_mut().zip(part) {
            *sum += value;
        }
    }
    sums.into_iter().map(|sum| (sum / input.len().max(1) as f64) as f32).collect()
}

/// The exponent of the power of two that brings the largest element, once centred, into [0.5, 1): squares can neither
/// overflow nor vanish.
fn exponent(metric: Metric, input: &Points<'_>, mean: &[f32], threads: usize) -> i32 {
    let largest = parallel::map(threads, input.len().div_ceil(TASK_ROWS), |task| {
        let mut largest = 0.0f64;
        for row in task * TASK_ROWS..input.len().min((task + 1) * TASK_ROWS) {
            let row = input.row(row);
            let norm = divisor(metric, row);
            for (value, mean) in row.iter().zip(mean) {
                largest = largest.max((f64::from(*value) / norm - f64::from(*mean)).abs());
            }
        }
        largest
    });
    let largest = largest.into_iter().fold(0.0f64, f64::max);
    // The exponent field of the f64 itself; a difference of f32 values is never subnormal in f64, and below f32's
    // smallest value it is rounding noise of the mean.
    let exponent = ((largest.to_bits() >> 52) as i32) - 1022;
    if exponent < -149 { 0 } else { -exponent }
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

fn train(params: &BuildParams, points: &Points<'_>, threads: usize) -> Lists {
    let dim = points.dim;
    let mut lists = Lists { elements: Vec::new(), scales: Vec::new(), centroids: Vec::new(), members: Vec::new() };
    if points.is_empty() {
        return lists;
    }
    let wanted = params.lists.unwrap_or_else(|| default_lists(points.len())).clamp(1, points.len());
    let mut book = Codebook::train(points, wanted, params.seed, threads);
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
    let members = invert(&book.assign(points, threads), book.len());
    for (list, members) in members.into_iter().enumerate() {
        if !members.is_empty() {
            lists.elements.extend_from_slice(&elements[list * dim..(list + 1) * dim]);
            lists.scales.push(scales[list]);
            lists.centroids.extend_from_slice(&book.centroids[list * dim..(list + 1) * dim]);
            lists.members.push(members);
        }
    }
    lists
}

/// The codes of one list.
struct EncodedList {
    blocks: Vec<u8>,
    row_codes: Vec<u8>,
    spread: f32,
}

fn encode(metric: Metric, points: &Points<'_>, lists: &Lists, list: usize) -> EncodedList {
    let padded = points.dim;
    let centroid = &lists.centroids[list * padded..(list + 1) * padded];
    let rows = &lists.members[list];
    let mut encoded =
        EncodedList { blocks: Vec::new(), row_codes: Vec::with_capacity(rows.len() * row_len(padded)), spread: 0.0 };
    let mut writer = BlockWriter::new(padded);
    let mut residual = vec![0.0; padded];
    let mut code = Vec::with_capacity(padded);
    let mut spread = 0.0;
    for row in rows {
        for ((out, value), centre) in residual.iter_mut().zip(points.row(*row as usize)).zip(centroid) {
            *out = value - centre;
        }
        spread += (kernels().dot)(&residual, &residual);
        let factors = one_bit(metric, &residual, centroid, &mut code);
        writer.push(&code, &factors, &mut encoded.blocks);
        let factors = eight_bit(metric, &residual, centroid, &mut code);
        write_row(&code, &factors, &mut encoded.row_codes);
    }
    writer.finish(&mut encoded.blocks);
    encoded.spread = (spread / rows.len() as f64) as f32;
    encoded
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
