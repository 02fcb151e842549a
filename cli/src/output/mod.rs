//! Standard output: data only, in the format that was asked for.
//!
//! Everything a command prints goes through [`Out`]; no other module writes there.

mod document;
pub(crate) mod json;
pub(crate) mod operations;
mod records;
pub(crate) mod table;
pub(crate) mod text;
pub(crate) mod units;
mod yaml;

use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};

use serde::Serialize;
use serde_json::Value;

pub(crate) use self::document::Document;
use self::table::{Cell, Column, Layout, Style};
use crate::error::Error;

/// Rows that a table looks at before it settles its widths.
const TABLE_ROWS: usize = 1_000;

/// The shape of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// One document: an object, or an array of them.
    Json,
    /// One object a line.
    Ndjson,
    /// YAML 1.2.
    Yaml,
    /// RFC 4180, with a heading.
    Csv,
}

impl Format {
    /// All names.
    pub(crate) const NAMES: &'static str = "table, json, ndjson, yaml or csv";

    /// By name.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "table" => Self::Table,
            "json" => Self::Json,
            "ndjson" => Self::Ndjson,
            "yaml" => Self::Yaml,
            "csv" => Self::Csv,
            _ => return None,
        })
    }

    /// Whether errors are JSON too.
    pub(crate) const fn is_json(self) -> bool {
        matches!(self, Self::Json | Self::Ndjson)
    }
}

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Color {
    /// On a terminal that has it, unless the environment says otherwise.
    Auto,
    /// Even into a pipe.
    Always,
    /// Not at all.
    Never,
}

impl Color {
    /// All names.
    pub(crate) const NAMES: &'static str = "auto, always or never";

    /// By name.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "auto" => Self::Auto,
            "always" => Self::Always,
            "never" => Self::Never,
            _ => return None,
        })
    }

    /// Decides: the flag, then `NO_COLOR`, then `CLICOLOR_FORCE` and `FORCE_COLOR`, then the terminal.
    fn decide(self, terminal: bool, env: impl Fn(&str) -> Option<String>) -> bool {
        let set = |name| env(name).is_some_and(|value| !value.is_empty());
        let forced = |name| set(name) && env(name).as_deref() != Some("0");
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto if set("NO_COLOR") => false,
            Self::Auto if forced("CLICOLOR_FORCE") || forced("FORCE_COLOR") => true,
            Self::Auto => terminal && env("TERM").as_deref() != Some("dumb"),
        }
    }
}

/// Something that can be printed in every format.
pub(crate) trait Record: Serialize {
    /// Names in JSON, in the order in which they are shown.
    const FIELDS: &'static [&'static str];
    /// Headings of a table of them.
    const COLUMNS: &'static [Column];

    /// One row of that table.
    fn cells(&self) -> Vec<Cell>;

    /// What `-q` prints.
    fn id(&self) -> String;
}

/// Standard output, locked and buffered for the whole run.
pub(crate) struct Out {
    format: Format,
    quiet: bool,
    style: Style,
    terminal: bool,
    writer: BufWriter<StdoutLock<'static>>,
}

impl Out {
    /// Takes standard output.
    pub(crate) fn new(format: Format, quiet: bool, color: Color) -> Self {
        let stdout = io::stdout();
        let terminal = stdout.is_terminal();
        let width = || terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
        Self {
            format,
            quiet,
            style: Style {
                color: color.decide(terminal, |name| std::env::var(name).ok()),
                width: if terminal { width() } else { None },
            },
            terminal,
            writer: BufWriter::with_capacity(64 * 1024, stdout.lock()),
        }
    }

    /// The shape that was asked for.
    pub(crate) const fn format(&self) -> Format {
        self.format
    }

    /// Whether only ids were asked for.
    pub(crate) const fn quiet(&self) -> bool {
        self.quiet
    }

