//! Starts that cannot succeed, or not yet: each says which setting it is, and what to do.

use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::process::Command;

use crate::check::Verdict;
use crate::mode::{Engine, Engines};
use crate::process::{self, Process, Role};
use crate::raw;
use crate::system::migrate;
use crate::{Failure, say};

/// Nothing to choose.
#[derive(Debug, clap::Args)]
pub(crate) struct Plan {}

/// A place where nothing listens.
const NOWHERE: &str = "127.0.0.1:9";
/// How long `chatd` waits here for what may come, in seconds.
const START_DEADLINE_S: &str = "2";
/// Longer than a start may take that is told to give up.
const LIMIT: Duration = Duration::from_secs(45);
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Runs the case.
pub(crate) async fn run(_: &Plan, on: process::Plan, verdict: &mut Verdict) -> Result<(), Failure> {
    let engines = Arc::clone(on.mode.engines()?);
    let case = Case {
        on: &on,
        engines: &engines,
    };
    case.fails("not migrated", "api", &[], &["chatd migrate"], verdict)
        .await?;
    migrate(&on).await?;
    case.wrong_urls(verdict).await?;
    case.wrong_logins(verdict).await?;
    for engine in [Engine::Mariadb, Engine::Redis, Engine::Kafka] {
        case.not_yet(engine, verdict).await?;
    }
    case.without_index(verdict).await?;
    case.other_shapes(verdict).await?;
    engines.remove().await;
    Ok(())
}

struct Case<'a> {
    on: &'a process::Plan,
    engines: &'a Engines,
}

