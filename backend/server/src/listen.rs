//! Listening: an address is taken first, and listened on when there is something behind it.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket};

use crate::boot::Error;

/// Connections that may wait to be accepted: as many as Linux allows unless it was told otherwise. Whoever
/// comes beyond is not answered and tries again after a second, which is worse than any refusal.
const BACKLOG: u32 = 4_096;

/// Takes an address without listening on it yet.
pub(crate) fn bind(setting: &'static str, address: SocketAddr) -> Result<TcpSocket, Error> {
    let bound = || {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4(),
            SocketAddr::V6(_) => TcpSocket::new_v6(),
        }?;
        // Connections of a process that just ended hold the address no longer than they must.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        Ok(socket)
    };
    bound().map_err(|source| Error::Listen {
        setting,
        address,
        source,
    })
}

/// Begins to listen.
pub(crate) fn listen(
    setting: &'static str,
    address: SocketAddr,
    socket: TcpSocket,
) -> Result<TcpListener, Error> {
    socket.listen(BACKLOG).map_err(|source| Error::Listen {
        setting,
        address,
        source,
    })
}

/// The address with the port that the system chose.
pub(crate) fn address(listener: &TcpListener, asked: SocketAddr) -> SocketAddr {
    listener.local_addr().unwrap_or(asked)
}
