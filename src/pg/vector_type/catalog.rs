//! Where the type `vector` is.

use pgrx::pg_sys;

/// OID of the type `vector` of the extension of that name, wherever it was installed and whatever `search_path` says;
/// `None` in a database without the extension. Costs an index probe and a cache look-up; not remembered, because the
/// extension may be dropped and made again.
pub fn vector_type_oid() -> Option<pg_sys::Oid> {
    // SAFETY: a catalogue look-up that reports nothing when the name is unknown.
    let extension = unsafe { pg_sys::get_extension_oid(c"vector".as_ptr(), true) };
    let namespace = extension_namespace(extension)?;
    // SAFETY: the keys are those of this cache: a type's name and its schema.
    let oid = unsafe {
        pg_sys::GetSysCacheOid(
            pg_sys::SysCacheIdentifier::TYPENAMENSP as _,
            pg_sys::Anum_pg_type_oid as _,
            pg_sys::Datum::from(c"vector".as_ptr()),
            pg_sys::Datum::from(namespace),
            pg_sys::Datum::null(),
            pg_sys::Datum::null(),
        )
    };
    (oid != pg_sys::InvalidOid).then_some(oid)
}

/// Schema of an extension. (PostgreSQL exports a function for this from 16 on only.)
fn extension_namespace(extension: pg_sys::Oid) -> Option<pg_sys::Oid> {
    if extension == pg_sys::InvalidOid {
        return None;
    }
    // SAFETY: a catalogue, opened for reading.
    let relation = unsafe { pg_sys::table_open(pg_sys::ExtensionRelationId, pg_sys::AccessShareLock as _) };
    let mut key = pg_sys::ScanKeyData::default();
    // SAFETY: the key compares the catalogue's OID column with an OID.
    unsafe {
        pg_sys::ScanKeyInit(
            &raw mut key,
            pg_sys::Anum_pg_extension_oid as _,
            pg_sys::BTEqualStrategyNumber as _,
            pg_sys::F_OIDEQ.into(),
            pg_sys::Datum::from(extension),
        );
    }
    // SAFETY: the relation is open and the key is for this index.
    let scan = unsafe {
        pg_sys::systable_beginscan(
            relation,
            pg_sys::ExtensionOidIndexId.into(),
            true,
            std::ptr::null_mut(),
            1,
            &raw mut key,
        )
    };
    // SAFETY: the scan has just begun.
    let tuple = unsafe { pg_sys::systable_getnext(scan) };
    let namespace = if tuple.is_null() {
        None
    } else {
        // SAFETY: a row of pg_extension starts with its fixed-width columns, as this struct lists them.
        let row = unsafe { &*pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_extension>() };
        Some(row.extnamespace)
    };
    // SAFETY: ends the scan begun above; the row is used no more.
    unsafe { pg_sys::systable_endscan(scan) };
    // SAFETY: closes the relation opened above.
    unsafe { pg_sys::table_close(relation, pg_sys::AccessShareLock as _) };
    namespace
}
