//! BM25 statistics of a partitioned index as a whole: the sum over its leaf indexes, whichever of them a query reads.
//!
//! A leaf knows only its own rows, so what it is asked about a query of the whole comes with the statistics of the whole. Every
//! leaf that one statement scans, and every expression it evaluates, must have the same: they are counted once for each query
//! and snapshot.

use super::access::{OpenIndex, kind_of};
use super::columns::Columns;
use super::view::with_view;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::NamespaceId;
use crate::ipc::message::{CorpusRequest, CorpusStats, NamespaceView, Request, TextQuery};
use crate::pg::client::{self, NoNeeds, Reply};
use crate::pg::snapshot::{Moment, Snapshot};
use crate::pg::xact;
use crate::schema::NamespaceSchema;
use pgrx::pg_sys;
use std::cell::RefCell;

/// Queries whose statistics are kept: a statement rarely orders by more texts at a time.
const MAX_KEPT: usize = 16;

thread_local! {
    /// The last ones, newest first.
    static KEPT: RefCell<Vec<Kept>> = const { RefCell::new(Vec::new()) };
}

/// Statistics of one query over one index, as one moment has them.
struct Kept {
    index: pg_sys::Oid,
    text: TextQuery,
    moment: Moment,
    stats: CorpusStats,
}

/// The statistics of a partitioned index for a query; none for an index that has rows of its own, which counts them itself.
///
/// # Errors
/// `Fenced` for an index that is not valid, or a leaf that analyses a text otherwise; the engine's.
pub fn of_whole(index: pg_sys::Oid, text: &TextQuery) -> Result<Option<CorpusStats>> {
    if kind_of(index) != pg_sys::RELKIND_PARTITIONED_INDEX {
        return Ok(None);
    }
    xact::register();
    let moment = Moment::of_statement();
    let known = KEPT.with_borrow_mut(|kept| {
        kept.retain(|kept| Some(&kept.moment) == moment.as_ref());
        kept.iter().find(|kept| kept.index == index && kept.text == *text).map(|kept| kept.stats.clone())
    });
    if known.is_some() {
        return Ok(known);
    }
    let open = OpenIndex::named(index, pg_sys::AccessShareLock)?;
    let stats = count(&open, text)?;
    if let Some(moment) = moment {
        KEPT.with_borrow_mut(|kept| {
            kept.truncate(MAX_KEPT - 1);
            kept.insert(0, Kept { index, text: text.clone(), moment, stats: stats.clone() });
        });
    }
    Ok(Some(stats))
}

/// What the engine gets to know of an index without rows: how its texts are analysed.
pub fn empty_view(schema: &NamespaceSchema) -> NamespaceView {
    NamespaceView {
        id: NamespaceId([0; 16]),
        schema: schema.to_stored(),
        segments: Vec::new(),
        buffered: Vec::new(),
        tombstones: None,
    }
}

fn count(whole: &OpenIndex, text: &TextQuery) -> Result<CorpusStats> {
    whole.check_parts()?;
    let schema = Columns::of(whole.index)?.schema();
    let snapshot = Snapshot::statement()?;
    let mut sum: Option<CorpusStats> = None;
    for leaf in whole.leaves() {
        let leaf = OpenIndex::open(leaf, pg_sys::AccessShareLock)?;
        leaf.check_valid()?;
        leaf.lock_predicate(&snapshot);
        check_analysis(whole, &schema, &leaf, text)?;
        let stats = with_view(leaf.index, |view| {
            let request = CorpusRequest { namespace: view.message(), text: text.clone() };
            stats_of(&client::call(&Request::Corpus(Box::new(request)), view)?)
        })?;
        match &mut sum {
            Some(sum) => sum.add(&stats)?,
            None => sum = Some(stats),
        }
        pgrx::check_for_interrupts!();
    }
    if let Some(sum) = sum {
        return Ok(sum);
    }
    let request = CorpusRequest { namespace: empty_view(&schema), text: text.clone() };
    stats_of(&client::call(&Request::Corpus(Box::new(request)), &mut NoNeeds)?)
}

fn stats_of(reply: &Reply) -> Result<CorpusStats> {
    match reply {
        Reply::Corpus(stats) => Ok(stats.clone()),
        other => Err(Error::internal(format!("the engine answered \"{}\" instead of statistics", other.name()))),
    }
}

/// An index that was made for itself and attached later may have other options, which PostgreSQL does not compare. Words that
/// are not analysed alike cannot be counted together.
fn check_analysis(whole: &OpenIndex, of_whole: &NamespaceSchema, leaf: &OpenIndex, text: &TextQuery) -> Result<()> {
    let of_leaf = Columns::of(leaf.index)?.schema();
    for (attribute, _) in &text.fields {
        let mine = of_whole.require_full_text(*attribute)?;
        if !of_leaf.require_full_text(*attribute).is_ok_and(|options| options.scores_alike(mine)) {
            let (leaf, name) = (leaf.index.name(), whole.index.name());
            return Err(Error::new(
                ErrorKind::Fenced,
                format!("index \"{leaf}\" has other full-text options than \"{name}\", which it is part of"),
            )
            .with_detail("BM25 needs statistics of all partitions together.")
            .with_hint("Create that index again with the same options, and attach it."));
        }
    }
    Ok(())
}
