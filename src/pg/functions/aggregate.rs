//! `count` and `facets`, of a namespace or an index.

use super::arguments::required;
use super::index_aggregate;
use super::search::{text_query, visible};
use super::{Jsonb, Text};
use crate::aggregate::{Facet, matching};
use crate::error::{Error, ErrorKind, Result};
use crate::filter::Filter;
use crate::ipc::message::{AggregateRequest, Operator, Request};
use crate::pg::am::access::OpenIndex;
use crate::pg::client::{self, Reply};
use crate::pg::engine_call::Source;
use crate::pg::error::OrRaise;
use crate::pg::locks::Mode;
use crate::pg::namespace::{self, Namespace};
use crate::pg::search_log::{self, Figures};
use crate::pg::snapshot::Snapshot;
use crate::pg::{counters, preload, query_stats, xact};
use pgrx::{pg_extern, pg_sys};
use serde_json::Value as Json;
use std::time::Instant;

/// \[backend\] `elacsym.count(target text, filter jsonb, full_text jsonb) RETURNS bigint`
#[pg_extern(sql = "")]
fn elacsym_count(target: Option<Text>, filter: Option<Jsonb>, full_text: Option<Jsonb>) -> i64 {
    preload::require();
    let target = required(target, "target");
    let (count, _) = aggregate(&target, None, filter, full_text).or_raise();
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// \[backend\] `elacsym.facets(target text, facets jsonb, filter jsonb, full_text jsonb) RETURNS jsonb`
#[pg_extern(sql = "")]
fn elacsym_facets(
    target: Option<Text>,
    facets: Option<Jsonb>,
    filter: Option<Jsonb>,
    full_text: Option<Jsonb>,
) -> Jsonb {
    preload::require();
    let (target, facets) = (required(target, "target"), required(facets, "facets"));
    let (_, facets) = aggregate(&target, Some(facets), filter, full_text).or_raise();
    Jsonb(facets)
}

/// Number of matching rows, and the facets as JSON.
fn aggregate(
    target: &str,
    facets: Option<Jsonb>,
    filter: Option<Jsonb>,
    full_text: Option<Jsonb>,
) -> Result<(u64, String)> {
    xact::register();
    let facets = facets.map(|json| json.parse("facets")).transpose()?;
    let full_text = full_text.map(|json| json.parse("full_text")).transpose()?;
    match namespace::resolve(target, Mode::AccessShare) {
        Ok(namespace) => of_namespace(&namespace, facets.as_ref(), filter.as_ref(), full_text.as_ref()),
        Err(error) if error.kind == ErrorKind::NotFound => {
            let open = OpenIndex::named_by_name(target, pg_sys::AccessShareLock)?.ok_or(error)?;
            let all = index_aggregate::aggregate(&open, facets.as_ref(), filter.as_ref(), full_text.as_ref())?;
            Ok((all.rows(), all.to_json()?))
        }
        Err(error) => Err(error),
    }
}

fn of_namespace(
    namespace: &Namespace,
    facets: Option<&Json>,
    filter: Option<&Jsonb>,
    text: Option<&Json>,
) -> Result<(u64, String)> {
    let schema = &namespace.schema;
    let facets = facets.map(|json| Facet::parse_all(schema, json)).transpose()?.unwrap_or_default();
    let filter = filter.map(|json| Filter::parse(schema, &json.parse("filter")?)).transpose()?;
    let text = text.map(|json| text_query(schema, json)).transpose()?;
    let snapshot = Snapshot::statement()?;
    let view = visible(namespace, &snapshot)?;
    let start = Instant::now();
    let request = Request::Aggregate(Box::new(AggregateRequest {
        namespace: view.message(),
        filter: matching(
            filter,
            text.as_ref().map(|text| (text.query.as_str(), text.fields.as_slice(), text.operator == Operator::And)),
        ),
        facets,
    }));
    match client::call(&request, &mut Source { view: &view, snapshot: &snapshot })? {
        Reply::Aggregated { count, facets, stats } => {
            query_stats::record(stats);
            let micros = counters::micros_since(start);
            let figures = Figures { searches: 1, fetched: 0, cost: stats, micros };
            search_log::of_namespace("count", view.id, &figures);
            Ok((count, facets))
        }
        other => Err(Error::internal(format!("the engine answered \"{}\" instead of counts", other.name()))),
    }
}
