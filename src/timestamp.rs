//! Points in time as attributes hold them: microseconds since 1970-01-01 00:00:00 UTC, without leap seconds. Their text form is
//! RFC 3339's; calendar and buckets are the proleptic Gregorian calendar in UTC.

use serde::{Deserialize, Serialize};

/// Microseconds of a second.
pub const SECOND: i64 = 1_000_000;
/// Microseconds of a day.
pub const DAY: i64 = 86_400 * SECOND;
/// Sorts after every point in time; PostgreSQL's `infinity`.
pub const INFINITY: i64 = i64::MAX;
/// Sorts before every point in time; PostgreSQL's `-infinity`.
pub const NEG_INFINITY: i64 = i64::MIN;
/// Digits of a fraction of a second that are read; those after the sixth are cut off.
const MAX_FRACTION_DIGITS: usize = 9;
/// What [`parse`] reads, for hints.
pub const FORMS: &str =
    "Write \"2024-05-17T09:30:00Z\", with \"+02:00\" for Z elsewhere, or \"2024-05-17\"; years 0001 to 9999.";
/// Monday 1970-01-05: buckets of whole weeks start on Mondays.
const FIRST_MONDAY: i64 = 4 * DAY;

/// Reads an RFC 3339 point in time (year 0001 to 9999). The time, its seconds and the offset may be missing: midnight, full
/// minute, UTC.
pub fn parse(text: &str) -> Option<i64> {
    let mut cursor = Cursor(text.as_bytes());
    let year = cursor.number(4)?;
    cursor.literal(b'-')?;
    let month = cursor.number(2)?;
    cursor.literal(b'-')?;
    let day = cursor.number(2)?;
    if year < 1 || !(1..=12).contains(&month) || day < 1 || day > days_of_month(year, month) {
        return None;
    }
    let date = days_from_civil(year, month, day) * DAY;
    if cursor.0.is_empty() {
        return Some(date);
    }
    if !matches!(cursor.next()?, b'T' | b't' | b' ') {
        return None;
    }
    let hour = cursor.number(2)?;
    cursor.literal(b':')?;
    let minute = cursor.number(2)?;
    let (mut second, mut fraction) = (0, 0);
    if cursor.literal(b':').is_some() {
        second = cursor.number(2)?;
        if cursor.literal(b'.').is_some() {
            fraction = cursor.fraction()?;
        }
    }
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let offset = cursor.offset()?;
    if !cursor.0.is_empty() {
        return None;
    }
    Some(date + (hour * 3600 + minute * 60 + second - offset * 60) * SECOND + fraction)
}

/// The RFC 3339 form in UTC, with six digits of a fraction or none. Years beyond 9999 and before 0001 have a sign and as many
/// digits as they need, at least four (ISO 8601's expanded form, year 0 is 1 BC).
pub fn format(micros: i64) -> String {
    match micros {
        INFINITY => return "infinity".to_string(),
        NEG_INFINITY => return "-infinity".to_string(),
        _ => {}
    }
    let (days, time) = (micros.div_euclid(DAY), micros.rem_euclid(DAY));
    let (year, month, day) = civil_from_days(days);
    let (seconds, fraction) = (time / SECOND, time % SECOND);
    let year = if (1..=9999).contains(&year) { format!("{year:04}") } else { format!("{year:+05}") };
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let fraction = if fraction == 0 { String::new() } else { format!(".{fraction:06}") };
    format!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
}

/// The width of the buckets of a histogram over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Interval {
    /// Always as long, in microseconds.
    Micros(i64),
    /// Calendar months.
    Months(i64),
}

