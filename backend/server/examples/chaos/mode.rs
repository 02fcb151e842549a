//! On what the backend under test stands: the embedded default, or four engines of its own names.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::Failure;

/// The four settings; without the engines none of them may reach the program.
const SETTINGS: [&str; 4] = [
    "DATABASE_URL",
    "REDIS_URL",
    "KAFKA_BROKERS",
    "ELASTICSEARCH_URL",
];

/// One of the servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Engine {
    /// The log
    Kafka,
    /// The counters
    Redis,
    /// The store
    Mariadb,
    /// The index
    Elasticsearch,
}

impl Engine {
    /// As `scripts/engines` names it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Kafka => "kafka",
            Self::Redis => "redis",
            Self::Mariadb => "mariadb",
            Self::Elasticsearch => "elasticsearch",
        }
    }
}

/// One of the two ways to run.
#[derive(Debug, Clone)]
pub(crate) enum Mode {
    /// One process with its data in a directory.
    Embedded,
    /// Processes that share the engines.
    Engines(Arc<Engines>),
}

/// A database, topics, keys and an index that nothing else uses.
#[derive(Debug, Clone)]
pub(crate) struct Engines {
    script: PathBuf,
    name: String,
    urls: [String; SETTINGS.len()],
    /// Partitions of the topics of applications and chats.
    pub(crate) partitions: u32,
    /// Partitions of the topic of messages.
    messages_partitions: u32,
}

/// Enough that several workers have something to read.
const PARTITIONS: u32 = 4;

impl Mode {
    /// The program, told where to work.
    pub(crate) fn chatd(&self, program: &std::path::Path) -> Command {
        let mut command = Command::new(program);
        for setting in SETTINGS {
            command.env_remove(setting);
        }
        if let Self::Engines(engines) = self {
            for (setting, url) in SETTINGS.iter().zip(&engines.urls) {
                command.env(setting, url);
            }
            command.args(engines.flags());
        }
        command
    }

    /// The engines, for what only they can suffer.
    pub(crate) fn engines(&self) -> Result<&Arc<Engines>, Failure> {
        match self {
            Self::Engines(engines) => Ok(engines),
            Self::Embedded => Err("this case is about the engines: give --engines".into()),
        }
    }
}

impl Engines {
    /// From the four URLs in the environment, under a name of its own.
    pub(crate) fn from_environment(script: PathBuf, name: String) -> Result<Self, Failure> {
        let url = |setting: &str| {
            std::env::var(setting)
                .map_err(|_| format!("{setting} is not set: source <(scripts/engines env)"))
        };
        let [database, redis, kafka, elasticsearch] = SETTINGS.map(url);
        let database = database?;
        let (server, _) = database
            .rsplit_once('/')
            .ok_or("DATABASE_URL ends without a database")?;
        Ok(Self {
            script,
            urls: [
                format!("{server}/chat_{name}"),
                redis?,
                kafka?,
                elasticsearch?,
            ],
            name,
            partitions: PARTITIONS,
            messages_partitions: PARTITIONS,
        })
    }

    /// Where Kafka is.
    pub(crate) fn kafka(&self) -> &str {
        &self.urls[2]
    }

    /// The same, with Kafka reached elsewhere.
    pub(crate) fn through(&self, kafka: &str) -> Self {
        let mut other = self.clone();
        kafka.clone_into(&mut other.urls[2]);
        other
    }

    /// The same, with so many partitions for messages.
    pub(crate) fn with_partitions(&self, messages_partitions: u32) -> Self {
        Self {
            messages_partitions,
            ..self.clone()
        }
    }

    fn flags(&self) -> Vec<String> {
        let Self {
            name,
            partitions,
            messages_partitions,
            ..
        } = self;
        vec![
            format!("--topic-prefix={name}."),
            format!("--redis-prefix={name}:"),
            format!("--index-prefix={name}-"),
            format!("--messages-partitions={messages_partitions}"),
            format!("--topic-partitions={partitions}"),
            "--index-replicas=0".to_owned(),
            "--database-connections=8".to_owned(),
        ]
    }

