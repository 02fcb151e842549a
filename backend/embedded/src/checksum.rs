//! CRC32C over values: what stands in a row, with the type and length of each value, so that neither a
//! moved boundary nor a swapped value goes unnoticed.

/// A checksum that values are added to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Checksum {
    crc: u32,
}

/// Marks an absent value.
const NULL: [u8; 1] = [0];

impl Checksum {
    /// `kind` names the table, so that a row of one is no row of another.
    pub(crate) fn new(kind: u8) -> Self {
        Self {
            crc: crc32c::crc32c(&[kind]),
        }
    }

    /// An integer.
    pub(crate) fn int(self, value: impl Into<i64>) -> Self {
        self.raw(&value.into().to_le_bytes())
    }

    /// An integer or none.
    pub(crate) fn maybe_int(self, value: Option<i64>) -> Self {
        match value {
            Some(value) => self.raw(&[1]).int(value),
            None => self.raw(&NULL),
        }
    }

    /// Bytes of a length that the column fixes.
    pub(crate) fn fixed(self, bytes: &[u8]) -> Self {
        self.raw(bytes)
    }

    /// Bytes of any length, or none.
    pub(crate) fn bytes(self, bytes: Option<&[u8]>) -> Self {
        match bytes {
            Some(bytes) => self.maybe_int(Some(bytes.len() as i64)).raw(bytes),
            None => self.raw(&NULL),
        }
    }

    /// A text, or none.
    pub(crate) fn text(self, text: Option<&str>) -> Self {
        self.bytes(text.map(str::as_bytes))
    }

    /// As a column holds it: signed, which takes four bytes where an unsigned one may take six.
    pub(crate) const fn column(self) -> i64 {
        self.crc.cast_signed() as i64
    }

    fn raw(self, bytes: &[u8]) -> Self {
        Self {
            crc: crc32c::crc32c_append(self.crc, bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_checksum_is_crc32c() {
        // The check value of the polynomial's definition.
        assert_eq!(crc32c::crc32c(b"123456789"), 0xE306_9283);
    }

    #[test]
    fn a_moved_boundary_changes_the_checksum() {
        let of = |a: &str, b: &str| Checksum::new(1).text(Some(a)).text(Some(b)).column();
        assert_ne!(of("ab", "c"), of("a", "bc"));
        let none = Checksum::new(1).text(None).text(Some("")).column();
        assert_ne!(none, Checksum::new(1).text(Some("")).text(None).column());
        assert_ne!(Checksum::new(1).column(), Checksum::new(2).column());
    }

    proptest! {
        #[test]
        fn one_flipped_bit_changes_the_checksum(mut bytes in proptest::collection::vec(any::<u8>(), 1..200), at: usize) {
            let of = |bytes: &[u8]| Checksum::new(1).bytes(Some(bytes)).column();
            let before = of(&bytes);
            let bit = at % (bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_ne!(of(&bytes), before);
        }
    }
}
