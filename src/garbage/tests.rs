use super::marks::{Dropped, Lent, Server};
use super::*;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

const CLUSTER: NamespaceId = NamespaceId([7; 16]);
const ULID: &str = "01KAB3C4D5E6F7G8H9JKMNPQRS";

fn uuid(n: u8) -> NamespaceId {
    NamespaceId([n; 16])
}

#[test]
fn keys_of_ours_are_told_from_everything_else() {
    let prefix = database_prefix(CLUSTER, 5);
    let at = |rest: &str| format!("{prefix}{rest}");
    let id = uuid(1);
    let name = id.short();
    for file in ["rows.parquet", "search.idx", "later.idx"] {
        let key = at(&format!("{name}/{ULID}/{file}"));
        assert_eq!(place_in(&prefix, &key), Some(Place::Segment { namespace: id, segment: ULID }));
        assert_eq!(database_of(CLUSTER, &key), Some(5));
    }
    let key = at(&format!("{name}/manifest-00000000000000000042.json"));
    assert_eq!(place_in(&prefix, &key), Some(Place::Manifest { namespace: id, generation: 42 }));
    for wrong in [
        String::new(),
        name.clone(),
        format!("{name}/"),
        format!("{name}/{ULID}"),
        format!("{name}/{ULID}/"),
        format!("{name}/{ULID}/deep/er"),
        format!("{name}/{}/search.idx", &ULID[1..]),
        format!("{name}/{}/search.idx", ULID.to_lowercase()),
        format!("{name}/{}I/search.idx", &ULID[1..]),
        format!("{id}/{ULID}/search.idx"),
        format!("{}/{ULID}/search.idx", name.to_lowercase()),
        format!("{name}/manifest-42.json"),
        format!("{name}/manifest-0000000000000000004x.json"),
        format!("{name}/manifest-+0000000000000000042.json"),
        format!("{name}/manifest-99999999999999999999.json"),
        "notes.txt".to_string(),
    ] {
        assert_eq!(place_in(&prefix, &at(&wrong)), None, "{wrong}");
    }
    // INV-9: another database, another cluster.
    let key = format!("{}{name}/{ULID}/search.idx", database_prefix(CLUSTER, 55));
    assert_eq!(place_in(&prefix, &key), None);
    assert_eq!(place_in(&prefix, &format!("{}{name}/{ULID}/search.idx", database_prefix(uuid(8), 5))), None);
    for other in ["servers/x-1", "05/x", "+5/x", "x/5", "5"] {
        assert_eq!(database_of(CLUSTER, &format!("{}{other}", cluster_prefix(CLUSTER))), None, "{other}");
    }
    assert_eq!(database_of(CLUSTER, &format!("{}5/x", cluster_prefix(uuid(8)))), None);
}

#[test]
fn a_base_backup_takes_the_longest_path_there_may_be() {
    // PostgreSQL's tarCreateHeader: at most 99 characters.
    let cluster = NamespaceId([0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255]);
    let namespace = format!("elacsym/{}{}", database_prefix(cluster, u32::MAX), uuid(255).short());
    assert!(format!("{namespace}/{ULID}/rows.parquet").len() <= 99);
    assert!(format!("{namespace}/manifest-{}.json", u64::MAX).len() <= 99);
    let lent = Lent { lender: u32::MAX, borrower: u32::MAX, newest: ULID.to_string() };
    assert!(format!("elacsym/{}", lent.key(cluster)).len() <= 99);
}

