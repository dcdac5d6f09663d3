//! Changes of a namespace's schema: `elacsym.alter_namespace(name, changes)`.
//!
//! A change never touches what is stored. Attributes are known by their ids, which are never used twice: a new attribute is null
//! in old rows, a dropped one is not looked at, a renamed one keeps its id. Where a segment has values that an attribute's new
//! definition wants indexed and the segment's own index lacks, the index is made anew when the segment is opened
//! ([`NamespaceSchema::index_lacks`]), until the segment is rewritten.

use super::{
    Attribute, AttributeId, AttributeType, FIRST_HIDDEN, FullTextOptions, NamespaceSchema, json_type, parse_attribute,
    parse_full_text_of, reject_unknown_keys,
};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::MAX_ATTRIBUTES;
use serde_json::{Map, Value as Json};
use std::collections::HashSet;

const EXAMPLE: &str = "Example: {\"add\": {\"rating\": {\"type\": \"float\"}}, \"alter\": {\"body\": {\"full_text\": true}}, \"rename\": {\"old\": \"new\"}, \"drop\": [\"draft\"]}";

impl NamespaceSchema {
    /// This schema after the changes, which all refer to the schema as it was: `{"add": {name: definition}, "alter": {name:
    /// {"full_text": …, "indexed": …}}, "rename": {name: new name}, "drop": [name]}`.
    ///
    /// # Errors
    /// `Invalid`, `TypeMismatch` and `OutOfRange` for the JSON; `NotFound` for an attribute that is not there, `AlreadyExists` for
    /// one that is.
    pub fn changed(&self, json: &Json) -> Result<Self> {
        let map = json.as_object().ok_or_else(|| {
            Error::invalid(format!("\"changes\" must be a JSON object, not {}", json_type(json))).with_hint(EXAMPLE)
        })?;
        reject_unknown_keys(map, &["add", "alter", "rename", "drop"], "changes")
            .map_err(|error| if error.hint.is_some() { error } else { error.with_hint(EXAMPLE) })?;
        let mut changed = self.clone();
        changed.next_attribute = self.next_id();
        let mut named = HashSet::new();
        let mut once = |name: &str| {
            if named.insert(name.to_string()) {
                return Ok(());
            }
            Err(Error::invalid(format!("\"changes\" name attribute \"{name}\" twice")))
        };
        for (name, definition) in object(map, "alter")? {
            once(name)?;
            let attribute = changed.place_of(name)?;
            alter(&mut changed.attributes[attribute], definition)?;
        }
        for (name, new) in object(map, "rename")? {
            once(name)?;
            let attribute = self.place_of(name)?;
            let new = new.as_str().ok_or_else(|| {
                Error::invalid(format!("the new name of attribute \"{name}\" must be a string, not {}", json_type(new)))
            })?;
            super::check_attribute_name(new)?;
            changed.attributes[attribute].name = new.to_string();
        }
        for name in names(map, "drop")? {
            once(name)?;
            let id = self.require_own(name)?.id;
            changed.attributes.retain(|attribute| attribute.id != id);
        }
        for (name, definition) in object(map, "add")? {
            let id = changed.next_attribute;
            if id >= FIRST_HIDDEN {
                return Err(Error::new(
                    ErrorKind::OutOfRange,
                    format!("this namespace has had {id} attributes, and there are no numbers left for more"),
                )
                .with_hint("Make a new namespace and copy the documents."));
            }
            changed.attributes.push(parse_attribute(id, name, definition)?);
            changed.next_attribute += 1;
        }
        changed.attributes.sort_by_key(|attribute| attribute.id);
        changed.check_changed()?;
        Ok(changed)
    }

    /// The id of the next new attribute.
    fn next_id(&self) -> AttributeId {
        let above = self.own_attributes().map(|attribute| attribute.id).max();
        self.next_attribute.max(above.map_or(0, |id| id + 1))
    }

    fn place_of(&self, name: &str) -> Result<usize> {
        let id = self.require_own(name)?.id;
        self.attributes
            .binary_search_by_key(&id, |attribute| attribute.id)
            .map_err(|_| Error::internal("the attributes of a schema are not in order"))
    }

