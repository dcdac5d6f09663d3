//! From a namespace's schema to tantivy's.
//!
//! Fields are named after attribute ids, so that a renamed attribute needs no rewrite: `t3` is the full text of attribute 3, `f3`
//! its filter field, and `present` holds the ids of all indexed attributes a document has (an empty array is present, and would
//! leave no other trace). Nothing is stored: values live in `rows.parquet`.

use super::analyzer::Analyzer;
use crate::schema::{AttributeId, AttributeType, NamespaceSchema};
use tantivy::schema::{
    Field, IndexRecordOption, NumericOptions, Schema, SchemaBuilder, TextFieldIndexing, TextOptions,
};
use tantivy::tokenizer::TokenizerManager;

/// Name of the field of present attributes.
pub const PRESENT_FIELD: &str = "present";

/// Name of the full-text field of an attribute.
pub fn text_field_name(attribute: AttributeId) -> String {
    format!("t{attribute}")
}

/// Name of the filter field of an attribute.
pub fn filter_field_name(attribute: AttributeId) -> String {
    format!("f{attribute}")
}

/// The fields of one attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttributeFields {
    /// Full text with frequencies, positions and lengths.
    pub text: Option<Field>,
    /// Filter field: int is indexed and a column, float and timestamp are columns only, everything else is indexed as raw terms.
    pub filter: Option<Field>,
}

/// The tantivy schema of a namespace. Fields are in attribute order, so the same schema gives the same field numbers.
pub fn tantivy_schema(schema: &NamespaceSchema) -> Schema {
    let mut builder = SchemaBuilder::new();
    builder.add_u64_field(PRESENT_FIELD, NumericOptions::default().set_indexed());
    for attribute in &schema.attributes {
        if attribute.full_text.is_some() {
            let name = text_field_name(attribute.id);
            let indexing = TextFieldIndexing::default()
                .set_tokenizer(&name)
                .set_index_option(IndexRecordOption::WithFreqsAndPositions)
                .set_fieldnorms(true);
            builder.add_text_field(&name, TextOptions::default().set_indexing_options(indexing));
        }
        if attribute.indexed {
            let name = filter_field_name(attribute.id);
            match attribute.kind {
                AttributeType::String | AttributeType::ArrayString | AttributeType::Uuid => {
                    let indexing = TextFieldIndexing::default()
                        .set_tokenizer("raw")
                        .set_index_option(IndexRecordOption::Basic)
                        .set_fieldnorms(false);
                    builder.add_text_field(&name, TextOptions::default().set_indexing_options(indexing));
                }
                AttributeType::Int => {
                    builder.add_i64_field(&name, NumericOptions::default().set_indexed().set_fast());
                }
                // Arrays are asked what they contain only.
                AttributeType::ArrayInt => {
                    builder.add_i64_field(&name, NumericOptions::default().set_indexed());
                }
                // As floats: few rows share one, so terms would be as many as rows.
                AttributeType::Timestamp => {
                    builder.add_i64_field(&name, NumericOptions::default().set_fast());
                }
                // Equality on floats is rare and ranges scan the column anyway: no terms.
                AttributeType::Float => {
                    builder.add_f64_field(&name, NumericOptions::default().set_fast());
                }
                AttributeType::Bool => {
                    builder.add_bool_field(&name, NumericOptions::default().set_indexed());
                }
            }
        }
    }
    builder.build()
}

/// The analysers of the full-text fields, registered under the fields' names.
pub(super) fn tokenizers(schema: &NamespaceSchema) -> TokenizerManager {
    let manager = TokenizerManager::default();
    for (attribute, options) in schema.full_text_attributes() {
        manager.register(&text_field_name(attribute.id), Analyzer::new(options).into_tantivy());
    }
    manager
}

/// The fields an attribute has in that (possibly older) tantivy schema.
pub fn attribute_fields(schema: &Schema, attribute: AttributeId) -> AttributeFields {
    AttributeFields {
        text: schema.get_field(&text_field_name(attribute)).ok(),
        filter: schema.get_field(&filter_field_name(attribute)).ok(),
    }
}
