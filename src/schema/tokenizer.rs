//! How a full-text attribute is split into tokens.
//!
//! One text form for people, in JSON schemas, SQL options and messages (`ngram(2,3)`), and the serde form that is stored
//! (`{"ngram": {"min": 2, "max": 3}}`), which JSON schemas may also use.

use super::json_type;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{
    DEFAULT_MAX_TOKEN_LENGTH, DEFAULT_NGRAM_MAX, DEFAULT_NGRAM_MIN, MAX_NGRAM_LENGTH, MAX_NGRAM_LENGTHS,
    MAX_TOKEN_LENGTH,
};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

/// Splits text into tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tokenizer {
    /// Runs of letters and digits.
    #[default]
    Default,
    /// What stands between white space.
    Whitespace,
    /// The whole text is one token: keywords, codes, addresses.
    Raw,
    /// All runs of so many characters, white space and punctuation included: finds any part of a text.
    Ngram(NgramLengths),
    /// Identifiers and their parts: `getUserName` is also `get`, `User`, `Name`.
    SourceCode,
    /// Overlapping pairs of Chinese, Japanese and Korean characters, other scripts as words.
    Cjk,
}

/// The lengths of n-grams, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "UncheckedLengths")]
pub struct NgramLengths {
    min: u8,
    max: u8,
}

#[derive(Deserialize)]
struct UncheckedLengths {
    min: u8,
    max: u8,
}

impl TryFrom<UncheckedLengths> for NgramLengths {
    type Error = Error;

    fn try_from(lengths: UncheckedLengths) -> Result<Self> {
        Self::new(u64::from(lengths.min), u64::from(lengths.max))
    }
}

impl NgramLengths {
    /// Checks the limits.
    ///
    /// # Errors
    /// `OutOfRange` if they are zero, the wrong way round, too long or too far apart.
    pub fn new(min: u64, max: u64) -> Result<Self> {
        let out_of_range = |message: String| Error::new(ErrorKind::OutOfRange, message);
        if min == 0 || min > max || max > u64::from(MAX_NGRAM_LENGTH) {
            let message = format!("n-gram lengths from {min} to {max} are not between 1 and {MAX_NGRAM_LENGTH}");
            return Err(out_of_range(message));
        }
        if max - min >= u64::from(MAX_NGRAM_LENGTHS) {
            let message = format!("n-gram lengths from {min} to {max} are more than {MAX_NGRAM_LENGTHS} lengths");
            return Err(out_of_range(message).with_hint("Each length adds a token for every character of the text."));
        }
        // Both are at most MAX_NGRAM_LENGTH.
        Ok(Self { min: min as u8, max: max as u8 })
    }

    /// The shortest.
    pub fn min(self) -> usize {
        usize::from(self.min)
    }

    /// The longest.
    pub fn max(self) -> usize {
        usize::from(self.max)
    }
}

impl Default for NgramLengths {
    fn default() -> Self {
        Self { min: DEFAULT_NGRAM_MIN, max: DEFAULT_NGRAM_MAX }
    }
}

const KNOWN: &str = "Tokenizers: default, whitespace, raw, ngram, ngram(min,max), source_code, cjk.";

impl Tokenizer {
    /// Reads the text form: a name, or `ngram(2,3)`.
    ///
    /// # Errors
    /// `Invalid` for a name that is not known, `OutOfRange` for lengths that are.
    pub fn parse(text: &str) -> Result<Self> {
        match text {
            "default" => return Ok(Self::Default),
            "whitespace" => return Ok(Self::Whitespace),
            "raw" => return Ok(Self::Raw),
            "ngram" => return Ok(Self::Ngram(NgramLengths::default())),
            "source_code" => return Ok(Self::SourceCode),
            "cjk" => return Ok(Self::Cjk),
            _ => {}
        }
        let lengths = text.strip_prefix("ngram(").and_then(|rest| rest.strip_suffix(')')?.split_once(','));
        let lengths = lengths.and_then(|(min, max)| Some((min.trim().parse().ok()?, max.trim().parse().ok()?)));
        match lengths {
            Some((min, max)) => NgramLengths::new(min, max).map(Self::Ngram),
            None => Err(Error::invalid(format!("tokenizer \"{text}\" is not known")).with_hint(KNOWN)),
        }
    }

    /// Reads what a JSON schema says: the text form or the stored form.
    pub(super) fn from_json(attribute: &str, json: &Json) -> Result<Self> {
        let wrong = |what: String| Error::invalid(format!("\"tokenizer\" of attribute \"{attribute}\" {what}"));
        match json {
            Json::String(text) => {
                Self::parse(text).map_err(|error| Error { message: within(attribute, &error), ..error })
            }
            Json::Object(map) => {
                let lengths = match (map.get("ngram"), map.len()) {
                    (Some(Json::Object(lengths)), 1) => lengths,
                    _ => return Err(wrong(format!("must be a name or {{\"ngram\": …}}, not {json}")).with_hint(KNOWN)),
                };
                super::reject_unknown_keys(
                    lengths,
                    &["min", "max"],
                    &format!("\"ngram\" of attribute \"{attribute}\""),
                )?;
                let length = |key: &str| {
                    let value = lengths.get(key).unwrap_or(&Json::Null);
                    let message = || format!("needs an integer \"{key}\" for n-grams, not {value}");
                    value.as_u64().ok_or_else(|| wrong(message()))
                };
                let lengths = NgramLengths::new(length("min")?, length("max")?);
                let lengths = lengths.map_err(|error| Error { message: within(attribute, &error), ..error })?;
                Ok(Self::Ngram(lengths))
            }
            other => Err(wrong(format!("must be a name or an object, not {}", json_type(other))).with_hint(KNOWN)),
        }
    }

    /// Whether tokens are words of a language, so that stop words and stemmers mean something.
    pub fn makes_words(self) -> bool {
        match self {
            Self::Default | Self::Whitespace | Self::Cjk => true,
            Self::Raw | Self::Ngram(_) | Self::SourceCode => false,
        }
    }

    /// Longest token when nobody says otherwise: whole texts may be longer than words.
    pub fn default_max_token_length(self) -> u32 {
        match self {
            Self::Raw => MAX_TOKEN_LENGTH,
            _ => DEFAULT_MAX_TOKEN_LENGTH,
        }
    }
}

fn within(attribute: &str, error: &Error) -> String {
    format!("{} (attribute \"{attribute}\")", error.message)
}

impl std::fmt::Display for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Default => "default",
            Self::Whitespace => "whitespace",
            Self::Raw => "raw",
            Self::Ngram(lengths) => return write!(f, "ngram({},{})", lengths.min, lengths.max),
            Self::SourceCode => "source_code",
            Self::Cjk => "cjk",
        })
    }
}

#[cfg(test)]
mod tests;
