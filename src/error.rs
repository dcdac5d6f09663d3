//! The one error type. Its kind is small and prescriptive: it tells the caller what to do, and
//! `pg/error.rs` maps it to an SQLSTATE in exactly one function.

use serde::{Deserialize, Serialize};

/// What the caller can do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ErrorKind {
    /// The request is wrong: fix the input.
    Invalid,
    /// A value has the wrong type or shape (dimension, attribute type).
    TypeMismatch,
    /// A number is outside its limits (k, dimension count, size).
    OutOfRange,
    /// The named thing does not exist.
    NotFound,
    /// The named thing exists already.
    AlreadyExists,
    /// The caller may not do this.
    Denied,
    /// A part that is needed is not there now (engine, object storage): retry later.
    Unavailable,
    /// Bytes read back are not the bytes written; names the object and the offset.
    Corrupt,
    /// A newer writer has taken over.
    Fenced,
    /// The caller went away or asked to stop.
    Cancelled,
    /// A limit of memory, disk or time was reached.
    Exhausted,
    /// A bug in elacsym.
    Internal,
    /// The statement's types do not fit the thing it names, whatever the values: write it with another function.
    StatementType,
    /// A limit that is configured was reached: raise it, or ask for less.
    LimitExceeded,
}

/// An error with PostgreSQL's three texts: message (lower case, no final period), detail and hint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Error {
    /// What the caller can do.
    pub kind: ErrorKind,
    /// What went wrong, naming the offending thing.
    pub message: String,
    /// More about this case, if there is more.
    pub detail: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
}

/// Shorthand for this crate's results.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error of `kind` with a message and nothing else.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), detail: None, hint: None }
    }

    /// The request is wrong.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// Stored bytes are not what was written. `object` names the file or key, `offset` the byte.
    pub fn corrupt(object: &str, offset: u64, what: impl std::fmt::Display) -> Self {
        Self::new(ErrorKind::Corrupt, format!("object \"{object}\" is corrupt at offset {offset}: {what}"))
    }

    /// A part that is needed is not there now.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unavailable, message)
    }

    /// A bug in elacsym.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// Adds or replaces the detail.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Adds or replaces the hint.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)?;
        if let Some(detail) = &self.detail {
            write!(f, " ({detail})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}
