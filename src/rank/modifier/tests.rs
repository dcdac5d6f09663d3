use super::*;
use serde_json::json;

struct NoTimes;

impl Times for NoTimes {
    fn moment(&self, text: &str) -> Result<f64> {
        text.strip_prefix("at ").and_then(|s| s.parse().ok()).ok_or_else(|| Error::invalid("no time"))
    }

    fn length(&self, text: &str) -> Result<f64> {
        text.strip_suffix(" days")
            .and_then(|s| s.parse().ok())
            .map(|days: f64| days * 86_400.0)
            .ok_or_else(|| Error::invalid("no interval"))
    }
}

fn schema() -> NamespaceSchema {
    NamespaceSchema::parse(&json!({"attributes": {
        "at": "int", "clicks": "int", "price": "float", "lang": "string", "body": {"type": "string", "full_text": true}}}))
    .unwrap()
}

/// Attribute `at` counts microseconds from second 1000 on.
fn unit(attribute: &Attribute) -> Unit {
    if attribute.name == "at" { Unit::Microseconds { epoch: 1000 } } else { Unit::Number }
}

fn parse(json: Json) -> Result<Vec<Modifier>> {
    parse_modifiers(&schema(), &json, &unit, &NoTimes)
}

fn one(json: Json) -> Modifier {
    parse(json).unwrap().remove(0)
}

fn factor(json: Json, value: Option<Value>) -> f64 {
    one(json).factor(value.as_ref(), false)
}

fn assert_close(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-12, "{found}, expected {expected}");
}

#[test]
fn each_decay_is_one_at_the_origin_and_decay_at_the_scale() {
    for function in ["gauss", "exp", "linear"] {
        let decay = json!({"type": "decay", "field": "price", "origin": 100, "scale": 10, "offset": 5, "decay": 0.3, "function": function});
        for (value, expected) in [(100.0, 1.0), (95.0, 1.0), (105.0, 1.0), (115.0, 0.3), (85.0, 0.3)] {
            assert_close(factor(decay.clone(), Some(Value::Float(value))), expected);
        }
    }
    let at = |function: &str, value: f64| {
        factor(
            json!({"type": "decay", "field": "price", "origin": 0, "scale": 2, "function": function}),
            Some(Value::Float(value)),
        )
    };
    assert_close(at("gauss", 4.0), 0.5_f64.powi(4));
    assert_close(at("exp", 4.0), 0.25);
    assert_close(at("linear", 3.0), 0.25);
    assert_eq!(at("linear", 4.0), 0.0);
    assert_eq!(at("linear", 1e300), 0.0);
    assert_eq!(at("gauss", 1e300), 0.0);
}

#[test]
fn times_are_turned_into_the_unit_of_the_attribute() {
    let decay = json!({"type": "decay", "field": "at", "origin": "at 2000", "scale": "1 days", "function": "exp"});
    assert_close(factor(decay.clone(), Some(Value::Int(1_000_000_000))), 1.0);
    assert_close(factor(decay.clone(), Some(Value::Int(1_000_000_000 + 86_400_000_000))), 0.5);
    // Plain numbers are seconds there, and text is seconds where numbers are plain.
    let plain = json!({"type": "decay", "field": "at", "origin": 2000, "scale": 86400, "function": "exp"});
    assert_eq!(one(plain), one(decay));
    let number = json!({"type": "decay", "field": "clicks", "origin": "at 50", "scale": 10, "function": "exp"});
    assert_close(factor(number, Some(Value::Int(60))), 0.5);
    let days = Unit::Days { epoch: 86_400 };
    assert_eq!((days.moment(3.0 * 86_400.0), days.length(43_200.0)), (2.0, 0.5));
}

#[test]
fn saturate_grows_from_zero_to_one() {
    let saturate = json!({"type": "saturate", "field": "clicks", "k": 10});
    for (value, expected) in [(0, 0.0), (10, 0.5), (30, 0.75), (-5, 0.0)] {
        assert_close(factor(saturate.clone(), Some(Value::Int(value))), expected);
    }
    assert_close(factor(json!({"type": "saturate", "field": "price", "k": 1}), Some(Value::Float(f64::MAX))), 1.0);
}

#[test]
fn a_document_without_the_attribute_gets_the_worst_unless_missing_says_otherwise() {
    assert_eq!(factor(json!({"type": "saturate", "field": "clicks", "k": 10}), None), 0.0);
    assert_eq!(factor(json!({"type": "decay", "field": "price", "origin": 0, "scale": 1}), None), 0.0);
    assert_eq!(factor(json!({"type": "saturate", "field": "clicks", "k": 10, "missing": 1}), None), 1.0);
    assert_eq!(
        factor(json!({"type": "decay", "field": "price", "origin": 0, "scale": 1, "missing": 0.25}), None),
        0.25
    );
}

