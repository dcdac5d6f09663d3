//! Ranking: from candidates of arms to the rows of a page. Pure functions, used by the engine for namespaces and by a
//! backend for indexes, where only visible candidates have ranks.
//!
//! * [`TopK`] selects the best candidates of one arm over all parts; [`fuse`] joins arms into one list.
//! * [`Ranking`] defines the whole ranked list as blocks, so that pages never overlap or skip, and applies group limits.
//! * [`Modifier`]s scale the fused score of a candidate by its attributes.
//! * [`OrderBy`] and [`Selection`] rank rows by attributes where nothing is searched for.
//! * [`Judged`] measures a ranking by relevance judgements.
//!
//! One order everywhere: larger score first, equal scores by ascending id. A key is alive in one place only (INV-1, INV-3),
//! so nothing is de-duplicated here. This module knows neither segments nor tables.

mod depth;
mod fusion;
mod group;
mod modifier;
mod order;
mod pages;
mod quality;
mod topk;

pub use depth::{deep_enough, deeper};
pub use fusion::{Arm, ArmKind, Fused, Fusion, Method, Place, fuse};
pub use group::{Group, Per};
pub use modifier::{DecayShape, Modifier, Times, Unit, parse_modifiers};
pub use order::{OrderBy, Selection, SortKey, parse_order_by};
pub use pages::{Facts, Plan, Ranked, Ranking};
pub use quality::{Judged, Quality};
pub use topk::{Scored, TopK};

use crate::error::{Error, Result};
use crate::schema::{Attribute, NamespaceSchema};

/// The attribute that ranking goes by: one whose values filters know too, which leaves out long texts.
fn ranked_attribute<'s>(schema: &'s NamespaceSchema, name: &str) -> Result<&'s Attribute> {
    let attribute = schema.require(name)?;
    if attribute.indexed {
        return Ok(attribute);
    }
    Err(Error::invalid(format!("attribute \"{name}\" is not indexed"))
        .with_hint("Rank by an attribute that filters may use: in a namespace one with \"indexed\": true, in an index a column that is not full text."))
}
