//! The input: a file or standard input, plain or gzip, and its identity.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::MultiGzDecoder;
use sha2::{Digest, Sha256};

/// How much of a stream that cannot be read twice makes its identity.
const HEAD_BYTES: u64 = 1024 * 1024;
/// Bytes that are read at a time.
const BUFFER_BYTES: usize = 256 * 1024;
/// The first bytes of gzip (RFC 1952).
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// An input that was opened.
pub(crate) struct Source {
    /// What it is called in errors.
    pub(crate) name: String,
    /// Size as it lies on disk, where that is known.
    pub(crate) bytes_total: Option<u64>,
    /// How far it has been read, as it lies on disk.
    pub(crate) bytes_read: Arc<AtomicU64>,
    /// Hash of its content: of all of it where it can be read twice, else of its beginning.
    pub(crate) digest: [u8; 32],
    input: Box<dyn Read + Send>,
}

impl Source {
    /// Opens a file, or standard input for `-`.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        if path == Path::new("-") {
            return match stdin_as_file() {
                Some(file) => Self::file("standard input".to_owned(), file),
                None => Self::stream("standard input".to_owned(), io::stdin()),
            };
        }
        let name = path.display().to_string();
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(io::Error::from(io::ErrorKind::IsADirectory));
        }
        if metadata.is_file() {
            Self::file(name, file)
        } else {
            Self::stream(name, file)
        }
    }

    fn file(name: String, mut file: File) -> io::Result<Self> {
        let start = file.stream_position()?;
        let mut hasher = Sha256::new();
        let bytes_total = io::copy(
            &mut BufReader::with_capacity(BUFFER_BYTES, &file),
            &mut hasher,
        )?;
        file.seek(io::SeekFrom::Start(start))?;
        Ok(Self::new(name, Some(bytes_total), hasher, file))
    }

    fn stream(name: String, mut stream: impl Read + Send + 'static) -> io::Result<Self> {
        let mut head = Vec::new();
        stream.by_ref().take(HEAD_BYTES).read_to_end(&mut head)?;
        let hasher = Sha256::new_with_prefix(&head);
        Ok(Self::new(
            name,
            None,
            hasher,
            Cursor::new(head).chain(stream),
        ))
    }

    fn new(
        name: String,
        bytes_total: Option<u64>,
        hasher: Sha256,
        input: impl Read + Send + 'static,
    ) -> Self {
        let bytes_read = Arc::new(AtomicU64::new(0));
        Self {
            name,
            bytes_total,
            digest: hasher.finalize().into(),
            input: Box::new(Counted {
                input,
                bytes_read: Arc::clone(&bytes_read),
            }),
            bytes_read,
        }
    }

    /// The text in it.
    pub(crate) fn text(self) -> io::Result<Text> {
        let mut input = BufReader::with_capacity(BUFFER_BYTES, self.input);
        let gzip = input.fill_buf()?.starts_with(&GZIP_MAGIC);
        Ok(if gzip {
            let decoder = MultiGzDecoder::new(input);
            Text(Box::new(BufReader::with_capacity(BUFFER_BYTES, decoder)))
        } else {
            Text(Box::new(input))
        })
    }
}

/// Whether both name the same file.
pub(crate) fn same_file(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| -> Option<PathBuf> { path.canonicalize().ok() };
    real(one).is_some_and(|one| Some(one) == real(other))
}

/// Lines of any input.
pub(crate) struct Text(Box<dyn BufRead + Send>);

/// What was found at the place of the next line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// A line, now in the buffer without its line feed.
    Line,
    /// A line over the limit, of which the buffer has the beginning.
    TooLong,
    /// Nothing.
    End,
}

impl Text {
    /// Reads the next line into the buffer, at most `limit` bytes of it.
    ///
    /// # Errors
    /// Those of the input. What the buffer has then is not a whole line.
    pub(crate) fn next(&mut self, line: &mut Vec<u8>, limit: usize) -> io::Result<Found> {
        line.clear();
        // One byte more for the line feed.
        let mut limited = (&mut self.0).take(limit as u64 + 1);
        limited.read_until(b'\n', line)?;
        if line.last() == Some(&b'\n') {
            line.pop();
            return Ok(Found::Line);
        }
        if line.len() > limit {
            self.0.skip_until(b'\n')?;
            return Ok(Found::TooLong);
        }
        Ok(if line.is_empty() {
            Found::End
        } else {
            Found::Line
        })
    }
}

struct Counted<R> {
    input: R,
    bytes_read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.input.read(buffer)?;
        self.bytes_read.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(bytes)
    }
}

/// `chatctl import - < FILE` can read the file twice, and so is the same import as `chatctl import FILE`.
#[cfg(unix)]
fn stdin_as_file() -> Option<File> {
    use std::os::fd::AsFd;
    let file = File::from(io::stdin().as_fd().try_clone_to_owned().ok()?);
    let is_file = file.metadata().is_ok_and(|metadata| metadata.is_file());
    is_file.then_some(file)
}

#[cfg(not(unix))]
fn stdin_as_file() -> Option<File> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn lines(bytes: &[u8], limit: usize) -> Vec<(Found, String)> {
        let source = Source::stream("test".to_owned(), Cursor::new(bytes.to_vec())).unwrap();
        let mut text = source.text().unwrap();
        let mut buffer = Vec::new();
        let mut lines = Vec::new();
        loop {
            let found = text.next(&mut buffer, limit).unwrap();
            if found == Found::End {
                return lines;
            }
            lines.push((found, String::from_utf8_lossy(&buffer).into_owned()));
        }
    }

    #[test]
    fn lines_end_at_a_line_feed_or_at_the_end() {
        let line = |text: &str| (Found::Line, text.to_owned());
        assert_eq!(lines(b"", 5), []);
        assert_eq!(lines(b"a\n\nbb", 5), [line("a"), line(""), line("bb")]);
        assert_eq!(lines(b"12345\n12345", 5), [line("12345"), line("12345")]);
        let long = (Found::TooLong, "123456".to_owned());
        assert_eq!(lines(b"1234567890\na\n", 5), [long, line("a")]);
    }

    #[test]
    fn gzip_is_known_by_its_first_bytes_and_may_have_many_members() {
        let mut bytes = Vec::new();
        for part in ["a\n", "b\n"] {
            let mut encoder =
                flate2::write::GzEncoder::new(&mut bytes, flate2::Compression::fast());
            encoder.write_all(part.as_bytes()).unwrap();
            encoder.finish().unwrap();
        }
        assert_eq!(lines(&bytes, 10).len(), 2);
    }

    #[test]
    fn the_same_content_has_the_same_identity() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"hello").unwrap();
        let source = Source::open(file.path()).unwrap();
        assert_eq!(source.bytes_total, Some(5));
        let stream = Source::stream("test".to_owned(), Cursor::new(b"hello".to_vec())).unwrap();
        assert_eq!(source.digest, stream.digest);
        let other = Source::stream("test".to_owned(), Cursor::new(b"hallo".to_vec())).unwrap();
        assert_ne!(source.digest, other.digest);
        assert!(Source::open(Path::new("/")).is_err());
    }
}
