//! The analysis of text for search: normalization, grams, highlights.
//!
//! Both adapters index what this module yields, and every hit is checked against the stored
//! body with the same functions, so that a search is exact whatever the engine thinks of text.

use std::borrow::Cow;
use std::fmt::Write;

use caseless::Caseless;
use unicode_normalization::char::{decompose_compatible, is_combining_mark};

/// Characters of a query at most, before it is normalized.
pub const MAX_QUERY_CHARS: usize = 256;

/// Characters of the longest gram. A longer query is the conjunction, or the phrase, of such grams.
pub const MAX_GRAM_CHARS: usize = 3;

/// What makes two texts the same for a search: compatibility decomposition (NFKD), without
/// combining marks, with full default case folding (Unicode 3.13, R4).
///
/// Each character is mapped by itself, so the normal form of a concatenation is the concatenation
/// of the normal forms, and a fragment of a body is a fragment of the body's normal form.
/// Normalizing again changes nothing. Blanks and control characters stay as they are.
#[must_use]
pub fn normalize(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    let mut normalized = String::with_capacity(text.len());
    for source in text.chars() {
        fold(source, &mut |c| normalized.push(c));
    }
    normalized
}

/// The overlapping grams of `size` characters, in order, with repetitions; none when the text is shorter.
///
/// # Panics
/// When `size` is 0.
pub fn grams(normalized: &str, size: usize) -> impl Iterator<Item = &str> {
    assert!(size > 0, "a gram has at least one character");
    let starts = normalized.char_indices().map(|(start, _)| start);
    let ends = normalized
        .char_indices()
        .map(|(start, c)| start + c.len_utf8());
    starts
        .zip(ends.skip(size - 1))
        .map(|(start, end)| &normalized[start..end])
}

/// The different grams of 1 to `max_size` characters, each once, in order of bytes.
#[must_use]
pub fn distinct_grams(normalized: &str, max_size: usize) -> Vec<&str> {
    let mut all = Vec::with_capacity(normalized.len() * max_size);
    for size in 1..=max_size {
        all.extend(grams(normalized, size));
    }
    all.sort_unstable();
    all.dedup();
    all
}

/// A gram as a token that survives any analyzer which splits at white space.
///
/// Different grams give different tokens: a blank is written `_`, and what must be told from it
/// or may not appear is written with a backslash (`\_`, `\\`, or the code in hexadecimal and `;`).
#[must_use]
pub fn token(gram: &str) -> Cow<'_, str> {
    if !gram.contains(needs_escape) {
        return Cow::Borrowed(gram);
    }
    let mut escaped = String::with_capacity(gram.len() + 8);
    gram.chars().for_each(|c| escape(&mut escaped, c));
    Cow::Owned(escaped)
}

/// Bits of a character in a packed gram: one more than the highest code point needs no more.
const PACKED_BITS: u32 = 21;

/// The [`token`]s of the different grams of one and of three characters, and of the last two, separated by
/// blanks, in order of code points.
///
/// Two characters need no token of their own: tokens of three begin with them, unless the text ends there. No
/// character's token begins with that of another one.
///
/// What is sorted are numbers, which is several times as fast as sorting texts. A gram is packed into one
/// with its first character at the top; a missing character is 0, and the others are one more than their code
/// point.
#[must_use]
pub fn tokens(normalized: &str) -> String {
    let (mut first, mut second) = (0, 0);
    let mut grams = Vec::with_capacity(2 * normalized.len());
    for c in normalized.chars() {
        let third = u64::from(u32::from(c)) + 1;
        grams.push(third << (2 * PACKED_BITS));
        if first != 0 {
            grams.push((first << (2 * PACKED_BITS)) | (second << PACKED_BITS) | third);
        }
        (first, second) = (second, third);
    }
    if first != 0 {
        grams.push((first << (2 * PACKED_BITS)) | (second << PACKED_BITS));
    }
    grams.sort_unstable();
    grams.dedup();
    let mut tokens = String::with_capacity(4 * grams.len());
    for gram in grams {
        if !tokens.is_empty() {
            tokens.push(' ');
        }
        for place in (0..3).rev() {
            let packed = (gram >> (place * PACKED_BITS)) & ((1 << PACKED_BITS) - 1);
            let code = packed
                .checked_sub(1)
                .and_then(|code| u32::try_from(code).ok());
            if let Some(c) = code.and_then(char::from_u32) {
                escape(&mut tokens, c);
            }
        }
    }
    tokens
}

