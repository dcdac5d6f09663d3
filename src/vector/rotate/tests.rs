use super::*;

fn random_vector(padded: usize, seed: u64) -> Vec<f32> {
    let mut random = Random::new(seed, 7);
    (0..padded).map(|_| (random.next() >> 40) as f32 / (1u64 << 24) as f32 - 0.5).collect()
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

#[test]
fn rotation_keeps_inner_products() {
    for padded in [64, 128, 192, 384, 768, 1536, 3072, 16_000] {
        let rotation = Rotation::new(padded, 3);
        let (mut a, mut b) = (random_vector(padded, 1), random_vector(padded, 2));
        let before = [dot(&a, &a), dot(&a, &b), dot(&b, &b)];
        rotation.rotate(&mut a);
        rotation.rotate(&mut b);
        let after = [dot(&a, &a), dot(&a, &b), dot(&b, &b)];
        for (before, after) in before.into_iter().zip(after) {
            assert!((before - after).abs() < 1e-5 * padded as f64, "{padded}: {before} became {after}");
        }
    }
}

#[test]
fn a_unit_vector_is_spread_over_all_dimensions() {
    for padded in [64, 192, 384, 1536] {
        let mut vector = vec![0.0; padded];
        vector[padded / 3] = 1.0;
        Rotation::new(padded, 9).rotate(&mut vector);
        let largest = vector.iter().fold(0.0f32, |max, x| max.max(x.abs()));
        assert!(largest < 6.0 / (padded as f32).sqrt(), "{padded}: {largest}");
    }
}

#[test]
fn the_signs_are_the_whole_state() {
    let rotation = Rotation::new(384, 5);
    let same = Rotation::from_signs(384, rotation.signs().to_vec());
    let (mut a, mut b) = (random_vector(384, 1), random_vector(384, 1));
    rotation.rotate(&mut a);
    same.rotate(&mut b);
    assert_eq!(a, b);
    assert_ne!(rotation, Rotation::new(384, 6));
}
