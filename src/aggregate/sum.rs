//! Sums of floats without rounding: a fixed-point number wide enough for every float, rounded once at the end. Addition of
//! such numbers is associative and commutative, which that of floats is not.

/// Bits of a digit.
const DIGIT_BITS: u32 = 32;
/// Digits: 2,098 bits from the least subnormal to the greatest float, and 64 for the number of summands.
const DIGITS: usize = 70;
/// Additions after which a digit of 64 bits could overflow: each adds less than 2^32.
const MAX_PENDING: u32 = 1 << 30;
const FRACTION_BITS: u32 = 52;
/// Bits of the exponent in place.
const INFINITY_BITS: u64 = 0x7ff << FRACTION_BITS;

/// A sum under way, in units of the least subnormal float.
#[derive(Debug, Clone)]
pub struct ExactSum {
    /// Least significant first; between normalisations each may hold more than its bits, of either sign.
    digits: Box<[i64; DIGITS]>,
    pending: u32,
    /// Sum of what is not finite; 0 if there was none.
    special: f64,
}

impl Default for ExactSum {
    fn default() -> Self {
        Self { digits: Box::new([0; DIGITS]), pending: 0, special: 0.0 }
    }
}

impl ExactSum {
    /// Adds a number.
    pub fn add(&mut self, value: f64) {
        if !value.is_finite() {
            self.special += value;
            return;
        }
        let bits = value.to_bits();
        let exponent = (bits & INFINITY_BITS) >> FRACTION_BITS;
        let fraction = bits & ((1 << FRACTION_BITS) - 1);
        let (mantissa, shift) =
            if exponent == 0 { (fraction, 0) } else { (fraction | 1 << FRACTION_BITS, exponent as u32 - 1) };
        let wide = u128::from(mantissa) << (shift % DIGIT_BITS);
        let first = (shift / DIGIT_BITS) as usize;
        for (place, digit) in self.digits[first..first + 3].iter_mut().enumerate() {
            let part = (wide >> (place as u32 * DIGIT_BITS)) as u32;
            *digit += if value.is_sign_negative() { -i64::from(part) } else { i64::from(part) };
        }
        self.pending += 1;
        if self.pending == MAX_PENDING {
            self.normalise();
        }
    }

    /// Adds another sum.
    pub fn merge(&mut self, mut other: Self) {
        self.normalise();
        other.normalise();
        for (mine, theirs) in self.digits.iter_mut().zip(other.digits.iter()) {
            *mine += theirs;
        }
        self.pending = 1;
        self.special += other.special;
    }

    /// The sum, rounded to the nearest float (to even in the middle).
    pub fn value(&self) -> f64 {
        if self.special != 0.0 {
            return self.special;
        }
        let mut sum = self.clone();
        sum.normalise();
        let negative = sum.digits[DIGITS - 1] < 0;
        if negative {
            sum.digits.iter_mut().for_each(|digit| *digit = -*digit);
            sum.normalise();
        }
        let magnitude = f64::from_bits(sum.rounded_bits());
        if negative { -magnitude } else { magnitude }
    }

    /// Carries, so that all digits but the last are in 0..2^32 and the last has the sign.
    fn normalise(&mut self) {
        let mut carry = 0_i64;
        for digit in &mut self.digits[..DIGITS - 1] {
            let whole = *digit + carry;
            *digit = whole & ((1 << DIGIT_BITS) - 1);
            carry = whole >> DIGIT_BITS;
        }
        self.digits[DIGITS - 1] += carry;
        self.pending = 0;
    }

    /// Bits of the float nearest to the number, which is normalised and not negative.
    fn rounded_bits(&self) -> u64 {
        let Some(top) = self.digits.iter().rposition(|digit| *digit != 0) else { return 0 };
        let digit = |place: usize| u128::from(self.digits[place].cast_unsigned());
        let highest = top as u32 * DIGIT_BITS + self.digits[top].ilog2();
        // The highest digits, the least of which starts at bit `start`.
        let lowest = top.saturating_sub(2);
        let start = lowest as u32 * DIGIT_BITS;
        let window = (lowest..=top).rev().fold(0_u128, |window, place| window << DIGIT_BITS | digit(place));
        let Some(shift) = highest.checked_sub(FRACTION_BITS) else { return window as u64 };
        // Bits of the window below the mantissa; at least ten if there are digits below the window.
        let cut = shift - start;
        let mantissa = (window >> cut) as u64;
        let rest = window & ((1 << cut) - 1);
        let below = self.digits[..lowest].iter().any(|digit| *digit != 0);
        let half = if cut == 0 { 0 } else { 1_u128 << (cut - 1) };
        let up = cut > 0 && (rest > half || (rest == half && (below || mantissa % 2 == 1)));
        // The implicit bit of the mantissa raises the exponent by one; so does a carry out of it.
        let bits = (u64::from(shift) << FRACTION_BITS) + mantissa + u64::from(up);
        bits.min(INFINITY_BITS)
    }
}

#[cfg(test)]
mod tests;
