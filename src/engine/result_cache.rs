//! Answers to repeated queries.
//!
//! A question is everything that decides the answer: the request with its view, as bytes. A view names what it sees by names that are
//! never used twice (ULIDs of segments, positions of delete vectors, ids of buffered entries, the state of the tombstones), and what
//! those names stand for never changes: so an answer is right for as long as the same question is asked, and nothing is ever
//! invalidated. Any write that a reader sees changes its view and with it the question. Answers are compared by the whole question,
//! not by a hash of it. Errors are not kept.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value as Json, json};

use super::bounded::Bounded;
use crate::document::Value;
use crate::ipc::message::{CandidateRow, QueryRequest, RequestStats, ResultRow};

/// Longest question that is kept, in bytes: one with many buffered entries is not asked twice, as they are flushed or become more.
const MAX_QUESTION_BYTES: usize = 256 << 10;
/// Buffered entries of such a question at least take this many bytes each.
const MIN_ENTRY_BYTES: usize = 4;
/// What the map spends on an answer besides: a slot in its hash table and one in the order of use, both with room to grow.
const SLOT_BYTES: usize = 160;
/// Share of the budget that one answer may take: the divisor. A large page must not throw out all others.
const ANSWER_SHARE: usize = 8;

/// What a question asks for; part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// A page of results.
    Rows = 1,
    /// Candidates of a ranking.
    Candidates = 2,
}

/// A question.
#[derive(Debug)]
pub struct Question {
    hash: u64,
    bytes: Vec<u8>,
}

/// An answer.
#[derive(Debug, Clone)]
pub enum Answer {
    /// To [`Asked::Rows`].
    Rows(Vec<ResultRow>),
    /// To [`Asked::Candidates`].
    Candidates(Vec<CandidateRow>),
}

#[derive(Debug)]
struct Kept {
    question: Box<[u8]>,
    answer: Answer,
    /// What the view held; nothing else of the first answer's cost is true of a repeated one.
    stats: RequestStats,
}

/// The answers within a budget of bytes; 0 keeps none.
#[derive(Debug)]
pub struct ResultCache {
    kept: Bounded<u64, Arc<Kept>>,
    budget: AtomicU64,
    hits: AtomicU64,
    misses: AtomicU64,
}

impl ResultCache {
    /// Empty.
    pub fn new(budget: u64) -> Self {
        let kept = Bounded::new(usize::try_from(budget).unwrap_or(usize::MAX));
        Self { kept, budget: AtomicU64::new(budget), hits: AtomicU64::new(0), misses: AtomicU64::new(0) }
    }

    /// Changes the budget.
    pub fn resize(&self, budget: u64) {
        self.budget.store(budget, Ordering::Relaxed);
        self.kept.resize(usize::try_from(budget).unwrap_or(usize::MAX));
    }

    /// Forgets all answers.
    pub fn clear(&self) {
        self.kept.clear();
    }

    /// The question that a request is; None if its answer is not kept.
    pub fn question(&self, asked: Asked, request: &QueryRequest) -> Option<Question> {
        let entries = request.namespace.buffered.len();
        if self.budget.load(Ordering::Relaxed) == 0 || entries > MAX_QUESTION_BYTES / MIN_ENTRY_BYTES {
            return None;
        }
        let bytes = postcard::to_extend(request, vec![asked as u8]).ok()?;
        if bytes.len() > MAX_QUESTION_BYTES {
            return None;
        }
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        Some(Question { hash: hasher.finish(), bytes })
    }

    /// The answer if it is known, and what giving it cost.
    pub fn get(&self, question: &Question) -> Option<(Answer, RequestStats)> {
        let kept = self.kept.get(&question.hash).filter(|kept| *kept.question == *question.bytes);
        let counter = if kept.is_some() { &self.hits } else { &self.misses };
        counter.fetch_add(1, Ordering::Relaxed);
        kept.map(|kept| (kept.answer.clone(), kept.stats))
    }

    /// Keeps an answer, which it gives back.
    pub fn keep_rows(&self, question: Question, rows: Vec<ResultRow>, stats: &RequestStats) -> Vec<ResultRow> {
        let bytes = rows.iter().map(of_row).sum();
        self.keep(question, bytes, stats, || Answer::Rows(rows.clone()));
        rows
    }

    /// As [`Self::keep_rows`].
    pub fn keep_candidates(
        &self,
        question: Question,
        rows: Vec<CandidateRow>,
        stats: &RequestStats,
    ) -> Vec<CandidateRow> {
        let bytes = rows.iter().map(of_candidate).sum();
        self.keep(question, bytes, stats, || Answer::Candidates(rows.clone()));
        rows
    }

    /// `bytes`: of the answer, which is copied only if it is kept.
    fn keep(&self, question: Question, bytes: usize, stats: &RequestStats, answer: impl FnOnce() -> Answer) {
        let bytes = SLOT_BYTES + size_of::<Kept>() + question.bytes.len() + bytes;
        if bytes > usize::try_from(self.budget.load(Ordering::Relaxed)).unwrap_or(usize::MAX) / ANSWER_SHARE {
            return;
        }
        let stats = RequestStats { segments: stats.segments, buffered: stats.buffered, ..RequestStats::default() };
        // It grew by doubling.
        let kept = Kept { question: question.bytes.into_boxed_slice(), answer: answer(), stats };
        self.kept.insert(question.hash, Arc::new(kept), bytes);
    }

    /// Answers and bytes held now.
    pub fn usage(&self) -> (usize, usize) {
        self.kept.usage()
    }

    /// Figures.
    pub fn to_json(&self) -> Json {
        let (count, bytes) = self.kept.usage();
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        json!({"count": count, "bytes": bytes, "hits": load(&self.hits), "misses": load(&self.misses)})
    }
}

/// About how much memory a row takes.
fn of_row(row: &ResultRow) -> usize {
    let texts = row.id.as_ref().map_or(0, String::capacity) + row.attributes.as_ref().map_or(0, String::capacity);
    let vector = row.vector.as_ref().map_or(0, Vec::len) * size_of::<f32>();
    size_of::<ResultRow>() + texts + vector + size_of_val(row.arms.as_slice())
}

fn of_candidate(row: &CandidateRow) -> usize {
    let values = row.group.iter().chain(row.sort.iter().flatten()).map(of_value);
    size_of::<CandidateRow>() + size_of_val(row.values.as_slice()) + values.sum::<usize>()
}

/// What a value of an attribute holds besides itself.
fn of_value(value: &Value) -> usize {
    let inner = match value {
        Value::String(text) => text.len(),
        Value::ArrayString(texts) => texts.iter().map(|text| size_of::<String>() + text.len()).sum(),
        Value::ArrayInt(values) => size_of_val(values.as_slice()),
        Value::Int(_) | Value::Float(_) | Value::Bool(_) | Value::Timestamp(_) | Value::Uuid(_) => 0,
    };
    size_of::<Option<Value>>() + inner
}

#[cfg(test)]
mod tests;
