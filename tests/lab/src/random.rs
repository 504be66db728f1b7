//! Chance that can be had again.

use super::hash::hash;

/// Numbers that look random and come again with the same seed.
pub struct Random(u64);

impl Random {
    /// The numbers of one scenario.
    pub fn new(seed: u64, name: &str) -> Self {
        Self(hash(name.as_bytes()) ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// The next one, by SplitMix64.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)) % limit
    }
}
