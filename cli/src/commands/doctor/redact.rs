//! What leaves the house in a bundle: no key, no token, no text of a message.

use std::collections::BTreeMap;

/// Hexadecimal digits of a token.
const TOKEN_CHARS: usize = 32;
/// Longest reason that is passed on, in characters.
const REASON_CHARS: usize = 300;

/// Takes out what is secret, the same everywhere in one bundle: each token becomes a name of its
/// own, so that it can still be told from the others.
#[derive(Debug, Default)]
pub(super) struct Redactor {
    secrets: Vec<String>,
    names: BTreeMap<String, String>,
}

impl Redactor {
    /// Knows these secrets by their text.
    pub(super) fn new(secrets: impl IntoIterator<Item = String>) -> Self {
        // A token that was set gets its name like any other.
        let secrets = secrets.into_iter();
        let secrets = secrets.filter(|secret| !secret.is_empty() && !is_token(secret));
        Self {
            secrets: secrets.collect(),
            names: BTreeMap::new(),
        }
    }

    /// The text without keys, tokens, and passwords in addresses.
    pub(super) fn text(&mut self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.secrets {
            text = text.replace(secret.as_str(), "***");
        }
        self.tokens(&without_passwords(&text))
    }

    fn tokens(&mut self, text: &str) -> String {
        let mut kept = String::with_capacity(text.len());
        let mut word = String::new();
        // The blank at the end is not kept: it only ends the last word.
        for c in text.chars().chain([' ']) {
            if c.is_ascii_alphanumeric() {
                word.push(c);
                continue;
            }
            if is_token(&word) {
                let next = self.names.len() + 1;
                let name = self.names.entry(std::mem::take(&mut word));
                kept.push_str(name.or_insert_with(|| format!("application-{next}")));
            } else {
                kept.push_str(&std::mem::take(&mut word));
            }
            kept.push(c);
        }
        kept.pop();
        kept
    }
}

fn is_token(word: &str) -> bool {
    word.len() == TOKEN_CHARS && word.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// What stands between `//` and `@` in an address is a login.
fn without_passwords(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        kept.push_str(before);
        let end = after
            .find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`' | ',' | ')'))
            .unwrap_or(after.len());
        let (address, others) = after.split_at(end);
        match address.rsplit_once('@') {
            Some((_, place)) => kept.push_str(&format!("***@{place}")),
            None => kept.push_str(address),
        }
        rest = others;
    }
    kept.push_str(rest);
    kept
}

/// A reason without what it quotes, which may be a part of a message.
pub(super) fn unquoted(reason: &str) -> String {
    let mut kept = String::new();
    let mut quote: Option<char> = None;
    for c in reason.chars() {
        match quote {
            // A quotation that has no end is one to the end.
            Some(open) if c == open => {
                kept.push('…');
                kept.push(c);
                quote = None;
            }
            Some(_) => {}
            None => {
                kept.push(c);
                if matches!(c, '"' | '`') {
                    quote = Some(c);
                }
            }
        }
    }
    kept.chars().take(REASON_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_tokens_and_logins_are_gone() {
        let (one, two) = ("0123456789abcdef0123456789abcdef", "f".repeat(32));
        let mut redactor = Redactor::new(["hush".to_owned(), String::new()]);
        let text = format!("{{\"t\":\"{one}\"}} {two} {one} key=hush https://u:p@h:1/x, {one}ff");
        assert_eq!(
            redactor.text(&text),
            format!(
                "{{\"t\":\"application-1\"}} application-2 application-1 key=*** https://***@h:1/x, {one}ff"
            )
        );
        assert_eq!(redactor.text(one), "application-1");
        assert_eq!(redactor.text("mysql://u:p@ss@h/d"), "mysql://***@h/d");
    }

    #[test]
    fn a_reason_keeps_its_words_only() {
        let reason = "invalid type: string \"my secret\", expected `Body` at line 1";
        assert_eq!(
            unquoted(reason),
            "invalid type: string \"…\", expected `…` at line 1"
        );
        assert_eq!(unquoted("left \"open for ever"), "left \"");
    }
}
