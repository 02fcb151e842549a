//! The gate of a connection: a request that is refused is answered where its bytes come in.
//!
//! Under overload most answers are refusals, and to read one as HTTP in general (a map of its headers, a
//! channel for its body, a timer for the next head) costs more than to decide about it. So the gate looks at
//! the bytes before hyper does. Where they are the head of one plain request, it decides by that head: what is
//! refused is answered from here, and hyper never hears of it; anything else is passed on as it came.
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

use self::head::Head;
pub(super) use self::line::Line;
use super::front::{DISCARD_BYTES, Inner};
use super::route::Asks;
use super::serve::HEAD_TIMEOUT;

/// hyper ends a connection on which it sees no head for [`HEAD_TIMEOUT`]; so it sees one in time, refused or not.
const SHOW_AFTER: Duration = HEAD_TIMEOUT.checked_div(2).expect("two is not zero");

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
    /// A request was refused, of whose body so many are still to come.
    Refused { left: usize },
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
                Some(head) => self.decide(&head, came.len()),
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
            Phase::Refused { .. } | Phase::Unwatched => Ok(Verdict::Pass),
        }
    }

    fn decide(&mut self, head: &Head<'_>, came: usize) -> io::Result<Verdict> {
        let Some(left) = head.whole.checked_sub(came) else {
            return Ok(self.unwatched());
        };
        if head.asked.asks == Asks::Stream {
            return Ok(self.unwatched());
        }
        let began = Instant::now();
        let decision = self.front.decide(&head.asked, head.path);
        match &decision.verdict {
            Err(refused) if left <= DISCARD_BYTES && began < self.shown + SHOW_AFTER => {
                wire::write(&mut self.rest, refused, decision.told(&head.asked));
                self.send()?;
                self.refused(left);
                self.front.refused(&head.asked, refused, began.elapsed());
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

    /// Takes out of what came behind `before` what belongs to the body of a refused request.
    fn discard(&mut self, buffer: &mut ReadBuf<'_>, before: usize) {
        if let Phase::Refused { left } = self.phase {
            let came = &mut buffer.filled_mut()[before..];
            let (gone, kept) = (left.min(came.len()), came.len().saturating_sub(left));
            came.copy_within(gone.., 0);
            buffer.set_filled(before + kept);
            self.refused(left - gone);
        }
    }

    /// A request was refused, and so many bytes of its body are not there yet.
    fn refused(&mut self, left: usize) {
        self.phase = match left {
            0 => Phase::Idle,
            left => Phase::Refused { left },
        };
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
            gate.discard(buffer, before);
            let came = &buffer.filled()[before..];
            if came.is_empty() {
                continue;
            }
            match gate.judge(came)? {
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
