//! A Redis server of a test's own, which it may restart, configure and make a replica.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use tokio::time::{Instant, sleep};

/// How long a server may take to answer, or to do what it was told.
const READY: Duration = Duration::from_secs(30);

/// A running server. It is ended when it is dropped, and its files are removed.
pub(crate) struct Redis {
    child: Child,
    home: PathBuf,
    pub(crate) port: u16,
}

impl Redis {
    /// An empty one; `None` where this machine has no Redis.
    pub(crate) async fn fresh() -> Option<Self> {
        let name = uuid::Uuid::new_v4().simple().to_string();
        let home = std::env::temp_dir().join(format!("chat-redis-{}", &name[..10]));
        std::fs::create_dir(&home).unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .and_then(|free| free.local_addr())
            .unwrap()
            .port();
        let Ok(child) = start(&home, port) else {
            untested("there is no redis-server");
            return None;
        };
        let server = Self { child, home, port };
        server.ready().await;
        Some(server)
    }

    /// Ends it as an operator would, and starts it with what it has on disk: another life of the same server.
    pub(crate) async fn restart(&mut self) {
        let mut connection = self.connection().await;
        let mut end = redis::cmd("SHUTDOWN");
        // It answers by going away.
        let _ = end.arg("SAVE").exec_async(&mut connection).await;
        self.child.wait().unwrap();
        self.child = start(&self.home, self.port).unwrap();
        self.ready().await;
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) async fn run(&self, words: &[&str]) {
        let mut command = redis::Cmd::new();
        command.arg(words);
        let mut connection = self.connection().await;
        command.exec_async(&mut connection).await.unwrap();
    }

    /// Has all that another server has, and nothing else, when it returns.
    pub(crate) async fn follow(&self, other: &Self) {
        let port = other.port.to_string();
        self.run(&["REPLICAOF", "127.0.0.1", &port]).await;
        let deadline = Instant::now() + READY;
        loop {
            let mut connection = self.connection().await;
            let mut ask = redis::cmd("INFO");
            let info: String = ask
                .arg("replication")
                .query_async(&mut connection)
                .await
                .unwrap();
            if info.contains("master_link_status:up") {
                return;
            }
            assert!(Instant::now() < deadline, "the replica does not come up");
            sleep(Duration::from_millis(50)).await;
        }
    }

    async fn ready(&self) {
        let deadline = Instant::now() + READY;
        let client = redis::Client::open(self.url()).unwrap();
        while client.get_multiplexed_async_connection().await.is_err() {
            assert!(Instant::now() < deadline, "the server does not come up");
            sleep(Duration::from_millis(50)).await;
        }
    }

    async fn connection(&self) -> MultiplexedConnection {
        let client = redis::Client::open(self.url()).unwrap();
        client.get_multiplexed_async_connection().await.unwrap()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.home);
    }
}

fn start(home: &std::path::Path, port: u16) -> std::io::Result<Child> {
    Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
        .args(["--save", "3600 1", "--appendonly", "no"])
        .args(["--repl-diskless-sync-delay", "0"])
        .arg("--dir")
        .arg(home)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
}

#[expect(clippy::print_stderr, reason = "whoever runs the tests has to see it")]
fn untested(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "{why}");
    eprintln!("\nCOUNTERS OF A SERVER THAT CHANGES ARE NOT TESTED: {why}\n");
}
