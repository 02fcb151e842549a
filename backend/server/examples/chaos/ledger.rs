//! The ledger: every operation is written down before it starts, and again when it has an answer.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::sync::Mutex;
use std::time::Instant;

use chat_client::key::IdempotencyKey;
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
    /// Another number, which the same key should never have been answered with.
    pub(crate) other: Option<MessageNumber>,
    /// How often it was sent.
    pub(crate) sends: u32,
    /// When it was acknowledged for the first time.
    pub(crate) acknowledged_at: Option<Instant>,
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
    pub(crate) fn begin(
        &self,
        chat: ChatNumber,
        body: &str,
        key: &IdempotencyKey,
    ) -> Result<usize, Failure> {
        let id = {
            let mut operations = self.operations.lock().expect("no holder panics");
            operations.push(Operation {
                chat,
                body: body.to_owned(),
                number: None,
                other: None,
                sends: 0,
                acknowledged_at: None,
            });
            operations.len() - 1
        };
        self.note(serde_json::json!({
            "op": id, "chat": chat, "key": key.as_str(), "body": body,
        }))?;
        Ok(id)
    }

    /// Writes down one answer, or that there was none.
    pub(crate) fn answer(
        &self,
        id: usize,
        answer: Result<MessageNumber, &str>,
    ) -> Result<(), Failure> {
        {
            let mut operations = self.operations.lock().expect("no holder panics");
            let operation = &mut operations[id];
            operation.sends += 1;
            if let Ok(number) = answer {
                operation.acknowledged_at.get_or_insert_with(Instant::now);
                let first = *operation.number.get_or_insert(number);
                if first != number {
                    operation.other = Some(number);
                }
            }
        }
        self.note(serde_json::json!({ "op": id, "number": answer.ok(), "error": answer.err() }))
    }

    /// Writes down anything else that is done or seen.
    pub(crate) fn note(&self, mut line: serde_json::Value) -> Result<(), Failure> {
        line["at_ms"] = u64::try_from(self.started.elapsed().as_millis())
            .unwrap_or(u64::MAX)
            .into();
        let mut file = self.file.lock().expect("no holder panics");
        Ok(writeln!(file, "{line}")?)
    }

    /// What was done so far.
    pub(crate) fn operations(&self) -> Vec<Operation> {
        self.operations.lock().expect("no holder panics").clone()
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        // The file is for people; the checker has everything in memory.
        let _ = self.file.lock().expect("no holder panics").flush();
    }
}
