//! HTTP by hand, where it matters what becomes of a single connection.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A request that was sent and waits for its answer.
pub(crate) struct Waiting(TcpStream);

/// Sends a request on a connection of its own.
///
/// # Errors
/// The connection is refused, or breaks while it is written to.
pub(crate) async fn send(
    to: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> std::io::Result<Waiting> {
    let mut stream = TcpStream::connect(to).await?;
    let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
    stream.write_all(request.as_bytes()).await?;
    Ok(Waiting(stream))
}

impl Waiting {
    /// Status and body, once the whole answer is there.
    ///
    /// # Errors
    /// The connection broke before.
    pub(crate) async fn answer(self) -> std::io::Result<(u16, String)> {
        let (status, _, body) = self.whole().await?;
        Ok((status, body))
    }

    /// Status, head and body, once the whole answer is there.
    ///
    /// # Errors
    /// The connection broke before.
    pub(crate) async fn whole(mut self) -> std::io::Result<(u16, String, String)> {
        let mut answer = Vec::new();
        self.0.read_to_end(&mut answer).await?;
        let answer = String::from_utf8_lossy(&answer);
        let broken = || std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
        let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(broken)?;
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            let found = name.eq_ignore_ascii_case("content-length");
            found.then(|| value.trim().parse::<usize>().ok())?
        });
        match status {
            Some(status) if length.is_none_or(|length| length == body.len()) => {
                Ok((status, head.to_owned(), body.to_owned()))
            }
            _ => Err(broken()),
        }
    }
}

/// The status of a GET.
///
/// # Errors
/// There is none.
pub(crate) async fn get(from: SocketAddr, path: &str) -> std::io::Result<u16> {
    let waiting = send(from, "GET", path, &[], "").await?;
    Ok(waiting.answer().await?.0)
}
