//! What opening a bundle reads, kept beside it.
