//! Server-sent events by hand: what the client library makes good is what a case wants to see.

use std::net::SocketAddr;

use chat_wire::ids::{AppToken, ChatNumber};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpSocket, TcpStream};

use crate::Failure;

/// What a reader that is stalled takes before nothing more goes out.
const LITTLE: u32 = 4_096;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// A message with this number.
    Message(u32),
    /// What was read before has to be read again.
    Reset,
}

/// One connection.
pub(crate) struct Stream {
    from: BufReader<TcpStream>,
    /// What came and is no whole event yet.
    text: String,
}

/// Asks for a stream and reads nothing of it, for as long as it is kept.
pub(crate) async fn stall(
    to: SocketAddr,
    token: AppToken,
    chat: ChatNumber,
) -> Result<TcpStream, Failure> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(LITTLE)?;
    let mut stream = socket.connect(to).await?;
    stream
        .write_all(request(to, token, chat, 0).as_bytes())
        .await?;
    Ok(stream)
}

impl Stream {
    /// Follows a chat from behind this number on.
    pub(crate) async fn open(
        to: SocketAddr,
        token: AppToken,
        chat: ChatNumber,
        after: u32,
    ) -> Result<Self, Failure> {
        let mut stream = TcpStream::connect(to).await?;
        let request = request(to, token, chat, after);
        stream.write_all(request.as_bytes()).await?;
        let mut from = BufReader::new(stream);
        let (mut status, mut chunked) = (String::new(), false);
        loop {
            let mut line = String::new();
            from.read_line(&mut line).await?;
            let line = line.trim_end();
            if status.is_empty() {
                line.clone_into(&mut status);
            }
            chunked |= line.eq_ignore_ascii_case("transfer-encoding: chunked");
            if line.is_empty() {
                break;
            }
        }
        if !status.contains(" 200 ") || !chunked {
            return Err(format!("no stream of events: {status}").into());
        }
        Ok(Self {
            from,
            text: String::new(),
        })
    }

    /// The next event; `None` where the server has ended the stream.
    pub(crate) async fn next(&mut self) -> Result<Option<Event>, Failure> {
        loop {
            while let Some(end) = self.text.find("\n\n") {
                let event: String = self.text.drain(..end + 2).collect();
                if let Some(event) = parse(&event)? {
                    return Ok(Some(event));
                }
            }
            let mut size = String::new();
            if self.from.read_line(&mut size).await? == 0 {
                return Ok(None);
            }
            let size = usize::from_str_radix(size.trim_end(), 16)?;
            // Two bytes behind each chunk belong to HTTP.
            let mut chunk = vec![0; size + 2];
            self.from.read_exact(&mut chunk).await?;
            if size == 0 {
                return Ok(None);
            }
            // Bodies of the case are ASCII: no character is cut.
            self.text.push_str(&String::from_utf8_lossy(&chunk[..size]));
        }
    }
}

fn request(to: SocketAddr, token: AppToken, chat: ChatNumber, after: u32) -> String {
    let token = token.reveal();
    format!(
        "GET /applications/{token}/chats/{chat}/messages/stream HTTP/1.1\r\nHost: {to}\r\n\
         Accept: text/event-stream\r\nLast-Event-ID: {after}\r\n\r\n"
    )
}

/// An event of the kinds that are known; a comment is none.
fn parse(text: &str) -> Result<Option<Event>, Failure> {
    let field = |name: &str| {
        let mut lines = text.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    };
    match field("event") {
        Some("message") => {
            let id = field("id").ok_or("a message has no id")?;
            Ok(Some(Event::Message(id.parse()?)))
        }
        Some("reset") => Ok(Some(Event::Reset)),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_and_resets_are_events_and_comments_are_none() {
        let message = "id: 7\nevent: message\ndata: {}\n\n";
        assert_eq!(parse(message).unwrap(), Some(Event::Message(7)));
        assert_eq!(
            parse("event: reset\ndata: {}\n\n").unwrap(),
            Some(Event::Reset)
        );
        assert_eq!(parse(": still here\n\n").unwrap(), None);
    }
}
