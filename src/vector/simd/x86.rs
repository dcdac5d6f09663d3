//! AVX2. AVX-512 was measured to gain nothing for FastScan and too little elsewhere to carry a third version.

use std::arch::x86_64::{
    __m128i, __m256, __m256d, __m256i, _CMP_NGT_UQ, _mm_add_epi16, _mm_loadl_epi64, _mm_loadu_ps, _mm_loadu_si128,
    _mm_unpackhi_epi16, _mm_unpacklo_epi16, _mm256_add_epi16, _mm256_add_epi32, _mm256_add_pd, _mm256_add_ps,
    _mm256_and_ps, _mm256_and_si256, _mm256_castsi256_ps, _mm256_castsi256_si128, _mm256_cmp_ps, _mm256_cvtepi8_epi16,
    _mm256_cvtepi32_ps, _mm256_cvtepu8_epi32, _mm256_cvtepu16_epi32, _mm256_cvtps_pd, _mm256_extracti128_si256,
    _mm256_loadu_ps, _mm256_loadu_si256, _mm256_madd_epi16, _mm256_movemask_ps, _mm256_mul_pd, _mm256_mul_ps,
    _mm256_set1_epi8, _mm256_set1_epi32, _mm256_set1_ps, _mm256_setzero_pd, _mm256_setzero_ps, _mm256_setzero_si256,
    _mm256_shuffle_epi8, _mm256_slli_epi16, _mm256_srli_epi16, _mm256_storeu_pd, _mm256_storeu_ps, _mm256_storeu_si256,
    _mm256_sub_epi16, _mm256_sub_pd, _mm256_sub_ps,
};

use super::{BLOCK, BlockEstimates, BlockFactors, Kernels, LANES, ListTerms, TILE_COLUMNS, TILE_ROWS, sum_lanes};

pub(super) static KERNELS: Kernels = Kernels {
    name: "avx2",
    dot: |a, b| {
        // SAFETY: `super::available` lists this table only where `supported` found AVX2.
        unsafe { dot(a, b) }
    },
    l2_squared: |a, b| {
        // SAFETY: `super::available` lists this table only where `supported` found AVX2.
        unsafe { l2_squared(a, b) }
    },
    dot_and_norm: |a, b| {
        // SAFETY: `super::available` lists this table only where `supported` found AVX2.
        unsafe { dot_and_norm(a, b) }
    },
    tile: |a, depth, panel, out| {
        // SAFETY: `super::available` lists this table only where `supported` found AVX2.
        unsafe { tile(a, depth, panel, out) }
    },
    fast_scan: |codes, table, sums| {
        // SAFETY: `super::available` lists this table only where `supported` found AVX2.
        unsafe { fast_scan(codes, table, sums) }
    },
    estimate: |sums, factors, terms, threshold, out| {
        // SAFETY: `super::available` lists this table only where `supported` found AVX2.
        unsafe { estimate(sums, factors, terms, threshold, out) }
    },
    code_dot: |code, query| {
        // SAFETY: `super::available` lists this table only where `supported` found AVX2.
        unsafe { code_dot(code, query) }
    },
};

/// Whether this CPU can run [`KERNELS`].
pub(super) fn supported() -> bool {
    is_x86_feature_detected!("avx2")
}

/// Groups of nibbles whose sums a u16 holds: each of the two halves of a register sees every other group, and the two
/// are added as u16: 256 * 255 < 2^16.
const GROUPS_PER_FLUSH: usize = 256;

