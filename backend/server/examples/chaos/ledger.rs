//! The ledger: every operation is written down before it starts, and again when it has an answer.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::sync::Mutex;
use std::time::Instant;

use chat_wire::ids::{ChatNumber, MessageNumber};

use crate::Failure;

/// One create.
#[derive(Debug, Clone)]
pub(crate) struct Operation {
    /// Where.
    pub(crate) chat: ChatNumber,
    /// What was sent.
    pub(crate) body: String,
    /// What was acknowledged, if anything was.
    pub(crate) number: Option<MessageNumber>,
    /// How often it was sent.
    pub(crate) sends: u32,
}

/// All operations, in memory for the checker and in a file for people.
pub(crate) struct Ledger {
    file: Mutex<BufWriter<File>>,
    operations: Mutex<Vec<Operation>>,
    started: Instant,
}

impl Ledger {
    /// Begins `ledger.ndjson` in this directory.
    pub(crate) fn create(work: &Path) -> Result<Self, Failure> {
        Ok(Self {
            file: Mutex::new(BufWriter::new(File::create(work.join("ledger.ndjson"))?)),
            operations: Mutex::new(Vec::new()),
            started: Instant::now(),
        })
    }

    /// Writes down that an operation begins; returns its number in the ledger.
    pub(crate) fn begin(&self, chat: ChatNumber, body: &str, key: &str) -> Result<usize, Failure> {
        let id = {
            let mut operations = self.operations.lock().expect("no holder panics");
            operations.push(Operation {
                chat,
                body: body.to_owned(),
                number: None,
                sends: 0,
            });
            operations.len() - 1
        };
        self.write(&serde_json::json!({
            "op": id, "at_ms": self.at_ms(), "chat": chat, "key": key, "body": body,
        }))?;
        Ok(id)
    }

    /// Writes down one answer, or that there was none.
    pub(crate) fn answer(
        &self,
        id: usize,
        answer: Result<MessageNumber, String>,
    ) -> Result<(), Failure> {
        {
            let mut operations = self.operations.lock().expect("no holder panics");
            operations[id].sends += 1;
            if let Ok(number) = &answer {
                operations[id].number = Some(*number);
            }
        }
        self.write(&serde_json::json!({
            "op": id, "at_ms": self.at_ms(),
            "number": answer.as_ref().ok(), "error": answer.as_ref().err(),
        }))
    }

    /// What was done, once it is over.
    pub(crate) fn close(self) -> Result<Vec<Operation>, Failure> {
        self.file.lock().expect("no holder panics").flush()?;
        Ok(self.operations.into_inner().expect("no holder panics"))
    }

    fn at_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn write(&self, line: &serde_json::Value) -> Result<(), Failure> {
        let mut file = self.file.lock().expect("no holder panics");
        Ok(writeln!(file, "{line}")?)
    }
}
