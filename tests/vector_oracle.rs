//! Our quantiser and estimator against rabitq-rs, an independent implementation, on the same rotated vectors. Only up to
//! 1024 dimensions and at 1 and 7 bits: beyond, that library overflows (`docs/decisions/0001-own-rabitq-kernels.md`).

use crate::vector_segment;

use elacsym::vector::Metric;
use elacsym::vector::rabitq::{eight_bit, one_bit};
use elacsym::vector::rotate::Rotation;
use rabitq::quantizer::{RabitqConfig, quantize_with_centroid};
use vector_segment::{Sequence, synthetic};

/// Root mean square and mean of the errors of estimated squared distances.
#[derive(Debug, Default)]
struct Errors {
    squares: f64,
    sum: f64,
    count: f64,
}

impl Errors {
    fn push(&mut self, error: f64) {
        self.squares += error * error;
        self.sum += error;
        self.count += 1.0;
    }

    fn rms(&self) -> f64 {
        (self.squares / self.count).sqrt()
    }

    fn bias(&self) -> f64 {
        self.sum / self.count
    }
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

fn l2_squared(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum()
}

/// The mean of every 100th row stands for a centroid.
fn centroid(rows: &[f32], dim: usize) -> Vec<f32> {
    let mut mean = vec![0.0; dim];
    for row in rows.chunks_exact(dim) {
        for (mean, x) in mean.iter_mut().zip(row) {
            *mean += x / (rows.len() / dim) as f32;
        }
    }
    mean
}

#[test]
fn errors_are_those_of_an_independent_implementation() {
    for dim in [64, 384, 768, 1024] {
        let (mut rows, mut queries) = synthetic(400, 60, dim, 3);
        let rotation = Rotation::new(dim, 17);
        rows.chunks_exact_mut(dim).chain(queries.chunks_exact_mut(dim)).for_each(|row| rotation.rotate(row));
        let centroid = centroid(&rows, dim);
        let seven = RabitqConfig::new(7);
        let (mut ours_one, mut theirs_one) = (Errors::default(), Errors::default());
        let (mut ours_eight, mut theirs_seven) = (Errors::default(), Errors::default());
        let (mut equal_bits, mut bits) = (0, 0);
        let mut code = Vec::new();
        for row in rows.chunks_exact(dim) {
            let residual: Vec<f32> = row.iter().zip(&centroid).map(|(r, c)| r - c).collect();
            let one = one_bit(Metric::L2, &residual, &centroid, &mut code);
            let one_code = code.clone();
            let eight = eight_bit(Metric::L2, &residual, &centroid, &mut code);
            let theirs = quantize_with_centroid(row, &centroid, &seven, rabitq::Metric::L2);
            let binary = theirs.unpack_binary_code();
            let extended = theirs.unpack_ex_code();
            bits += dim;
            equal_bits +=
                one_code.iter().zip(&binary).filter(|(ours, theirs)| (**ours > 0.0) == (**theirs == 1)).count();
            // Their full code: the sign bit above six more, centred on (2^7 - 1) / 2.
            let full: Vec<f32> =
                binary.iter().zip(&extended).map(|(b, e)| f32::from(*b) * 64.0 + f32::from(*e) - 63.5).collect();
            for query in queries.chunks_exact(dim) {
                let truth = l2_squared(row, query);
                let reach = l2_squared(query, &centroid);
                let estimate = |add: f32, rescale: f32, code: &[f32]| {
                    f64::from(add) + reach + f64::from(rescale) * dot(code, query)
                };
                ours_one.push(estimate(one.add, one.rescale, &one_code) - truth);
                ours_eight.push(estimate(eight.add, eight.rescale, &code) - truth);
                // Their factors multiply products with q - c, for codes 0 and 1 moved by one half; the additive terms
                // are taken with the centroid's part of the product.
                let shifted: Vec<f32> = binary.iter().map(|b| f32::from(*b) - 0.5).collect();
                theirs_one
                    .push(f64::from(theirs.f_add) + reach + f64::from(theirs.f_rescale) * dot(&shifted, query) - truth);
                theirs_seven.push(
                    f64::from(theirs.f_add_ex) + reach + f64::from(theirs.f_rescale_ex) * dot(&full, query) - truth,
                );
            }
        }
        println!(
            "{dim}: 1 bit rms ours {:.5} theirs {:.5}, bias {:.5} {:.5}; ours 8 bits rms {:.6}, theirs 7 bits {:.6}; equal signs {:.5}",
            ours_one.rms(),
            theirs_one.rms(),
            ours_one.bias(),
            theirs_one.bias(),
            ours_eight.rms(),
            theirs_seven.rms(),
            equal_bits as f64 / bits as f64
        );
        assert!(equal_bits as f64 >= 0.9999 * bits as f64, "the signs are the same");
        assert!((ours_one.rms() / theirs_one.rms() - 1.0).abs() < 0.02, "{ours_one:?} {theirs_one:?}");
        assert!((ours_one.bias() - theirs_one.bias()).abs() < 0.02 * ours_one.rms());
        // One bit more: half the error, a little less than half because our step fits the largest element.
        let ratio = ours_eight.rms() / theirs_seven.rms();
        assert!((0.3..0.95).contains(&ratio), "8 bits against 7: {ratio}");
        assert!(ours_eight.bias().abs() < 0.2 * ours_eight.rms());
    }
}

#[test]
fn rotations_spread_alike() {
    let dim = 384;
    let ours = Rotation::new(dim, 1);
    let theirs = rabitq::rotation::DynamicRotator::new(dim, rabitq::rotation::RotatorType::FhtKacRotator, 1);
    let mut random = Sequence(9);
    let (mut our_peak, mut their_peak) = (0.0f32, 0.0f32);
    for _ in 0..100 {
        let mut vector = vec![0.0; dim];
        vector[random.below(dim)] = 1.0;
        let peak = |values: &[f32]| values.iter().fold(0.0f32, |max, x| max.max(x.abs()));
        their_peak += peak(&theirs.rotate(&vector)) / 100.0;
        ours.rotate(&mut vector);
        our_peak += peak(&vector) / 100.0;
    }
    println!("mean largest element of a rotated unit vector: ours {our_peak:.4}, theirs {their_peak:.4}");
    assert!(our_peak < 1.2 * their_peak);
}
