use super::*;

fn judged(grades: &[(&str, u32)]) -> Judged {
    let mut judged = Judged::default();
    grades.iter().for_each(|(document, grade)| judged.add((*document).to_string(), *grade));
    judged
}

#[test]
fn the_figures_are_those_of_their_definitions() {
    let quality = judged(&[("a", 3), ("b", 1), ("c", 0), ("d", 1)]).measure(["c", "b", "a", "x"], 3);
    let ideal = 7.0 + 1.0 / 3_f64.log2() + 1.0 / 2.0;
    let found = 1.0 / 3_f64.log2() + 7.0 / 2.0;
    assert!((quality.ndcg - found / ideal).abs() < 1e-12);
    assert!((quality.recall - 2.0 / 3.0).abs() < 1e-12);
    assert_eq!((quality.mrr, quality.queries), (0.5, 1));
}

#[test]
fn the_best_ranking_has_one_and_an_empty_one_zero() {
    let judged = judged(&[("a", 2), ("b", 1)]);
    let best = judged.measure(["a", "b"], 10);
    assert_eq!((best.ndcg, best.recall, best.mrr), (1.0, 1.0, 1.0));
    let none = judged.measure([], 10);
    assert_eq!((none.queries, none.ndcg, none.recall, none.mrr), (1, 0.0, 0.0, 0.0));
    assert_eq!(judged.measure(["x", "a"], 1).mrr, 0.0);
}

#[test]
fn a_query_without_a_relevant_document_is_not_counted() {
    let judged = judged(&[("a", 0)]);
    assert!(!judged.is_measurable());
    assert_eq!(judged.measure(["a"], 10), Quality::default());
    assert_eq!(Quality::default().means(), None);
    let mut sum = Quality { queries: 1, ndcg: 1.0, recall: 0.5, mrr: 0.25 };
    sum.add(Quality { queries: 1, ..Quality::default() });
    assert_eq!(sum.means(), Some([0.5, 0.25, 0.125]));
}
