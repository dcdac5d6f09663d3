//! NEON: the two integer kernels. The float kernels are the portable ones, which the compiler vectorises itself, because
//! NEON is part of the aarch64 baseline.

use std::arch::aarch64::{
    int8x8_t, int16x4_t, uint8x16_t, uint16x8_t, vaddlvq_s32, vaddq_u32, vaddw_high_u8, vaddw_u8, vandq_u8,
    vdupq_n_s32, vdupq_n_u8, vdupq_n_u16, vdupq_n_u32, vget_high_s16, vget_low_s16, vget_low_u8, vget_low_u16, vld1_s8,
    vld1q_s16, vld1q_u8, vmlal_s16, vmovl_high_u16, vmovl_s8, vmovl_u16, vqtbl1q_u8, vshrq_n_u8, vst1q_u32,
};

use super::portable::{dot, dot_and_norm, estimate, l2_squared, tile};
use super::{BLOCK, Kernels};

pub(super) static KERNELS: Kernels = Kernels {
    name: "neon",
    dot,
    l2_squared,
    dot_and_norm,
    tile,
    fast_scan: |codes, table, sums| {
        // SAFETY: `super::available` lists this table only where `supported` found NEON.
        unsafe { fast_scan(codes, table, sums) }
    },
    estimate,
    code_dot: |code, query| {
        // SAFETY: `super::available` lists this table only where `supported` found NEON.
        unsafe { code_dot(code, query) }
    },
};

/// Whether this CPU can run [`KERNELS`].
pub(super) fn supported() -> bool {
    std::arch::is_aarch64_feature_detected!("neon")
}

/// Groups of nibbles whose sums a u16 holds: 256 * 255 < 2^16.
const GROUPS_PER_FLUSH: usize = 256;

#[inline]
#[target_feature(enable = "neon")]
fn load16(bytes: &[u8; 16]) -> uint8x16_t {
    // SAFETY: the array has the 16 bytes that are read.
    unsafe { vld1q_u8(bytes.as_ptr()) }
}

#[target_feature(enable = "neon")]
fn fast_scan(codes: &[u8], table: &[u8], sums: &mut [u32; BLOCK]) {
    assert_eq!(codes.len(), table.len(), "invariant: one table row per group");
    let nibble = vdupq_n_u8(15);
    let mut totals = [vdupq_n_u32(0); 8];
    for (codes, table) in codes.chunks(16 * GROUPS_PER_FLUSH).zip(table.chunks(16 * GROUPS_PER_FLUSH)) {
        let mut parts: [uint16x8_t; 4] = [vdupq_n_u16(0); 4];
        for (codes, table) in codes.as_chunks::<16>().0.iter().zip(table.as_chunks::<16>().0) {
            let (codes, table) = (load16(codes), load16(table));
            let low = vqtbl1q_u8(table, vandq_u8(codes, nibble));
            let high = vqtbl1q_u8(table, vshrq_n_u8::<4>(codes));
            parts[0] = vaddw_u8(parts[0], vget_low_u8(low));
            parts[1] = vaddw_high_u8(parts[1], low);
            parts[2] = vaddw_u8(parts[2], vget_low_u8(high));
            parts[3] = vaddw_high_u8(parts[3], high);
        }
        for (i, part) in parts.into_iter().enumerate() {
            totals[2 * i] = vaddq_u32(totals[2 * i], vmovl_u16(vget_low_u16(part)));
            totals[2 * i + 1] = vaddq_u32(totals[2 * i + 1], vmovl_high_u16(part));
        }
    }
    for (sums, total) in sums.as_chunks_mut::<4>().0.iter_mut().zip(totals) {
        // SAFETY: the array has the 16 bytes that are written.
        unsafe { vst1q_u32(sums.as_mut_ptr(), total) };
    }
}

#[target_feature(enable = "neon")]
fn code_dot(code: &[u8], query: &[i16]) -> i64 {
    assert_eq!(code.len(), query.len(), "invariant: equal dimensions");
    assert_eq!(code.len() % 8, 0, "invariant: padded dimensions");
    let mut total = 0i64;
    // A lane of i32 takes 2 * 2^15 * 2^7 per 8 dimensions: 1024 dimensions stay at 2^30.
    for (code, query) in code.chunks(1024).zip(query.chunks(1024)) {
        let mut sum = vdupq_n_s32(0);
        for (code, query) in code.as_chunks::<8>().0.iter().zip(query.as_chunks::<8>().0) {
            // SAFETY: the array has the 8 bytes that are read.
            let narrow: int8x8_t = unsafe { vld1_s8(code.as_ptr().cast::<i8>()) };
            // SAFETY: the array has the 16 bytes that are read.
            let query = unsafe { vld1q_s16(query.as_ptr()) };
            let code = vmovl_s8(narrow);
            let (left, right): (int16x4_t, int16x4_t) = (vget_low_s16(code), vget_high_s16(code));
            sum = vmlal_s16(sum, left, vget_low_s16(query));
            sum = vmlal_s16(sum, right, vget_high_s16(query));
        }
        total += vaddlvq_s32(sum);
    }
    total
}