/// Writes a character of a token.
fn escape(token: &mut String, c: char) {
    match c {
        ' ' => token.push('_'),
        '_' => token.push_str("\\_"),
        '\\' => token.push_str("\\\\"),
        c if needs_escape(c) => {
            write!(token, "\\{:x};", u32::from(c)).expect("a string takes what is written");
        }
        c => token.push(c),
    }
}

/// White space of Unicode and of Java (which adds U+001C to U+001F), other control characters
/// (engines differ about them), and the two characters of the escape itself.
fn needs_escape(c: char) -> bool {
    c.is_whitespace() || c.is_control() || matches!(c, '_' | '\\')
}

/// Where `normalized_query` occurs in `body`: apart from each other, from left to right, as
/// `[start, end)` in characters (Unicode scalar values) of the body as it is.
///
/// Empty exactly when the body does not contain the query (or the query is empty), so this is
/// also the check of a candidate. A character that is decomposed is highlighted as a whole, with
/// the marks that follow it; the next occurrence begins behind it.
#[must_use]
pub fn highlights(body: &str, normalized_query: &str) -> Vec<(u32, u32)> {
    if normalized_query.is_empty() {
        return Vec::new();
    }
    if body.is_ascii() {
        return ascii_highlights(body, normalized_query);
    }
    let mapped = Mapped::new(body);
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(at) = mapped.text[from..].find(normalized_query) {
        let start = from + at;
        let next = mapped.next_source(start + normalized_query.len() - 1);
        found.push((mapped.sources[start], mapped.source(next)));
        from = next;
    }
    found
}

fn ascii_highlights(body: &str, normalized_query: &str) -> Vec<(u32, u32)> {
    let length = position(normalized_query.len());
    body.to_ascii_lowercase()
        .match_indices(normalized_query)
        .map(|(start, _)| (position(start), position(start) + length))
        .collect()
}

/// A normal form that knows where it comes from.
struct Mapped {
    text: String,
    /// For each byte of `text`, the index of the character of the body that it was made of.
    sources: Vec<u32>,
    /// Characters of the body.
    length: u32,
}

impl Mapped {
    fn new(body: &str) -> Self {
        let mut mapped = Self {
            text: String::with_capacity(body.len()),
            sources: Vec::with_capacity(body.len()),
            length: 0,
        };
        for source in body.chars() {
            fold(source, &mut |c| mapped.text.push(c));
            mapped.sources.resize(mapped.text.len(), mapped.length);
            mapped.length += 1;
        }
        mapped
    }

    /// The first byte behind `byte` that comes from a later character of the body.
    ///
    /// Characters that left nothing have no byte, so removed marks belong to what is before them.
    fn next_source(&self, byte: usize) -> usize {
        let own = self.sources[byte];
        let rest = self.sources[byte..].iter();
        byte + rest.take_while(|source| **source == own).count()
    }

    fn source(&self, byte: usize) -> u32 {
        self.sources.get(byte).copied().unwrap_or(self.length)
    }
}

fn position(index: usize) -> u32 {
    u32::try_from(index).expect("a body is far below 4 GiB")
}

/// The normal form of one character: possibly nothing, possibly several.
///
/// Decomposing again after folding reaches the fixed point; a test walks through all of Unicode.
fn fold(source: char, emit: &mut impl FnMut(char)) {
    if source.is_ascii() {
        return emit(source.to_ascii_lowercase());
    }
    unmarked(source, &mut |c| {
        for folded in std::iter::once(c).default_case_fold() {
            unmarked(folded, emit);
        }
    });
}

