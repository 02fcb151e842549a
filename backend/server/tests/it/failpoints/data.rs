//! The data of a server under test, changed from outside while no server has them.

use std::path::Path;

use chat_core::port::Ports;
use chat_core::port::log::{NewRecord, PartitionId, Topic};
use chat_core::port::store::{ChatKey, Writes};
use chat_embedded::open;
use chat_server::boot::{Role, Running};
use chat_server::config::Config;
use chat_wire::time::Timestamp;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection as _, Executor as _, SqliteConnection};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::child::Child;
use crate::harness::{self, Chat};
use crate::mode;

/// The data, where nobody else has them.
pub(super) struct Data<'a> {
    path: &'a Path,
    config: Config,
}

impl<'a> Data<'a> {
    pub(super) fn new(path: &'a Path) -> Self {
        let config = Child::config(path);
        Self { path, config }
    }

    /// The ports, to be closed afterwards.
    async fn open(&self) -> Opened {
        if mode::on_engines() {
            let config = self.config.clone();
            let running = Running::start(config, Role::Api).await.unwrap();
            let ports = running.backend().ports().clone();
            let running = Some(running);
            return Opened { ports, running };
        }
        let ports = open::open(&open::Config::new(self.path)).await.unwrap();
        let running = None;
        Opened { ports, running }
    }

    pub(super) async fn append(&self, topic: Topic, record: NewRecord) {
        let opened = self.open().await;
        harness::append(opened.ports.log.as_ref(), topic, record).await;
        opened.close().await;
    }

    /// Makes the count of a chat higher than its messages are many.
    pub(super) async fn falsify_count(&self, chat: Chat) {
        let opened = self.open().await;
        let mut tx = opened.ports.store.begin_free().await.unwrap();
        let (token, chat) = (chat.token, chat.number);
        let mut rows = tx.chats(&[ChatKey { token, chat }]).await.unwrap();
        rows[0].messages_count += 5;
        let writes = Writes {
            update_chats: rows,
            ..Writes::default()
        };
        tx.write(writes).await.unwrap();
        tx.commit(&[]).await.unwrap();
        opened.close().await;
    }

    /// Makes claims of replays so old that nobody holds them: they hold for a minute.
    pub(super) async fn age_claims(&self) {
        let opened = self.open().await;
        let Ports { store, log, .. } = &opened.ports;
        let partition = PartitionId {
            topic: Topic::MessagesDlq,
            index: 0,
        };
        let epoch = log.epoch(partition.topic).await.unwrap();
        let rows = store
            .letters(partition, epoch, 0, u64::from(u32::MAX))
            .await;
        let mut rows = rows.unwrap();
        let long_ago = Timestamp::from_micros(1).unwrap();
        for row in &mut rows {
            row.at = long_ago;
        }
        store.decide(&rows, long_ago).await.unwrap();
        opened.close().await;
    }

    /// On the store.
    pub(super) async fn sql(&self, text: &'static str) {
        match &self.config.engines.database_url {
            Some(url) => {
                let mut mysql = sqlx::MySqlConnection::connect(url).await.unwrap();
                mysql.execute(text).await.unwrap();
                mysql.close().await.unwrap();
            }
            None => sqlite(&self.path.join("store.db"), text).await,
        }
    }

    pub(super) async fn forbid_long_senders(&self) {
        self.sql(match mode::on_engines() {
            true => "ALTER TABLE messages MODIFY sender VARCHAR(10) NULL",
            false => {
                "CREATE TRIGGER short_senders BEFORE INSERT ON messages WHEN length(NEW.sender) > 10 \
                 BEGIN SELECT RAISE(ABORT, 'the sender is too long'); END"
            }
        })
        .await;
    }

    pub(super) async fn allow_long_senders(&self) {
        self.sql(match mode::on_engines() {
            true => "ALTER TABLE messages MODIFY sender VARCHAR(255) NULL",
            false => "DROP TRIGGER short_senders",
        })
        .await;
    }

    /// On the engines; the embedded counters are gone with every process.
    pub(super) async fn forget_counters(&self) {
        let engines = &self.config.engines;
        let Some(url) = &engines.redis_url else {
            return;
        };
        forget_keys(url, &engines.redis_prefix).await;
    }
}

struct Opened {
    ports: Ports,
    /// Whose they are, on the engines.
    running: Option<Running>,
}

impl Opened {
    async fn close(self) {
        match self.running {
            Some(running) => running.stop().await,
            None => self.ports.life.close().await,
        }
    }
}

/// Removes the keys that begin so, as a server of Redis that lost them.
async fn forget_keys(url: &str, prefix: &str) {
    let server = url.trim_start_matches("redis://").split('/').next();
    let mut redis = TcpStream::connect(server.unwrap()).await.unwrap();
    let script = "for _, key in ipairs(redis.call('KEYS', ARGV[1])) do \
                  redis.call('DEL', key) end return 'gone'";
    let words = ["EVAL", script, "0", &format!("{prefix}*")];
    let mut command = format!("*{}\r\n", words.len());
    for word in words {
        command += &format!("${}\r\n{word}\r\n", word.len());
    }
    redis.write_all(command.as_bytes()).await.unwrap();
    let mut answer = [0; 10];
    redis.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"$4\r\ngone\r\n");
}

async fn sqlite(file: &Path, text: &'static str) {
    let options = SqliteConnectOptions::new().filename(file);
    let mut sqlite = SqliteConnection::connect_with(&options).await.unwrap();
    sqlite.execute(text).await.unwrap();
    sqlite.close().await.unwrap();
}
