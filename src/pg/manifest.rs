//! `manifest.json`: what the catalog says of a namespace at one generation, written beside its segments, so that the
//! namespace can be read without this database.

use crate::error::{Error, ErrorKind, Result};
use crate::garbage::Reason;
use crate::pg::catalog::{self, NamespaceRow};
use crate::pg::snapshot::Snapshot;
use crate::pg::{garbage, namespace};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

/// Version of the manifest's form.
pub const MANIFEST_FORMAT: u32 = 1;
/// What its key `magic` says.
pub const MANIFEST_MAGIC: &str = "elacsym-manifest";

/// Column `options` of `elacsym.namespace`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NamespaceOptions {
    /// Storage root of the newest manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest_root: Option<String>,
    /// Segments of this generation or an older one were written without an index that the schema wants by now: whoever opens
    /// one makes the index, until a compaction has written it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outdated_generation: Option<u64>,
}

impl NamespaceOptions {
    /// The stored form.
    pub fn to_stored(&self) -> String {
        serde_json::to_string(self).expect("invariant: options have string keys only")
    }
}

impl NamespaceRow {
    /// The options, parsed.
    pub fn parse_options(&self) -> Result<NamespaceOptions> {
        serde_json::from_str(&self.options).map_err(|error| {
            Error::new(ErrorKind::Corrupt, format!("options of namespace \"{}\" are not readable: {error}", self.name))
        })
    }
}

/// Key of the manifest of a generation, below the root. `path` is the directory of the namespace.
pub fn object_key(path: &str, generation: u64) -> String {
    // Twenty digits: keys sort as generations do.
    format!("{path}/manifest-{generation:020}.json")
}

/// The manifest of the generation that `row` has, under the snapshot `row` was read with. The CRC32 is that of the
/// compact JSON text of `body` with sorted keys.
pub fn build(row: &NamespaceRow, snapshot: &Snapshot) -> Result<String> {
    let schema: Json = parse(&row.schema, row)?;
    let mut segments = Vec::new();
    for segment in catalog::segments(row.id, snapshot)? {
        let delete_vector =
            if segment.delete_version == 0 { Vec::new() } else { catalog::delete_vector(&segment, snapshot)? };
        segments.push(json!({
            "info": serde_json::to_value(&segment.info)
                .map_err(|error| Error::internal(format!("a segment's description is not JSON: {error}")))?,
            "generation": segment.generation,
            "delete_version": segment.delete_version,
            "delete_vector": hex(&delete_vector),
        }));
    }
    let body = json!({
        "namespace": {"id": row.id.to_string(), "name": row.name, "kind": char::from(row.kind).to_string()},
        "cluster": namespace::cluster_id().to_string(),
        "schema": schema,
        "generation": row.generation,
        "segments": segments,
    });
    let crc = crc32fast::hash(body.to_string().as_bytes());
    Ok(json!({"magic": MANIFEST_MAGIC, "format": MANIFEST_FORMAT, "crc32": crc, "body": body}).to_string())
}

fn parse(json: &str, row: &NamespaceRow) -> Result<Json> {
    serde_json::from_str(json).map_err(|error| {
        Error::new(ErrorKind::Corrupt, format!("schema of namespace \"{}\" is not readable: {error}", row.name))
    })
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("invariant: writing to a string does not fail");
        text
    })
}

/// Notes in the catalog that the manifest of `row.generation` is written below `root`, or that it is left to another server, and
/// releases the one before it. The caller holds the flush lock and has just read `row`.
///
/// # Errors
/// `Fenced` when the row has changed since it was read.
pub fn record(mut row: NamespaceRow, root: Option<&str>) -> Result<()> {
    let mut options = row.parse_options()?;
    if row.manifest_generation > 0
        && let Some(old_root) = &options.manifest_root
    {
        let key = object_key(&namespace::object_path(row.id), row.manifest_generation);
        garbage::release(old_root, [key.as_str()], Reason::Superseded)?;
    }
    options.manifest_root = root.map(str::to_string);
    row.options = options.to_stored();
    row.manifest_generation = row.generation;
    catalog::replace_namespace(&row)
}
