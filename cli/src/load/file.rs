//! Reports in files: read back, and refused where this version does not understand them.

use std::io::Read;
use std::path::Path;

use serde::Deserialize;

use crate::error::Error;
use crate::load::report::{Report, SCHEMA};

/// Largest report that is read: a week of seconds takes less.
const BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Reads a report that `chatctl load run` wrote; `-` is standard input.
///
/// # Errors
/// Where the file cannot be read, or is no report, or one of another version.
pub(crate) fn read(path: &Path) -> Result<Report, Error> {
    let name = path.display().to_string();
    let mut text = String::new();
    let read = if name == "-" {
        std::io::stdin()
            .lock()
            .take(BYTES_MAX)
            .read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(BYTES_MAX).read_to_string(&mut text))
    };
    read.map_err(|error| Error::file(&name, &error))?;
    parse(&text).map_err(|reason| {
        Error::usage(format!("{name} is no report of a load test: {reason}"))
            .with_hint("make one with `chatctl load run SCENARIO.toml -o json`")
    })
}

/// The version is looked at first: a report of another one may have any shape.
fn parse(text: &str) -> Result<Report, String> {
    #[derive(Deserialize)]
    struct Version {
        schema: u32,
    }
    let version: Version = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if version.schema != SCHEMA {
        return Err(format!(
            "it has version {} of the format, and this chatctl reads version {SCHEMA}",
            version.schema
        ));
    }
    serde_json::from_str(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::sample;

    #[test]
    fn what_was_written_is_read() {
        for report in sample::all() {
            let text = serde_json::to_string(&report).unwrap();
            assert_eq!(parse(&text), Ok(report));
        }
    }

    #[test]
    fn another_version_is_refused_by_its_number() {
        let error = parse(r#"{"schema":2,"anything":[]}"#).unwrap_err();
        assert!(error.contains("version 2"), "{error}");
        let error = parse(r#"{"schema":1}"#).unwrap_err();
        assert!(error.contains("missing field"), "{error}");
        assert!(parse("[]").is_err());
    }
}