#[test]
fn marks_are_read_back_and_nothing_else_is_a_mark() {
    let server = Server { instance: ULID.to_string(), valid_seconds: 604_800 };
    assert_eq!(Server::parse(CLUSTER, &server.key(CLUSTER)), Some(server.clone()));
    assert_eq!(Server::parse(uuid(8), &server.key(CLUSTER)), None);
    let lent = Lent { lender: 5, borrower: 16_384, newest: ULID.to_string() };
    assert_eq!(Lent::parse(CLUSTER, &lent.key(CLUSTER)), Some(lent.clone()));
    assert!(lent.key(CLUSTER).starts_with(&Lent::prefix(CLUSTER, Some(5))));
    assert!(!lent.key(CLUSTER).starts_with(&Lent::prefix(CLUSTER, Some(55))));
    let dropped = Dropped { database: 5, xid: 7 << 32 };
    assert_eq!(Dropped::parse(CLUSTER, 5, &dropped.key(CLUSTER)), Some(dropped));
    assert_eq!(Dropped::parse(CLUSTER, 55, &dropped.key(CLUSTER)), None);
    for wrong in ["servers/abc-1", &format!("servers/{ULID}"), &format!("servers/{ULID}--1"), "lent/5/6", "lent/5/6-x"]
    {
        let key = format!("{}{wrong}", cluster_prefix(CLUSTER));
        assert_eq!(Server::parse(CLUSTER, &key), None, "{wrong}");
        assert_eq!(Lent::parse(CLUSTER, &key), None, "{wrong}");
    }
    for key in [server.key(CLUSTER), lent.key(CLUSTER), dropped.key(CLUSTER)] {
        assert_eq!(database_of(CLUSTER, &key), None, "{key}");
    }
}

#[test]
fn reasons_keep_their_letters() {
    for reason in Reason::ALL {
        assert_eq!(Reason::from_u8(reason as u8), Some(reason));
    }
    assert_eq!(Reason::from_u8(b'x'), None);
}

/// Committed rows.
#[derive(Clone, Default)]
struct Tables {
    segments: BTreeSet<(NamespaceId, String)>,
    manifests: BTreeMap<NamespaceId, u64>,
    garbage: Vec<(String, Released)>,
}

impl Catalog for Tables {
    fn has_segment(&self, namespace: NamespaceId, segment: &str) -> Result<bool> {
        Ok(self.segments.contains(&(namespace, segment.to_string())))
    }

    fn manifest_generation(&self, namespace: NamespaceId) -> Result<Option<u64>> {
        Ok(self.manifests.get(&namespace).copied())
    }

    fn released(&self, key: &str) -> Result<Vec<Released>> {
        Ok(self.garbage.iter().filter(|(k, _)| k == key).map(|(_, row)| *row).collect())
    }
}

/// A transaction that has its id; prepared or not makes no difference here.
#[derive(Default)]
struct Running {
    xid: u64,
    made: Vec<(NamespaceId, String)>,
    drops: Vec<(NamespaceId, String)>,
}

/// A database, its storage, and copies of the database that read the same objects.
struct World {
    random: RefCell<u64>,
    now: i64,
    next_xid: u64,
    ulids: u64,
    tables: Tables,
    running: Vec<Running>,
    copies: Vec<BTreeSet<(NamespaceId, String)>>,
    store: BTreeSet<String>,
    /// When a committed transaction released each segment: nothing is deleted before this and the retention time.
    released_at: BTreeMap<String, i64>,
    deleted: usize,
    marked: usize,
    revived: usize,
}

const RETENTION: i64 = 50;

impl World {
    fn new(seed: u64) -> Self {
        Self {
            random: RefCell::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            now: 0,
            next_xid: 3,
            ulids: 0,
            tables: Tables::default(),
            running: Vec::new(),
            copies: Vec::new(),
            store: BTreeSet::new(),
            released_at: BTreeMap::new(),
            deleted: 0,
            marked: 0,
            revived: 0,
        }
    }

    fn below(&self, n: usize) -> usize {
        let mut x = self.random.borrow_mut();
        *x ^= *x << 13;
        *x ^= *x >> 7;
        *x ^= *x << 17;
        (*x >> 11) as usize % n
    }

    fn prefix() -> String {
        database_prefix(CLUSTER, 5)
    }

    fn key(segment: &(NamespaceId, String)) -> String {
        format!("{}{}/{}/search.idx", Self::prefix(), segment.0.short(), segment.1)
    }

    fn manifest(namespace: NamespaceId, generation: u64) -> String {
        format!("{}{}/manifest-{generation:020}.json", Self::prefix(), namespace.short())
    }