    /// The database.
    pub(crate) fn database(&self) -> String {
        format!("chat_{}", self.name)
    }

    /// A topic's name in Kafka.
    pub(crate) fn topic(&self, topic: &str) -> String {
        format!("{}.{topic}", self.name)
    }

    /// A key's name in Redis.
    pub(crate) fn key(&self, key: &str) -> String {
        format!("{}:{key}", self.name)
    }

    /// The index's name.
    pub(crate) fn index(&self) -> String {
        format!("{}-messages-000001", self.name)
    }

    /// Runs an engine's own client; returns what it prints.
    pub(crate) async fn tool(&self, engine: Engine, args: &[&str]) -> Result<String, Failure> {
        self.tool_with(engine, args, "").await
    }

    /// Runs an engine's own client with something on its standard input.
    pub(crate) async fn tool_with(
        &self,
        engine: Engine,
        args: &[&str],
        input: &str,
    ) -> Result<String, Failure> {
        let mut child = Command::new(&self.script)
            .args(["tool", engine.name()])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut stdin = child.stdin.take().ok_or("a pipe is missing")?;
        // A tool that reads nothing closes its end; what it says then is in its status.
        let _ = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        let output = child.wait_with_output().await?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("{} {args:?}: {}", engine.name(), said.trim()).into());
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Suspends an engine; whoever was connected stays connected and hears nothing.
    pub(crate) async fn freeze(&self, engine: Engine) -> Result<(), Failure> {
        self.signal(engine, "-STOP").await
    }

    /// Lets it go on.
    pub(crate) async fn thaw(&self, engine: Engine) -> Result<(), Failure> {
        self.signal(engine, "-CONT").await
    }

    /// Ends an engine as a failing machine would.
    pub(crate) async fn kill(&self, engine: Engine) -> Result<(), Failure> {
        self.signal(engine, "-KILL").await
    }

    /// Starts an engine that was ended; returns when it answers.
    pub(crate) async fn up(&self, engine: Engine) -> Result<(), Failure> {
        self.script(&["up", engine.name()]).await.map(drop)
    }

    /// Stops an engine; returns when it has.
    pub(crate) async fn down(&self, engine: Engine) -> Result<(), Failure> {
        self.script(&["down", engine.name()]).await.map(drop)
    }

    /// Keeps a copy of what an engine holds.
    pub(crate) async fn copy(&self, engine: Engine) -> Result<(), Failure> {
        self.script(&["copy", engine.name()]).await.map(drop)
    }

    /// Puts the copy in place of what an engine holds; returns when it answers again.
    pub(crate) async fn roll_back(&self, engine: Engine) -> Result<(), Failure> {
        self.script(&["rollback", engine.name()]).await.map(drop)
    }

    /// Takes from an engine all that it holds; returns when it answers again.
    pub(crate) async fn empty(&self, engine: Engine) -> Result<(), Failure> {
        self.script(&["reset", engine.name()]).await.map(drop)
    }

    async fn signal(&self, engine: Engine, signal: &str) -> Result<(), Failure> {
        let pid = self.script(&["pid", engine.name()]).await?;
        send(signal, pid.trim().parse()?).await
    }

    async fn script(&self, args: &[&str]) -> Result<String, Failure> {
        let output = Command::new(&self.script)
            .args(args)
            .stdin(Stdio::null())
            .output()
            .await?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into());
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Removes what the case made.
    pub(crate) async fn remove(&self) {
        // What is left behind harms nobody but the disk.
        let _ = self.script(&["drop", &self.name]).await;
    }
}

/// Sends a signal to a process by its number.
pub(crate) async fn send(signal: &str, pid: u32) -> Result<(), Failure> {
    let status = Command::new("kill")
        .args([signal, &pid.to_string()])
        .status()
        .await?;
    match status.success() {
        true => Ok(()),
        false => Err(format!("kill {signal} {pid}: {status}").into()),
    }
}
