//! A door in front of a Kafka broker, which can be shut without touching the broker.
//!
//! Kafka tells its clients where its brokers are, and they go there. So the door reads every answer and
//! puts its own port in the place of the broker's.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::Failure;

/// Largest answer that is passed on: above the largest batch that a consumer asks for.
const ANSWER_BYTES: usize = 128 * 1024 * 1024;

/// The door.
pub(crate) struct Proxy {
    address: SocketAddr,
    open: Arc<watch::Sender<bool>>,
}

impl Proxy {
    /// An open one in front of this broker, `HOST:PORT` with the host as it is told to clients.
    pub(crate) async fn before(broker: &str) -> Result<Self, Failure> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (host, port) = broker.rsplit_once(':').ok_or("the broker has no port")?;
        let told = |port: u16| [host.as_bytes(), &u32::from(port).to_be_bytes()].concat();
        let words = Arc::new((told(port.parse()?), told(address.port())));
        let open = Arc::new(watch::Sender::new(true));
        let (broker, state) = (broker.to_owned(), Arc::clone(&open));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                // Shut, it takes a connection and ends it at once, as a port that nobody listens on does.
                if !*state.borrow() {
                    continue;
                }
                let (broker, words) = (broker.clone(), Arc::clone(&words));
                let mut state = state.subscribe();
                tokio::spawn(async move {
                    tokio::select! {
                        _ = pass(client, &broker, &words) => {}
                        _ = state.wait_for(|open| !open) => {}
                    }
                });
            }
        });
        Ok(Self { address, open })
    }

    /// Where clients go.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends every connection and takes no other.
    pub(crate) fn close(&self) {
        self.open.send_replace(false);
    }

    /// Takes connections again.
    pub(crate) fn open(&self) {
        self.open.send_replace(true);
    }
}

async fn pass(
    client: TcpStream,
    broker: &str,
    (its, ours): &(Vec<u8>, Vec<u8>),
) -> std::io::Result<()> {
    let broker = TcpStream::connect(broker).await?;
    client.set_nodelay(true)?;
    broker.set_nodelay(true)?;
    let (mut from_client, to_client) = client.into_split();
    let (from_broker, mut to_broker) = broker.into_split();
    tokio::select! {
        ended = tokio::io::copy(&mut from_client, &mut to_broker) => ended.map(drop),
        ended = answers(from_broker, to_client, its, ours) => ended,
    }
}

/// Passes answers on, one after the other: four bytes of length, then so many bytes.
async fn answers(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    its: &[u8],
    ours: &[u8],
) -> std::io::Result<()> {
    loop {
        let length = from.read_u32().await?;
        let size = usize::try_from(length).unwrap_or(usize::MAX);
        if size > ANSWER_BYTES {
            return Err(std::io::ErrorKind::InvalidData.into());
        }
        let mut answer = vec![0; size];
        from.read_exact(&mut answer).await?;
        let mut at = 0;
        while let Some(found) = find(&answer[at..], its) {
            at += found;
            answer[at..at + its.len()].copy_from_slice(ours);
            at += its.len();
        }
        to.write_all(&length.to_be_bytes()).await?;
        to.write_all(&answer).await?;
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}
