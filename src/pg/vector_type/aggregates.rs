//! `avg(vector)`. Its state is a `float8[]`: the number of vectors, then the sum of each element; `{0}` at first.
//! (`sum(vector)` needs no state of its own: it adds.)

use super::arrays::{ArrayArg, build_float8};
use super::call::{Args, Returned};
use super::error::{Result, VectorError};
use super::layout::{build, check_dimensions, check_element, check_typmod};
use crate::pg::c_function::c_functions;

/// A state apart: how many vectors, and the sums (none before the first vector).
fn split<'a>(state: &'a [f64], function: &'static str) -> Result<(f64, &'a [f64])> {
    match state {
        [count, sums @ ..] => Ok((*count, sums)),
        [] => Err(VectorError::State(function)),
    }
}

/// Reports a value whose dimensions differ from the state's.
fn check_same(expected: usize, actual: usize) -> Result<()> {
    check_typmod(i32::try_from(expected).map_err(|_| VectorError::TooManyDimensions)?, actual)
}

/// Adds up two sequences of equal length behind a count.
fn total(count: f64, left: &[f64], right: impl Iterator<Item = f64>) -> Returned {
    let mut state = Vec::with_capacity(left.len() + 1);
    state.push(count);
    for (x, y) in left.iter().zip(right) {
        let sum = x + y;
        if sum.is_infinite() {
            return Err(VectorError::Overflow);
        }
        state.push(sum);
    }
    build_float8(&state).map(Some)
}

fn accumulate(args: &Args) -> Returned {
    let array = ArrayArg::new(args, 0)?;
    let (count, sums) = split(array.state("vector_accum")?, "vector_accum")?;
    let vector = args.vector(1)?;
    if sums.is_empty() {
        let state: Vec<f64> = std::iter::once(count + 1.0).chain(vector.iter().copied().map(f64::from)).collect();
        return build_float8(&state).map(Some);
    }
    check_same(sums.len(), vector.len())?;
    total(count + 1.0, sums, vector.iter().copied().map(f64::from))
}

fn combine(args: &Args) -> Returned {
    let (left, right) = (ArrayArg::new(args, 0)?, ArrayArg::new(args, 1)?);
    let (left_count, left_sums) = split(left.state("vector_combine")?, "vector_combine")?;
    let (right_count, right_sums) = split(right.state("vector_combine")?, "vector_combine")?;
    let count = left_count + right_count;
    let zeros = std::iter::repeat(0.0);
    match (left_sums.is_empty(), right_sums.is_empty()) {
        (true, true) => build_float8(&[count]).map(Some),
        (true, false) => {
            check_dimensions(right_sums.len())?;
            total(count, right_sums, zeros)
        }
        (false, true) => {
            check_dimensions(left_sums.len())?;
            total(count, left_sums, zeros)
        }
        (false, false) => {
            check_dimensions(left_sums.len())?;
            check_same(left_sums.len(), right_sums.len())?;
            total(count, left_sums, right_sums.iter().copied())
        }
    }
}

fn average(args: &Args) -> Returned {
    let array = ArrayArg::new(args, 0)?;
    let (count, sums) = split(array.state("vector_avg")?, "vector_avg")?;
    // The average of nothing is NULL.
    if count == 0.0 {
        return Ok(None);
    }
    build(sums.len(), |result| {
        for (target, sum) in result.iter_mut().zip(sums) {
            *target = (sum / count) as f32;
            check_element(*target)?;
        }
        Ok(())
    })
    .map(Some)
}

c_functions! {
    run by crate::pg::vector_type::call::run;
    /// `vector_accum(double precision[], vector)`
    elacsym_vector_accum = accumulate;
    /// `vector_combine(double precision[], double precision[])`
    elacsym_vector_combine = combine;
    /// `vector_avg(double precision[])`
    elacsym_vector_avg = average;
}
