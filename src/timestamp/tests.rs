use super::*;

#[test]
fn points_in_time_are_read_in_every_form() {
    for (text, expected) in [
        ("1970-01-01", 0),
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01 00:00", 0),
        ("1970-01-01t00:00:00.5z", SECOND / 2),
        ("1970-01-01T00:00:00.000001", 1),
        ("1970-01-01T00:00:00.123456789Z", 123_456),
        ("1970-01-01T02:00:00+02:00", 0),
        ("1969-12-31T19:30:00-0430", 0),
        ("1969-12-31T19:00:00-05", 0),
        ("2000-02-29T12:00:00Z", 951_825_600 * SECOND),
        ("2024-05-17T09:30:00Z", 1_715_938_200 * SECOND),
        ("9999-12-31T23:59:59.999999Z", 253_402_300_799_999_999),
        ("0001-01-01", -62_135_596_800 * SECOND),
    ] {
        assert_eq!(parse(text), Some(expected), "{text}");
    }
}

#[test]
fn what_is_no_point_in_time_is_refused() {
    for text in [
        "",
        "2024",
        "2024-13-01",
        "2024-00-10",
        "2024-02-30",
        "2023-02-29",
        "1900-02-29",
        "0000-01-01",
        "10000-01-01",
        "2024-1-1",
        "2024-01-01T",
        "2024-01-01T24:00:00Z",
        "2024-01-01T10",
        "2024-01-01T10:60Z",
        "2024-01-01T10:00:60Z",
        "2024-01-01T10:00:00.Z",
        "2024-01-01T10:00:00.1234567890Z",
        "2024-01-01T10:00:00+24:00",
        "2024-01-01T10:00:00+2",
        "2024-01-01T10:00:00Zz",
        "2024-01-01X10:00:00Z",
        "infinity",
        "２024-01-01",
    ] {
        assert_eq!(parse(text), None, "{text}");
    }
}

#[test]
fn a_formatted_point_in_time_reads_back() {
    for micros in [0, -1, 1, 1_715_938_200 * SECOND, 253_402_300_799_999_999, -62_135_596_800 * SECOND] {
        assert_eq!(parse(&format(micros)), Some(micros), "{}", format(micros));
    }
    for days in (-719_162..2_932_896).step_by(997) {
        let text = format(days * DAY);
        assert_eq!(parse(&text), Some(days * DAY), "{text}");
    }
    assert_eq!(format(-62_135_596_800 * SECOND - 1), "+0000-12-31T23:59:59.999999Z");
    assert_eq!(format(253_402_300_800 * SECOND), "+10000-01-01T00:00:00Z");
    assert_eq!(format(i64::MAX), "infinity");
    assert_eq!(format(i64::MIN + 1), "-290308-12-21T19:59:05.224193Z");
}

#[test]
fn buckets_hold_their_point_and_start_where_people_expect() {
    let at = |text: &str| parse(text).unwrap();
    for (interval, point, start, end) in [
        ("1 day", "2024-05-17T09:30:00Z", "2024-05-17", "2024-05-18"),
        ("day", "1969-12-31T23:59:59.999999Z", "1969-12-31", "1970-01-01"),
        ("6 hours", "2024-05-17T09:30:00Z", "2024-05-17T06:00:00Z", "2024-05-17T12:00:00Z"),
        ("15 minutes", "2024-05-17T09:44:59Z", "2024-05-17T09:30:00Z", "2024-05-17T09:45:00Z"),
        // 17 May 2024 was a Friday.
        ("week", "2024-05-17", "2024-05-13", "2024-05-20"),
        ("2 weeks", "1970-01-05", "1970-01-05", "1970-01-19"),
        ("month", "2024-02-29T23:00:00Z", "2024-02-01", "2024-03-01"),
        ("quarter", "2024-05-17", "2024-04-01", "2024-07-01"),
        ("year", "2024-05-17", "2024-01-01", "2025-01-01"),
        ("10 years", "2024-05-17", "2020-01-01", "2030-01-01"),
    ] {
        let bucket = Interval::parse(interval).unwrap().bucket(at(point));
        assert_eq!(bucket, Some((at(start), at(end))), "{interval} of {point}");
    }
    assert_eq!(Interval::Months(1).bucket(INFINITY), None);
    assert_eq!(Interval::Micros(DAY).bucket(i64::MAX - 1), None);
    for text in
        ["", "0 days", "-1 day", "1.5 days", "fortnight", "day day", "9223372036854775807 days", "200000 months"]
    {
        assert_eq!(Interval::parse(text), None, "{text}");
    }
    assert_eq!(parse_duration("-90 minutes"), Some(-5400 * SECOND));
    assert_eq!(parse_duration("hour"), Some(3600 * SECOND));
    assert_eq!(parse_duration("month"), None);
}
