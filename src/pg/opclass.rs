//! The support functions of our operator classes: what a key is, and the options of `bm25_ops`.

use crate::error::{Error, Result};
use crate::limits::{DEFAULT_BM25_B, DEFAULT_BM25_K1, MAX_TOKEN_LENGTH};
use crate::pg::c_function::{Call, Returned, c_functions};
use crate::pg::error::OrRaise;
use crate::schema::{FullTextOptions, Language, Parameter, Tokenizer};
use pgrx::pg_sys;
use std::ffi::{CStr, CString, c_char};
use std::mem::offset_of;

/// Number of the support function that returns the [`Kind`].
pub const KIND_PROC: u16 = 1;
/// Number of the support function that names the options (`amoptsprocnum`).
pub const OPTIONS_PROC: u16 = 2;

/// Strategy number of `@@@`.
pub const MATCH_STRATEGY: i16 = 9;
/// Strategy number of the operators for ORDER BY.
pub const ORDER_STRATEGY: i16 = 10;

/// k1 above this changes no order any more: every occurrence of a term counts in full.
const MAX_K1: f64 = 1_000.0;
/// Weights only matter relative to each other; a larger one would leave the range in which a float tells scores apart.
const MAX_WEIGHT: f64 = 1_000_000.0;

/// What a key of an operator class of ours with support function 1 is. Classes without it are for attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum Kind {
    /// A vector, ordered by `<=>`.
    Cosine = 1,
    /// A vector, ordered by `<->`.
    L2 = 2,
    /// A vector, ordered by `<#>`.
    Dot = 3,
    /// Full text.
    Bm25 = 10,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Cosine, Self::L2, Self::Dot, Self::Bm25];

    fn returned(self) -> Returned {
        Ok(Some(pg_sys::Datum::from(self as i32)))
    }
}

/// The kind of key column `attno` (from 1) of an index of ours; none for an attribute.
///
/// # Errors
/// `Internal` for an operator class that is not of this version of the extension.
///
/// # Safety
/// `index` must be an open index of the access method with that many key columns.
pub unsafe fn kind(index: pg_sys::Relation, attno: i16) -> Result<Option<Kind>> {
    // SAFETY: the caller's contract.
    let function = unsafe { pg_sys::index_getprocid(index, attno, KIND_PROC) };
    if function == pg_sys::InvalidOid {
        return Ok(None);
    }
    // SAFETY: the function takes one argument, which it does not look at, and returns an integer.
    let code = unsafe { pg_sys::OidFunctionCall1Coll(function, pg_sys::InvalidOid, pg_sys::Datum::null()) };
    let code = code.value() as i32;
    Kind::ALL
        .into_iter()
        .find(|kind| *kind as i32 == code)
        .map(Some)
        .ok_or_else(|| Error::internal(format!("operator class of index column {attno} has the unknown kind {code}")))
}

fn cosine(_: &mut Call) -> Returned {
    Kind::Cosine.returned()
}

fn l2(_: &mut Call) -> Returned {
    Kind::L2.returned()
}

fn dot(_: &mut Call) -> Returned {
    Kind::Dot.returned()
}

fn bm25(_: &mut Call) -> Returned {
    Kind::Bm25.returned()
}

/// An unset `max_token_length`: the tokenizer's own.
const UNSET: i32 = 0;

/// The options as PostgreSQL fills them in: a varlena.
#[repr(C)]
struct Bm25Options {
    header: i32,
    /// Where in the varlena the string is.
    language: i32,
    /// As above.
    tokenizer: i32,
    max_token_length: i32,
    ascii_folding: bool,
    stemming: bool,
    stopwords: bool,
    case_sensitive: bool,
    weight: f64,
    k1: f64,
    b: f64,
}

/// Offsets are small constants.
#[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)]
const fn offset(of: usize) -> i32 {
    of as i32
}

fn bm25_options_declaration(call: &mut Call) -> Returned {
    let options = call.datum(0)?.cast_mut_ptr::<pg_sys::local_relopts>();
    // SAFETY: PostgreSQL passes the structure to fill in.
    unsafe { pg_sys::init_local_reloptions(options, size_of::<Bm25Options>()) };
    // SAFETY: as above; the strings and functions live as long as the library, the offset is that of the field.
    unsafe {
        pg_sys::add_local_string_reloption(
            options,
            c"language".as_ptr(),
            c"language of the text: decides stemmer and stop words".as_ptr(),
            c"english".as_ptr(),
            Some(check_language),
            None,
            offset(offset_of!(Bm25Options, language)),
        );
    }
    // SAFETY: as above.
    unsafe {
        pg_sys::add_local_string_reloption(
            options,
            c"tokenizer".as_ptr(),
            c"how text is split".as_ptr(),
            c"default".as_ptr(),
            Some(check_tokenizer),
            None,
            offset(offset_of!(Bm25Options, tokenizer)),
        );
    }
    // SAFETY: as above.
    unsafe {
        pg_sys::add_local_int_reloption(
            options,
            c"max_token_length".as_ptr(),
            c"bytes of the longest token that is kept".as_ptr(),
            UNSET,
            UNSET,
            MAX_TOKEN_LENGTH.cast_signed(),
            offset(offset_of!(Bm25Options, max_token_length)),
        );
    }
    let flags = [
        (
            c"ascii_folding",
            c"read letters with accents as those without",
            false,
            offset_of!(Bm25Options, ascii_folding),
        ),
        (c"stemming", c"reduce words to their stem", true, offset_of!(Bm25Options, stemming)),
        (c"stopwords", c"drop the language's stop words", true, offset_of!(Bm25Options, stopwords)),
        (c"case_sensitive", c"keep the case of letters", false, offset_of!(Bm25Options, case_sensitive)),
    ];
    for (name, description, default, field) in flags {
        // SAFETY: as above.
        unsafe {
            pg_sys::add_local_bool_reloption(options, name.as_ptr(), description.as_ptr(), default, offset(field));
        }
    }
    let numbers = [
        (
            c"weight",
            c"what scores of this column are multiplied with",
            1.0,
            MAX_WEIGHT,
            offset_of!(Bm25Options, weight),
        ),
        (
            c"k1",
            c"how soon a repeated term stops counting",
            f64::from(DEFAULT_BM25_K1),
            MAX_K1,
            offset_of!(Bm25Options, k1),
        ),
        (c"b", c"how much long texts are held back", f64::from(DEFAULT_BM25_B), 1.0, offset_of!(Bm25Options, b)),
    ];
    for (name, description, default, max, field) in numbers {
        // SAFETY: as above.
        unsafe {
            pg_sys::add_local_real_reloption(
                options,
                name.as_ptr(),
                description.as_ptr(),
                default,
                0.0,
                max,
                offset(field),
            );
        }
    }
    // void, but not NULL, which the caller would refuse
    Ok(Some(pg_sys::Datum::null()))
}

