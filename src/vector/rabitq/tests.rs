use super::*;
use crate::vector::random::Random;
use crate::vector::rotate::Rotation;
use crate::vector::simd::{BlockEstimates, ListTerms};

fn normal(random: &mut Random) -> f32 {
    (0..12).map(|_| (random.next() >> 40) as f32 / (1u64 << 24) as f32).sum::<f32>() - 6.0
}

/// Vectors of norm about `length`, rotated.
fn vectors(rotation: &Rotation, count: usize, length: f32, random: &mut Random) -> Vec<Vec<f32>> {
    let dim = rotation.padded();
    (0..count)
        .map(|_| {
            let mut vector: Vec<f32> = (0..dim).map(|_| normal(random) * length / (dim as f32).sqrt()).collect();
            rotation.rotate(&mut vector);
            vector
        })
        .collect()
}

/// Signed errors of the estimates of `-<q, y>` or `|q - y|^2`, and how many lie outside 1.9 standard errors.
struct Errors {
    bias: f64,
    rms: f64,
    outside: f64,
}

fn errors(metric: Metric, dim: usize, bits: usize) -> Errors {
    let mut random = Random::new(11, dim as u64);
    let rotation = Rotation::new(dim, 5);
    let centroid = vectors(&rotation, 1, 1.0, &mut random).remove(0);
    let rows: Vec<Vec<f32>> = vectors(&rotation, 200, 0.8, &mut random)
        .into_iter()
        .map(|row| row.iter().zip(&centroid).map(|(r, c)| r + c).collect())
        .collect();
    let queries = vectors(&rotation, 50, 1.2, &mut random);
    let dot = kernels().dot;
    let (mut sum, mut squares, mut outside, mut count) = (0.0, 0.0, 0, 0.0);
    let mut code = Vec::new();
    for query in &queries {
        let codes = QueryCodes::new(query);
        let product = dot(query, &centroid);
        let share = if metric == Metric::Dot { product / dot(&centroid, &centroid) } else { 1.0 };
        let across: Vec<f32> = query.iter().zip(&centroid).map(|(q, c)| q - share as f32 * c).collect();
        let reach = dot(&across, &across).sqrt();
        let list_add = if metric == Metric::Dot { -product } else { reach * reach };
        for rows in rows.chunks(BLOCK) {
            let mut stored = Vec::new();
            let mut writer = BlockWriter::new(dim);
            let mut found = Vec::new();
            for row in rows {
                let residual: Vec<f32> = row.iter().zip(&centroid).map(|(r, c)| r - c).collect();
                if bits == 1 {
                    let factors = one_bit(metric, &residual, &centroid, &mut code);
                    writer.push(&code, &factors, &mut stored);
                } else {
                    let factors = eight_bit(metric, &residual, &centroid, &mut code);
                    let mut bytes = Vec::new();
                    write_row(&code, &factors, &mut bytes);
                    assert_eq!(bytes.len(), row_len(dim));
                    let (elements, factors) = read_row(&bytes, dim).unwrap();
                    let estimate = f64::from(share as f32 * factors.add)
                        + list_add
                        + f64::from(factors.rescale * codes.code_product(elements));
                    found.push((estimate, f64::from(factors.rescale.abs() * factors.error) * reach * 1.9));
                }
            }
            if bits == 1 {
                writer.finish(&mut stored);
                assert_eq!(stored.len(), block_len(dim));
                let block = Block::read(&stored, dim).unwrap();
                let mut sums = [0; BLOCK];
                (kernels().fast_scan)(block.codes, &codes.table, &mut sums);
                let terms = ListTerms {
                    step: codes.step,
                    bias: codes.bias,
                    add: list_add as f32,
                    multiply_add: share as f32,
                    error: codes.block_error(1.9, reach as f32),
                    error_floor: 0.0,
                };
                let mut out = BlockEstimates::new();
                (kernels().estimate)(&sums, &block.factors(), &terms, f32::INFINITY, &mut out);
                let pairs = out.estimate.iter().zip(&out.lower).take(rows.len());
                found.extend(pairs.map(|(e, l)| (f64::from(*e), f64::from(e - l))));
            }
            for (row, (estimate, half)) in rows.iter().zip(found) {
                let truth = if metric == Metric::Dot { -dot(query, row) } else { (kernels().l2_squared)(query, row) };
                let error = estimate - truth;
                sum += error;
                squares += error * error;
                outside += usize::from(error.abs() > half);
                count += 1.0;
            }
        }
    }
    Errors { bias: sum / count, rms: (squares / count).sqrt(), outside: outside as f64 / count }
}

#[test]
fn estimates_are_unbiased_and_within_the_predicted_error() {
    for metric in [Metric::L2, Metric::Dot] {
        for dim in [64, 384, 768, 1536, 3072] {
            // |r| |q - c| sqrt(pi/2 - 1) / sqrt(D), twice that for the squared distance.
            let factor = if metric == Metric::Dot { 1.0 } else { 2.0 };
            let predicted = factor * 0.8 * 1.5 * 0.755 / (dim as f64).sqrt();
            let one = errors(metric, dim, 1);
            let eight = errors(metric, dim, 8);
            println!(
                "{metric} {dim}: 1 bit bias {:.5} rms {:.5} (predicted {predicted:.5}) outside {:.3}; 8 bits bias {:.6} rms {:.6} outside {:.3}",
                one.bias, one.rms, one.outside, eight.bias, eight.rms, eight.outside
            );
            assert!(one.bias.abs() < 0.15 * one.rms, "{metric} {dim}: bias {}", one.bias);
            assert!((0.6..1.3).contains(&(one.rms / predicted)), "{metric} {dim}: {} {predicted}", one.rms);
            // 5.7 % lie outside 1.9 standard deviations of a normal distribution.
            assert!((0.02..0.09).contains(&one.outside), "{metric} {dim}: {}", one.outside);
            assert!(eight.rms < one.rms / 50.0, "{metric} {dim}: {}", eight.rms);
            assert!((0.02..0.09).contains(&eight.outside), "{metric} {dim}: {}", eight.outside);
        }
    }
}

#[test]
fn a_row_on_its_centroid_is_estimated_exactly() {
    let zeros = vec![0.0; 64];
    let mut code = Vec::new();
    let nothing = Factors { add: 0.0, rescale: 0.0, error: 0.0 };
    assert_eq!(one_bit(Metric::L2, &zeros, &zeros, &mut code), nothing);
    assert_eq!(eight_bit(Metric::Dot, &zeros, &zeros, &mut code), nothing);
    let subnormal = vec![f32::from_bits(1); 64];
    let factors = eight_bit(Metric::L2, &subnormal, &zeros, &mut code);
    assert!([factors.add, factors.rescale, factors.error].iter().all(|x| x.is_finite()));
}

#[test]
fn other_lengths_are_not_read() {
    assert!(Block::read(&vec![0; block_len(64) - 1], 64).is_none());
    assert!(Block::read(&vec![0; block_len(64) + 1], 64).is_none());
    assert!(read_row(&[0; 75], 64).is_none());
    assert!(read_row(&[0; 77], 64).is_none());
}

#[test]
fn a_query_of_zeros_multiplies_to_zero() {
    let codes = QueryCodes::new(&[0.0; 64]);
    assert_eq!((codes.step, codes.bias, codes.plane_step), (0.0, 0.0, 0.0));
    assert_eq!(codes.code_product(&[127; 64]), 0.0);
}
