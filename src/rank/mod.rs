//! Ranked lists: bounded selection ([`TopK`]), and fusion of the two arms ([`fuse`]).
//!
//! One order everywhere: larger score first, equal scores by ascending key. Candidates of all segments and of the write
//! buffer go through one [`TopK`], which is the merge across segments; a key is alive in one place only (INV-1, INV-3),
//! so nothing is de-duplicated here. This module knows neither segments nor documents.

mod rrf;
mod topk;

pub use rrf::{Arm, Fused, fuse};
pub use topk::{Scored, TopK};
