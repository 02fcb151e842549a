//! Bodies of messages: from a file of real ones, or words at random; each is made unique.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use rand::Rng;
use rand::rngs::StdRng;
use serde::Deserialize;

use crate::error::Error;

/// Bodies that are kept of a file; more make no difference to a server.
const BODIES_MAX: usize = 200_000;
/// Longest line of the file, in bytes.
const LINE_BYTES_MAX: u64 = 1 << 20;
/// Bodies that are made where there is no file.
const MADE: usize = 10_000;
/// Of which they are made.
const SYLLABLES: [&str; 24] = [
    "an", "be", "co", "da", "er", "fo", "ga", "hi", "in", "ka", "le", "mo", "na", "on", "pa", "ra",
    "re", "sa", "se", "ti", "to", "un", "ve", "wa",
];

/// Texts to send and to search for.
#[derive(Debug)]
pub(crate) struct Bodies {
    texts: Vec<String>,
    /// Begins the mark at the end of each body, which tells this run's messages from all others.
    mark: String,
}

#[derive(Deserialize)]
struct Line {
    body: String,
}

impl Bodies {
    /// The bodies of a file, or made ones; `run` names the run.
    pub(crate) fn new(file: Option<&Path>, run: u32, random: &mut StdRng) -> Result<Self, Error> {
        let texts = match file {
            Some(file) => read(file)?,
            None => (0..MADE).map(|_| make(random)).collect(),
        };
        Ok(Self {
            texts,
            mark: format!("#{run:06x}."),
        })
    }

    /// What every body of this run contains.
    pub(crate) fn mark(&self) -> &str {
        &self.mark
    }

    /// A body that no other message of this run has: `serial` is its own.
    pub(crate) fn body(&self, choice: u32, serial: u64) -> String {
        let text = &self.texts[choice as usize % self.texts.len()];
        format!("{text} {}", self.tag(serial))
    }

    /// The part of a body that only it has.
    pub(crate) fn tag(&self, serial: u64) -> String {
        format!("{}{serial:x}.", self.mark)
    }

    /// Something to search for: 3 to 12 characters out of a body.
    pub(crate) fn part(&self, choice: u32) -> String {
        let text = &self.texts[choice as usize % self.texts.len()];
        let length = 3 + (choice as usize >> 8) % 10;
        let count = text.chars().count();
        let from = (choice as usize >> 4) % count.saturating_sub(length).max(1);
        let part: String = text.chars().skip(from).take(length).collect();
        let part = part.trim();
        // A search for nothing is refused.
        if part.is_empty() {
            text.clone()
        } else {
            part.to_owned()
        }
    }
}

fn make(random: &mut StdRng) -> String {
    let mut text = String::new();
    for _ in 0..random.random_range(2..16) {
        if !text.is_empty() {
            text.push(' ');
        }
        for _ in 0..random.random_range(1..4) {
            text.push_str(SYLLABLES[random.random_range(0..SYLLABLES.len())]);
        }
    }
    text
}

fn read(path: &Path) -> Result<Vec<String>, Error> {
    let name = path.display().to_string();
    let failed = |error: std::io::Error| {
        Error::file(&name, &error).with_hint(
            "give NDJSON with a `body` in each line, also gzipped, or leave bodies out for words at random",
        )
    };
    let file = BufReader::new(File::open(path).map_err(failed)?);
    let mut reader: Box<dyn BufRead> = if name.ends_with(".gz") {
        Box::new(BufReader::new(MultiGzDecoder::new(file)))
    } else {
        Box::new(file)
    };
    let mut texts = Vec::new();
    let mut line = Vec::new();
    while texts.len() < BODIES_MAX {
        line.clear();
        let read = reader
            .by_ref()
            .take(LINE_BYTES_MAX)
            .read_until(b'\n', &mut line);
        if read.map_err(failed)? == 0 {
            break;
        }
        let parsed: Line = serde_json::from_slice(&line).map_err(|error| {
            Error::failure(format!("{name}: line {}: {error}", texts.len() + 1))
                .with_hint("every line needs a `body`")
        })?;
        // Blank ones are refused by the server.
        if !parsed.body.trim().is_empty() {
            texts.push(parsed.body);
        }
    }
    if texts.is_empty() {
        return Err(Error::failure(format!("{name}: there is no body in it")));
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use rand::SeedableRng;

    use super::*;

    fn made() -> Bodies {
        Bodies::new(None, 0xabc, &mut StdRng::seed_from_u64(1)).unwrap()
    }

    #[test]
    fn bodies_are_unique_and_marked() {
        let bodies = made();
        let (one, other) = (bodies.body(5, 1), bodies.body(5, 0x11));
        assert_ne!(one, other);
        assert!(one.ends_with("#000abc.1.") && other.ends_with("#000abc.11."));
        assert!(one.contains(bodies.mark()));
        // The tag of one is no part of another.
        assert!(!other.contains(&bodies.tag(1)));
    }

    #[test]
    fn parts_are_parts() {
        let bodies = made();
        for choice in 0..100_000 {
            let part = bodies.part(choice);
            let text = &bodies.texts[choice as usize % bodies.texts.len()];
            assert!(
                !part.is_empty() && text.contains(&part),
                "{part:?} of {text:?}"
            );
        }
    }

    #[test]
    fn a_file_gives_its_bodies() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "{{\"body\": \"héllo\", \"sender\": \"x\"}}").unwrap();
        writeln!(file, "{{\"body\": \" \"}}").unwrap();
        let mut random = StdRng::seed_from_u64(1);
        let bodies = Bodies::new(Some(file.path()), 1, &mut random).unwrap();
        assert_eq!(bodies.texts, ["héllo"]);
        writeln!(file, "{{}}").unwrap();
        let error = Bodies::new(Some(file.path()), 1, &mut random).unwrap_err();
        assert!(error.message.contains("line 2"), "{}", error.message);
    }
}
