//! How deep to ask where only some of the candidates are visible.

/// A question that was not deep enough is followed by one that is at most so many times as deep.
const DEEPEST_STEP: usize = 4;
/// Candidates asked for beyond those expected to do, in standard deviations of how many of so many are visible: one question of a
/// thousand is not deep enough.
const SPARE_DEVIATIONS: f64 = 3.0;
/// A further question is deeper by at least this part.
const LEAST_STEP: usize = 8;

/// How many candidates to ask for so that `wanted` of them are visible, if `share` of them are (0 to 1): no more than those where all
/// are, as nearly always.
pub fn deep_enough(wanted: usize, share: f64) -> usize {
    let share = if share.is_finite() { share.clamp(1.0 / DEEPEST_STEP as f64, 1.0) } else { 1.0 };
    // Rounding does no harm: it is a guess, and the spare is more.
    let expected = (wanted as f64 / share).ceil();
    let spare = SPARE_DEVIATIONS * (expected * (1.0 - share) / share).sqrt();
    (expected as usize).saturating_add(spare.ceil() as usize)
}

/// How many to ask for next, after `asked` were too few for `wanted`: by the share that was visible, yet always deeper.
pub fn deeper(asked: usize, wanted: usize, share: f64) -> usize {
    let most = asked.saturating_mul(DEEPEST_STEP);
    let least = asked.saturating_add(asked / LEAST_STEP + 1);
    if share.is_nan() || share <= 1.0 / DEEPEST_STEP as f64 {
        return most.max(least);
    }
    deep_enough(wanted, share).clamp(least, most.max(least))
}

#[cfg(test)]
mod tests;
