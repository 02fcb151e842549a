//! A report on standard output, and in files whose endings say what they are.

use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::load::report::Report;
use crate::load::{html, series, text, verdict};
use crate::output::Format;
use crate::session::Session;

/// Prints it in the format that was asked for: text for people, the whole report as JSON, its seconds
/// as CSV, a word with -q.
pub(super) fn print(session: &mut Session, report: &Report) -> Result<(), Error> {
    let out = &mut session.out;
    if out.quiet() {
        let overall = verdict::overall(report);
        return out.raw(format!("{}\n", overall.sign.word()).as_bytes());
    }
    match out.format() {
        Format::Json | Format::Ndjson => out.json_line(report)?,
        Format::Table => {
            let (width, color) = out.canvas();
            let text = text::write(report, width, color);
            out.raw(text.as_bytes())?;
        }
        Format::Csv => out.raw(&series::csv(report)?)?,
        Format::Yaml => return Err(no_yaml()),
    }
    out.flush()
}

/// Says so before minutes of load, and not after them.
pub(super) fn check_format(session: &Session) -> Result<(), Error> {
    match session.out.format() {
        Format::Yaml => Err(no_yaml()),
        _ => Ok(()),
    }
}

fn no_yaml() -> Error {
    Error::usage("a report is text, or JSON with -o json, or its seconds with -o csv")
}

/// The forms of a report in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// The whole report.
    Json,
    /// A page with plots.
    Html,
    /// Its seconds.
    Csv,
}

/// By the ending of the name.
fn form(path: &Path) -> Option<Form> {
    match path.extension()?.to_str()? {
        "json" => Some(Form::Json),
        "html" => Some(Form::Html),
        "csv" => Some(Form::Csv),
        _ => None,
    }
}

/// Whether all of them have an ending that says what they shall be.
///
/// # Errors
/// Where one of them has none.
pub(super) fn check(files: &[PathBuf]) -> Result<(), Error> {
    let unknown = files.iter().find(|file| form(file).is_none());
    unknown.map_or(Ok(()), |file| {
        Err(Error::usage(format!(
            "{}: a report ends in .json, .html (a page with plots) or .csv (its seconds)",
            file.display()
        )))
    })
}

/// Writes the report into a file, in the form that its ending says.
pub(super) fn write(path: &Path, report: &Report) -> Result<(), Error> {
    let name = path.display().to_string();
    let content = match form(path) {
        Some(Form::Html) => html::page(report).into_bytes(),
        Some(Form::Csv) => series::csv(report)?,
        Some(Form::Json) | None => {
            let text = serde_json::to_string_pretty(report)
                .map_err(|error| Error::failure(format!("{name}: {error}")))?;
            format!("{text}\n").into_bytes()
        }
    };
    std::fs::write(path, content).map_err(|error| Error::file(&name, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_say_what_a_file_is() {
        let check = |names: &[&str]| check(&names.iter().map(PathBuf::from).collect::<Vec<_>>());
        assert!(check(&["a.json", "dir.d/b.html", "c.csv"]).is_ok());
        for name in ["a", "a.txt", ".json", "html", "a.json.gz"] {
            let error = check(&["a.json", name]).unwrap_err();
            assert!(error.message.starts_with(&format!("{name}: ")), "{name}");
        }
    }
}
