//! `chatctl load show`: a report that was written earlier, as text, page, table or histogram.

use std::path::{Path, PathBuf};

use clap::Args;

use super::print;
use crate::error::Error;
use crate::exit::Exit;
use crate::load::{file, hgrm, html, objective, series};
use crate::session::Session;

/// Show a report again, or write it in another form
///
/// The report is printed as text, with -o json as it was written, with -o csv second by second, and
/// with -q in a word. The exit code is 0 whatever the report says: it was judged when it was made.
#[derive(Debug, Args)]
#[command(after_help = "For example: chatctl load show report.json --html report.html")]
pub(crate) struct Show {
    /// Report, as `load run -o json` writes it; - is standard input
    #[arg(value_name = "REPORT")]
    report: PathBuf,
    /// Write one HTML page with plots, which needs no network
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write each second of the measurement as CSV
    #[arg(long, value_name = "FILE")]
    series: Option<PathBuf>,
    /// Write the distributions of each operation into this directory, in the format that
    /// HdrHistogram's plotters read
    #[arg(long, value_name = "DIR")]
    hgrm: Option<PathBuf>,
    /// Print one figure a line, for scripts: its name as objectives have it, the value, the unit
    #[arg(long)]
    figures: bool,
}

impl Show {
    pub(crate) fn run(self, session: &mut Session) -> Result<Exit, Error> {
        let report = file::read(&self.report)?;
        if self.figures {
            for (name, value, unit) in objective::metrics((&report).into()) {
                let line = format!("{name} {value} {unit}");
                session
                    .out
                    .raw(format!("{}\n", line.trim_end()).as_bytes())?;
            }
            session.out.flush()?;
            return Ok(Exit::Ok);
        }
        let mut written = Vec::new();
        if let Some(path) = &self.html {
            write(path, html::page(&report).as_bytes())?;
            written.push(path.clone());
        }
        if let Some(path) = &self.series {
            write(path, &series::csv(&report)?)?;
            written.push(path.clone());
        }
        if let Some(directory) = &self.hgrm {
            let files = hgrm::write_all(&report, directory)
                .map_err(|error| Error::file(&directory.display().to_string(), &error))?;
            written.extend(files);
        }
        for path in &written {
            session.remark(&format!("wrote {}", path.display()));
        }
        // Who asked for files got them.
        if !written.is_empty() && !session.settings.format_is_flag {
            return Ok(Exit::Ok);
        }
        print::print(session, &report)?;
        Ok(Exit::Ok)
    }
}

fn write(path: &Path, content: &[u8]) -> Result<(), Error> {
    let written = std::fs::write(path, content);
    written.map_err(|error| Error::file(&path.display().to_string(), &error))
}
