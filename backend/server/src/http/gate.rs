//! The gate of a connection: a request that is refused is answered where its bytes come in.
//!
//! Under overload most answers are refusals, and to read one as HTTP in general (a map of its headers, a
//! channel for its body, a timer for the next head) costs more than to decide about it. So the gate looks at
//! the bytes before hyper does. Where they begin one plain request, it decides by its head: what is refused, and
//! is there as a whole, is answered from here, and hyper never hears of it; anything else is passed on as it came.
//!
//! It takes no chances with framing. It looks only while nothing is under way on the connection, passes on
//! exactly the bytes of one request, and looks again when the answer to that one has been written. As soon as
//! anything is out of the ordinary, hyper has the connection for itself until its end.

mod head;
mod line;
mod wire;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

pub(super) use self::head::HEADERS_MAX;
use self::head::Head;
pub(super) use self::line::Line;
use super::front::{Asked, Inner};
use super::route::Asks;

/// hyper ends a connection on which it sees no head for so long as a client may be idle
/// ([`HEAD_TIMEOUT`](super::serve)). So it is shown one now and then, refused or not, and an idle client has
/// nearly all of that time.
const SHOW_AFTER: Duration = Duration::from_secs(10);

/// A connection, on its way to hyper.
pub(crate) struct Gate {
    stream: TcpStream,
    front: Arc<Inner>,
    line: Arc<Line>,
    phase: Phase,
    /// When hyper was last given a request.
    shown: Instant,
    /// What the socket has not taken yet of an answer from here.
    rest: Vec<u8>,
}

/// Where the bytes that come next belong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing is under way: they begin a request.
    Idle,
    /// hyper has a request, of whose body so many are still to come.
    Passed { left: usize },
    /// Only hyper knows.
    Unwatched,
}

/// What to do with bytes that came.
enum Verdict {
    Pass,
    Drop,
}

impl Gate {
    pub(super) fn new(stream: TcpStream, front: Arc<Inner>, line: Arc<Line>) -> Self {
        Self {
            stream,
            front,
            line,
            phase: Phase::Idle,
            shown: Instant::now(),
            rest: Vec::new(),
        }
    }

    /// Decides about bytes that came; there is at least one.
    fn judge(&mut self, came: &[u8]) -> io::Result<Verdict> {
        match self.phase {
            Phase::Idle => match Head::read(came) {
                Some(head) => self.decide(head, came.len()),
                None => Ok(self.unwatched()),
            },
            Phase::Passed { left } => match left.checked_sub(came.len()) {
                Some(left) => {
                    self.phase = Phase::Passed { left };
                    Ok(Verdict::Pass)
                }
                // Another request comes before the answer to this one.
                None => Ok(self.unwatched()),
            },
            Phase::Unwatched => Ok(Verdict::Pass),
        }
    }

    fn decide(&mut self, head: Head<'_>, came: usize) -> io::Result<Verdict> {
        let Some(left) = head.whole.checked_sub(came) else {
            return Ok(self.unwatched());
        };
        let asked = Asked::new(head.method, head.path);
        if asked.asks == Asks::Stream {
            return Ok(self.unwatched());
        }
        let began = Instant::now();
        let decision = self.front.decide(&asked, head.path);
        match &decision.verdict {
            // The body of one that is on its way is thrown away by whoever can wait for it.
            Err(refused) if left == 0 && began < self.shown + SHOW_AFTER => {
                wire::write(&mut self.rest, refused, decision.told(&asked));
                self.front.refused(&asked, refused, began.elapsed());
                self.send()?;
                Ok(Verdict::Drop)
            }
            _ => {
                self.line.decide(decision);
                self.shown = began;
                self.phase = Phase::Passed { left };
                Ok(Verdict::Pass)
            }
        }
    }

    fn unwatched(&mut self) -> Verdict {
        self.phase = Phase::Unwatched;
        Verdict::Pass
    }

    /// Writes as much of an answer as the socket takes, which is nearly always all.
    fn send(&mut self) -> io::Result<()> {
        match self.stream.try_write(&self.rest) {
            Ok(count) => {
                self.rest.drain(..count);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Waits until the socket has taken all of an answer from here.
    fn poll_rest(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.rest.is_empty() {
            let count = ready!(Pin::new(&mut self.stream).poll_write(context, &self.rest))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.rest.drain(..count);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Gate {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let gate = self.get_mut();
        loop {
            // A client that takes no answers is asked for nothing more.
            ready!(gate.poll_rest(context))?;
            let before = buffer.filled().len();
            ready!(Pin::new(&mut gate.stream).poll_read(context, buffer))?;
            if buffer.filled().len() == before {
                // The client sends nothing more.
                return Poll::Ready(Ok(()));
            }
            match gate.judge(&buffer.filled()[before..])? {
                Verdict::Pass => return Poll::Ready(Ok(())),
                Verdict::Drop => buffer.set_filled(before),
            }
        }
    }
}

impl AsyncWrite for Gate {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let gate = self.get_mut();
        ready!(gate.poll_rest(context))?;
        Pin::new(&mut gate.stream).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let gate = self.get_mut();
        ready!(gate.poll_rest(context))?;
        ready!(Pin::new(&mut gate.stream).poll_flush(context))?;
        // hyper flushes when it has written all that it has, and an answer that was given is all of it.
        if let Phase::Passed { left } = gate.phase
            && let Some(plain) = gate.line.take_answered()
        {
            gate.phase = match plain && left == 0 {
                true => Phase::Idle,
                false => Phase::Unwatched,
            };
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let gate = self.get_mut();
        ready!(gate.poll_rest(context))?;
        Pin::new(&mut gate.stream).poll_shutdown(context)
    }
}
