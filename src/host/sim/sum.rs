//! A sum over bytes, by which what belongs together is known.
//!
//! Owns the arithmetic (FNV-1a, 64 bits). It tells apart what differs by chance or by somebody's edit; it is no
//! defence against who wants two things to look the same, and need not be: whoever can write one can write both.

/// The sum of nothing.
pub(super) const NOTHING: u64 = 0xcbf2_9ce4_8422_2325;

/// The sum over what has the sum `before`, and `bytes` behind it.
pub(super) fn sum(before: u64, bytes: &[u8]) -> u64 {
    let step = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    bytes.iter().fold(before, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the authors' own table (draft-eastlake-fnv).
    #[test]
    fn is_fnv_1a() {
        assert_eq!(sum(NOTHING, b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(sum(NOTHING, b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(sum(NOTHING, b"foobar"), 0x8594_4171_f739_67e8);
        assert_eq!(sum(sum(NOTHING, b"foo"), b"bar"), sum(NOTHING, b"foobar"));
    }
}
