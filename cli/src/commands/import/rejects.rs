//! Lines that were refused, and why.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use serde::Serialize;

use crate::note;
use crate::output::json;

/// Refusals that are shown where no file was named for them.
const SHOWN_MAX: u64 = 10;

/// A line that is not in the application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Refusal {
    line: u64,
    error: String,
    content: String,
}

impl Refusal {
    /// A line by its number in the input, from 1.
    pub(crate) fn new(line: u64, error: impl Into<String>, content: &[u8]) -> Self {
        Self {
            line,
            error: error.into(),
            content: String::from_utf8_lossy(content).into_owned(),
        }
    }
}

/// Where refusals go.
pub(crate) struct Rejects {
    file: Option<BufWriter<File>>,
    quiet: bool,
    count: u64,
}

impl Rejects {
    /// The named file, made anew; without a name the first few go to standard error.
    pub(crate) fn open(path: Option<&Path>, quiet: bool) -> io::Result<Self> {
        Ok(Self {
            file: path.map(File::create).transpose()?.map(BufWriter::new),
            quiet,
            count: 0,
        })
    }

    /// How many there were.
    pub(crate) const fn count(&self) -> u64 {
        self.count
    }

    /// Takes one.
    ///
    /// # Errors
    /// Those of the file.
    pub(crate) fn push(&mut self, refusal: &Refusal) -> io::Result<()> {
        self.count += 1;
        if let Some(file) = &mut self.file {
            json::write(file, refusal)?;
            return file.write_all(b"\n");
        }
        if !self.quiet && self.count <= SHOWN_MAX {
            note::line(&format!("line {}: {}", refusal.line, refusal.error));
            if self.count == SHOWN_MAX {
                note::line("further refused lines are not shown; --rejects FILE keeps them all");
            }
        }
        Ok(())
    }

    /// Hands over what was written so far.
    ///
    /// # Errors
    /// Those of the file.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), Write::flush)
    }
}
