//! TODO

use crate::pair::Pair;

pub(super) fn pairs() -> Vec<Pair> {
    Vec::new()
}
