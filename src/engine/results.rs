//! Values of the final rows: only what is returned is read.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use futures::future::try_join_all;

use super::arms::{Hit, Run};
use super::permits::CpuPool;
use crate::cache::ReadStats;
use crate::document::{Document, Value};
use crate::error::{Error, Result};
use crate::ids::IdType;
use crate::ipc::message::ResultRow;
use crate::schema::{AttributeId, TEXT_ID};
use crate::segment::{RowRead, Segment};

/// Which values the caller wants.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Vectors.
    pub vector: bool,
    /// Attributes.
    pub attributes: Vec<AttributeId>,
}

/// Fills in the values of rows, in their order.
///
/// # Errors
/// Of the segments.
pub(super) async fn values(run: &Run, rows: Vec<(Hit, ResultRow)>, wanted: &Wanted) -> Result<Vec<ResultRow>> {
    let with_id = run.spec.schema.id == IdType::Text && rows.iter().any(|(_, row)| row.id.is_none());
    if !wanted.vector && wanted.attributes.is_empty() && !with_id {
        return Ok(rows.into_iter().map(|(_, row)| row).collect());
    }
    let attributes = wanted.attributes.iter().copied().chain(with_id.then_some(TEXT_ID)).collect();
    let read = &Wanted { vector: wanted.vector, attributes };
    let mut ordinals: BTreeMap<usize, Vec<u32>> = BTreeMap::new();
    for (hit, _) in &rows {
        if let Hit::Row(place, ordinal) = hit {
            ordinals.entry(*place).or_default().push(*ordinal);
        }
    }
    let parts = ordinals.into_iter().map(|(place, ordinals)| async move {
        let documents = documents(run, &run.view.segments[place].segment, ordinals, read).await?;
        Ok::<_, Error>((place, documents))
    });
    let documents: HashMap<usize, BTreeMap<u32, Document>> = try_join_all(parts).await?.into_iter().collect();
    let mut out = Vec::with_capacity(rows.len());
    for (hit, mut row) in rows {
        let document = match hit {
            Hit::Buffered(place) => &run.view.buffered[place].document,
            Hit::Row(place, ordinal) => documents
                .get(&place)
                .and_then(|documents| documents.get(&ordinal))
                .ok_or_else(|| Error::internal(format!("the values of document {} were not read", row.key)))?,
        };
        if with_id && let Some(Value::String(id)) = document.get(TEXT_ID) {
            row.id = Some(id.clone());
        }
        if wanted.vector {
            row.vector = document.vector.clone();
        }
        if !wanted.attributes.is_empty() {
            let json = document.attributes_json(&run.spec.schema, Some(&wanted.attributes));
            row.attributes = Some(json.to_string());
        }
        out.push(row);
    }
    Ok(out)
}

/// The wanted values of some rows of one segment: vectors and attributes in parallel, one round trip each.
pub(super) async fn documents(
    run: &Run,
    segment: &Arc<Segment>,
    ordinals: Vec<u32>,
    wanted: &Wanted,
) -> Result<BTreeMap<u32, Document>> {
    documents_of(&run.cpu, &run.reads, segment, ordinals, wanted).await
}

/// As [`documents`], where no query runs.
pub(super) async fn documents_of(
    cpu: &Arc<CpuPool>,
    reads: &Arc<ReadStats>,
    segment: &Arc<Segment>,
    mut ordinals: Vec<u32>,
    wanted: &Wanted,
) -> Result<BTreeMap<u32, Document>> {
    ordinals.sort_unstable();
    ordinals.dedup();
    let with_vector: Vec<u32> = if wanted.vector {
        ordinals.iter().copied().filter(|ordinal| u64::from(*ordinal) < segment.info().vectors).collect()
    } else {
        Vec::new()
    };
    let (attributes, vectors) = tokio::try_join!(
        attributes(cpu, reads, segment, &ordinals, &wanted.attributes),
        segment.vectors(&with_vector, reads)
    )?;
    let mut documents = attributes;
    if !with_vector.is_empty() {
        let dim = vectors.len() / with_vector.len();
        for (ordinal, vector) in with_vector.iter().zip(vectors.chunks_exact(dim)) {
            documents.entry(*ordinal).or_default().vector = Some(vector.to_vec());
        }
    }
    Ok(documents)
}

/// The attributes `columns` of some rows of one segment.
///
/// # Errors
/// Of the segment.
pub(super) async fn attributes(
    cpu: &Arc<CpuPool>,
    reads: &Arc<ReadStats>,
    segment: &Arc<Segment>,
    ordinals: &[u32],
    columns: &[AttributeId],
) -> Result<BTreeMap<u32, Document>> {
    let mut read = RowRead::new(segment, ordinals, columns)?;
    while !read.need().is_empty() {
        let bytes = segment.read_rows(read.need(), reads).await?;
        read = cpu
            .run(move |_| {
                read.supply(bytes)?;
                Ok(read)
            })
            .await?;
    }
    read.finish()
}