    /// Columns that lines have, where that is known, and whether colour may be used.
    pub(crate) const fn canvas(&self) -> (Option<usize>, bool) {
        (self.style.width, self.style.color)
    }

    /// Prints one object.
    pub(crate) fn one<R: Record>(&mut self, record: &R) -> Result<(), Error> {
        if self.quiet {
            writeln!(self.writer, "{}", record.id())?;
        } else {
            match self.format {
                Format::Table => self.upright(record)?,
                Format::Json | Format::Ndjson => self.json_line(record)?,
                Format::Yaml => {
                    let text = yaml::mapping(&value_of(record), R::FIELDS, "");
                    self.writer.write_all(text.as_bytes())?;
                }
                Format::Csv => {
                    self.csv_line(R::FIELDS.iter().map(|&field| field.to_owned()))?;
                    self.csv_record(record)?;
                }
            }
        }
        self.flush()
    }

    /// Begins a list, which may be of any length.
    pub(crate) fn list<R: Record>(&mut self) -> List<'_, R> {
        List {
            out: self,
            rows: Vec::new(),
            layout: None,
            printed: 0,
            records: std::marker::PhantomData,
        }
    }

    /// Prints one JSON line, whatever the format.
    pub(crate) fn json_line(&mut self, value: &impl Serialize) -> Result<(), Error> {
        json::write(&mut self.writer, value)?;
        self.writer.write_all(b"\n")?;
        Ok(())
    }

    /// An array that never ends is of no use to whoever follows it.
    pub(crate) fn one_object_a_line(&mut self) {
        if self.format == Format::Json {
            self.format = Format::Ndjson;
        }
    }

    /// Prints bytes that are ours and safe, whatever the format.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.writer.write_all(bytes)?;
        self.flush()
    }

    /// Hands over what was printed so far.
    pub(crate) fn flush(&mut self) -> Result<(), Error> {
        Ok(self.writer.flush()?)
    }

    /// One object to read from top to bottom.
    fn upright<R: Record>(&mut self, record: &R) -> Result<(), Error> {
        let value = value_of(record);
        let longest = R::FIELDS.iter().map(|field| field.len()).max().unwrap_or(0);
        for field in R::FIELDS {
            let shown = match value.get(field) {
                None | Some(Value::Null) => "-".to_owned(),
                Some(Value::String(text)) => text::visible(text).into_owned(),
                Some(other) => json::to_string(other),
            };
            writeln!(self.writer, "{field:longest$}  {shown}")?;
        }
        Ok(())
    }

    fn csv_record<R: Record>(&mut self, record: &R) -> Result<(), Error> {
        let value = value_of(record);
        let terminal = self.terminal;
        self.csv_line(R::FIELDS.iter().map(|field| match value.get(field) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) if terminal => text::visible(text).into_owned(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => json::to_string(other),
        }))
    }

    fn csv_line(&mut self, fields: impl Iterator<Item = String>) -> Result<(), Error> {
        // A writer a line keeps nothing back, so that CSV can be followed as it comes.
        let mut line = csv::Writer::from_writer(&mut self.writer);
        let written = line.write_record(fields.map(String::into_bytes));
        written.map_err(io::Error::from)?;
        line.flush()?;
        Ok(())
    }
}

/// A list that is being printed.
pub(crate) struct List<'a, R> {
    out: &'a mut Out,
    /// Rows of a table whose widths are not settled yet.
    rows: Vec<Vec<Cell>>,
    layout: Option<Layout>,
    printed: u64,
    records: std::marker::PhantomData<R>,
}

