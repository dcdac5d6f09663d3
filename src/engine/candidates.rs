//! The arms of one query over one view, and what is known of their candidates: the values and filters that ranking needs.

use std::collections::BTreeMap;
use std::sync::Arc;

use foldhash::{HashMap, HashMapExt};
use futures::future::try_join_all;
use roaring::RoaringBitmap;
use tokio::sync::OnceCell;

use super::arms::{Candidates, Choice, Hit, Run, Spec};
use super::results::attributes;
use crate::document::{Document, Value};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::Key;
use crate::ipc::message::{ArmQuery, QueryRequest};
use crate::limits::MAX_ARMS;
use crate::rank::{ArmKind, Facts, Group, Modifier};
use crate::schema::{AttributeId, NamespaceSchema};
use crate::text::{CorpusStats, ParsedTextQuery};
use crate::vector::SearchStats;

/// The arms of a query, checked against the schema.
pub struct ArmSpecs {
    /// Each with one arm and without a filter: what they choose from is decided for all of them together.
    pub specs: Vec<Arc<Spec>>,
    /// Kind and weight of each.
    pub kinds: Vec<(ArmKind, f32)>,
}

impl ArmSpecs {
    /// Checks the arms of a request.
    ///
    /// # Errors
    /// As [`super::Engine::query`].
    pub fn new(request: &QueryRequest, schema: &Arc<NamespaceSchema>) -> Result<Self> {
        if request.arms.len() > MAX_ARMS {
            return Err(Error::new(
                ErrorKind::OutOfRange,
                format!("{} queries are more than {MAX_ARMS}", request.arms.len()),
            ));
        }
        let mut arms = Self { specs: Vec::new(), kinds: Vec::new() };
        // Values that only results have are not worth reading of all candidates.
        let mut prefetch = wanted_of_candidates(&request.modifiers, request.per.map(|per| per.attribute));
        if request.arms.len() == 1 && request.modifiers.is_empty() {
            prefetch.extend(&request.include_attributes);
        }
        for arm in &request.arms {
            let mut spec = Spec { effort: request.effort, ..Spec::of_rows(schema, None) };
            spec.prefetch.clone_from(&prefetch);
            let kind = match &arm.query {
                ArmQuery::Vector(vector) => {
                    Document::check_vector(schema, vector)?;
                    let metric = schema.vector.map(|of_schema| of_schema.metric);
                    let metric = metric.ok_or_else(|| Error::internal("a vector was checked without a metric"))?;
                    spec.vector = Some((vector.clone(), metric));
                    ArmKind::Vector(metric)
                }
                ArmQuery::Text { text, corpus } => {
                    spec.text = Some(ParsedTextQuery::parse(schema, text)?);
                    spec.corpus.clone_from(corpus);
                    ArmKind::Text
                }
            };
            arms.specs.push(Arc::new(spec));
            arms.kinds.push((kind, arm.weight));
        }
        Ok(arms)
    }
}

/// Attributes that are read of every candidate.
fn wanted_of_candidates(modifiers: &[Modifier], group: Option<AttributeId>) -> Vec<AttributeId> {
    let mut wanted: Vec<AttributeId> = modifiers.iter().filter_map(Modifier::attribute).chain(group).collect();
    wanted.sort_unstable();
    wanted.dedup();
    wanted
}

/// The arms of a query, ready to be asked for their best rows.
///
/// Nothing waits for more than it needs: a vector arm reads its postings while a text arm counts, and both while the filter of
/// another segment is evaluated.
pub struct Arms {
    base: Run,
    runs: Vec<Arc<Arm>>,
    /// What the filter leaves.
    choice: Arc<OnceCell<Choice>>,
    /// What the searches of all arms have cost so far.
    pub search: SearchStats,
}

struct Arm {
    run: Run,
    /// What a text arm with terms counts.
    stats: OnceCell<Option<CorpusStats>>,
}

impl Arms {
    /// Reads nothing yet.
    pub fn new(base: &Run, specs: &[Arc<Spec>]) -> Self {
        let arm = |spec: &Arc<Spec>| {
            Arc::new(Arm { run: Run { spec: spec.clone(), ..base.clone() }, stats: OnceCell::new() })
        };
        Self {
            base: base.clone(),
            runs: specs.iter().map(arm).collect(),
            choice: Arc::default(),
            search: SearchStats::default(),
        }
    }

    /// The best `depth` rows of each arm, best first. Scores are negated distances, or BM25.
    ///
    /// # Errors
    /// Of the segments.
    pub async fn best(&mut self, depth: usize) -> Result<Vec<Candidates>> {
        let lists = self.runs.iter().map(|arm| {
            let (base, choice, arm) = (self.base.clone(), self.choice.clone(), arm.clone());
            async move {
                let (choice, stats) = tokio::try_join!(choice.get_or_try_init(|| base.choice()), arm.stats())?;
                arm.run.best_of_all(depth, choice, stats.as_ref()).await
            }
        });
        let mut candidates = Vec::with_capacity(self.runs.len());
        for (list, search) in self.base.cpu.all(lists).await? {
            self.search.lists_probed += search.lists_probed;
            self.search.rows_scanned += search.rows_scanned;
            self.search.rows_coded += search.rows_coded;
            self.search.rows_reranked += search.rows_reranked;
            candidates.push(list);
        }
        Ok(candidates)
    }
}

