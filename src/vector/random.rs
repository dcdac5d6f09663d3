//! A small pseudo-random generator whose sequence is part of the build's determinism.

/// SplitMix64 (Steele, Lea, Flood, OOPSLA 2014; public domain reference by Vigna).
#[derive(Debug, Clone)]
pub(crate) struct Random {
    state: u64,
}

impl Random {
    /// A generator whose sequence depends on `seed` and `stream` alone.
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        let mut random = Self { state: seed ^ stream.wrapping_mul(0xd1b5_4a32_d192_ed03) };
        random.next();
        random
    }

    /// The next 64 bits.
    pub(crate) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound` (which is not 0), uniform up to a bias of `bound / 2^64`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        let wide = u128::from(self.next()) * (bound as u128);
        (wide >> 64) as usize
    }

    /// `count` distinct numbers below `bound`, ascending (all of them if there are no more).
    pub(crate) fn sample(&mut self, bound: usize, count: usize) -> Vec<usize> {
        let mut chosen = Vec::with_capacity(count.min(bound));
        // Selection sampling: one pass, no set, ascending.
        for candidate in 0..bound {
            let wanted = count - chosen.len();
            if wanted == 0 {
                break;
            }
            if self.below(bound - candidate) < wanted {
                chosen.push(candidate);
            }
        }
        chosen
    }
}
