use super::Decimal;

fn decimal(text: &str) -> Decimal {
    Decimal::parse(text).unwrap_or_else(|| panic!("{text} is a number"))
}

#[test]
fn numbers_are_in_their_order() {
    let ascending = [
        "-Infinity",
        "-1e400",
        "-9007199254740993",
        "-9007199254740992.5",
        "-9007199254740992",
        "-10",
        "-9.99",
        "-0.1",
        "-0.099",
        "-1e-400",
        "0",
        "1e-400",
        "0.00099",
        "0.001",
        "0.1",
        "0.10000000000000000000000000000000000001",
        "1",
        "9.99",
        "10",
        "9007199254740992",
        "9007199254740993",
        "9007199254740993.000000000000000000001",
        "1e400",
        "Infinity",
        "NaN",
    ];
    for (i, left) in ascending.iter().enumerate() {
        for (j, right) in ascending.iter().enumerate() {
            assert_eq!(decimal(left).cmp(&decimal(right)), i.cmp(&j), "{left} and {right}");
        }
    }
}

#[test]
fn ways_to_write_a_number_are_one() {
    let same = [
        ["0", "0.000", "-0"],
        ["1", "1.0", "10e-1"],
        ["-12.5", "-12.500", "-125E-1"],
        ["100", "1e2", "1e+2"],
        ["0.01", "0.0100", "1e-2"],
    ];
    for [first, others @ ..] in &same {
        for other in others {
            assert_eq!(decimal(first), decimal(other), "{first} and {other}");
        }
    }
}

#[test]
fn other_texts_are_no_numbers() {
    for text in ["", "-", "x", "1x", ".", "1e", "1e99999999999999999999", "--1", "1.2.3", "infinity", " 1"] {
        assert_eq!(Decimal::parse(text), None, "{text}");
    }
}
