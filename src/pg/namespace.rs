//! Namespaces by name: looking one up under its lock, creating, dropping, and where its objects live.

use crate::error::{Error, ErrorKind, Result};
use crate::ids::NamespaceId;
use crate::pg::catalog::{self, NamespaceRow};
use crate::pg::grants::{self, Privilege};
use crate::pg::heap_table::{Deleted, Name};
use crate::pg::locks::{self, Mode, Target};
use crate::pg::manifest::NamespaceOptions;
use crate::pg::snapshot::Snapshot;
use crate::pg::{acl, buffer_table, xact};
use crate::schema::{NamespaceSchema, check_name};
use pgrx::pg_sys;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// A namespace that this transaction has looked up and locked.
#[derive(Debug)]
pub struct Namespace {
    /// Identity.
    pub id: NamespaceId,
    /// Name.
    pub name: String,
    /// Role that owns it.
    pub owner: pg_sys::Oid,
    /// Stored form of the schema.
    pub stored_schema: String,
    /// The schema.
    pub schema: NamespaceSchema,
    /// Bucket locks that this transaction holds beside other writers, a bit for each.
    pub held_beside: Cell<u64>,
    /// Those that it holds alone.
    pub held_alone: Cell<u64>,
}

/// One remembered look-up; see [`xact::epoch`] for how long it is good.
struct Known {
    epoch: u64,
    mode: Mode,
    namespace: Rc<Namespace>,
}

thread_local! {
    /// The last look-ups of this transaction. A row-at-a-time load asks for one namespace thousands of times.
    static KNOWN: RefCell<Vec<Known>> = const { RefCell::new(Vec::new()) };
}

/// Look-ups remembered at once: enough for a statement that joins a few namespaces.
const KNOWN_NAMESPACES: usize = 8;

fn not_found(name: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("namespace \"{name}\" does not exist"))
        .with_hint("elacsym.namespaces lists the namespaces you may use; elacsym.create_namespace() makes one.")
}

