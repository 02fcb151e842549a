//! One connection of the generator: HTTP/1.1 by hand, without a wait and with buffers that are used again.

use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::time::Instant;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

/// Room for an answer: ours are far smaller.
const ANSWER_BYTES: usize = 4 * 1024;

/// A create that was sent and has no answer yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    /// Which create.
    pub(super) id: usize,
    /// When it was due.
    pub(super) due: Instant,
}

/// A connection, and the one create that is on it.
pub(super) struct Connection {
    stream: TcpStream,
    connected: bool,
    out: Vec<u8>,
    written: usize,
    read: Vec<u8>,
    filled: usize,
    pub(super) sent: Option<Sent>,
}

/// A whole answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer<'a> {
    pub(super) status: u16,
    pub(super) body: &'a [u8],
    /// Problem and `Retry-After`, as a refusal has to have them.
    pub(super) is_problem: bool,
    pub(super) retry_after: bool,
    /// The server goes on with the connection.
    pub(super) stays: bool,
}

impl Connection {
    /// Begins to connect.
    pub(super) fn open(to: SocketAddr, registry: &Registry, token: Token) -> io::Result<Self> {
        let mut stream = TcpStream::connect(to)?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        registry.register(&mut stream, token, interest)?;
        Ok(Self {
            stream,
            connected: false,
            out: Vec::new(),
            written: 0,
            read: vec![0; ANSWER_BYTES],
            filled: 0,
            sent: None,
        })
    }

    /// Whether the server's system has taken it.
    pub(super) const fn is_connected(&self) -> bool {
        self.connected
    }

    /// Sends a create, as soon as it is connected.
    pub(super) fn send(
        &mut self,
        sent: Sent,
        request: impl FnOnce(&mut Vec<u8>),
    ) -> io::Result<()> {
        self.sent = Some(sent);
        self.out.clear();
        self.written = 0;
        request(&mut self.out);
        if self.connected {
            self.write()?;
        }
        Ok(())
    }

    /// Goes on with what waited until the socket could be written to.
    pub(super) fn writable(&mut self) -> io::Result<()> {
        if !self.connected {
            if let Some(error) = self.stream.take_error()? {
                return Err(error);
            }
            match self.stream.peer_addr() {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotConnected => return Ok(()),
                Err(error) => return Err(error),
            }
            self.stream.set_nodelay(true)?;
            self.connected = true;
        }
        self.write()
    }

    fn write(&mut self) -> io::Result<()> {
        while self.written < self.out.len() {
            match self.stream.write(&self.out[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads what is there; the answer once it is whole.
    pub(super) fn readable(&mut self) -> io::Result<Option<Answer<'_>>> {
        loop {
            if self.filled == self.read.len() {
                return Err(io::Error::other("the answer is too long"));
            }
            match self.stream.read(&mut self.read[self.filled..]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    self.filled += count;
                    // The socket had no more than that (epoll(7) on edge-triggered streams).
                    if self.filled < self.read.len() {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let answer = parse(&self.read[..self.filled])?;
        if answer.is_some() {
            self.filled = 0;
        }
        Ok(answer)
    }

    /// Ends it.
    pub(super) fn close(mut self, registry: &Registry) {
        // One that broke is not registered any more.
        let _ = registry.deregister(&mut self.stream);
    }
}

/// Reads an answer; `None` while it is not whole.
fn parse(bytes: &[u8]) -> io::Result<Option<Answer<'_>>> {
    let Some(end) = find(bytes, b"\r\n\r\n") else {
        return Ok(None);
    };
    let wrong = || io::Error::other("the answer is not HTTP/1.1 with a length");
    let (head, body) = (&bytes[..end], &bytes[end + 4..]);
    let mut lines = head.split(|byte| *byte == b'\n');
    let status = lines.next().and_then(|line| line.get(9..12));
    let status = status.and_then(decimal).ok_or_else(wrong)?;
    let mut length = None;
    let mut answer = Answer {
        status: u16::try_from(status).map_err(|_| wrong())?,
        body: &[],
        is_problem: false,
        retry_after: false,
        stays: true,
    };
    for line in lines {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            return Err(wrong());
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            length = decimal(value);
        } else if name.eq_ignore_ascii_case(b"content-type") {
            answer.is_problem = value == b"application/problem+json";
        } else if name.eq_ignore_ascii_case(b"retry-after") {
            answer.retry_after = decimal(value).is_some();
        } else if name.eq_ignore_ascii_case(b"connection") {
            answer.stays = !value.eq_ignore_ascii_case(b"close");
        }
    }
    let length = length.ok_or_else(wrong)?;
    if body.len() > length {
        return Err(io::Error::other("something follows the answer"));
    }
    answer.body = body;
    Ok((body.len() == length).then_some(answer))
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|part| part == wanted)
}

fn decimal(text: &[u8]) -> Option<usize> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFUSED: &[u8] =
        b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\n\
        Retry-After: 1\r\nContent-Length: 2\r\n\r\n{}";

    #[test]
    fn an_answer_is_read_when_it_is_whole() {
        for part in 0..REFUSED.len() {
            assert_eq!(parse(&REFUSED[..part]).unwrap(), None, "{part}");
        }
        let answer = parse(REFUSED).unwrap().unwrap();
        assert_eq!((answer.status, answer.body), (503, &b"{}"[..]));
        assert!(answer.is_problem && answer.retry_after && answer.stays);
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        for wrong in [
            &b"HTTP/1.1 200 OK\r\n\r\n"[..],
            b"HTTP/1.1 xyz OK\r\ncontent-length: 0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\nmore",
        ] {
            assert!(parse(wrong).is_err());
        }
        let closed = b"HTTP/1.1 202 Accepted\r\nConnection: close\r\ncontent-length: 0\r\n\r\n";
        assert!(!parse(closed).unwrap().unwrap().stays);
    }
}
