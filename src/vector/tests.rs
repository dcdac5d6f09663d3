use super::distance::{distance, distances};
use super::*;

#[test]
fn distances_are_what_the_sql_operators_return() {
    let (a, b) = ([1.0, 2.0, 3.0], [3.0, 2.0, -1.0]);
    assert_eq!(distance(Metric::L2, &a, &b), 20.0f32.sqrt());
    assert_eq!(distance(Metric::Dot, &a, &b), -4.0);
    assert!((distance(Metric::Cosine, &a, &b) - (1.0 - 4.0 / 14.0)).abs() < 1e-7);
    assert_eq!(distances(Metric::Dot, &a, &[1.0, 0.0, 0.0, 0.0, 0.0, 1.0]), [-1.0, -3.0]);
}

#[test]
fn edge_values_neither_overflow_nor_vanish() {
    let (huge, tiny) = ([f32::MAX; 3], [f32::from_bits(1); 3]);
    assert_eq!(distance(Metric::L2, &huge, &huge), 0.0);
    assert_eq!(distance(Metric::L2, &huge, &huge.map(|x| -x)), f32::INFINITY);
    assert_eq!(distance(Metric::Dot, &huge, &huge), f32::NEG_INFINITY);
    assert!(distance(Metric::Cosine, &huge, &tiny).abs() < 1e-7);
    assert!(distance(Metric::L2, &tiny, &[0.0; 3]) > 0.0);
    assert!(distance(Metric::Cosine, &[0.0; 3], &huge).is_nan());
    assert_eq!(distance(Metric::Dot, &[0.0; 3], &tiny).to_bits(), 0.0f32.to_bits());
}

#[test]
fn metrics_are_parsed_stored_and_serialised_by_name() {
    for metric in Metric::ALL {
        assert_eq!(metric.name().parse(), Ok(metric));
        assert_eq!(Metric::from_code(metric.code()), Some(metric));
        assert_eq!(serde_json_name(metric), format!("\"{metric}\""));
    }
    assert_eq!("euclid".parse::<Metric>().unwrap_err().kind, ErrorKind::Invalid);
    assert_eq!(Metric::from_code(0), None);
}

fn serde_json_name(metric: Metric) -> String {
    serde_json::to_string(&metric).unwrap()
}

#[test]
fn invalid_vectors_are_refused_by_name() {
    let kind = |vector: &[f32], dim, metric| validate(vector, dim, metric).unwrap_err().kind;
    assert_eq!(kind(&[1.0], 2, Metric::L2), ErrorKind::TypeMismatch);
    assert_eq!(kind(&[], 0, Metric::L2), ErrorKind::OutOfRange);
    assert_eq!(kind(&[], MAX_DIMENSIONS + 1, Metric::L2), ErrorKind::OutOfRange);
    assert_eq!(kind(&[f32::NAN], 1, Metric::L2), ErrorKind::Invalid);
    assert_eq!(kind(&[0.0, f32::INFINITY], 2, Metric::Dot), ErrorKind::Invalid);
    assert_eq!(kind(&[0.0, -0.0], 2, Metric::Cosine), ErrorKind::Invalid);
    assert!(validate(&[0.0, 0.0], 2, Metric::Dot).is_ok());
    assert!(validate(&vec![1.0; MAX_DIMENSIONS], MAX_DIMENSIONS, Metric::Cosine).is_ok());
}
