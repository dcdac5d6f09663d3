use super::*;
use crate::vector::simd::tests::with_portable;

/// `count` rows around `centres` well separated places.
fn blobs(count: usize, centres: usize, dim: usize) -> Vec<f32> {
    let mut random = Random::new(4, 4);
    let places: Vec<f32> = (0..centres * dim).map(|_| random.below(2000) as f32 / 100.0).collect();
    let mut values = Vec::new();
    for row in 0..count {
        for i in 0..dim {
            values.push(places[row % centres * dim + i] + random.below(1000) as f32 / 10_000.0);
        }
    }
    values
}

#[test]
fn training_does_not_depend_on_threads_or_kernels() {
    for lists in [7, 150] {
        let values = blobs(3000, 60, 64);
        let points = Points { values: &values, dim: 64 };
        let one = Codebook::train(&points, lists, 9, 1);
        assert_eq!(one, Codebook::train(&points, lists, 9, 3));
        let portable = with_portable(|| Codebook::train(&points, lists, 9, 2));
        assert_eq!(one, portable);
        assert_ne!(one, Codebook::train(&points, lists, 10, 1));
        assert_eq!(one.assign(&points, 1), one.assign(&points, 4));
    }
}

#[test]
fn lists_are_about_as_many_as_asked_for_and_balanced() {
    for lists in [20, 200] {
        let values = blobs(6000, 500, 64);
        let points = Points { values: &values, dim: 64 };
        let book = Codebook::train(&points, lists, 1, 2);
        assert!(book.len() * 10 >= lists * 7 && book.len() * 10 <= lists * 15, "{} of {lists}", book.len());
        let largest = invert(&book.assign(&points, 2), book.len()).iter().map(Vec::len).max();
        // Tight blobs of 12 rows that stay together are about as hard to balance as data can be.
        assert!(largest <= Some(8 * 6000 / lists), "{largest:?}");
    }
}

#[test]
fn nearest_few_agrees_with_a_plain_search() {
    let values = blobs(50, 50, 64);
    let points = Points { values: &values, dim: 64 };
    let panels = Panels::new(&values[..37 * 64], 64);
    for (row, found) in panels.nearest_few(&values, 5).into_iter().enumerate() {
        let mut order: Vec<u32> = (0..37).collect();
        let distance = |list: u32| (kernels().l2_squared)(points.row(row), points.row(list as usize));
        order.sort_by(|a, b| distance(*a).total_cmp(&distance(*b)));
        assert_eq!(found, order[..5], "{row}");
    }
}

#[test]
fn equal_rows_and_single_rows_are_no_problem() {
    let values = vec![0.5; 300 * 64];
    let points = Points { values: &values, dim: 64 };
    for lists in [1, 5, 200, 300, 1000] {
        let book = Codebook::train(&points, lists, 1, 1);
        assert!(!book.is_empty());
        assert!(book.assign(&points, 1).iter().all(|list| (*list as usize) < book.len()));
    }
    let one = Points { values: &values[..64], dim: 64 };
    assert_eq!(Codebook::train(&one, 3, 1, 1).centroids, values[..64]);
}