impl<R: Record> List<'_, R> {
    /// Prints one more.
    pub(crate) fn push(&mut self, record: &R) -> Result<(), Error> {
        let first = self.printed == 0;
        self.printed += 1;
        if self.out.quiet {
            return Ok(writeln!(self.out.writer, "{}", record.id())?);
        }
        match self.out.format {
            Format::Table => return self.push_row(record.cells()),
            Format::Json => {
                let before: &[u8] = if first { b"[\n" } else { b",\n" };
                self.out.writer.write_all(before)?;
                json::write(&mut self.out.writer, record)?;
            }
            Format::Ndjson => self.out.json_line(record)?,
            Format::Yaml => {
                let text = yaml::mapping(&value_of(record), R::FIELDS, "  ");
                write!(self.out.writer, "- {text}")?;
            }
            Format::Csv => {
                if first {
                    let names = R::FIELDS.iter().map(|&field| field.to_owned());
                    self.out.csv_line(names)?;
                }
                self.out.csv_record(record)?;
            }
        }
        Ok(())
    }

    /// Hands over everything that was pushed, for lists that wait for more.
    pub(crate) fn flush(&mut self) -> Result<(), Error> {
        self.settle()?;
        self.out.flush()
    }

    /// Ends the list.
    pub(crate) fn finish(mut self) -> Result<(), Error> {
        if self.out.quiet {
            return self.out.flush();
        }
        match (self.out.format, self.printed) {
            (Format::Table, 0) => {}
            (Format::Table, _) => self.settle()?,
            (Format::Json, 0) => self.out.writer.write_all(b"[]\n")?,
            (Format::Json, _) => self.out.writer.write_all(b"\n]\n")?,
            (Format::Yaml, 0) => self.out.writer.write_all(b"[]\n")?,
            (Format::Csv, 0) => {
                let names = R::FIELDS.iter().map(|&field| field.to_owned());
                self.out.csv_line(names)?;
            }
            (Format::Ndjson | Format::Yaml | Format::Csv, _) => {}
        }
        self.out.flush()
    }

    fn push_row(&mut self, row: Vec<Cell>) -> Result<(), Error> {
        match &self.layout {
            Some(layout) => {
                let line = layout.line(R::COLUMNS, &row);
                writeln!(self.out.writer, "{}", line.trim_end())?;
            }
            None => {
                self.rows.push(row);
                if self.rows.len() >= TABLE_ROWS {
                    self.settle()?;
                }
            }
        }
        Ok(())
    }

    fn settle(&mut self) -> Result<(), Error> {
        if self.layout.is_some() || self.rows.is_empty() {
            return Ok(());
        }
        let rows = std::mem::take(&mut self.rows);
        let layout = Layout::of(R::COLUMNS, &rows, self.out.style);
        writeln!(self.out.writer, "{}", layout.head(R::COLUMNS))?;
        for row in &rows {
            let line = layout.line(R::COLUMNS, row);
            writeln!(self.out.writer, "{}", line.trim_end())?;
        }
        self.layout = Some(layout);
        Ok(())
    }
}

fn value_of(record: &impl Serialize) -> Value {
    serde_json::to_value(record).expect("records always become JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_decides_on_colour() {
        let env = |set: &'static [(&str, &str)]| {
            move |name: &str| {
                let found = set.iter().find(|(key, _)| *key == name);
                found.map(|(_, value)| (*value).to_owned())
            }
        };
        assert!(Color::Auto.decide(true, env(&[])));
        assert!(!Color::Auto.decide(false, env(&[])));
        assert!(!Color::Auto.decide(true, env(&[("TERM", "dumb")])));
        assert!(!Color::Auto.decide(true, env(&[("NO_COLOR", "1"), ("FORCE_COLOR", "1")])));
        assert!(Color::Auto.decide(true, env(&[("NO_COLOR", "")])));
        assert!(Color::Auto.decide(false, env(&[("CLICOLOR_FORCE", "1")])));
        assert!(!Color::Auto.decide(false, env(&[("CLICOLOR_FORCE", "0")])));
        assert!(Color::Always.decide(false, env(&[("NO_COLOR", "1")])));
        assert!(!Color::Never.decide(true, env(&[("FORCE_COLOR", "1")])));
    }
}
