//! Block 0 of an index: the only anchor between the relation and everything else (pitfalls 0.1).
//!
//! Everything of ours is keyed by the incarnation it names, never by oid, name or file number: `SET TABLESPACE` copies
//! the page, a rewrite or REINDEX gets a new one, a rollback brings the old one back.

use super::page;
use super::relation::Rel;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::NamespaceId;
use crate::ipc::message::TombstonesVersion;
use pgrx::pg_sys;

const BLOCK: u32 = 0;
const MAGIC: [u8; 4] = *b"ELCM";
const VERSION: u32 = 1;
const BYTES: usize = 96;

/// What the metapage says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metapage {
    /// This life of the index.
    pub incarnation: NamespaceId,
    /// System identifier of the cluster that built it.
    pub system_identifier: u64,
    /// Oid of the database that built it.
    pub database: u32,
    /// The tombstone log.
    pub tombstones: TombstonesVersion,
    /// Once every transaction before this one is over, no entry that the log kills can still come to light (pitfalls 2.e).
    pub horizon: u64,
    /// Entries after the last build or VACUUM, for the planner.
    pub entries: u64,
    /// Bytes in object storage after the last build or VACUUM, for the planner.
    pub bytes: u64,
}

impl Metapage {
    fn encode(&self) -> [u8; BYTES] {
        let mut out = [0; BYTES];
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            out[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        };
        put(&MAGIC);
        put(&VERSION.to_le_bytes());
        put(&self.incarnation.0);
        put(&self.system_identifier.to_le_bytes());
        put(&self.database.to_le_bytes());
        put(&0_u32.to_le_bytes());
        put(&self.tombstones.generation.to_le_bytes());
        put(&self.tombstones.count.to_le_bytes());
        put(&self.horizon.to_le_bytes());
        put(&self.entries.to_le_bytes());
        put(&self.bytes.to_le_bytes());
        let crc = crc32fast::hash(&out[..BYTES - 8]);
        out[BYTES - 8..BYTES - 4].copy_from_slice(&crc.to_le_bytes());
        out
    }

    fn decode(bytes: &[u8]) -> Result<Self> {
        let bytes: &[u8; BYTES] =
            bytes.try_into().map_err(|_| page::corrupt(BLOCK, "the metapage has the wrong size"))?;
        let u32_at = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let u64_at = |at: usize| u64::from(u32_at(at)) | (u64::from(u32_at(at + 4)) << 32);
        if bytes[..4] != MAGIC {
            return Err(page::corrupt(BLOCK, "the metapage has the wrong magic"));
        }
        if u32_at(4) != VERSION {
            return Err(Error::new(
                ErrorKind::Unavailable,
                format!("the index has metapage version {}, which this library does not know", u32_at(4)),
            )
            .with_hint("Install the version of elacsym that wrote it, or REINDEX."));
        }
        if u32_at(BYTES - 8) != crc32fast::hash(&bytes[..BYTES - 8]) {
            return Err(page::corrupt(BLOCK, "checksum mismatch in the metapage"));
        }
        let mut incarnation = [0; 16];
        incarnation.copy_from_slice(&bytes[8..24]);
        Ok(Self {
            incarnation: NamespaceId(incarnation),
            system_identifier: u64_at(24),
            database: u32_at(32),
            tombstones: TombstonesVersion { generation: u64_at(40), count: u64_at(48) },
            horizon: u64_at(56),
            entries: u64_at(64),
            bytes: u64_at(72),
        })
    }

    /// A new life: nothing in it.
    pub fn new(incarnation: NamespaceId) -> Self {
        Self {
            incarnation,
            // SAFETY: no arguments; the control file is read at start.
            system_identifier: unsafe { pg_sys::GetSystemIdentifier() },
            // SAFETY: a plain global, set once when the process connects to its database.
            database: unsafe { pg_sys::MyDatabaseId }.into(),
            tombstones: TombstonesVersion { generation: 1, count: 0 },
            horizon: 0,
            entries: 0,
            bytes: 0,
        }
    }

    /// Reads it.
    ///
    /// # Errors
    /// `Corrupt`; `Unavailable` for a version of the future.
    pub fn read(index: Rel) -> Result<Self> {
        if page::blocks(index) == 0 {
            return Err(page::corrupt(BLOCK, "the index has no metapage"));
        }
        Self::decode(&page::read(index, BLOCK)?)
    }

    /// Writes it, creating the page in an empty relation.
    pub fn write(&self, index: Rel) {
        page::write(index, &[(BLOCK, &self.encode())]);
    }
}