fn unmarked(c: char, emit: &mut impl FnMut(char)) {
    decompose_compatible(c, |part| {
        if !is_combining_mark(part) {
            emit(part);
        }
    });
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;
    use unicode_normalization::UnicodeNormalization;

    use super::*;

    fn any_char() -> impl Iterator<Item = char> {
        '\0'..=char::MAX
    }

    /// Short texts of characters that have something to do with each other.
    fn text() -> impl Strategy<Value = String> {
        prop_oneof![
            any::<String>(),
            "[aAbB ]{0,12}",
            "[\t\u{1}\u{10} _\\\\1;]{0,6}",
            "[aÄäé\u{301}\u{308}\u{344}ﬁﬃfiIıİßsſKKΣσς日本한하ᄒ_%\" \\\\]{0,12}",
        ]
    }

    proptest! {
        #[test]
        fn normalizing_again_changes_nothing(text in text()) {
            let once = normalize(&text);
            prop_assert_eq!(normalize(&once), once);
        }

        #[test]
        fn each_character_is_normalized_by_itself(a in text(), b in text()) {
            prop_assert_eq!(normalize(&format!("{a}{b}")), normalize(&a) + &normalize(&b));
        }

        #[test]
        fn what_looks_alike_to_unicode_is_alike(text in text()) {
            let normal = normalize(&text);
            let composed: String = text.nfc().collect();
            prop_assert_eq!(&normalize(&composed), &normal);
            let decomposed: String = text.nfkd().collect();
            prop_assert_eq!(&normalize(&decomposed), &normal);
        }

        #[test]
        fn grams_are_the_windows(text in text(), size in 1_usize..5) {
            let chars: Vec<char> = text.chars().collect();
            let expected: Vec<String> = chars.windows(size).map(String::from_iter).collect();
            prop_assert_eq!(grams(&text, size).collect::<Vec<_>>(), expected);
        }

        #[test]
        fn distinct_grams_are_each_there_once(text in text()) {
            let all = distinct_grams(&text, MAX_GRAM_CHARS);
            prop_assert!(all.is_sorted_by(|a, b| a < b));
            for size in 1..=MAX_GRAM_CHARS {
                prop_assert!(grams(&text, size).all(|gram| all.binary_search(&gram).is_ok()));
            }
            prop_assert!(all.iter().all(|gram| text.contains(gram)));
        }

        #[test]
        fn tokens_are_those_of_one_and_three_characters_and_of_the_last_two(text in text()) {
            let all = distinct_grams(&text, MAX_GRAM_CHARS);
            let last = grams(&text, 2).last();
            let kept = |gram: &&str| gram.chars().count() != 2 || Some(*gram) == last;
            let expected: Vec<_> = all.into_iter().filter(kept).map(token).collect();
            prop_assert_eq!(tokens(&text), expected.join(" "));
        }

        #[test]
        fn two_characters_begin_a_token_where_they_are_in_the_text(text in text(), two in text()) {
            let Some(two) = grams(&two, 2).next() else { return Ok(()) };
            let token = token(two);
            let begun = tokens(&text).split(' ').any(|one| one.starts_with(&*token));
            prop_assert_eq!(begun, text.contains(two));
        }

        #[test]
        fn tokens_tell_grams_apart(a in text(), b in text()) {
            prop_assert_eq!(token(&a) == token(&b), a == b);
            prop_assert!(!token(&a).contains(char::is_whitespace));
        }

        #[test]
        fn highlights_are_the_occurrences(body in text(), query in text()) {
            check_highlights(&body, &normalize(&query))?;
        }

        #[test]
        fn a_fragment_is_found(body in text(), start in 0_usize..12, length in 1_usize..8) {
            let fragment: String = body.chars().skip(start).take(length).collect();
            check_highlights(&body, &normalize(&fragment))?;
        }
    }

    fn check_highlights(body: &str, query: &str) -> Result<(), TestCaseError> {
        let found = highlights(body, query);
        let contains = !query.is_empty() && normalize(body).contains(query);
        prop_assert_eq!(!found.is_empty(), contains);
        let chars: Vec<char> = body.chars().collect();
        let mut free_from = 0;
        for (start, end) in found {
            prop_assert!(free_from <= start && start < end);
            let slice: String = chars[start as usize..end as usize].iter().collect();
            prop_assert!(normalize(&slice).contains(query));
            let between: String = chars[free_from as usize..start as usize].iter().collect();
            prop_assert!(!normalize(&between).contains(query));
            free_from = end;
        }
        let rest: String = chars[free_from as usize..].iter().collect();
        prop_assert!(query.is_empty() || !normalize(&rest).contains(query));
        prop_assert!(!rest.starts_with(is_combining_mark) || free_from == 0);
        Ok(())
    }

    #[test]
    fn every_character_reaches_its_fixed_point() {
        for c in any_char() {
            let once = normalize(c.encode_utf8(&mut [0; 4]));
            assert_eq!(normalize(&once), once, "{c:?} U+{:04X}", u32::from(c));
        }
    }

    #[test]
    fn only_marks_vanish() {
        for c in any_char().filter(|c| normalize(c.encode_utf8(&mut [0; 4])).is_empty()) {
            assert!(c.nfkd().all(is_combining_mark), "U+{:04X}", u32::from(c));
        }
    }

    #[test]
    fn every_character_has_its_own_token() {
        let mut seen = HashMap::new();
        for c in any_char() {
            let token = token(c.encode_utf8(&mut [0; 4])).into_owned();
            assert!(!token.contains(|c: char| c.is_whitespace() || c.is_control()));
            assert_eq!(seen.insert(token, c), None, "U+{:04X}", u32::from(c));
        }
    }

    #[test]
    fn case_accents_and_compatibility_do_not_matter() {
        for (text, normal) in [
            ("Straße", "strasse"),
            ("ΌΔΟΣ", "οδοσ"),
            ("Crème BRÛLÉE", "creme brulee"),
            ("ﬁx ①②", "fix 12"),
            ("İstanbul", "istanbul"),
            ("ｶﾞ", "カ"),
            ("tab\tnul\0\u{a0}end", "tab\tnul\0 end"),
            ("日本語 %_\"\\", "日本語 %_\"\\"),
            ("\u{301}\u{20dd}", ""),
        ] {
            assert_eq!(normalize(text), normal);
        }
    }

    #[test]
    fn highlights_count_characters_of_the_body() {
        for (body, query, expected) in [
            ("aaaa", "aa", vec![(0, 2), (2, 4)]),
            ("Ab aB", "ab", vec![(0, 2), (3, 5)]),
            ("ü😀Ü", "u", vec![(0, 1), (2, 3)]),
            ("xe\u{301}\u{308}x", "e", vec![(1, 4)]),
            ("e\u{301}e\u{301}", "ee", vec![(0, 4)]),
            ("oﬃce", "f", vec![(1, 2)]),
            ("oﬃ\u{301}ce", "of", vec![(0, 3)]),
            ("oﬃce", "ice", vec![(1, 4)]),
            ("한글", "하", vec![(0, 1)]),
            ("100% \"_\\", "% \"_\\", vec![(3, 8)]),
            ("é", "", vec![]),
            ("e", "", vec![]),
            ("e", "É", vec![(0, 1)]),
            ("ᾳ", "α", vec![(0, 1)]),
        ] {
            let found = highlights(body, &normalize(query));
            assert_eq!(found, expected, "{body:?} {query:?}");
        }
    }

    #[test]
    fn tokens_can_be_read() {
        for (gram, expected) in [
            ("a b", "a_b"),
            ("_ \\", "\\__\\\\"),
            ("\t\u{1f}", "\\9;\\1f;"),
            ("日", "日"),
        ] {
            assert_eq!(token(gram), expected);
        }
    }
}