impl Case<'_> {
    fn command(&self, role: &str, environment: &[(&str, &str)]) -> Result<Command, Failure> {
        let mut command = self.on.mode.chatd(&self.on.chatd);
        let listen = process::free_port()?.to_string();
        command
            .arg(role)
            .args(["--listen", "127.0.0.1:0", "--admin-listen", &listen])
            .args(["--start-deadline-s", START_DEADLINE_S])
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        Ok(command)
    }

    /// Starts it with these settings; it is to end, and to say all of these words.
    async fn fails(
        &self,
        what: &'static str,
        role: &str,
        environment: &[(&str, &str)],
        words: &[&str],
        verdict: &mut Verdict,
    ) -> Result<(), Failure> {
        let started = Instant::now();
        let child = self.command(role, environment)?.spawn()?;
        let Ok(output) = tokio::time::timeout(LIMIT, child.wait_with_output()).await else {
            verdict.must("a start gives up", false, || what.to_owned());
            return Ok(());
        };
        let output = output?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let last = text.lines().last().unwrap_or_default().to_owned();
        say(&format!(
            "{what}: exit {} after {:.1} s: {last}",
            output.status.code().unwrap_or(-1),
            started.elapsed().as_secs_f64()
        ));
        verdict.must(
            "a start that cannot succeed fails",
            !output.status.success(),
            || what.to_owned(),
        );
        for word in words {
            verdict.must("setting and remedy are named", last.contains(word), || {
                format!("{what}: {word:?} is not in {last:?}")
            });
        }
        verdict.must("no secret is told", !text.contains("hush"), || text.clone());
        verdict.figure(what, last);
        Ok(())
    }

    async fn wrong_urls(&self, verdict: &mut Verdict) -> Result<(), Failure> {
        let database = format!("mysql://u:hush@{NOWHERE}/d");
        let redis = format!("redis://:hush@{NOWHERE}/0");
        let index = format!("http://u:hush@{NOWHERE}");
        let away: [(&'static str, &str, &str, &str, &str); 4] = [
            ("no database", "api", "DATABASE_URL", &database, "start"),
            ("no Redis", "api", "REDIS_URL", &redis, "start"),
            ("no Kafka", "api", "KAFKA_BROKERS", NOWHERE, "start"),
            (
                "no Elasticsearch",
                "migrate",
                "ELASTICSEARCH_URL",
                &index,
                "start",
            ),
        ];
        for (what, role, setting, url, remedy) in away {
            self.fails(what, role, &[(setting, url)], &[setting, remedy], verdict)
                .await?;
        }
        let wrong: [(&'static str, &str, &str); 3] = [
            ("no URL of a database", "DATABASE_URL", "mysql://"),
            ("no URL of Redis", "REDIS_URL", "redis://"),
            ("no URL of Elasticsearch", "ELASTICSEARCH_URL", "h://"),
        ];
        for (what, setting, remedy) in wrong {
            let words = match setting {
                "ELASTICSEARCH_URL" => [setting, "http://"],
                _ => [setting, remedy],
            };
            self.fails(what, "api", &[(setting, "hush")], &words, verdict)
                .await?;
        }
        let three = [("REDIS_URL", "")];
        let words = ["REDIS_URL", "all four"];
        self.fails("three URLs of four", "api", &three, &words, verdict)
            .await
    }

    async fn wrong_logins(&self, verdict: &mut Verdict) -> Result<(), Failure> {
        let right = std::env::var("DATABASE_URL")?;
        let (_, place) = right.rsplit_once('@').ok_or("DATABASE_URL has no login")?;
        let (host, _) = place
            .rsplit_once('/')
            .ok_or("DATABASE_URL has no database")?;
        let wrong = format!("mysql://chat:hush@{host}/{}", self.engines.database());
        let words = ["DATABASE_URL", "password"];
        self.fails(
            "wrong database password",
            "api",
            &[("DATABASE_URL", &wrong)],
            &words,
            verdict,
        )
        .await?;

        let redis = std::env::var("REDIS_URL")?;
        let place = redis.trim_start_matches("redis://");
        let wrong = format!("redis://:hush@{place}");
        let set = |word: &'static str| ["CONFIG", "SET", "requirepass", word];
        self.engines.tool(Engine::Redis, &set("right")).await?;
        let words = ["REDIS_URL", "password"];
        let no = self
            .fails("no Redis password", "api", &[], &words, verdict)
            .await;
        let wrong = [("REDIS_URL", wrong.as_str())];
        let other = self
            .fails("wrong Redis password", "api", &wrong, &words, verdict)
            .await;
        let mut free = vec!["-a", "right", "--no-auth-warning"];
        free.extend(set(""));
        self.engines.tool(Engine::Redis, &free).await?;
        no.and(other)
    }

    /// An engine that hangs while a process starts, and goes on later.
    async fn not_yet(&self, engine: Engine, verdict: &mut Verdict) -> Result<(), Failure> {
        self.engines.freeze(engine).await?;
        let waited = self.wait_for(engine).await;
        self.engines.thaw(engine).await?;
        let (mut process, said) = waited?;
        let took = process.ready().await?;
        process.kill().await?;
        let what = match engine {
            Engine::Mariadb => "database not up yet",
            Engine::Redis => "Redis not up yet",
            _ => "Kafka not up yet",
        };
        say(&format!("{what}: {said}"));
        verdict.figure(
            what,
            format!("{said} (ready {} ms after)", took.as_millis()),
        );
        Ok(())
    }

    /// Starts a process that has to wait; returns what it says.
    async fn wait_for(&self, engine: Engine) -> Result<(Process, String), Failure> {
        let process = Process::spawn(self.on, Role::Api, 100 + engine as usize)?;
        let started = Instant::now();
        loop {
            tokio::time::sleep(LOOK_AGAIN).await;
            let log = process.log()?;
            if let Some(at) = log.find("chatd waits: ") {
                let said = log[at..].lines().next().unwrap_or_default();
                let alive = raw::get(process.admin_address(), "/livez").await?;
                let ready = raw::get(process.admin_address(), "/readyz").await?;
                if (alive, ready) != (200, 503) {
                    return Err(format!("/livez {alive}, /readyz {ready}").into());
                }
                let said = said.split(" setting=").next().unwrap_or(said).to_owned();
                return Ok((process, said));
            }
            if started.elapsed() > LIMIT {
                return Err(format!("nobody says that {} is waited for", engine.name()).into());
            }
        }
    }

    /// Creates need no index, and neither does a start.
    async fn without_index(&self, verdict: &mut Verdict) -> Result<(), Failure> {
        self.engines.freeze(Engine::Elasticsearch).await?;
        let mut process = Process::spawn(self.on, Role::Api, 200)?;
        let ready = process.ready().await;
        self.engines.thaw(Engine::Elasticsearch).await?;
        let took = ready?;
        verdict.figure(
            "start without the index",
            format!("ready after {:.1} s", took.as_secs_f64()),
        );
        process.kill().await
    }

    async fn other_shapes(&self, verdict: &mut Verdict) -> Result<(), Failure> {
        let path = format!("/{}/_mapping", self.engines.index());
        let older = r#"{"_meta":{"chat_schema":0}}"#;
        self.engines
            .tool(Engine::Elasticsearch, &["PUT", &path, older])
            .await?;
        let words = ["ELASTICSEARCH_URL", "chatd migrate"];
        self.fails("index with an older mapping", "api", &[], &words, verdict)
            .await?;
        let topic = self.engines.topic("messages");
        let args = ["topics", "--alter", "--topic", &topic, "--partitions", "9"];
        self.engines.tool(Engine::Kafka, &args).await?;
        let words = ["KAFKA_BROKERS", "9 partitions", "partition count"];
        self.fails("topic with other partitions", "api", &[], &words, verdict)
            .await
    }
}