#[inline]
#[target_feature(enable = "avx2")]
fn load8(values: &[f32; 8]) -> __m256 {
    // SAFETY: the array has the 32 bytes that are read.
    unsafe { _mm256_loadu_ps(values.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn store8(values: &mut [f32; 8], register: __m256) {
    // SAFETY: the array has the 32 bytes that are written.
    unsafe { _mm256_storeu_ps(values.as_mut_ptr(), register) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn load32(bytes: &[u8; 32]) -> __m256i {
    // SAFETY: the array has the 32 bytes that are read; the load needs no alignment.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast::<__m256i>()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn load16(bytes: &[u8; 16]) -> __m128i {
    // SAFETY: the array has the 16 bytes that are read; the load needs no alignment.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast::<__m128i>()) }
}

/// Four of the sixteen lanes: `values[4 * i..4 * i + 4]` as f64.
#[inline]
#[target_feature(enable = "avx2")]
fn load_wide(values: &[f32; LANES], i: usize) -> __m256d {
    let values: &[f32; 4] = values[4 * i..].first_chunk().expect("invariant: i < 4");
    // SAFETY: the array has the 16 bytes that are read.
    let narrow = unsafe { _mm_loadu_ps(values.as_ptr()) };
    _mm256_cvtps_pd(narrow)
}

#[inline]
#[target_feature(enable = "avx2")]
fn to_lanes(registers: &[__m256d; 4]) -> [f64; LANES] {
    let mut lanes = [0.0; LANES];
    for (lanes, register) in lanes.chunks_exact_mut(4).zip(registers) {
        // SAFETY: the chunk has the 32 bytes that are written.
        unsafe { _mm256_storeu_pd(lanes.as_mut_ptr(), *register) };
    }
    lanes
}

#[target_feature(enable = "avx2")]
fn dot(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len(), "invariant: equal dimensions");
    let mut sums = [_mm256_setzero_pd(); 4];
    let (a, a_rest) = a.as_chunks::<LANES>();
    let (b, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a.iter().zip(b) {
        for (i, sum) in sums.iter_mut().enumerate() {
            *sum = _mm256_add_pd(*sum, _mm256_mul_pd(load_wide(a, i), load_wide(b, i)));
        }
    }
    let mut lanes = to_lanes(&sums);
    for ((lane, a), b) in lanes.iter_mut().zip(a_rest).zip(b_rest) {
        *lane += f64::from(*a) * f64::from(*b);
    }
    sum_lanes(&lanes)
}

#[target_feature(enable = "avx2")]
fn l2_squared(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len(), "invariant: equal dimensions");
    let mut sums = [_mm256_setzero_pd(); 4];
    let (a, a_rest) = a.as_chunks::<LANES>();
    let (b, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a.iter().zip(b) {
        for (i, sum) in sums.iter_mut().enumerate() {
            let difference = _mm256_sub_pd(load_wide(a, i), load_wide(b, i));
            *sum = _mm256_add_pd(*sum, _mm256_mul_pd(difference, difference));
        }
    }
    let mut lanes = to_lanes(&sums);
    for ((lane, a), b) in lanes.iter_mut().zip(a_rest).zip(b_rest) {
        let difference = f64::from(*a) - f64::from(*b);
        *lane += difference * difference;
    }
    sum_lanes(&lanes)
}

#[target_feature(enable = "avx2")]
fn dot_and_norm(a: &[f32], b: &[f32]) -> (f64, f64) {
    assert_eq!(a.len(), b.len(), "invariant: equal dimensions");
    let mut dots = [_mm256_setzero_pd(); 4];
    let mut norms = [_mm256_setzero_pd(); 4];
    let (a, a_rest) = a.as_chunks::<LANES>();
    let (b, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a.iter().zip(b) {
        for i in 0..4 {
            let wide = load_wide(b, i);
            dots[i] = _mm256_add_pd(dots[i], _mm256_mul_pd(load_wide(a, i), wide));
            norms[i] = _mm256_add_pd(norms[i], _mm256_mul_pd(wide, wide));
        }
    }
    let (mut dots, mut norms) = (to_lanes(&dots), to_lanes(&norms));
    for (i, (a, b)) in a_rest.iter().zip(b_rest).enumerate() {
        dots[i] += f64::from(*a) * f64::from(*b);
        norms[i] += f64::from(*b) * f64::from(*b);
    }
    (sum_lanes(&dots), sum_lanes(&norms))
}

#[target_feature(enable = "avx2")]
fn tile(a: &[f32], depth: usize, panel: &[f32], out: &mut [f32; TILE_ROWS * TILE_COLUMNS]) {
    let a = &a[..TILE_ROWS * depth];
    let (panel, _) = panel[..TILE_COLUMNS * depth].as_chunks::<8>();
    let (row0, rest) = a.split_at(depth);
    let (row1, rest) = rest.split_at(depth);
    let (row2, row3) = rest.split_at(depth);
    let mut sums = [_mm256_setzero_ps(); 2 * TILE_ROWS];
    let rows = row0.iter().zip(row1).zip(row2).zip(row3);
    for ((((x0, x1), x2), x3), columns) in rows.zip(panel.as_chunks::<2>().0) {
        let (left, right) = (load8(&columns[0]), load8(&columns[1]));
        for (i, x) in [x0, x1, x2, x3].into_iter().enumerate() {
            let x = _mm256_set1_ps(*x);
            sums[2 * i] = _mm256_add_ps(sums[2 * i], _mm256_mul_ps(x, left));
            sums[2 * i + 1] = _mm256_add_ps(sums[2 * i + 1], _mm256_mul_ps(x, right));
        }
    }
    for (out, sum) in out.as_chunks_mut::<8>().0.iter_mut().zip(sums) {
        store8(out, sum);
    }
}

#[target_feature(enable = "avx2")]
fn fast_scan(codes: &[u8], table: &[u8], sums: &mut [u32; BLOCK]) {
    assert_eq!(codes.len(), table.len(), "invariant: one table row per group");
    assert_eq!(codes.len() % 32, 0, "invariant: an even number of groups");
    let nibble = _mm256_set1_epi8(15);
    let mut totals = [_mm256_setzero_si256(); 4];
    for (codes, table) in codes.chunks(16 * GROUPS_PER_FLUSH).zip(table.chunks(16 * GROUPS_PER_FLUSH)) {
        // Per half of the block: sums of the even bytes, polluted by the odd ones above them, and of the odd bytes.
        let mut low = [_mm256_setzero_si256(); 2];
        let mut high = [_mm256_setzero_si256(); 2];
        for (codes, table) in codes.as_chunks::<32>().0.iter().zip(table.as_chunks::<32>().0) {
            let (codes, table) = (load32(codes), load32(table));
            let low_values = _mm256_shuffle_epi8(table, _mm256_and_si256(codes, nibble));
            let high_values = _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16::<4>(codes), nibble));
            low[0] = _mm256_add_epi16(low[0], low_values);
            low[1] = _mm256_add_epi16(low[1], _mm256_srli_epi16::<8>(low_values));
            high[0] = _mm256_add_epi16(high[0], high_values);
            high[1] = _mm256_add_epi16(high[1], _mm256_srli_epi16::<8>(high_values));
        }
        for (half, [mixed, odd]) in [low, high].into_iter().enumerate() {
            // Wrapping arithmetic: what overflowed in `mixed` is exactly what is taken away again.
            let even = _mm256_sub_epi16(mixed, _mm256_slli_epi16::<8>(odd));
            let even = _mm_add_epi16(_mm256_castsi256_si128(even), _mm256_extracti128_si256::<1>(even));
            let odd = _mm_add_epi16(_mm256_castsi256_si128(odd), _mm256_extracti128_si256::<1>(odd));
            let first = _mm256_cvtepu16_epi32(_mm_unpacklo_epi16(even, odd));
            let second = _mm256_cvtepu16_epi32(_mm_unpackhi_epi16(even, odd));
            totals[2 * half] = _mm256_add_epi32(totals[2 * half], first);
            totals[2 * half + 1] = _mm256_add_epi32(totals[2 * half + 1], second);
        }
    }
    for (sums, total) in sums.as_chunks_mut::<8>().0.iter_mut().zip(totals) {
        // SAFETY: the array has the 32 bytes that are written; the store needs no alignment.
        unsafe { _mm256_storeu_si256(sums.as_mut_ptr().cast::<__m256i>(), total) };
    }
}

#[target_feature(enable = "avx2")]
fn estimate(
    sums: &[u32; BLOCK],
    factors: &BlockFactors<'_>,
    terms: &ListTerms,
    threshold: f32,
    out: &mut BlockEstimates,
) -> u32 {
    let step = _mm256_set1_ps(terms.step);
    let bias = _mm256_set1_ps(terms.bias);
    let add = _mm256_set1_ps(terms.add);
    let multiply_add = _mm256_set1_ps(terms.multiply_add);
    let error = _mm256_set1_ps(terms.error);
    let error_floor = _mm256_set1_ps(terms.error_floor);
    let threshold = _mm256_set1_ps(threshold);
    let magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(i32::MAX));
    let sums = sums.as_chunks::<8>().0;
    let adds = factors.add.as_chunks::<8>().0;
    let rescales = factors.rescale.as_chunks::<8>().0;
    let errors = factors.error.as_chunks::<8>().0;
    let estimates = out.estimate.as_chunks_mut::<8>().0;
    let lowers = out.lower.as_chunks_mut::<8>().0;
    let mut mask = 0;
    for i in 0..BLOCK / 8 {
        // SAFETY: the array has the 32 bytes that are read; the load needs no alignment.
        let sum = unsafe { _mm256_loadu_si256(sums[i].as_ptr().cast::<__m256i>()) };
        // SAFETY: the array has the 8 bytes that are read; the load needs no alignment.
        let relative = unsafe { _mm_loadl_epi64(errors[i].as_ptr().cast::<__m128i>()) };
        let product = _mm256_add_ps(_mm256_mul_ps(step, _mm256_cvtepi32_ps(sum)), bias);
        let rescale = load8(&rescales[i]);
        let estimate = _mm256_add_ps(
            _mm256_add_ps(_mm256_mul_ps(multiply_add, load8(&adds[i])), add),
            _mm256_mul_ps(rescale, product),
        );
        let relative = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(relative));
        let half = _mm256_mul_ps(
            _mm256_and_ps(rescale, magnitude),
            _mm256_add_ps(_mm256_mul_ps(relative, error), error_floor),
        );
        let lower = _mm256_sub_ps(estimate, half);
        store8(&mut estimates[i], estimate);
        store8(&mut lowers[i], lower);
        let stays = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_NGT_UQ>(lower, threshold));
        mask |= stays.cast_unsigned() << (8 * i);
    }
    mask
}

#[target_feature(enable = "avx2")]
fn code_dot(code: &[u8], query: &[i16]) -> i64 {
    assert_eq!(code.len(), query.len(), "invariant: equal dimensions");
    assert_eq!(code.len() % 32, 0, "invariant: padded dimensions");
    let mut total = 0i64;
    // A lane of i32 takes 2 * 2^15 * 2^7 per 16 dimensions: 2048 dimensions stay at 2^30.
    for (code, query) in code.chunks(2048).zip(query.chunks(2048)) {
        let mut sums = [_mm256_setzero_si256(); 2];
        for (code, query) in code.as_chunks::<32>().0.iter().zip(query.as_chunks::<32>().0) {
            let (left, right) = (code.first_chunk::<16>(), code.last_chunk::<16>());
            let left = _mm256_cvtepi8_epi16(load16(left.expect("invariant: 16 of 32")));
            let right = _mm256_cvtepi8_epi16(load16(right.expect("invariant: 16 of 32")));
            // SAFETY: the first 16 of the array's 32 values are the 32 bytes that are read, unaligned.
            let query_left = unsafe { _mm256_loadu_si256(query.as_ptr().cast::<__m256i>()) };
            let query_right = query[16..].as_ptr();
            // SAFETY: 16 of the array's 32 values follow the pointer; they are the 32 bytes that are read, unaligned.
            let query_right = unsafe { _mm256_loadu_si256(query_right.cast::<__m256i>()) };
            sums[0] = _mm256_add_epi32(sums[0], _mm256_madd_epi16(left, query_left));
            sums[1] = _mm256_add_epi32(sums[1], _mm256_madd_epi16(right, query_right));
        }
        for sum in sums {
            let mut lanes = [0i32; 8];
            // SAFETY: the array has the 32 bytes that are written; the store needs no alignment.
            unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast::<__m256i>(), sum) };
            total += lanes.iter().map(|lane| i64::from(*lane)).sum::<i64>();
        }
    }
    total
}