impl Arm {
    async fn stats(&self) -> Result<&Option<CorpusStats>> {
        let count = || async {
            match &self.run.spec.text {
                Some(text) if !text.is_empty() => self.run.corpus().await.map(Some),
                _ => Ok(None),
            }
        };
        self.stats.get_or_try_init(count).await
    }
}

/// The value that a score of an arm stands for.
pub fn value_of(kind: ArmKind, score: f32) -> f32 {
    match kind {
        ArmKind::Vector(_) => -score,
        ArmKind::Text => score,
    }
}

/// What the attributes of candidates say, for ranking.
pub struct FactReader {
    run: Run,
    modifiers: Vec<Modifier>,
    group: Option<AttributeId>,
    /// Rows that match the filter of each modifier that has one.
    boosts: Vec<Option<Choice>>,
    wanted: Vec<AttributeId>,
}

/// Facts of one candidate, with the value it is grouped by.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// The product of the modifiers.
    pub factor: f64,
    /// Its value of the attribute of `per`.
    pub group: Option<Value>,
}

impl Known {
    /// As ranking takes them.
    pub fn facts(&self) -> Facts {
        Facts { factor: self.factor, group: self.group.as_ref().map(Group::of) }
    }
}

impl FactReader {
    /// Evaluates the filters of the modifiers. `base` has the query's filter.
    ///
    /// # Errors
    /// Of the segments.
    pub async fn new(base: &Run, request: &QueryRequest) -> Result<Self> {
        let group = request.per.map(|per| per.attribute);
        let boosts = request.modifiers.iter().map(|modifier| async move {
            let Some(filter) = modifier.filter() else { return Ok(None) };
            let spec = Arc::new(Spec::of_rows(&base.spec.schema, Some(filter.clone())));
            Run { spec, ..base.clone() }.choice().await.map(Some)
        });
        Ok(Self {
            run: base.clone(),
            boosts: try_join_all(boosts).await?,
            wanted: wanted_of_candidates(&request.modifiers, group),
            modifiers: request.modifiers.clone(),
            group,
        })
    }

    /// Of these rows; none where there is nothing to know.
    ///
    /// # Errors
    /// Of the segments.
    pub async fn read(&self, hits: impl IntoIterator<Item = (Key, Hit)>) -> Result<HashMap<Key, Known>> {
        if self.modifiers.is_empty() && self.group.is_none() {
            return Ok(HashMap::new());
        }
        let hits: Vec<(Key, Hit)> = hits.into_iter().collect();
        let documents = Values::read(&self.run, hits.iter().map(|(_, hit)| *hit), &self.wanted).await?;
        let mut known = HashMap::with_capacity(hits.len());
        for (key, hit) in hits {
            let value = |attribute: AttributeId| documents.get(&self.run, hit).and_then(|values| values.get(attribute));
            let mut factor = 1.0;
            for (modifier, boost) in self.modifiers.iter().zip(&self.boosts) {
                let matches = boost.as_ref().is_some_and(|choice| holds(choice, hit));
                factor *= modifier.factor(modifier.attribute().and_then(value), matches);
            }
            known.insert(key, Known { factor, group: self.group.and_then(value).cloned() });
        }
        Ok(known)
    }
}

fn holds(choice: &Choice, hit: Hit) -> bool {
    let among = |rows: Option<&Arc<RoaringBitmap>>, at: u32| rows.is_none_or(|rows| rows.contains(at));
    match hit {
        Hit::Row(place, ordinal) => among(choice.segments.get(place).and_then(Option::as_ref), ordinal),
        Hit::Buffered(place) => u32::try_from(place).is_ok_and(|place| among(choice.buffered.as_ref(), place)),
    }
}

/// Some attributes of some rows of segments; buffered documents have theirs at hand.
pub struct Values(Vec<BTreeMap<u32, Document>>);

impl Values {
    /// Reads them.
    ///
    /// # Errors
    /// Of the segments.
    pub async fn read(run: &Run, hits: impl IntoIterator<Item = Hit>, wanted: &[AttributeId]) -> Result<Self> {
        let mut ordinals: Vec<Vec<u32>> = vec![Vec::new(); run.view.segments.len()];
        if !wanted.is_empty() {
            for hit in hits {
                if let Hit::Row(place, ordinal) = hit {
                    ordinals[place].push(ordinal);
                }
            }
        }
        let parts = run.view.segments.iter().zip(&mut ordinals).map(|(live, ordinals)| {
            ordinals.sort_unstable();
            ordinals.dedup();
            attributes(&run.cpu, &run.reads, &live.segment, ordinals, wanted)
        });
        Ok(Self(try_join_all(parts).await?))
    }

    /// Those of one row.
    pub fn get<'v>(&'v self, run: &'v Run, hit: Hit) -> Option<&'v Document> {
        match hit {
            Hit::Row(place, ordinal) => self.0.get(place)?.get(&ordinal),
            Hit::Buffered(place) => run.view.buffered.get(place).map(|entry| &entry.document),
        }
    }
}