impl Interval {
    /// Reads `"1 day"`, `"15 minutes"`, `"month"`: a whole number, 1 if there is none, and a unit from second to year.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (count, unit) = match text.split_once(' ') {
            Some((count, unit)) => (count.parse::<i64>().ok().filter(|count| *count > 0)?, unit.trim()),
            None => (1, text),
        };
        match named(unit)? {
            Self::Micros(micros) => count.checked_mul(micros).map(Self::Micros),
            Self::Months(months) => count.checked_mul(months).filter(|months| *months < 120_000).map(Self::Months),
        }
    }

    /// Start and end of the bucket that holds a point in time; `None` where it is not a point or the calendar ends.
    pub fn bucket(self, micros: i64) -> Option<(i64, i64)> {
        if matches!(micros, INFINITY | NEG_INFINITY) {
            return None;
        }
        match self {
            Self::Micros(width) => {
                let origin = if width % (7 * DAY) == 0 { FIRST_MONDAY } else { 0 };
                let start = micros.checked_sub(micros.checked_sub(origin)?.rem_euclid(width))?;
                Some((start, start.checked_add(width)?))
            }
            Self::Months(width) => {
                let (year, month, _) = civil_from_days(micros.div_euclid(DAY));
                let month = year * 12 + month - 1;
                let start = month - month.rem_euclid(width);
                Some((month_start(start)?, month_start(start + width)?))
            }
        }
    }
}

/// A length of time that is always as long, negative ones too: `"-90 minutes"`.
pub fn parse_duration(text: &str) -> Option<i64> {
    let text = text.trim();
    let (positive, negative) = text.strip_prefix('-').map_or((text, false), |rest| (rest, true));
    match Interval::parse(positive)? {
        Interval::Micros(micros) => Some(if negative { -micros } else { micros }),
        Interval::Months(_) => None,
    }
}

fn named(unit: &str) -> Option<Interval> {
    Some(match unit.strip_suffix('s').unwrap_or(unit) {
        "second" => Interval::Micros(SECOND),
        "minute" => Interval::Micros(60 * SECOND),
        "hour" => Interval::Micros(3600 * SECOND),
        "day" => Interval::Micros(DAY),
        "week" => Interval::Micros(7 * DAY),
        "month" => Interval::Months(1),
        "quarter" => Interval::Months(3),
        "year" => Interval::Months(12),
        _ => return None,
    })
}

/// The first moment of a month, counted from January of year 0.
fn month_start(month: i64) -> Option<i64> {
    days_from_civil(month.div_euclid(12), month.rem_euclid(12) + 1, 1).checked_mul(DAY)
}

fn days_of_month(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01. Years are counted from March, so that the leap day is the last of a year of 400-year eras.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Year, month and day of a day since 1970-01-01.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, month, day_of_year - (153 * shifted + 2) / 5 + 1)
}

struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn literal(&mut self, wanted: u8) -> Option<()> {
        (self.0.first() == Some(&wanted)).then(|| self.0 = &self.0[1..])
    }

    fn digit(&mut self) -> Option<i64> {
        let digit = self.0.first().filter(|byte| byte.is_ascii_digit()).map(|byte| i64::from(byte - b'0'))?;
        self.0 = &self.0[1..];
        Some(digit)
    }

    fn number(&mut self, digits: usize) -> Option<i64> {
        (0..digits).try_fold(0, |number, _| Some(number * 10 + self.digit()?))
    }

    /// Microseconds.
    fn fraction(&mut self) -> Option<i64> {
        let (mut micros, mut unit) = (self.digit()? * 100_000, 10_000);
        let mut digits = 1;
        while let Some(digit) = self.digit() {
            micros += digit * unit;
            unit /= 10;
            digits += 1;
        }
        (digits <= MAX_FRACTION_DIGITS).then_some(micros)
    }

    /// Minutes east of UTC.
    fn offset(&mut self) -> Option<i64> {
        let sign = match self.next() {
            None | Some(b'Z' | b'z') => return Some(0),
            Some(b'+') => 1,
            Some(b'-') => -1,
            Some(_) => return None,
        };
        let hours = self.number(2)?;
        let minutes = if self.0.is_empty() {
            0
        } else {
            let _ = self.literal(b':');
            self.number(2)?
        };
        (hours <= 23 && minutes <= 59).then_some(sign * (hours * 60 + minutes))
    }
}

#[cfg(test)]
mod tests;