    fn check_changed(&self) -> Result<()> {
        let count = self.own_attributes().count();
        if count > MAX_ATTRIBUTES {
            return Err(Error::new(
                ErrorKind::OutOfRange,
                format!("schema has {count} attributes, more than {MAX_ATTRIBUTES}"),
            ));
        }
        if self.vector.is_none() && count == 0 {
            return Err(Error::invalid("the namespace would have neither vectors nor attributes"));
        }
        let mut names: Vec<&str> = self.attributes.iter().map(|attribute| attribute.name.as_str()).collect();
        names.sort_unstable();
        match names.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => {
                Err(Error::new(ErrorKind::AlreadyExists, format!("attribute \"{}\" already exists", pair[0])))
            }
            None => Ok(()),
        }
    }

    /// Whether a segment written under `of_segment` may have values that this schema wants found by an index which the segment was
    /// written without: full text, full text analysed in another way, or a filter.
    pub fn index_lacks(&self, of_segment: &Self) -> bool {
        self.attributes.iter().any(|attribute| {
            let Some(stored) = of_segment.by_id(attribute.id) else { return false };
            let text = match (&attribute.full_text, &stored.full_text) {
                (Some(wanted), Some(stored)) => !wanted.analyses_as(stored),
                (Some(_), None) => true,
                (None, _) => false,
            };
            text || attribute.indexed && !stored.indexed
        })
    }
}

impl FullTextOptions {
    /// Whether both make the same terms of every text.
    pub fn analyses_as(&self, other: &Self) -> bool {
        *self == Self { k1: self.k1, b: self.b, weight: self.weight, ..other.clone() }
    }
}

fn alter(attribute: &mut Attribute, definition: &Json) -> Result<()> {
    let name = attribute.name.clone();
    let map = definition.as_object().ok_or_else(|| {
        Error::invalid(format!(
            "the change of attribute \"{name}\" must be a JSON object, not {}",
            json_type(definition)
        ))
        .with_hint("Example: {\"full_text\": true}")
    })?;
    reject_unknown_keys(map, &["full_text", "indexed"], &format!("the change of attribute \"{name}\"")).map_err(
        |error| {
            error.with_hint("What can change is \"full_text\" and \"indexed\". For another type add a new attribute.")
        },
    )?;
    if let Some(full_text) = map.get("full_text") {
        attribute.full_text = parse_full_text_of(&name, attribute.kind, full_text)?;
    }
    match map.get("indexed") {
        None => {}
        Some(Json::Bool(true)) if !attribute.indexed && has_strings(attribute.kind) => {
            // Some stored value may be longer than a filter can hold, and nobody looks at all of them here.
            return Err(Error::invalid(format!(
                "attribute \"{name}\" of type {} cannot be indexed for filters later",
                attribute.kind.name()
            ))
            .with_hint("Add a new attribute with \"indexed\": true and copy the values with elacsym.patch()."));
        }
        Some(Json::Bool(indexed)) => attribute.indexed = *indexed,
        Some(other) => {
            return Err(Error::invalid(format!(
                "\"indexed\" of attribute \"{name}\" must be true or false, not {}",
                json_type(other)
            )));
        }
    }
    Ok(())
}

fn has_strings(kind: AttributeType) -> bool {
    matches!(kind, AttributeType::String | AttributeType::ArrayString)
}

fn object<'j>(map: &'j Map<String, Json>, key: &str) -> Result<Vec<(&'j str, &'j Json)>> {
    match map.get(key) {
        None | Some(Json::Null) => Ok(Vec::new()),
        Some(Json::Object(entries)) => Ok(entries.iter().map(|(name, json)| (name.as_str(), json)).collect()),
        Some(other) => Err(Error::invalid(format!("\"{key}\" of changes must be an object, not {}", json_type(other)))
            .with_hint(EXAMPLE)),
    }
}

fn names<'j>(map: &'j Map<String, Json>, key: &str) -> Result<Vec<&'j str>> {
    let list = match map.get(key) {
        None | Some(Json::Null) => return Ok(Vec::new()),
        Some(Json::Array(list)) => list,
        Some(other) => {
            return Err(Error::invalid(format!("\"{key}\" of changes must be an array, not {}", json_type(other)))
                .with_hint(EXAMPLE));
        }
    };
    let name = |json: &'j Json| {
        json.as_str().ok_or_else(|| {
            Error::invalid(format!("\"{key}\" of changes holds names, not {}", json_type(json))).with_hint(EXAMPLE)
        })
    };
    list.iter().map(name).collect()
}

#[cfg(test)]
mod tests;
