use super::*;
use crate::vector::random::Random;

/// Lengths around every register width, and long ones.
const LENGTHS: [usize; 12] = [1, 3, 4, 7, 8, 15, 16, 17, 64, 383, 1536, 16_000];

/// Runs `f` with the portable kernels in use; one caller at a time, because the choice is the whole process's.
pub(crate) fn with_portable<T>(f: impl FnOnce() -> T) -> T {
    static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    force(Some("portable"));
    let result = f();
    force(None);
    result
}

fn floats(random: &mut Random, count: usize) -> Vec<f32> {
    (0..count).map(|_| ((random.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0) * 3.0).collect()
}

fn bytes(random: &mut Random, count: usize) -> Vec<u8> {
    (0..count).map(|_| random.next() as u8).collect()
}

/// Every implementation but the portable one, against the portable one.
fn others() -> impl Iterator<Item = (&'static Kernels, &'static Kernels)> {
    available()[1..].iter().map(|other| (available()[0], *other))
}

#[test]
fn float_kernels_give_the_same_bits_everywhere() {
    let mut random = Random::new(1, 1);
    for (portable, other) in others() {
        for length in LENGTHS {
            let (a, b) = (floats(&mut random, length), floats(&mut random, length));
            assert_eq!((portable.dot)(&a, &b).to_bits(), (other.dot)(&a, &b).to_bits(), "dot {length}");
            assert_eq!((portable.l2_squared)(&a, &b).to_bits(), (other.l2_squared)(&a, &b).to_bits(), "l2 {length}");
            let (expected, found) = ((portable.dot_and_norm)(&a, &b), (other.dot_and_norm)(&a, &b));
            assert_eq!(expected.0.to_bits(), found.0.to_bits(), "dot_and_norm {length}");
            assert_eq!(expected.1.to_bits(), found.1.to_bits(), "dot_and_norm {length}");
        }
    }
}

#[test]
fn tiles_give_the_same_bits_everywhere() {
    let mut random = Random::new(1, 2);
    for (portable, other) in others() {
        for depth in LENGTHS {
            let a = floats(&mut random, TILE_ROWS * depth);
            let panel = floats(&mut random, TILE_COLUMNS * depth);
            let mut expected = [f32::NAN; TILE_ROWS * TILE_COLUMNS];
            let mut found = expected;
            (portable.tile)(&a, depth, &panel, &mut expected);
            (other.tile)(&a, depth, &panel, &mut found);
            assert_eq!(expected.map(f32::to_bits), found.map(f32::to_bits), "{depth}");
        }
    }
}

#[test]
fn fast_scan_sums_never_overflow_and_agree() {
    let mut random = Random::new(1, 3);
    for groups in [16, 96, 256, 258, 512, 4000] {
        let codes = bytes(&mut random, 16 * groups);
        for table in [bytes(&mut random, 16 * groups), vec![255; 16 * groups]] {
            let mut expected = [0; BLOCK];
            for (group, codes) in codes.chunks_exact(16).enumerate() {
                for (lane, code) in codes.iter().enumerate() {
                    expected[lane] += u32::from(table[16 * group + usize::from(code & 15)]);
                    expected[lane + 16] += u32::from(table[16 * group + usize::from(code >> 4)]);
                }
            }
            for kernels in available() {
                let mut found = [1; BLOCK];
                (kernels.fast_scan)(&codes, &table, &mut found);
                assert_eq!(found, expected, "{} {groups}", kernels.name);
            }
        }
    }
}

#[test]
fn code_products_are_exact_at_every_dimension() {
    let mut random = Random::new(1, 4);
    for length in [64, 128, 320, 1024, 2048, 2112, 16_000] {
        let extremes = (vec![0x80u8; length], vec![i16::MIN; length]);
        let mixed = (bytes(&mut random, length), (0..length).map(|_| random.next() as i16).collect::<Vec<_>>());
        for (code, query) in [extremes, mixed] {
            let expected: i64 = code.iter().zip(&query).map(|(c, q)| i64::from(c.cast_signed()) * i64::from(*q)).sum();
            for kernels in available() {
                assert_eq!((kernels.code_dot)(&code, &query), expected, "{} {length}", kernels.name);
            }
        }
    }
}

#[test]
fn estimates_give_the_same_bits_and_doubt_stays_in() {
    let mut random = Random::new(1, 5);
    let sums: [u32; BLOCK] = std::array::from_fn(|_| random.below(1_000_000) as u32);
    let mut add: [f32; BLOCK] = std::array::from_fn(|i| floats(&mut Random::new(2, i as u64), 1)[0]);
    let rescale: [f32; BLOCK] = std::array::from_fn(|i| -floats(&mut Random::new(3, i as u64), 1)[0].abs());
    let error: [u8; BLOCK] = std::array::from_fn(|_| random.next() as u8);
    add[5] = f32::NAN;
    let factors = BlockFactors { add: &add, rescale: &rescale, error: &error };
    let terms = ListTerms { step: 1e-6, bias: -0.5, add: 1.25, multiply_add: 0.75, error: 0.001, error_floor: 0.002 };
    let mut expected = BlockEstimates::new();
    let mask = (available()[0].estimate)(&sums, &factors, &terms, 0.5, &mut expected);
    assert!(mask & (1 << 5) != 0 && mask.count_ones() < 32, "{mask:b}");
    for (_, other) in others() {
        let mut found = BlockEstimates::new();
        assert_eq!((other.estimate)(&sums, &factors, &terms, 0.5, &mut found), mask);
        for i in (0..BLOCK).filter(|i| *i != 5) {
            assert_eq!(expected.estimate[i].to_bits(), found.estimate[i].to_bits());
            assert_eq!(expected.lower[i].to_bits(), found.lower[i].to_bits());
        }
    }
}

#[test]
fn forcing_kernels_by_name_works_and_is_undone() {
    with_portable(|| assert_eq!(kernels().name, "portable"));
    let fastest = available()[available().len() - 1].name;
    with_portable(|| {
        force(None);
        assert_eq!(kernels().name, fastest);
    });
}
