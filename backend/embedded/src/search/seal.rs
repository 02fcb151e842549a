//! A checksum for the list of segments: the only file of the index for which tantivy has none.
//!
//! It stands behind the JSON as white space, 32 characters of which each is one bit of a CRC-32C, so
//! that the file stays what tantivy reads. Lists that earlier versions have written have none.

const BITS: usize = 32;

/// The list with its checksum behind it.
pub(super) fn seal(list: &[u8]) -> Vec<u8> {
    let checksum = crc32c::crc32c(list);
    let bit = |nth: usize| {
        if checksum >> nth & 1 == 1 {
            b'\t'
        } else {
            b' '
        }
    };
    let mut sealed = list.to_vec();
    sealed.extend((0..BITS).map(bit));
    sealed
}

/// Whether a list is as it was sealed, or was never sealed.
pub(super) fn is_intact(list: &[u8]) -> bool {
    if list.ends_with(b"}\n") {
        return true;
    }
    let Some(end) = list.len().checked_sub(BITS) else {
        return false;
    };
    seal(&list[..end]) == list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_is_noticed() {
        let sealed = seal(b"{\"segments\":[]}\n");
        assert!(is_intact(&sealed));
        assert!(is_intact(b"{}\n") && !is_intact(b"{}") && !is_intact(b""));
        for bit in 0..sealed.len() * 8 {
            let mut damaged = sealed.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(!is_intact(&damaged), "bit {bit}");
        }
    }
}
