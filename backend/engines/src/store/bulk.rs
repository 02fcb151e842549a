//! Statements over many rows, in a few fixed sizes: each is prepared once a connection and then found
//! again, where a size for every batch would fill the cache and be prepared every time.

use std::sync::Arc;

use sqlx::{AssertSqlSafe, SqlSafeStr, SqlStr};

/// Rows a statement, the largest first. 1,000 rows of 12 columns stay far below MySQL's 65,535
/// placeholders, and what is gained above that is within the noise. About a third from each to the
/// next: a batch of any size is a handful of statements.
const SIZES: [usize; 7] = [1_000, 320, 100, 32, 10, 3, 1];
/// Bytes of values in one statement of more than one row: a quarter of the smallest
/// `max_allowed_packet` that a supported server comes with (16 MiB).
const STATEMENT_BYTES: usize = 4 * 1024 * 1024;
/// Conditions of a look-up, the largest first. More than these make the optimizer, which weighs
/// each, slower than another statement is.
const LOOKUPS: [usize; 5] = [200, 64, 20, 6, 1];

/// A multi-row insert: `head` + `row, row, …` + `tail`.
pub(super) struct Bulk {
    sizes: [(usize, Arc<str>); SIZES.len()],
}

impl Bulk {
    pub(super) fn new(head: &str, row: &str, tail: &str) -> Self {
        Self {
            sizes: SIZES.map(|rows| {
                let rows_text = vec![row; rows].join(",");
                (rows, Arc::from(format!("{head}{rows_text}{tail}")))
            }),
        }
    }

    /// The statement for the first rows of these, given the bytes of each; how many rows it takes,
    /// and their bytes. `None` when there are no rows.
    pub(super) fn first(
        &self,
        mut bytes: impl Iterator<Item = usize> + Clone,
        rows: usize,
    ) -> Option<(SqlStr, usize, usize)> {
        let fits = self.sizes.iter().find_map(|(size, text)| {
            if *size > rows {
                return None;
            }
            let sum: usize = bytes.clone().take(*size).sum();
            (sum <= STATEMENT_BYTES || *size == 1).then_some((text, *size, sum))
        });
        let (text, size, sum) = fits?;
        bytes.by_ref().take(size).for_each(drop);
        Some((AssertSqlSafe(Arc::clone(text)).into_sql_str(), size, sum))
    }
}

/// A look-up by many keys: `head` + `condition OR condition …` + `tail`. The last key fills a
/// statement up, which finds the same rows.
pub(super) struct Lookup {
    sizes: [(usize, Arc<str>); LOOKUPS.len()],
}

impl Lookup {
    pub(super) fn new(head: &str, condition: &str, tail: &str) -> Self {
        Self {
            sizes: LOOKUPS.map(|keys| {
                let conditions = vec![condition; keys].join(" OR ");
                (keys, Arc::from(format!("{head}({conditions}){tail}")))
            }),
        }
    }

    /// Cuts keys into statements; the keys of each are to be bound in order.
    pub(super) fn cut<'k, T>(
        &self,
        keys: &'k [T],
    ) -> impl Iterator<Item = (SqlStr, impl Iterator<Item = &'k T> + use<'k, T>)> + use<'k, '_, T>
    {
        keys.chunks(LOOKUPS[0]).filter_map(|these| {
            let (size, text) = self
                .sizes
                .iter()
                .rev()
                .find(|(size, _)| *size >= these.len())?;
            let fill = std::iter::repeat_n(these.last()?, size - these.len());
            let text = AssertSqlSafe(Arc::clone(text)).into_sql_str();
            Some((text, these.iter().chain(fill)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_cut_by_count_and_by_bytes() {
        let bulk = Bulk::new("VALUES ", "(?)", ";");
        let sizes = |bytes: &[usize]| {
            let mut cut = Vec::new();
            let mut rest = bytes;
            while let Some((_, rows, _)) = bulk.first(rest.iter().copied(), rest.len()) {
                cut.push(rows);
                rest = &rest[rows..];
            }
            cut
        };
        assert_eq!(sizes(&[1; 1_111]), [1_000, 100, 10, 1]);
        assert_eq!(sizes(&[1; 87]), [32, 32, 10, 10, 3]);
        // 64 of these are as many bytes as a statement may have.
        assert_eq!(sizes(&[64 * 1024; 101]), [32, 32, 32, 3, 1, 1]);
        assert_eq!(sizes(&[STATEMENT_BYTES + 1; 2]), [1, 1]);
        assert_eq!(sizes(&[]), Vec::<usize>::new());
    }

    #[test]
    fn lookups_are_filled_up() {
        let lookup = Lookup::new("WHERE ", "k = ?", "");
        let keys: Vec<u32> = (0..203).collect();
        let cut: Vec<Vec<u32>> = lookup
            .cut(&keys)
            .map(|(_, keys)| keys.copied().collect())
            .collect();
        assert_eq!(cut.len(), 2);
        assert_eq!(cut[0], (0..200).collect::<Vec<_>>());
        assert_eq!(cut[1], [200, 201, 202, 202, 202, 202]);
        assert_eq!(lookup.cut(&keys[..0]).count(), 0);
    }
}
