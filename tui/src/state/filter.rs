//! Filters: words that a row must contain, `!word` that it must not, and `column>number`.

use super::grid::{Column, Key, Row};

/// What a row must be like, all of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filter {
    terms: Vec<Term>,
}

#[derive(Debug, Clone, PartialEq)]
enum Term {
    Contains(String),
    Lacks(String),
    Compares { column: usize, op: Op, number: f64 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Above,
    AtLeast,
    Below,
    AtMost,
    Equal,
}

impl Filter {
    /// Reads a filter. What is no comparison with one of these columns is a word.
    #[must_use]
    pub fn parse(text: &str, columns: &[Column]) -> Self {
        let terms = text.split_whitespace().filter_map(|word| {
            if let Some(term) = comparison(word, columns) {
                return Some(term);
            }
            let lower = word.to_lowercase();
            match lower.strip_prefix('!') {
                Some("") => None,
                Some(rest) => Some(Term::Lacks(rest.to_owned())),
                None => Some(Term::Contains(lower)),
            }
        });
        Self {
            terms: terms.collect(),
        }
    }

    /// Whether the row is shown.
    #[must_use]
    pub fn matches(&self, row: &Row) -> bool {
        let contains = |word: &str| {
            row.cells
                .iter()
                .any(|cell| cell.text.to_lowercase().contains(word))
        };
        self.terms.iter().all(|term| match term {
            Term::Contains(word) => contains(word),
            Term::Lacks(word) => !contains(word),
            // What is unknown is neither above nor below anything.
            Term::Compares { column, op, number } => {
                match row.cells.get(*column).map(|cell| &cell.key) {
                    Some(Key::Number(value)) => op.holds(*value, *number),
                    _ => false,
                }
            }
        })
    }
}

impl Op {
    fn holds(self, value: f64, number: f64) -> bool {
        match self {
            Self::Above => value > number,
            Self::AtLeast => value >= number,
            Self::Below => value < number,
            Self::AtMost => value <= number,
            Self::Equal => (value - number).abs() < f64::EPSILON,
        }
    }
}

fn comparison(word: &str, columns: &[Column]) -> Option<Term> {
    let at = word.find(['<', '>', '='])?;
    let (name, rest) = word.split_at(at);
    let (op, number) = [
        (">=", Op::AtLeast),
        ("<=", Op::AtMost),
        (">", Op::Above),
        ("<", Op::Below),
        ("=", Op::Equal),
    ]
    .into_iter()
    .find_map(|(sign, op)| rest.strip_prefix(sign).map(|number| (op, number)))?;
    let column = columns
        .iter()
        .position(|column| column.name.eq_ignore_ascii_case(name))?;
    Some(Term::Compares {
        column,
        op,
        number: quantity(number)?,
    })
}

/// `1500`, `1.5k`, `2m`; columns of time are in seconds.
fn quantity(text: &str) -> Option<f64> {
    let (digits, factor) = match text.as_bytes().last()? {
        b'k' | b'K' => (&text[..text.len() - 1], 1e3),
        b'm' | b'M' => (&text[..text.len() - 1], 1e6),
        _ => (text, 1.0),
    };
    let number: f64 = digits.parse().ok()?;
    Some(number * factor)
}

#[cfg(test)]
mod tests {
    use super::super::grid::Cell;
    use super::*;

    const COLUMNS: &[Column] = &[Column::left("GROUP", "group"), Column::right("LAG", "lag")];

    fn matches(filter: &str, group: &str, lag: Option<u64>) -> bool {
        let row = Row {
            id: group.to_owned(),
            cells: vec![Cell::text(group), Cell::known(lag)],
        };
        Filter::parse(filter, COLUMNS).matches(&row)
    }

    #[test]
    fn words_are_found_in_any_column_whatever_their_case() {
        assert!(matches("", "messages-store", Some(5)));
        assert!(matches("STORE mess", "messages-store", Some(5)));
        assert!(!matches("index", "messages-store", Some(5)));
        assert!(matches("!index", "messages-store", Some(5)));
        assert!(!matches("!store", "messages-store", Some(5)));
        assert!(matches("!", "messages-store", Some(5)));
    }

    #[test]
    fn columns_are_compared_with_numbers() {
        assert!(matches("lag>1k", "g", Some(1_001)));
        assert!(!matches("lag>1k", "g", Some(1_000)));
        assert!(matches("LAG>=1000 lag<=1000 lag=1000", "g", Some(1_000)));
        assert!(matches("lag<1m", "g", Some(0)));
        assert!(!matches("lag<1", "g", None), "unknown is not zero");
        assert!(!matches("lagg>1", "g", Some(5)), "no column, so a word");
    }
}