    fn step(&mut self) {
        match self.below(12) {
            0 | 1 => {
                self.running.push(Running { xid: self.next_xid, ..Running::default() });
                self.next_xid += 1;
            }
            2..=4 if !self.running.is_empty() => {
                let segment = (uuid(1 + self.below(3) as u8), format!("01KAB{:021}", self.ulids));
                self.ulids += 1;
                self.store.insert(Self::key(&segment));
                let at = self.below(self.running.len());
                // The row, unless it fails between upload and insert.
                if self.below(5) > 0 {
                    self.running[at].made.push(segment);
                }
            }
            5 if !self.running.is_empty() && !self.tables.segments.is_empty() => {
                let at = self.below(self.running.len());
                let segment = self.tables.segments.iter().nth(self.below(self.tables.segments.len())).unwrap().clone();
                // A lock keeps two from dropping the same.
                if self.running.iter().all(|running| !running.drops.contains(&segment)) {
                    self.running[at].drops.push(segment);
                }
            }
            6 if !self.running.is_empty() => {
                let running = self.running.swap_remove(self.below(self.running.len()));
                if self.below(3) > 0 {
                    self.commit(running);
                }
            }
            7 => {
                let namespace = uuid(1 + self.below(3) as u8);
                let written = self.tables.manifests.entry(namespace).or_default();
                *written += 1;
                let generation = *written;
                self.store.insert(Self::manifest(namespace, generation));
                // A crash before this was noted is as if the old one was never released.
                if generation > 1 && self.below(4) > 0 {
                    let row = Released { reason: Reason::Superseded, xid: self.next_xid, at: self.now };
                    self.next_xid += 1;
                    self.tables.garbage.push((Self::manifest(namespace, generation - 1), row));
                }
            }
            8 => self.sweep(),
            9 => self.collect(),
            10 if self.copies.len() < 2 => self.copies.push(self.tables.segments.clone()),
            10 => drop(self.copies.remove(0)),
            _ => self.now += self.below(20) as i64,
        }
    }

    fn commit(&mut self, running: Running) {
        self.tables.segments.extend(running.made);
        for segment in running.drops {
            self.tables.segments.remove(&segment);
            let key = Self::key(&segment);
            self.released_at.insert(key.clone(), self.now);
            self.tables.garbage.push((key, Released { reason: Reason::Released, xid: running.xid, at: self.now }));
        }
    }

    /// A listing, then a look at the catalog: what was uploaded in between is not in the listing.
    fn sweep(&mut self) {
        let listed: Vec<String> = self.store.iter().cloned().collect();
        for _ in 0..self.below(3) {
            // Others go on meanwhile; the listing is old now.
            if !self.running.is_empty() {
                let running = self.running.swap_remove(self.below(self.running.len()));
                self.commit(running);
            }
        }
        let xid = self.next_xid;
        self.next_xid += 1;
        for key in listed {
            let place = place_in(&Self::prefix(), &key).unwrap();
            if judge(&place, &key, &self.tables).unwrap() == Verdict::Unknown {
                self.marked += 1;
                self.tables.garbage.push((key, Released { reason: Reason::Orphan, xid, at: self.now }));
            }
        }
    }

    fn collect(&mut self) {
        let xmin = self.running.iter().map(|r| r.xid).min().unwrap_or(self.next_xid);
        let horizon = Horizon { xmin, until: self.now - RETENTION, manifests_until: self.now - 5 };
        let newest = self.copies.iter().flatten().map(|(_, ulid)| ulid.clone()).max();
        let tables = self.tables.clone();
        self.tables.garbage.retain(|(key, row)| {
            if horizon.due(row) != Due::Now {
                return true;
            }
            match fate(&Self::prefix(), key, row, &tables, newest.as_deref()).unwrap() {
                Fate::Keep => return true,
                Fate::Forget => self.revived += 1,
                Fate::Delete => {
                    if self.store.remove(key) {
                        self.deleted += 1;
                    }
                    let released = self.released_at.get(key);
                    assert!(released.is_none_or(|at| at + RETENTION <= self.now), "{key} went too early");
                }
            }
            false
        });
    }

    /// INV-4: whatever is referred to, or may be once a running transaction commits, is there.
    fn check(&self) {
        let made = self.running.iter().flat_map(|running| &running.made);
        for segment in self.tables.segments.iter().chain(made).chain(self.copies.iter().flatten()) {
            assert!(self.store.contains(&Self::key(segment)), "{segment:?} is referred to and gone");
        }
        for (namespace, generation) in &self.tables.manifests {
            assert!(self.store.contains(&Self::manifest(*namespace, *generation)));
        }
    }

    /// What is referred to when nothing runs and nobody reads a copy.
    fn referred(&self) -> BTreeSet<String> {
        let segments = self.tables.segments.iter().map(Self::key);
        segments.chain(self.tables.manifests.iter().map(|(id, generation)| Self::manifest(*id, *generation))).collect()
    }
}

