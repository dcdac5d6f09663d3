//! How good a ranking is by relevance judgements.
//!
//! * nDCG@k: gain `2^grade - 1`, discount `log2(rank + 1)`, divided by that of the best possible ranking. With grades 0 and 1 it
//!   is what trec_eval counts, whose gain is the grade.
//! * recall@k: relevant documents (grade above 0) among the first k, divided by all relevant ones.
//! * MRR@k: 1 / rank of the first relevant document, 0 if none is among the first k.

use std::collections::HashMap;

/// The judgements of one query: grades by document.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Judged {
    grades: HashMap<String, u32>,
}

/// The figures of one query, or the sums over some.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Quality {
    /// Queries that were added up.
    pub queries: u64,
    /// nDCG@k.
    pub ndcg: f64,
    /// recall@k.
    pub recall: f64,
    /// MRR@k.
    pub mrr: f64,
}

impl Quality {
    /// Adds another query.
    pub fn add(&mut self, other: Self) {
        self.queries += other.queries;
        self.ndcg += other.ndcg;
        self.recall += other.recall;
        self.mrr += other.mrr;
    }

    /// The means of (nDCG, recall, MRR); None without a query.
    pub fn means(&self) -> Option<[f64; 3]> {
        let queries = self.queries as f64;
        (self.queries > 0).then(|| [self.ndcg / queries, self.recall / queries, self.mrr / queries])
    }
}

impl Judged {
    /// Notes a grade; the last of a document counts.
    pub fn add(&mut self, document: String, grade: u32) {
        self.grades.insert(document, grade);
    }

    /// Whether some document is relevant: without one there is nothing to measure.
    pub fn is_measurable(&self) -> bool {
        self.grades.values().any(|grade| *grade > 0)
    }

    /// The figures of a ranking, best first, each document once. Of a query that is not measurable: nothing.
    pub fn measure<'a>(&self, ranking: impl IntoIterator<Item = &'a str>, k: usize) -> Quality {
        let mut ideal: Vec<u32> = self.grades.values().copied().filter(|grade| *grade > 0).collect();
        if ideal.is_empty() {
            return Quality::default();
        }
        let relevant = ideal.len() as f64;
        ideal.sort_unstable_by(|a, b| b.cmp(a));
        let ideal: f64 = ideal.iter().take(k).enumerate().map(|(at, grade)| gain(*grade) / discount(at)).sum();
        let (mut dcg, mut found, mut mrr) = (0.0, 0.0, 0.0);
        for (at, document) in ranking.into_iter().take(k).enumerate() {
            let grade = self.grades.get(document).copied().unwrap_or(0);
            if grade > 0 {
                dcg += gain(grade) / discount(at);
                if found == 0.0 {
                    mrr = 1.0 / (at + 1) as f64;
                }
                found += 1.0;
            }
        }
        Quality { queries: 1, ndcg: dcg / ideal, recall: found / relevant, mrr }
    }
}

fn gain(grade: u32) -> f64 {
    f64::from(grade).exp2() - 1.0
}

/// Of the place `at`, counted from 0.
fn discount(at: usize) -> f64 {
    ((at + 2) as f64).log2()
}

#[cfg(test)]
mod tests;
