//! What a generator writes down, on a thread of its own: a disk that is busy with the engines' files may
//! hold up a write for a quarter of a second, and nothing may hold up the schedule.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::mpsc;
use std::thread::JoinHandle;

use crate::Failure;

/// Bytes that are written together.
const TOGETHER: usize = 1024 * 1024;

/// A file that grows in the background. All of it is there when this is dropped.
pub(super) struct Paper {
    text: Vec<u8>,
    writer: Option<Writer>,
}

struct Writer {
    texts: mpsc::Sender<Vec<u8>>,
    thread: JoinHandle<io::Result<()>>,
}

impl Paper {
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let mut file = File::create(path)?;
        let (texts, full) = mpsc::channel::<Vec<u8>>();
        let thread = std::thread::Builder::new()
            .name("ledger".to_owned())
            .spawn(move || full.iter().try_for_each(|text| file.write_all(&text)))?;
        Ok(Self {
            text: Vec::with_capacity(TOGETHER),
            writer: Some(Writer { texts, thread }),
        })
    }

    pub(super) fn line(&mut self, text: std::fmt::Arguments<'_>) -> Result<(), Failure> {
        writeln!(self.text, "{text}")?;
        if self.text.len() < TOGETHER {
            return Ok(());
        }
        let full = std::mem::replace(&mut self.text, Vec::with_capacity(TOGETHER));
        match &self.writer {
            Some(writer) if writer.texts.send(full).is_ok() => Ok(()),
            _ => Err("the ledger could not be written".into()),
        }
    }
}

impl Drop for Paper {
    fn drop(&mut self) {
        if let Some(Writer { texts, thread }) = self.writer.take() {
            let _ = texts.send(std::mem::take(&mut self.text));
            drop(texts);
            // Where it failed, `line` has said so; the last part is for whoever looks at the file.
            let _ = thread.join();
        }
    }
}
