use super::*;
use proptest::prelude::*;

fn sum(values: &[f64]) -> f64 {
    let mut sum = ExactSum::default();
    values.iter().for_each(|value| sum.add(*value));
    sum.value()
}

#[test]
fn sums_are_rounded_once() {
    for (values, expected) in [
        (vec![], 0.0),
        (vec![0.1; 10], 1.0),
        (vec![1e16, 1.0, -1e16], 1.0),
        (vec![1e308, 1e308, -1e308], 1e308),
        (vec![f64::MAX, f64::MAX], f64::INFINITY),
        (vec![-f64::MAX, -1e292], f64::NEG_INFINITY),
        (vec![f64::MAX, 1e291], f64::MAX),
        (vec![5e-324, 5e-324], 1e-323),
        (vec![f64::MIN_POSITIVE, -5e-324], f64::MIN_POSITIVE - 5e-324),
        (vec![1.0, f64::EPSILON / 2.0], 1.0),
        (vec![1.0, f64::EPSILON / 2.0, 5e-324], 1.0 + f64::EPSILON),
        (vec![1.0 + f64::EPSILON, f64::EPSILON / 2.0], 1.0 + 2.0 * f64::EPSILON),
        (vec![-0.0], 0.0),
        (vec![-1.5, 0.25], -1.25),
        (vec![f64::INFINITY, 1.0], f64::INFINITY),
    ] {
        assert_eq!(sum(&values).to_bits(), expected.to_bits(), "{values:?} gave {}", sum(&values));
    }
    assert!(sum(&[f64::INFINITY, f64::NEG_INFINITY]).is_nan());
    assert!(sum(&[f64::NAN, 1.0]).is_nan());
}

/// The sum in integers, for values that are whole multiples of 2^-20 and not too large.
fn in_integers(values: &[i64]) -> f64 {
    values.iter().map(|value| i128::from(*value)).sum::<i128>() as f64 / f64::from(1 << 20)
}

proptest! {
    #[test]
    fn a_sum_is_the_sum_in_integers(values in proptest::collection::vec(-(1_i64 << 52)..(1 << 52), 0..50)) {
        let floats: Vec<f64> = values.iter().map(|value| *value as f64 / f64::from(1 << 20)).collect();
        prop_assert_eq!(sum(&floats), in_integers(&values));
    }

    #[test]
    fn neither_order_nor_grouping_matters(
        values in proptest::collection::vec(any::<f64>().prop_filter("finite", |v| v.is_finite()), 0..40),
        cut in 0_usize..40,
    ) {
        let whole = sum(&values).to_bits();
        let reversed: Vec<f64> = values.iter().rev().copied().collect();
        prop_assert_eq!(sum(&reversed).to_bits(), whole);
        let (left, right) = values.split_at(cut.min(values.len()));
        let mut parts = [left, right].map(|part| {
            let mut sum = ExactSum::default();
            part.iter().for_each(|value| sum.add(*value));
            sum
        });
        let [first, second] = &mut parts;
        first.merge(second.clone());
        prop_assert_eq!(first.value().to_bits(), whole);
    }

    #[test]
    fn one_number_is_itself(value in any::<f64>().prop_filter("a number", |v| !v.is_nan())) {
        prop_assert_eq!(sum(&[value]), value);
    }
}
