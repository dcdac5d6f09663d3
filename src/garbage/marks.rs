//! Objects whose name says all, beside the directories of the databases. Their content is for people.

use super::{cluster_prefix, is_ulid, number};
use crate::ids::NamespaceId;

const SERVERS: &str = "servers";
const LENT: &str = "lent";
const DROPPED: &str = "dropped";

/// A server that uses this prefix. It is alive for a time after the object was last written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Which one: drawn at random, kept where no copy of a server has it.
    pub instance: String,
    /// How long it counts as alive.
    pub valid_seconds: u64,
}

impl Server {
    /// Prefix of these marks.
    pub fn prefix(cluster: NamespaceId) -> String {
        format!("{}{SERVERS}/", cluster_prefix(cluster))
    }

    /// Key of this mark.
    pub fn key(&self, cluster: NamespaceId) -> String {
        format!("{}{}-{}", Self::prefix(cluster), self.instance, self.valid_seconds)
    }

    /// The reverse of [`Self::key`].
    pub fn parse(cluster: NamespaceId, key: &str) -> Option<Self> {
        let (instance, seconds) = key.strip_prefix(Self::prefix(cluster).as_str())?.rsplit_once('-')?;
        let valid_seconds = number(seconds)?;
        is_ulid(instance).then(|| Self { instance: instance.to_string(), valid_seconds })
    }
}

/// A database that was copied from another one and still reads its objects.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lent {
    /// Whose objects.
    pub lender: u32,
    /// Who reads them.
    pub borrower: u32,
    /// The newest segment it reads.
    pub newest: String,
}

impl Lent {
    /// Prefix of these marks, of one lender or of all.
    pub fn prefix(cluster: NamespaceId, lender: Option<u32>) -> String {
        let all = format!("{}{LENT}/", cluster_prefix(cluster));
        lender.map_or(all.clone(), |lender| format!("{all}{lender}/"))
    }

    /// Key of this mark.
    pub fn key(&self, cluster: NamespaceId) -> String {
        format!("{}{}-{}", Self::prefix(cluster, Some(self.lender)), self.borrower, self.newest)
    }

    /// The reverse of [`Self::key`].
    pub fn parse(cluster: NamespaceId, key: &str) -> Option<Self> {
        let (lender, rest) = key.strip_prefix(Self::prefix(cluster, None).as_str())?.split_once('/')?;
        let (borrower, newest) = rest.split_once('-')?;
        let (lender, borrower) = (number(lender)?, number(borrower)?);
        is_ulid(newest).then(|| Self { lender, borrower, newest: newest.to_string() })
    }
}

/// A database without a catalog of ours: dropped, or without the extension, since the object was written at the latest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dropped {
    /// Which one.
    pub database: u32,
    /// The last transaction id drawn before: what creates the catalog anew may be among those.
    pub xid: u64,
}

impl Dropped {
    /// Prefix of these marks about one database.
    pub fn prefix(cluster: NamespaceId, database: u32) -> String {
        format!("{}{DROPPED}/{database}-", cluster_prefix(cluster))
    }

    /// Key of this mark.
    pub fn key(&self, cluster: NamespaceId) -> String {
        format!("{}{}", Self::prefix(cluster, self.database), self.xid)
    }

    /// The reverse of [`Self::key`].
    pub fn parse(cluster: NamespaceId, database: u32, key: &str) -> Option<Self> {
        let xid = number(key.strip_prefix(Self::prefix(cluster, database).as_str())?)?;
        Some(Self { database, xid })
    }
}
