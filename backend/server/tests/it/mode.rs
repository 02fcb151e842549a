//! On what the server under test stands: the embedded default, or, where the four URLs are set, the
//! engines, with a database, topics, keys and an index for each test.

use std::ffi::OsString;
use std::path::Path;

use chat_server::boot;
use chat_server::config::Config;
use clap::Parser;

/// The flag for the time that the log has to acknowledge a create.
const CREATE_DEADLINE: &str = "--create-deadline-ms=";

/// The settings of a server on free ports, with its data in this directory or under its name.
pub(crate) fn config(data: &Path, flags: &[&str]) -> Config {
    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        config: Config,
    }
    let program = std::iter::once("chatd".into());
    Flags::parse_from(program.chain(line(data, flags))).config
}

/// The same as the flags of a command line.
pub(crate) fn line(data: &Path, flags: &[&str]) -> Vec<OsString> {
    let base = ["--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0"];
    let mut line: Vec<OsString> = base.iter().chain(flags).map(Into::into).collect();
    // A create that is not acknowledged in time is refused, as it should be; a test that is about
    // something else should not see it because the machine is busy.
    if !flags.iter().any(|flag| flag.starts_with(CREATE_DEADLINE)) {
        line.push(format!("{CREATE_DEADLINE}15000").into());
    }
    line.extend(["--data-dir".into(), data.into()]);
    if let Some(database) = database() {
        let name: String = data
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default()
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .collect::<String>()
            .to_ascii_lowercase();
        let (server, _) = database
            .rsplit_once('/')
            .expect("a URL ends with a database");
        let own = [
            format!("--database-url={server}/chat_{name}"),
            format!("--topic-prefix={name}."),
            format!("--redis-prefix={name}:"),
            format!("--index-prefix={name}-"),
            "--database-connections=6".to_owned(),
            "--messages-partitions=1".to_owned(),
            "--topic-partitions=1".to_owned(),
            "--index-replicas=0".to_owned(),
        ];
        line.extend(own.map(OsString::from));
    }
    line
}

/// Makes what a server wants to find.
pub(crate) async fn prepare(config: &Config) -> Result<(), boot::Error> {
    match config.engines.given() {
        true => boot::migrate(config).await,
        false => Ok(()),
    }
}

/// Whether this run is about the engines; a test that is about the embedded default alone ends then.
pub(crate) fn on_engines() -> bool {
    database().is_some()
}

/// The four URLs, where they are set.
#[cfg(feature = "failpoints")]
pub(crate) fn urls() -> impl Iterator<Item = (&'static str, String)> {
    let names = [
        "DATABASE_URL",
        "REDIS_URL",
        "KAFKA_BROKERS",
        "ELASTICSEARCH_URL",
    ];
    names
        .into_iter()
        .filter_map(|name| Some((name, std::env::var(name).ok()?)))
}

fn database() -> Option<String> {
    std::env::var("DATABASE_URL")
        .ok()
        .filter(|url| !url.is_empty())
}
