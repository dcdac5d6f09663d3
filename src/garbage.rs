//! Which objects below a cluster's prefix may be deleted, and when (INV-4, INV-9): rules without storage and without tables.
//!
//! Everything of a cluster is below `<cluster>/`. Below that, `<database oid>/<namespace>/` holds a directory for each segment and the
//! manifests; the other names are *marks*, objects whose name says all: which servers live, which database reads
//! another's objects, which databases are gone.
//!
//! An object goes in two steps. First a row of `elacsym.garbage` says that nothing refers to it: because a transaction released
//! it, or because a sweep found it and knows no reference (an *orphan*: a rolled back build, a flush that was not published). Once
//! every transaction of that moment is over and the retention time has passed, the catalog is asked again, and the object deleted.
//! The creator of an object draws its transaction id before it uploads, so at the second look it is known what became of it,
//! however long it ran or was prepared.

use crate::error::Result;
use crate::ids::NamespaceId;

pub mod marks;

/// Length of a ULID in text form.
const ULID_LENGTH: usize = 26;
/// Digits of the generation in a manifest's name.
const GENERATION_DIGITS: usize = 20;

/// Digits of the 64 bits of a cluster's identity.
const CLUSTER_DIGITS: usize = 13;

/// Prefix of everything of a cluster.
///
/// Names are short, because `pg_basebackup` refuses paths of more than 99 characters below the data directory, where the default storage is:
/// `elacsym/`, this prefix, a database, a namespace, a segment, and `rows.parquet` are 99 at most.
pub fn cluster_prefix(cluster: NamespaceId) -> String {
    let short = cluster.short();
    // A system identifier has 64 bits.
    let (zeros, digits) = short.split_at(short.len() - CLUSTER_DIGITS);
    let is_short = cluster.0[..8] == [0; 8] && zeros.bytes().all(|digit| digit == b'0');
    format!("{}/", if is_short { digits } else { &short })
}

/// Prefix of the objects of one database.
pub fn database_prefix(cluster: NamespaceId, database: u32) -> String {
    format!("{}{database}/", cluster_prefix(cluster))
}

/// The database whose directory `key` is in; none for marks and for what is not below the cluster's prefix.
pub fn database_of(cluster: NamespaceId, key: &str) -> Option<u32> {
    let rest = key.strip_prefix(cluster_prefix(cluster).as_str())?;
    let (name, _) = rest.split_once('/')?;
    number(name)
}

/// A number as we write it: digits, without a zero in front.
fn number<N: std::str::FromStr + ToString>(text: &str) -> Option<N> {
    text.parse().ok().filter(|number: &N| number.to_string() == text)
}

/// Whether this is a ULID in the form that we write.
fn is_ulid(text: &str) -> bool {
    text.len() == ULID_LENGTH
        && text.bytes().all(|b| b.is_ascii_digit() || (b.is_ascii_uppercase() && !b"ILOU".contains(&b)))
}

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place<'k> {
    /// Belongs to a segment.
    Segment {
        /// Of which namespace or life of an index.
        namespace: NamespaceId,
        /// The segment's ULID.
        segment: &'k str,
    },
    /// The manifest of one generation.
    Manifest {
        /// Of which namespace.
        namespace: NamespaceId,
        /// Which generation.
        generation: u64,
    },
}

/// What a key below the prefix of a database names; none for what we never write there, which is left alone.
pub fn place_in<'k>(database_prefix: &str, key: &'k str) -> Option<Place<'k>> {
    let mut parts = key.strip_prefix(database_prefix)?.split('/');
    let namespace = NamespaceId::parse_short(parts.next()?)?;
    match (parts.next()?, parts.next(), parts.next()) {
        (segment, Some(file), None) if is_ulid(segment) && !file.is_empty() => {
            Some(Place::Segment { namespace, segment })
        }
        (manifest, None, None) => {
            let digits = manifest.strip_prefix("manifest-")?.strip_suffix(".json")?;
            let all = digits.len() == GENERATION_DIGITS && digits.bytes().all(|b| b.is_ascii_digit());
            let generation = digits.parse().ok().filter(|_| all)?;
            Some(Place::Manifest { namespace, generation })
        }
        _ => None,
    }
}

/// Why an object has a row in `elacsym.garbage`; the values are those of column `reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Reason {
    /// A transaction dropped or replaced what it belonged to.
    Released = b'r',
    /// A sweep found it, and nothing that refers to it.
    Orphan = b'o',
    /// The manifest of a generation that a newer one has replaced.
    Superseded = b'm',
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 3] = [Self::Released, Self::Orphan, Self::Superseded];

    /// The reason of that column value.
    pub fn from_u8(value: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| *reason as u8 == value)
    }

    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Released => "released",
            Self::Orphan => "orphan",
            Self::Superseded => "superseded manifest",
        }
    }
}

