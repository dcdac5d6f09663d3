use super::*;
use crate::error::ErrorKind;
use proptest::prelude::*;
use serde_json::json;

fn schema() -> NamespaceSchema {
    NamespaceSchema::parse(&json!({"attributes": {
        "year": "int", "title": "string", "tags": "array_string", "body": {"type": "string", "full_text": true}}}))
    .unwrap()
}

fn by(attribute: AttributeId, descending: bool, nulls_first: bool) -> OrderBy {
    OrderBy { attribute, descending, nulls_first }
}

#[test]
fn nulls_are_where_sql_has_them_unless_it_is_said() {
    let schema = schema();
    let (title, year) = (schema.require("title").unwrap().id, schema.require("year").unwrap().id);
    let parse = |json: Json| parse_order_by(&schema, &json).unwrap();
    assert_eq!(parse(json!("year")), [by(year, false, false)]);
    assert_eq!(parse(json!({"field": "year", "direction": "desc"})), [by(year, true, true)]);
    assert_eq!(
        parse(json!([{"field": "year", "direction": "desc", "nulls": "last"}, "title"])),
        [by(year, true, false), by(title, false, false)]
    );
    assert_eq!(parse(json!([{"field": "title", "direction": "asc", "nulls": "first"}])), [by(title, false, true)]);
}

#[test]
fn wrong_orders_are_refused() {
    let kind = |json: Json| parse_order_by(&schema(), &json).unwrap_err().kind;
    for wrong in [json!(1), json!([]), json!([1]), json!([{}]), json!([{"field": 2}]), json!("body")] {
        assert_eq!(kind(wrong), ErrorKind::Invalid);
    }
    assert_eq!(kind(json!([{"field": "year", "order": "asc"}])), ErrorKind::Invalid);
    assert_eq!(kind(json!([{"field": "year", "direction": "up"}])), ErrorKind::Invalid);
    assert_eq!(kind(json!([{"field": "year", "nulls": true}])), ErrorKind::Invalid);
    assert_eq!(kind(json!("nothing")), ErrorKind::NotFound);
    assert_eq!(kind(json!("tags")), ErrorKind::TypeMismatch);
    assert_eq!(kind(Json::Array(vec![json!("year"); MAX_ORDER_BY + 1])), ErrorKind::OutOfRange);
}

type Row = (Option<i64>, Option<String>, Option<u8>);

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let row = (
        proptest::option::weighted(0.8, -3_i64..4),
        proptest::option::weighted(0.8, "[aé]{0,2}"),
        proptest::option::weighted(0.8, 0_u8..4),
    );
    proptest::collection::vec(row, 0..60)
}

/// What SQL's ORDER BY says of one column.
fn compare_naive<T: Ord>(a: &Option<T>, b: &Option<T>, by: OrderBy) -> Ordering {
    match (a, b) {
        (None, None) => Ordering::Equal,
        (None, _) => {
            if by.nulls_first {
                Ordering::Less
            } else {
                Ordering::Greater
            }
        }
        (_, None) => {
            if by.nulls_first {
                Ordering::Greater
            } else {
                Ordering::Less
            }
        }
        (Some(a), Some(b)) => {
            if by.descending {
                b.cmp(a)
            } else {
                a.cmp(b)
            }
        }
    }
}

proptest! {
    #[test]
    fn the_selection_is_what_a_sort_with_a_count_per_group_gives(
        rows in rows(),
        flags in proptest::collection::vec(any::<bool>(), 4),
        count in 0_usize..30,
        per in proptest::option::of(1_u32..4),
    ) {
        let order = [by(0, flags[0], flags[1]), by(1, flags[2], flags[3])];
        let mut sorted: Vec<(usize, &Row)> = rows.iter().enumerate().collect();
        sorted.sort_by(|(a, x), (b, y)| {
            compare_naive(&x.0, &y.0, order[0])
                .then_with(|| compare_naive(&x.1, &y.1, order[1]))
                .then(a.cmp(b))
        });
        let mut held: HashMap<Option<u8>, u32> = HashMap::new();
        let expected: Vec<usize> = sorted
            .into_iter()
            .filter(|(_, row)| {
                let held = held.entry(row.2).or_insert(0);
                *held += 1;
                per.is_none_or(|per| *held <= per)
            })
            .map(|(id, _)| id)
            .take(count)
            .collect();
        let mut selection = Selection::new(count, per);
        for (id, row) in rows.iter().enumerate().rev() {
            let values = vec![row.0.map(Value::Int), row.1.clone().map(Value::String)];
            let key = SortKey::new(&order, values, id);
            let group = row.2.map(|group| Group::of(&Value::Int(i64::from(group))));
            // What has no place would not have been kept.
            if selection.has_place_for(&key) {
                selection.push(key, group, ()).unwrap();
            } else {
                prop_assert!(!expected.contains(&id));
            }
        }
        let found: Vec<usize> = selection.into_sorted().into_iter().map(|(key, ())| *key.id()).collect();
        prop_assert_eq!(found, expected);
    }
}
