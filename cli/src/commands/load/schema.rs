//! `chatctl load schema`: what a report may contain.

use clap::Args;

use crate::error::Error;
use crate::exit::Exit;
use crate::load::schema::SCHEMA;
use crate::session::Session;

/// Print the JSON Schema (2020-12) of reports
///
/// Members may be added to it; a change that breaks a reader gets another number in `schema`.
#[derive(Debug, Args)]
pub(crate) struct Schema {}

impl Schema {
    pub(crate) fn run(self, session: &mut Session) -> Result<Exit, Error> {
        session.out.raw(SCHEMA.as_bytes())?;
        Ok(Exit::Ok)
    }
}
