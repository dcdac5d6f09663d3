use super::*;
use proptest::prelude::*;
use tantivy::query::Bm25Weight;

proptest! {
    #[test]
    fn with_the_defaults_the_score_is_tantivys_to_the_bit(
        (docs, doc_freq) in (1_u64..1_000_000).prop_flat_map(|docs| (Just(docs), 0..=docs)),
        average in 0.1_f32..1000.0,
        boost in prop_oneof![Just(1.0_f32), 0.1_f32..5.0],
        norm in any::<u8>(),
        frequency in 1_u32..1000,
    ) {
        let theirs = Bm25Weight::for_one_term_without_explain(doc_freq, docs, average).boost_by(boost);
        let parameters = Bm25Parameters::of(&FullTextOptions::default());
        prop_assert!(parameters.are_default());
        let ours = TermWeight::new(idf(doc_freq, docs), parameters.k1, boost, parameters.norms(average));
        prop_assert_eq!(ours.score(norm, frequency).to_bits(), theirs.score(norm, frequency).to_bits());
    }
}

#[test]
fn k1_of_zero_ignores_frequency_and_b_of_zero_ignores_length() {
    let score = |k1, b, norm, frequency| {
        TermWeight::new(idf(3, 100), k1, 1.0, Bm25Parameters { k1, b }.norms(20.0)).score(norm, frequency)
    };
    assert_eq!(score(0.0, 0.75, 5, 1), score(0.0, 0.75, 60, 9));
    assert_eq!(score(1.2, 0.0, 5, 2), score(1.2, 0.0, 60, 2));
    assert!(score(1.2, 0.75, 5, 2) > score(1.2, 0.75, 60, 2));
    assert!(score(3.0, 0.75, 5, 9) / score(3.0, 0.75, 5, 1) > score(0.5, 0.75, 5, 9) / score(0.5, 0.75, 5, 1));
}
