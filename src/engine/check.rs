//! Which version of some documents is there, and whether it matches: what conditional writes ask before they write.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use futures::future::try_join_all;

use super::arms::{Hit, Run, Spec};
use super::fetch::locate;
use super::results::{Wanted, documents};
use super::stats::Kind;
use super::{Engine, Provider};
use crate::cache::ReadStats;
use crate::document::Document;
use crate::error::{Error, ErrorKind, Result};
use crate::filter::Filter;
use crate::ids::{EntryOrder, Key};
use crate::ipc::message::{CheckRequest, KeyState};
use crate::limits::MAX_PAGE_ROWS;
use crate::text::DocumentFilter;

/// Documents between two looks at whether the caller has gone.
const CHUNK: usize = 256;

impl Engine {
    /// The state of each document of the request, in its order.
    ///
    /// # Errors
    /// As [`Engine::query`].
    pub async fn check(&self, request: CheckRequest, provider: &mut dyn Provider) -> Result<Vec<KeyState>> {
        let start = self.env.clock.monotonic();
        let result = self.run_check(request, provider).await;
        self.counters.count(Kind::Check, self.micros_since(start), result.is_ok());
        result
    }

    async fn run_check(&self, request: CheckRequest, provider: &mut dyn Provider) -> Result<Vec<KeyState>> {
        let CheckRequest { mut namespace, keys, filters } = request;
        if keys.len() > MAX_PAGE_ROWS {
            return Err(Error::new(
                ErrorKind::OutOfRange,
                format!("{} keys are more than {MAX_PAGE_ROWS}", keys.len()),
            ));
        }
        if keys.iter().any(|(_, filter)| *filter as usize >= filters.len()) {
            return Err(Error::internal("a key names a filter that is not there"));
        }
        let schema = self.schema(&namespace.schema)?;
        let reads = Arc::new(ReadStats::default());
        let only: Vec<Key> = keys.iter().map(|(key, _)| *key).collect();
        super::fetch::cut_down(&mut namespace, &only);
        let view = Arc::new(self.resolve_anew(&namespace, &schema, provider, &reads).await?);
        let found: Vec<Option<(EntryOrder, Hit)>> = locate(&view, &only, &reads).await?;
        let spec = Arc::new(Spec::of_rows(&schema.schema, None));
        let run = Run { spec, view: view.clone(), cpu: self.cpu(), reads };
        let rows = self.rows_of(&run, found.iter().flatten().map(|(_, hit)| *hit), &filters).await?;
        run.cpu
            .run(move |cancel| {
                let mut prepared: Vec<Option<DocumentFilter<'_>>> = filters.iter().map(|_| None).collect();
                let mut states = Vec::with_capacity(keys.len());
                for (at, ((key, filter), found)) in keys.iter().zip(found).enumerate() {
                    if at.is_multiple_of(CHUNK) {
                        cancel.check()?;
                    }
                    let Some((order, hit)) = found else {
                        states.push(KeyState { order: None, matches: false });
                        continue;
                    };
                    let document = match hit {
                        Hit::Buffered(place) => &view.buffered[place].document,
                        Hit::Row(place, ordinal) => rows
                            .get(&(place, ordinal))
                            .ok_or_else(|| Error::internal(format!("the values of document {key} were not read")))?,
                    };
                    let place = *filter as usize;
                    let filter = match &mut prepared[place] {
                        Some(filter) => filter,
                        none => none.insert(DocumentFilter::new(&schema.schema, Some(&filters[place]))?),
                    };
                    states.push(KeyState { order: Some(order), matches: filter.matches(document) });
                }
                Ok(states)
            })
            .await
    }

    /// What the filters look at of rows of segments.
    async fn rows_of(
        &self,
        run: &Run,
        hits: impl Iterator<Item = Hit>,
        filters: &[Filter],
    ) -> Result<HashMap<(usize, u32), Document>> {
        let mut attributes = Vec::new();
        filters.iter().for_each(|filter| filter.attributes(&mut attributes));
        attributes.sort_unstable();
        attributes.dedup();
        let wanted = Wanted { vector: false, attributes };
        let mut ordinals: BTreeMap<usize, Vec<u32>> = BTreeMap::new();
        for hit in hits {
            if let Hit::Row(place, ordinal) = hit {
                ordinals.entry(place).or_default().push(ordinal);
            }
        }
        let wanted = &wanted;
        let parts = ordinals.into_iter().map(|(place, ordinals)| async move {
            let documents = documents(run, &run.view.segments[place].segment, ordinals, wanted).await?;
            Ok::<_, Error>(documents.into_iter().map(move |(ordinal, document)| ((place, ordinal), document)))
        });
        Ok(try_join_all(parts).await?.into_iter().flatten().collect())
    }
}