/// The language of an option, whatever its case.
fn language(name: &CStr) -> Result<Language> {
    let name = name.to_string_lossy();
    Language::from_name(&name.to_ascii_lowercase()).ok_or_else(|| {
        let known = Language::ALL.map(Language::name).join(", ");
        Error::invalid(format!("language \"{name}\" is not known")).with_hint(format!("Known languages: {known}."))
    })
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn check_language(value: *const c_char) {
    if value.is_null() {
        return;
    }
    // SAFETY: a C string of PostgreSQL's, copied because the error must own all it needs.
    let value: CString = unsafe { CStr::from_ptr(value) }.to_owned();
    let result = language(&value).map(|_| ());
    drop(value);
    result.or_raise();
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn check_tokenizer(value: *const c_char) {
    if value.is_null() {
        return;
    }
    // SAFETY: a C string of PostgreSQL's, copied because the error must own all it needs.
    let value: CString = unsafe { CStr::from_ptr(value) }.to_owned();
    let result = tokenizer(&value).map(|_| ());
    drop(value);
    result.or_raise();
}

/// The tokenizer of an option, whatever its case.
fn tokenizer(text: &CStr) -> Result<Tokenizer> {
    Tokenizer::parse(&text.to_string_lossy().to_ascii_lowercase())
}

#[allow(clippy::cast_possible_truncation)] // an f32 is what scores are computed with
fn parameter(value: f64) -> Parameter {
    Parameter(value as f32)
}

/// How key column `attno` (from 1) of an index of ours, of class `bm25_ops`, is analysed and scored.
///
/// # Errors
/// `Invalid` for a language that this version does not know.
///
/// # Safety
/// `index` must be an open index of the access method with that many key columns.
pub unsafe fn bm25_options(index: pg_sys::Relation, attno: i16) -> Result<FullTextOptions> {
    // SAFETY: the caller's contract; the result belongs to the relation's cache entry.
    let all = unsafe { pg_sys::RelationGetIndexAttOptions(index, false) };
    let place = usize::try_from(attno - 1).map_err(|_| Error::internal("columns count from 1"))?;
    // SAFETY: one pointer for each column.
    let value = unsafe { *all.add(place) };
    if value.is_null() {
        return Ok(FullTextOptions::default());
    }
    // SAFETY: what `bm25_options_declaration` described, allocated with maximal alignment.
    let options = unsafe { &*value.cast::<Bm25Options>() };
    let string = |at: i32| {
        let at = usize::try_from(at).unwrap_or(0);
        // SAFETY: PostgreSQL put the string there, inside the same allocation; it has a default, so it is never missing.
        let start = unsafe { value.cast::<c_char>().add(at) };
        // SAFETY: as above.
        unsafe { CStr::from_ptr(start) }
    };
    let tokenizer = tokenizer(string(options.tokenizer))?;
    let longest = u32::try_from(options.max_token_length).unwrap_or(0);
    Ok(FullTextOptions {
        language: language(string(options.language))?,
        // Both are on when nobody says otherwise, and mean nothing where tokens are no words.
        stemming: options.stemming && tokenizer.makes_words(),
        remove_stopwords: options.stopwords && tokenizer.makes_words(),
        case_sensitive: options.case_sensitive,
        ascii_folding: options.ascii_folding,
        max_token_length: if longest == 0 { tokenizer.default_max_token_length() } else { longest },
        tokenizer,
        k1: parameter(options.k1),
        b: parameter(options.b),
        weight: parameter(options.weight),
    })
}

c_functions! {
    /// Support function 1 of `vector_cosine_ops`.
    elacsym_opclass_cosine = cosine;
    /// Support function 1 of `vector_l2_ops`.
    elacsym_opclass_l2 = l2;
    /// Support function 1 of `vector_ip_ops`.
    elacsym_opclass_dot = dot;
    /// Support function 1 of `bm25_ops`.
    elacsym_opclass_bm25 = bm25;
    /// Support function 2 of `bm25_ops`.
    elacsym_opclass_bm25_options = bm25_options_declaration;
}
