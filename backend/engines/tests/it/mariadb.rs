//! A MariaDB server of a test's own, which it may demote, copy, and replace by another one.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sqlx::mysql::MySqlConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, MySqlConnection};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep};

/// How long a server may take to answer.
const READY: Duration = Duration::from_secs(60);

/// A running server. It is ended when it is dropped, and its files are removed.
pub(crate) struct Server {
    child: Child,
    home: PathBuf,
    pub(crate) port: u16,
}

impl Server {
    /// One with empty tables, and a user `chat` who may use databases of this prefix, but nothing that would pass
    /// by `read_only`. `None` where this machine has no MariaDB.
    pub(crate) async fn fresh() -> Option<Self> {
        let home = home();
        let made = Command::new("mariadb-install-db")
            .arg("--no-defaults")
            .arg("--user=root")
            .arg("--skip-test-db")
            .arg("--auth-root-authentication-method=normal")
            .arg(format!("--datadir={}", home.display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        match made {
            Ok(status) => assert!(status.success(), "mariadb-install-db fails: {status}"),
            Err(error) => {
                untested(&format!("mariadb-install-db: {error}"));
                return None;
            }
        }
        std::fs::write(
            home.join("init.sql"),
            "CREATE USER IF NOT EXISTS chat@'%' IDENTIFIED BY 'chat';\n\
             GRANT ALL ON `chat\\_%`.* TO chat@'%';\n",
        )
        .unwrap();
        Some(Self::start(home, 1).await)
    }

    /// Another server with the same rows, as they are now.
    pub(crate) async fn copy(&mut self, server_id: u32) -> Self {
        self.stop();
        let home = home();
        copy(&self.home, &home);
        *self = Self::start(std::mem::take(&mut self.home), 1).await;
        Self::start(home, server_id).await
    }

    async fn start(home: PathBuf, server_id: u32) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .and_then(|free| free.local_addr())
            .unwrap()
            .port();
        let child = Command::new("mariadbd")
            .args(["--no-defaults", "--user=root", "--skip-log-bin"])
            .args(["--bind-address=127.0.0.1", "--skip-name-resolve"])
            .args(["--innodb-buffer-pool-size=32M", "--socket=mariadb.sock"])
            .arg(format!("--server-id={server_id}"))
            .arg(format!("--datadir={}", home.display()))
            .arg(format!("--init-file={}/init.sql", home.display()))
            .arg(format!("--port={port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self { child, home, port };
        let deadline = Instant::now() + READY;
        while server.try_root().await.is_err() {
            assert!(Instant::now() < deadline, "the server does not come up");
            sleep(Duration::from_millis(100)).await;
        }
        server
    }

    async fn try_root(&self) -> Result<MySqlConnection, sqlx::Error> {
        MySqlConnectOptions::new()
            .socket(self.home.join("mariadb.sock"))
            .username("root")
            .connect()
            .await
    }

    /// Runs a statement as one who may do everything.
    pub(crate) async fn run(&self, statement: &str) {
        let mut root = self.try_root().await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(statement.to_owned()))
            .execute(&mut root)
            .await
            .unwrap();
        root.close().await.unwrap();
    }

    /// The number that a query answers.
    pub(crate) async fn number(&self, query: &str) -> u64 {
        let mut root = self.try_root().await.unwrap();
        let found = sqlx::query_scalar(AssertSqlSafe(query.to_owned()))
            .fetch_one(&mut root)
            .await
            .unwrap();
        root.close().await.unwrap();
        found
    }

    fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
        if !self.home.as_os_str().is_empty() {
            let _ = std::fs::remove_dir_all(&self.home);
        }
    }
}

/// An address that leads to one server, and later to another: what is connected stays where it is, as with a
/// virtual address or a name that moves.
pub(crate) struct Address {
    pub(crate) port: u16,
    target: Arc<Mutex<u16>>,
}

impl Address {
    pub(crate) async fn of(server: &Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let target = Arc::new(Mutex::new(server.port));
        let leads = Arc::clone(&target);
        tokio::spawn(async move {
            while let Ok((mut from, _)) = listener.accept().await {
                let port = *leads.lock();
                tokio::spawn(async move {
                    if let Ok(mut to) = TcpStream::connect(("127.0.0.1", port)).await {
                        let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
                    }
                });
            }
        });
        Self { port, target }
    }

    pub(crate) fn lead_to(&self, server: &Server) {
        *self.target.lock() = server.port;
    }
}

fn home() -> PathBuf {
    let name = uuid::Uuid::new_v4().simple().to_string();
    // A socket's path may have some hundred characters.
    let home = std::env::temp_dir().join(format!("chat-{}", &name[..10]));
    std::fs::create_dir(&home).unwrap();
    home
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            std::fs::create_dir(&target).unwrap();
            copy(&entry.path(), &target);
        } else if kind.is_file() {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[expect(clippy::print_stderr, reason = "whoever runs the tests has to see it")]
fn untested(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "{why}");
    eprintln!("\nFAILOVER OF MARIADB IS NOT TESTED: {why}\n");
}
