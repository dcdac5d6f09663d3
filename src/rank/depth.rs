//! How deep to ask where only some of the candidates are visible.

/// A question that was not deep enough is followed by one that is at most so many times as deep.
const DEEPEST_STEP: usize = 4;
/// Candidates asked for beyond those expected to do: an eighth, and at least so many, may be dead without another question.
const SPARE: usize = 8;

/// How many candidates to ask for so that `wanted` of them are visible, if `share` of them are (0 to 1).
pub fn deep_enough(wanted: usize, share: f64) -> usize {
    let share = if share.is_finite() { share.clamp(1.0 / DEEPEST_STEP as f64, 1.0) } else { 1.0 };
    // Rounding does no harm: it is a guess, and the spare is more.
    let expected = (wanted as f64 / share).ceil() as usize;
    expected.saturating_add(expected / SPARE).saturating_add(SPARE)
}

/// How many to ask for next, after `asked` were too few for `wanted`: by the share that was visible, yet always deeper.
pub fn deeper(asked: usize, wanted: usize, share: f64) -> usize {
    let most = asked.saturating_mul(DEEPEST_STEP);
    let least = asked.saturating_add(asked / SPARE + 1);
    if share.is_nan() || share <= 1.0 / DEEPEST_STEP as f64 {
        return most.max(least);
    }
    deep_enough(wanted, share).clamp(least, most.max(least))
}

#[cfg(test)]
mod tests;