/// One row of `elacsym.garbage` about an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Released {
    /// Why.
    pub reason: Reason,
    /// Of a released object the transaction that released it. Of an orphan the last transaction id that was drawn when it was
    /// marked: its creator's is not higher.
    pub xid: u64,
    /// When, in microseconds.
    pub at: i64,
}

/// What the catalog of a database says, as one snapshot has it.
pub trait Catalog {
    /// Whether this segment is there, wherever its objects are: a storage root may have several names.
    ///
    /// # Errors
    /// The catalog's.
    fn has_segment(&self, namespace: NamespaceId, segment: &str) -> Result<bool>;

    /// Generation of the newest manifest that is known to be written; none if there is no such namespace.
    ///
    /// # Errors
    /// The catalog's.
    fn manifest_generation(&self, namespace: NamespaceId) -> Result<Option<u64>>;

    /// The rows of `elacsym.garbage` that name this key.
    ///
    /// # Errors
    /// The catalog's.
    fn released(&self, key: &str) -> Result<Vec<Released>>;
}

/// What the catalog says about one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Something refers to it.
    Live,
    /// Nothing does any more, and that is known.
    Garbage(Released),
    /// Nothing does, as far as this snapshot knows.
    Unknown,
}

/// Whether anything refers to an object.
///
/// # Errors
/// The catalog's.
pub fn judge(place: &Place<'_>, key: &str, catalog: &impl Catalog) -> Result<Verdict> {
    let live = match place {
        Place::Segment { namespace, segment } => catalog.has_segment(*namespace, segment)?,
        // A newer one than is known was put a moment ago, or before a crash: the catalog will know it.
        Place::Manifest { namespace, generation } => {
            catalog.manifest_generation(*namespace)?.is_some_and(|written| *generation >= written)
        }
    };
    if live {
        return Ok(Verdict::Live);
    }
    Ok(governing(catalog.released(key)?).map_or(Verdict::Unknown, Verdict::Garbage))
}

/// Of several rows about one object the one that counts. An orphan whose creator committed after all may have been released
/// since, and must then stay for the retention time of that.
fn governing(rows: Vec<Released>) -> Option<Released> {
    rows.into_iter().max_by_key(|row| (row.reason != Reason::Orphan, row.at, row.xid))
}

/// The moment of a look at what is released.
#[derive(Debug, Clone, Copy)]
pub struct Horizon {
    /// Every transaction before this one is over, prepared ones included.
    pub xmin: u64,
    /// What was released up to then has been kept for long enough.
    pub until: i64,
    /// The same of superseded manifests.
    pub manifests_until: i64,
}

/// Whether an object's time has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// It has.
    Now,
    /// Transactions of that moment are not over.
    AfterTransactions,
    /// It has to be kept for longer.
    AfterRetention,
}

impl Horizon {
    /// Until when rows of that reason are due.
    pub fn until(&self, reason: Reason) -> i64 {
        match reason {
            Reason::Superseded => self.manifests_until,
            Reason::Released | Reason::Orphan => self.until,
        }
    }

    /// Whether the time of what this row is about has come.
    pub fn due(&self, row: &Released) -> Due {
        if row.at > self.until(row.reason) {
            Due::AfterRetention
        } else if row.xid >= self.xmin {
            Due::AfterTransactions
        } else {
            Due::Now
        }
    }
}

/// What becomes of a row of `elacsym.garbage` that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Delete the object, then the row.
    Delete,
    /// Delete the row alone.
    Forget,
    /// Leave both.
    Keep,
}

/// What to do about a due row, after a look at the catalog with a snapshot of now. `lent` is the newest segment that another
/// database reads.
///
/// # Errors
/// The catalog's.
pub fn fate(
    database_prefix: &str,
    key: &str,
    row: &Released,
    catalog: &impl Catalog,
    lent: Option<&str>,
) -> Result<Fate> {
    // INV-9: a row that names an object of somebody else (a restored or copied database) is not obeyed.
    let Some(place) = place_in(database_prefix, key) else { return Ok(Fate::Forget) };
    Ok(match judge(&place, key, catalog)? {
        Verdict::Garbage(governing) if governing == *row && is_lent(&place, lent) => Fate::Keep,
        Verdict::Garbage(governing) if governing == *row => Fate::Delete,
        // An orphan that is none, or another row decides.
        _ => Fate::Forget,
    })
}

/// Whether a database that was copied from this one may read the object: everything up to the newest segment it reads.
pub fn is_lent(place: &Place<'_>, lent: Option<&str>) -> bool {
    match place {
        // ULIDs are ordered by the time they were made.
        Place::Segment { segment, .. } => lent.is_some_and(|newest| *segment <= newest),
        Place::Manifest { .. } => false,
    }
}

#[cfg(test)]
mod tests;
