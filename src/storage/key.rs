//! Which keys are allowed, the same for every store (INV-9: a key cannot leave its root).

use crate::error::{Error, Result};

/// Longest key in bytes: S3 allows 1,024 for prefix and key together.
pub const MAX_KEY_BYTES: usize = 768;
/// Longest component of a key in bytes: the limit of common file systems.
pub const MAX_COMPONENT_BYTES: usize = 255;
/// How temporary files of the local store start; no key may have a component that does, so that they never meet.
pub(super) const TEMPORARY_PREFIX: &str = "pgsql_tmp_elacsym-";

/// Checks that `key` is a relative path of non-empty components without `.` and `..`, valid for every store.
/// Any UTF-8 except control characters is allowed.
///
/// # Errors
/// `Invalid`, naming the key.
pub fn validate_key(key: &str) -> Result<()> {
    validate_text(key)?;
    if key.is_empty() {
        return Err(Error::invalid("object key is empty"));
    }
    for component in key.split('/') {
        if component.is_empty() {
            return Err(wrong(key, "has an empty component"));
        }
        if matches!(component, "." | "..") {
            return Err(wrong(key, "has a component \".\" or \"..\""));
        }
        if component.len() > MAX_COMPONENT_BYTES {
            return Err(wrong(key, "has a component of more than 255 bytes"));
        }
        if component.starts_with(TEMPORARY_PREFIX) {
            return Err(wrong(key, "is reserved for temporary files"));
        }
    }
    Ok(())
}

/// Checks a prefix of a listing: as a key, but it may be empty and its last component may be unfinished or empty.
///
/// # Errors
/// `Invalid`, naming the prefix.
pub(super) fn validate_prefix(prefix: &str) -> Result<()> {
    validate_text(prefix)?;
    let (directory, _) = prefix.rsplit_once('/').unwrap_or(("", prefix));
    if prefix.starts_with('/') {
        return Err(wrong(prefix, "starts with a slash"));
    }
    if directory.is_empty() { Ok(()) } else { validate_key(directory) }
}

fn validate_text(key: &str) -> Result<()> {
    if key.len() > MAX_KEY_BYTES {
        return Err(Error::invalid(format!("object key of {} bytes is longer than {MAX_KEY_BYTES}", key.len())));
    }
    if key.chars().any(char::is_control) {
        return Err(wrong(&key.escape_debug().to_string(), "holds a control character"));
    }
    Ok(())
}

fn wrong(key: &str, what: &str) -> Error {
    Error::invalid(format!("object key \"{key}\" {what}"))
}
