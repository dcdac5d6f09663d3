//! Decimal numbers of any length, compared exactly, as PostgreSQL's `numeric` compares them.

use std::cmp::Ordering;

/// A value of `numeric`. The order of the variants is that of the values.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Decimal {
    /// Below every number.
    NegInfinity,
    /// A number.
    Finite(Finite),
    /// Above every number.
    Infinity,
    /// Above everything, and equal to itself.
    NaN,
}

/// A number in its only form: no zeros at either end of its digits, and no sign of zero.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Finite {
    negative: bool,
    /// The value is 0.DIGITS times ten to this; 0 for zero.
    exponent: i64,
    /// ASCII digits; none for zero.
    digits: Vec<u8>,
}

impl Decimal {
    /// Reads what `numeric` prints, and every number of JSON; None for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "NaN" => return Some(Self::NaN),
            "Infinity" => return Some(Self::Infinity),
            "-Infinity" => return Some(Self::NegInfinity),
            _ => {}
        }
        let (negative, unsigned) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, power) = match unsigned.split_once(['e', 'E']) {
            Some((mantissa, power)) => (mantissa, power.parse::<i64>().ok()?),
            None => (unsigned, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let mut digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let leading = digits.iter().take_while(|digit| **digit == b'0').count();
        digits.drain(..leading);
        let kept = digits.iter().rposition(|digit| *digit != b'0').map_or(0, |last| last + 1);
        digits.truncate(kept);
        if digits.is_empty() {
            return Some(Self::Finite(Finite { negative: false, exponent: 0, digits }));
        }
        let places = i64::try_from(whole.len()).ok()?.checked_sub(i64::try_from(leading).ok()?)?;
        Some(Self::Finite(Finite { negative, exponent: places.checked_add(power)?, digits }))
    }
}

impl Finite {
    /// -1, 0 or 1.
    fn sign(&self) -> i8 {
        match (self.digits.is_empty(), self.negative) {
            (true, _) => 0,
            (false, false) => 1,
            (false, true) => -1,
        }
    }
}

impl PartialOrd for Finite {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Finite {
    fn cmp(&self, other: &Self) -> Ordering {
        // Without zeros at their ends, digits compare as strings do.
        let magnitudes = self.exponent.cmp(&other.exponent).then_with(|| self.digits.cmp(&other.digits));
        self.sign().cmp(&other.sign()).then(if self.negative { magnitudes.reverse() } else { magnitudes })
    }
}

#[cfg(test)]
mod tests;