/// INV-4 and its other half: nothing that is or may be referred to goes, and everything else goes in the end.
#[test]
fn random_histories_lose_nothing_and_leave_nothing() {
    let (mut deleted, mut marked, mut revived) = (0, 0, 0);
    for seed in 1..=200 {
        let mut world = World::new(seed);
        for _ in 0..400 {
            world.step();
            world.check();
        }
        for running in std::mem::take(&mut world.running) {
            if world.below(2) == 0 {
                world.commit(running);
            }
        }
        world.copies.clear();
        for _ in 0..3 {
            world.now += RETENTION + 1;
            world.collect();
            world.sweep();
            world.check();
        }
        assert_eq!(world.store, world.referred(), "seed {seed}");
        assert!(world.tables.garbage.is_empty(), "seed {seed}: {:?}", world.tables.garbage);
        deleted += world.deleted;
        marked += world.marked;
        revived += world.revived;
    }
    // The histories are of the kind that matters.
    assert!(deleted > 5_000 && marked > 2_000 && revived > 100, "{deleted} {marked} {revived}");
}

#[test]
fn an_orphan_that_was_none_stays_for_the_retention_time_of_its_release() {
    let segment = (uuid(1), ULID.to_string());
    let key = World::key(&segment);
    let orphan = Released { reason: Reason::Orphan, xid: 9, at: 100 };
    let released = Released { reason: Reason::Released, xid: 12, at: 400 };
    let mut tables = Tables { garbage: vec![(key.clone(), orphan)], ..Tables::default() };
    let decide = |tables: &Tables, row| fate(&World::prefix(), &key, row, tables, None).unwrap();
    assert_eq!(decide(&tables, &orphan), Fate::Delete);
    // A prepared transaction of that time commits.
    tables.segments.insert(segment.clone());
    assert_eq!(decide(&tables, &orphan), Fate::Forget);
    // And another drops it.
    tables.segments.clear();
    tables.garbage.push((key.clone(), released));
    assert_eq!(decide(&tables, &orphan), Fate::Forget);
    assert_eq!(decide(&tables, &released), Fate::Delete);
}

#[test]
fn transactions_of_the_moment_and_retention_hold_rows_back() {
    let horizon = Horizon { xmin: 10, until: 100, manifests_until: 200 };
    let row = |reason, xid, at| horizon.due(&Released { reason, xid, at });
    for reason in [Reason::Released, Reason::Orphan] {
        assert_eq!(row(reason, 9, 100), Due::Now);
        assert_eq!(row(reason, 10, 100), Due::AfterTransactions);
        assert_eq!(row(reason, 9, 101), Due::AfterRetention);
    }
    assert_eq!(row(Reason::Superseded, 9, 200), Due::Now);
    assert_eq!(row(Reason::Superseded, 9, 201), Due::AfterRetention);
}

/// INV-9.
#[test]
fn what_is_not_ours_is_forgotten_and_what_is_lent_is_kept() {
    let row = Released { reason: Reason::Released, xid: 9, at: 100 };
    let decide = |key: &str, lent: Option<&str>| {
        let tables = Tables { garbage: vec![(key.to_string(), row)], ..Tables::default() };
        fate(&World::prefix(), key, &row, &tables, lent).unwrap()
    };
    let key = World::key(&(uuid(1), ULID.to_string()));
    assert_eq!(decide(&key, None), Fate::Delete);
    assert_eq!(decide(&key.replace("/5/", "/6/"), None), Fate::Forget);
    assert_eq!(decide(&key.replace(&CLUSTER.short(), &uuid(8).short()), None), Fate::Forget);
    assert_eq!(decide(&format!("{}notes", World::prefix()), None), Fate::Forget);
    assert_eq!(decide(&key, Some(ULID)), Fate::Keep);
    assert_eq!(decide(&key, Some("01KAB3C4D5E6F7G8H9JKMNPQRT")), Fate::Keep);
    assert_eq!(decide(&key, Some("01KAB3C4D5E6F7G8H9JKMNPQRR")), Fate::Delete);
    let manifest = World::manifest(uuid(1), 3);
    assert_eq!(decide(&manifest, Some(ULID)), Fate::Delete);
}