#[test]
fn a_weight_takes_a_part_of_the_factor() {
    assert_eq!(factor(json!({"type": "saturate", "field": "clicks", "k": 10, "weight": 0.25}), None), 0.75);
    let boost = one(
        json!({"type": "boost", "filter": {"field": "lang", "op": "eq", "value": "en"}, "factor": 3, "weight": 0.5}),
    );
    assert_eq!((boost.factor(None, true), boost.factor(None, false)), (2.0, 1.0));
    assert!(boost.filter().is_some() && boost.attribute().is_none());
}

#[test]
fn a_single_modifier_needs_no_array() {
    let saturate = json!({"type": "saturate", "field": "clicks", "k": 10});
    assert_eq!(parse(saturate.clone()).unwrap(), parse(json!([saturate])).unwrap());
    assert_eq!(parse(json!([])).unwrap(), []);
}

#[test]
fn wrong_modifiers_are_refused_and_named() {
    let kind = |json: Json| parse(json).unwrap_err().kind;
    let decay = |changes: Json| {
        let mut map = json!({"type": "decay", "field": "price", "origin": 0, "scale": 1});
        map.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        kind(map)
    };
    assert_eq!(kind(json!(3)), ErrorKind::Invalid);
    assert_eq!(kind(json!([3])), ErrorKind::Invalid);
    assert_eq!(kind(json!([{}])), ErrorKind::Invalid);
    assert_eq!(kind(json!([{"type": "gauss"}])), ErrorKind::Invalid);
    assert_eq!(kind(json!([{"type": 1}])), ErrorKind::Invalid);
    assert_eq!(decay(json!({"field": "nothing"})), ErrorKind::NotFound);
    assert_eq!(decay(json!({"field": "lang"})), ErrorKind::TypeMismatch);
    assert_eq!(decay(json!({"field": "body"})), ErrorKind::Invalid);
    assert_eq!(decay(json!({"scale": 0})), ErrorKind::OutOfRange);
    assert_eq!(decay(json!({"scale": -1})), ErrorKind::OutOfRange);
    assert_eq!(decay(json!({"scale": "soon"})), ErrorKind::Invalid);
    assert_eq!(decay(json!({"origin": "whenever"})), ErrorKind::Invalid);
    assert_eq!(decay(json!({"origin": null})), ErrorKind::TypeMismatch);
    assert_eq!(decay(json!({"offset": -1})), ErrorKind::OutOfRange);
    for number in [0.0, 1.0, -0.5, 2.0] {
        assert_eq!(decay(json!({"decay": number})), ErrorKind::OutOfRange);
    }
    assert_eq!(decay(json!({"function": "cubic"})), ErrorKind::Invalid);
    assert_eq!(decay(json!({"weight": 1.5})), ErrorKind::OutOfRange);
    assert_eq!(decay(json!({"missing": -1})), ErrorKind::OutOfRange);
    let error = parse(json!([{"type": "decay", "field": "price", "origin": 0, "scale": 1, "sigma": 2}])).unwrap_err();
    assert_eq!(error.message, "decay has unknown key \"sigma\"");
    assert!(error.hint.unwrap().contains("origin, scale, offset"));
    assert_eq!(kind(json!([{"type": "saturate", "field": "clicks"}])), ErrorKind::Invalid);
    assert_eq!(kind(json!([{"type": "saturate", "field": "clicks", "k": 0}])), ErrorKind::OutOfRange);
    assert_eq!(kind(json!([{"type": "saturate", "field": "at", "k": 1}])), ErrorKind::TypeMismatch);
    let filter = json!({"field": "lang", "op": "eq", "value": "en"});
    assert_eq!(kind(json!([{"type": "boost", "factor": 2}])), ErrorKind::Invalid);
    assert_eq!(kind(json!([{"type": "boost", "filter": filter}])), ErrorKind::Invalid);
    assert_eq!(kind(json!([{"type": "boost", "filter": filter, "factor": -1}])), ErrorKind::OutOfRange);
    assert_eq!(kind(json!([{"type": "boost", "filter": {"field": "x"}, "factor": 1}])), ErrorKind::Invalid);
    let many: Vec<Json> = vec![json!({"type": "saturate", "field": "clicks", "k": 1}); MAX_MODIFIERS + 1];
    assert_eq!(kind(Json::Array(many)), ErrorKind::OutOfRange);
}
