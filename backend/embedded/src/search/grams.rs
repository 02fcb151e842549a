//! The grams of a body as tantivy's tokens.

use chat_core::text::{MAX_GRAM_CHARS, normalize};
use tantivy::tokenizer::{Token, TokenStream, Tokenizer};

/// Under which the schema names [`Grams`].
pub(super) const NAME: &str = "grams";

/// Yields every gram of 1 to [`MAX_GRAM_CHARS`] characters of the normalized text, as often as it
/// occurs: the postings take a document once, which is cheaper than looking for repetitions here.
#[derive(Debug, Clone, Default)]
pub(super) struct Grams {
    text: String,
    token: Token,
}

impl Tokenizer for Grams {
    type TokenStream<'a> = GramStream<'a>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> GramStream<'a> {
        self.text = normalize(text);
        self.token.reset();
        self.token.position = 0;
        GramStream {
            rest: &self.text,
            chars: 0,
            bytes: 0,
            token: &mut self.token,
        }
    }
}

/// The current gram is the first `bytes` of `rest`.
#[derive(Debug)]
pub(super) struct GramStream<'a> {
    rest: &'a str,
    chars: usize,
    bytes: usize,
    token: &'a mut Token,
}

impl GramStream<'_> {
    /// Makes the gram longer by a character, where that is allowed and there is one.
    fn grow(&mut self) -> bool {
        if self.chars == MAX_GRAM_CHARS {
            return false;
        }
        let Some(c) = self.rest[self.bytes..].chars().next() else {
            return false;
        };
        self.chars += 1;
        self.bytes += c.len_utf8();
        true
    }

    /// Begins anew, empty, one character further.
    fn step(&mut self) {
        let mut chars = self.rest.chars();
        chars.next();
        self.rest = chars.as_str();
        self.chars = 0;
        self.bytes = 0;
    }
}

impl TokenStream for GramStream<'_> {
    fn advance(&mut self) -> bool {
        if !self.grow() {
            self.step();
            if !self.grow() {
                return false;
            }
        }
        self.token.text.clear();
        self.token.text.push_str(&self.rest[..self.bytes]);
        true
    }

    fn token(&self) -> &Token {
        self.token
    }

    fn token_mut(&mut self) -> &mut Token {
        self.token
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use chat_core::text::distinct_grams;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn they_are_the_grams_of_the_rules(body in "[aAé日 _%ﬁ\u{301}]{0,9}|.{0,40}") {
            let mut tokens = BTreeSet::new();
            Grams::default().token_stream(&body).process(&mut |token| {
                tokens.insert(token.text.clone());
            });
            let normal = normalize(&body);
            let expected = distinct_grams(&normal, MAX_GRAM_CHARS);
            prop_assert!(tokens.iter().eq(expected));
        }
    }
}
