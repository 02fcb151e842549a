//! The database behind the address is replaced, or becomes read-only.

use std::time::Duration;

use chat_core::port::Ports;
use chat_core::port::log::{Group, PartitionId, Topic};
use chat_core::port::store::{Error, Position};
use chat_engines::config::Config;
use chat_engines::open::{connect, migrate};
use chat_wire::ids::AppToken;
use tokio::time::{Instant, sleep};

use crate::mariadb::{Address, Server};
use crate::namespace::Namespace;

const GROUP: Group = Group::ChatsStore;
const PARTITION: PartitionId = PartitionId {
    topic: Topic::Chats,
    index: 0,
};
const TOKEN: AppToken = AppToken::from_bytes([1; 16]);
/// A change is noticed within seconds.
const NOTICED: Duration = Duration::from_secs(15);

fn at(next: u64) -> Position {
    Position {
        next,
        ..Position::START
    }
}

async fn commit(ports: &Ports, next: u64) -> Result<(), Error> {
    let tx = ports.store.begin(GROUP, &[PARTITION]).await?;
    tx.commit(&[at(next)]).await
}

/// Waits until something answers as it should.
async fn until<T, F: Future<Output = T>>(mut ask: impl FnMut() -> F, fits: impl Fn(&T) -> bool) {
    let deadline = Instant::now() + NOTICED;
    loop {
        if fits(&ask().await) {
            return;
        }
        assert!(Instant::now() < deadline, "nothing changes");
        sleep(Duration::from_millis(20)).await;
    }
}

fn is_read_only<T>(answer: &Result<T, Error>) -> bool {
    matches!(answer, Err(Error::Unavailable(reason)) if reason.contains("read-only"))
}

/// The URL of a namespace's database behind this port.
fn database(config: &Config, port: u16) -> String {
    let (_, name) = config.database_url.rsplit_once('/').unwrap();
    format!("mysql://chat:chat@127.0.0.1:{port}/{name}")
}

/// A namespace whose database is behind this port.
async fn namespace(port: u16) -> Namespace {
    let mut namespace = Namespace::bare();
    namespace.config.database_url = database(&namespace.config, port);
    migrate(&namespace.config).await.unwrap();
    namespace
}

/// Reads and writes of a server that was demoted are unavailable, whichever connection they use, and possible
/// again once it takes writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_only_server_answers_nothing() {
    let Some(server) = Server::fresh().await else {
        return;
    };
    let namespace = namespace(server.port).await;
    let ports = connect(&namespace.config).await.unwrap();
    commit(&ports, 1).await.unwrap();
    ports.store.application(TOKEN).await.unwrap();

    server.run("SET GLOBAL read_only = 1").await;
    until(|| ports.store.application(TOKEN), is_read_only).await;
    assert!(is_read_only(&ports.store.position(GROUP, PARTITION).await));
    assert!(is_read_only(&ports.store.check().await));
    let written = commit(&ports, 2).await;
    assert!(is_read_only(&written), "{written:?}");

    server.run("SET GLOBAL read_only = 0").await;
    until(|| ports.store.application(TOKEN), Result::is_ok).await;
    commit(&ports, 3).await.unwrap();
    assert_eq!(ports.store.position(GROUP, PARTITION).await.unwrap(), at(3));
}

/// A transaction that began while the server took writes is refused by the server itself: that is no fault of what
/// it writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_to_a_demoted_server_is_unavailable_and_not_refused() {
    let Some(server) = Server::fresh().await else {
        return;
    };
    let namespace = namespace(server.port).await;
    let ports = connect(&namespace.config).await.unwrap();
    let tx = ports.store.begin(GROUP, &[PARTITION]).await.unwrap();
    server.run("SET GLOBAL read_only = 1").await;
    let committed = tx.commit(&[at(1)]).await;
    assert!(is_read_only(&committed), "{committed:?}");
    // Whoever asks next is told so at once, without waiting for the next look.
    assert!(is_read_only(&ports.store.application(TOKEN).await));
}

/// Another server took over the address while the connections to the one before stay: nobody reads or writes there
/// any more, and a transaction that is under way there is not committed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_to_the_server_before_are_given_up() {
    let Some(mut before) = Server::fresh().await else {
        return;
    };
    let namespace = namespace(before.port).await;
    let mut config = namespace.config.clone();
    let ports = connect(&config).await.unwrap();
    commit(&ports, 1).await.unwrap();
    drop(ports);
    let after = before.copy(2).await;

    let address = Address::of(&before).await;
    config.database_url = database(&config, address.port);
    let ports = connect(&config).await.unwrap();
    commit(&ports, 7).await.unwrap();
    let position = || ports.store.position(GROUP, PARTITION);
    assert_eq!(position().await.unwrap(), at(7));
    let late = ports
        .store
        .begin(Group::ChatsStore, &[PARTITION])
        .await
        .unwrap();

    address.lead_to(&after);
    until(
        position,
        |found| matches!(found, Ok(found) if *found == at(1)),
    )
    .await;
    assert!(late.commit(&[at(8)]).await.unwrap_err().retryable());
    commit(&ports, 2).await.unwrap();
    assert_eq!(position().await.unwrap(), at(2));
    let (_, name) = config.database_url.rsplit_once('/').unwrap();
    let kept = format!("SELECT next FROM `{name}`.log_positions WHERE group_name = 'chats-store'");
    assert_eq!(before.number(&kept).await, 7);
}
