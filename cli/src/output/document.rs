//! Answers that are more than a list: the whole document for programs, a table of it for people.

use std::io::Write;

use serde::Serialize;

use crate::error::Error;
use crate::output::text::visible;
use crate::output::{Format, Out, Record, value_of, yaml};

/// Lines that a redrawn table leaves for its headings and for the shell's cursor.
const LINES_KEPT: usize = 2;

/// An answer with a table in it.
pub(crate) trait Document: Serialize {
    /// Names in JSON, in the order in which YAML shows them.
    const FIELDS: &'static [&'static str];
    /// One row of the table, which is also one of CSV.
    type Row: Record;

    /// Lines above the table.
    fn head(&self) -> Vec<String>;

    /// The table.
    fn rows(&self) -> Vec<Self::Row>;

    /// Lines of `-q`.
    fn ids(&self) -> Vec<String>;
}

impl Out {
    /// Prints one document.
    pub(crate) fn document<D: Document>(&mut self, document: &D) -> Result<(), Error> {
        self.document_of(document, usize::MAX)
    }

    /// Whether a document that changes is drawn in place, and not printed again.
    pub(crate) fn redraws(&self) -> bool {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        self.terminal && !dumb && !self.quiet && self.format == Format::Table
    }

    /// Prints the next state of a document that is being watched; `line` stands above it where it
    /// is drawn in place.
    pub(crate) fn frame<D: Document>(
        &mut self,
        document: &D,
        line: &str,
        first: bool,
    ) -> Result<(), Error> {
        if self.redraws() {
            let height = terminal_size::terminal_size().map(|(_, height)| usize::from(height.0));
            // One write: the old frame is gone and the new one there without a flicker.
            writeln!(self.writer, "\x1b[H\x1b[2J{}", visible(line))?;
            let taken = 1 + document.head().len() + LINES_KEPT;
            let rows = height.map_or(usize::MAX, |height| height.saturating_sub(taken).max(1));
            return self.document_of(document, rows);
        }
        if !first && !self.quiet {
            match self.format {
                Format::Table => self.writer.write_all(b"\n")?,
                Format::Yaml => self.writer.write_all(b"---\n")?,
                Format::Json | Format::Ndjson | Format::Csv => {}
            }
        }
        self.document(document)
    }

    fn document_of<D: Document>(&mut self, document: &D, rows_max: usize) -> Result<(), Error> {
        if self.quiet {
            for id in document.ids() {
                writeln!(self.writer, "{}", visible(&id))?;
            }
            return self.flush();
        }
        match self.format {
            Format::Json | Format::Ndjson => self.json_line(document)?,
            Format::Yaml => {
                let text = yaml::mapping(&value_of(document), D::FIELDS, "");
                self.writer.write_all(text.as_bytes())?;
            }
            Format::Csv => self.table(&document.rows())?,
            Format::Table => {
                for line in document.head() {
                    writeln!(self.writer, "{}", visible(&line))?;
                }
                let rows = document.rows();
                let shown = rows.len().min(rows_max);
                self.table(&rows[..shown])?;
            }
        }
        self.flush()
    }

    fn table<R: Record>(&mut self, rows: &[R]) -> Result<(), Error> {
        let mut list = self.list::<R>();
        for row in rows {
            list.push(row)?;
        }
        list.finish()
    }
}