/// Who may go on.
#[derive(Debug, Clone, Copy)]
enum Needs {
    /// The owner's role.
    Owner,
    /// Who has all of these.
    Privileges(&'static [Privilege]),
}

impl Needs {
    fn check(self, id: NamespaceId, owner: pg_sys::Oid, name: &str) -> Result<()> {
        match self {
            Self::Owner => acl::check_owner(owner, name),
            Self::Privileges(privileges) => acl::check(id, owner, name, privileges),
        }
    }
}

/// Looks the namespace up, takes its lock to the end of the transaction, and checks that the current role may read it
/// ([`Mode::AccessShare`]), or write to it (any other mode).
///
/// # Errors
/// `NotFound`, `Denied`.
pub fn resolve(name: &str, mode: Mode) -> Result<Rc<Namespace>> {
    let reads = mode == Mode::AccessShare;
    let privileges: &[Privilege] = if reads { &[Privilege::Read] } else { &[Privilege::Write] };
    look_up(name, mode, Needs::Privileges(privileges))
}

/// As [`resolve`], for a write that depends on what is there: the current role must be allowed to read and to write.
///
/// # Errors
/// `NotFound`, `Denied`.
pub fn resolve_to_look_and_write(name: &str) -> Result<Rc<Namespace>> {
    look_up(name, Mode::RowExclusive, Needs::Privileges(&[Privilege::Read, Privilege::Write]))
}

/// As [`resolve`] for reading, for the owner's role alone.
///
/// # Errors
/// `NotFound`, `Denied`.
pub fn resolve_as_owner(name: &str) -> Result<Rc<Namespace>> {
    look_up(name, Mode::AccessShare, Needs::Owner)
}

fn look_up(name: &str, mode: Mode, needs: Needs) -> Result<Rc<Namespace>> {
    xact::register();
    if let Some(namespace) = remembered(name, mode) {
        needs.check(namespace.id, namespace.owner, name)?;
        return Ok(namespace);
    }
    let row = lock_by_name(name, mode, needs)?;
    let namespace = Rc::new(Namespace {
        schema: row.parse_schema()?,
        id: row.id,
        name: row.name,
        owner: row.owner,
        stored_schema: row.schema,
        held_beside: Cell::new(0),
        held_alone: Cell::new(0),
    });
    let known = Known { epoch: xact::epoch(), mode, namespace: Rc::clone(&namespace) };
    KNOWN.with_borrow_mut(|all| {
        all.retain(|k| k.epoch == known.epoch);
        all.truncate(KNOWN_NAMESPACES - 1);
        all.insert(0, known);
    });
    Ok(namespace)
}

fn remembered(name: &str, mode: Mode) -> Option<Rc<Namespace>> {
    let epoch = xact::epoch();
    KNOWN.with_borrow(|all| {
        all.iter()
            .find(|k| k.epoch == epoch && k.mode == mode && k.namespace.name == name)
            .map(|k| Rc::clone(&k.namespace))
    })
}

/// Finds the row by a fresh snapshot, checks privileges before waiting for anything, locks, and looks again: what was
/// dropped, or dropped and created anew, while we waited is noticed.
fn lock_by_name(name: &str, mode: Mode, needs: Needs) -> Result<NamespaceRow> {
    let catalog = Name::Namespace.oid()?;
    loop {
        let row = catalog::namespace_by_name(name, &Snapshot::fresh(catalog))?
            // What belongs to an index is its own business, even for who knows the name.
            .filter(|row| row.kind == catalog::KIND_NAMESPACE)
            .ok_or_else(|| not_found(name))?;
        needs.check(row.id, row.owner, name)?;
        locks::lock(Target::Namespace(row.id), mode)?;
        match catalog::namespace_by_name(name, &Snapshot::fresh(catalog))? {
            None => return Err(not_found(name)),
            Some(again) if again.id == row.id => return Ok(again),
            // Another namespace of this name now; the lock on the old one harms nobody.
            Some(_) => {}
        }
    }
}

/// Creates a namespace that the current role owns.
///
/// # Errors
/// `AlreadyExists`; `Invalid` for a bad name.
pub fn create(name: &str, schema: &NamespaceSchema) -> Result<()> {
    check_name("namespace", name)?;
    xact::register();
    let catalog = Name::Namespace.oid()?;
    // Two sessions that create the same name must not both pass the check below.
    locks::lock(Target::Name(name), Mode::Exclusive)?;
    if catalog::namespace_by_name(name, &Snapshot::fresh(catalog))?.is_some() {
        return Err(Error::new(ErrorKind::AlreadyExists, format!("namespace \"{name}\" already exists"))
            .with_hint("Choose another name, or drop it with elacsym.drop_namespace()."));
    }
    let row = NamespaceRow {
        tid: pg_sys::ItemPointerData::default(),
        id: random_id()?,
        name: name.to_string(),
        kind: catalog::KIND_NAMESPACE,
        owner: acl::current_role(),
        relation: pg_sys::InvalidOid,
        schema: schema.to_stored(),
        options: "{}".to_string(),
        format: catalog::CATALOG_FORMAT,
        generation: 0,
        manifest_generation: 0,
        watermark: 0,
        created_at: catalog::now(),
    };
    catalog::insert_namespace(&row)?;
    after_own_change();
    Ok(())
}

/// A version 4 UUID.
pub fn random_id() -> Result<NamespaceId> {
    let mut bytes = [0_u8; 16];
    // SAFETY: fills exactly that many bytes, or says that it could not.
    if !unsafe { pg_sys::pg_strong_random(bytes.as_mut_ptr().cast(), bytes.len()) } {
        return Err(Error::internal("no random numbers are to be had"));
    }
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    Ok(NamespaceId(bytes))
}

/// Changes the schema of a namespace. Readers and writers go on meanwhile; a flush waits.
///
/// # Errors
/// `NotFound`, `Denied`; as [`NamespaceSchema::changed`].
pub fn alter(name: &str, changes: &serde_json::Value) -> Result<()> {
    xact::register();
    let found = lock_by_name(name, Mode::RowExclusive, Needs::Owner)?;
    // Whoever publishes a segment replaces the namespace's row too.
    locks::lock(Target::Flush(found.id), Mode::Exclusive)?;
    let current = catalog::namespace_by_id(found.id, &Snapshot::fresh(Name::Namespace.oid()?))?;
    let Some(mut row) = current else { return Err(not_found(name)) };
    let schema = row.parse_schema()?;
    let changed = schema.changed(changes)?;
    if changed == schema {
        return Ok(());
    }
    locks::lock(Target::Publish(row.id), Mode::Exclusive)?;
    row.schema = changed.to_stored();
    if changed.index_lacks(&schema) {
        let options = row.parse_options()?;
        row.options = NamespaceOptions { outdated_generation: Some(row.generation), ..options }.to_stored();
    }
    catalog::replace_namespace(&row)?;
    xact::mark_written();
    after_own_change();
    Ok(())
}

/// Drops a namespace: catalog rows and buffered entries now, objects after the retention time.
///
/// # Errors
/// `NotFound`, `Denied`.
pub fn drop(name: &str) -> Result<()> {
    xact::register();
    drop_locked(lock_by_name(name, Mode::AccessExclusive, Needs::Owner)?)
}

/// Drops the namespace of an earlier life of an index, or of an index that is gone. Nobody uses it any more but perhaps a
/// flush that is about to publish, which is waited for.
///
/// # Errors
/// `Fenced` when somebody else has dropped it meanwhile.
pub fn drop_row(row: NamespaceRow) -> Result<()> {
    xact::register();
    locks::lock(Target::Namespace(row.id), Mode::AccessExclusive)?;
    match catalog::namespace_by_id(row.id, &Snapshot::fresh(Name::Namespace.oid()?))? {
        Some(row) => drop_locked(row),
        None => Ok(()),
    }
}

fn drop_locked(row: NamespaceRow) -> Result<()> {
    // Alone with it: every writer and every flush that publishes holds the namespace's lock to its end.
    let snapshot = Snapshot::fresh(Name::Segment.oid()?);
    for segment in catalog::segments(row.id, &snapshot)? {
        let keys = segment.info.object_keys();
        catalog::release_objects(&segment.info.root, keys.iter().map(String::as_str))?;
        catalog::delete_segment(&segment)?;
    }
    release_manifests(&row)?;
    grants::delete(&grants::of(row.id, &snapshot)?)?;
    buffer_table::delete(&buffer_table::read(row.id, row.watermark, &snapshot, None)?.rows)?;
    if catalog::delete_namespace(&row)? == Deleted::Gone {
        return Err(crate::pg::heap_table::changed_meanwhile());
    }
    xact::mark_written();
    after_own_change();
    Ok(())
}

/// The manifest that is left is the newest one: older ones are released when a newer one is written.
fn release_manifests(row: &NamespaceRow) -> Result<()> {
    if row.manifest_generation == 0 {
        return Ok(());
    }
    let options = row.parse_options()?;
    let Some(root) = options.manifest_root else { return Ok(()) };
    let key = crate::pg::manifest::object_key(&object_path(row.id), row.manifest_generation);
    catalog::release_objects(&root, [key.as_str()])
}

/// Makes what this command wrote visible to what follows in it, and forgets what was looked up.
fn after_own_change() {
    // SAFETY: inside a transaction, in no parallel mode: the functions are PARALLEL UNSAFE.
    unsafe { pg_sys::CommandCounterIncrement() };
    xact::new_epoch();
}

/// The oid of the database that this process is connected to.
pub fn own_database() -> u32 {
    // SAFETY: a plain global, set once when the process connects to its database.
    u32::from(unsafe { pg_sys::MyDatabaseId })
}

/// Prefix of all objects of this database: `<cluster>/<database oid>/` (INV-9).
pub fn database_prefix() -> String {
    crate::garbage::database_prefix(cluster_id(), own_database())
}

/// Directory of a namespace's objects below the storage root.
pub fn object_path(id: NamespaceId) -> String {
    format!("{}{}", database_prefix(), id.short())
}

/// The cluster's identity: its system identifier in the form of a uuid. See docs/decisions/0004-cluster-identity.md.
pub fn cluster_id() -> NamespaceId {
    // SAFETY: no arguments; the control file is read at start.
    let identifier = unsafe { pg_sys::GetSystemIdentifier() };
    let mut bytes = [0; 16];
    bytes[8..].copy_from_slice(&identifier.to_be_bytes());
    NamespaceId(bytes)
}
