//! Configuration: defaults, then `.env`, then the environment, then flags.

mod engines;
mod report;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use self::engines::Engines;
use self::report::report;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

/// Why the process cannot start with what it was given.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `.env` cannot be read.
    #[error(".env cannot be read: {0}; mend the line or remove the file")]
    DotEnv(#[from] dotenvy::Error),
    /// The admin listener would be open to others.
    #[error(
        "CHATD_ADMIN_LISTEN is {0}, which others can reach, and there is no CHATD_ADMIN_KEY; \
         set a key, or listen on 127.0.0.1"
    )]
    OpenAdmin(SocketAddr),
    /// There is no mixing of engines.
    #[error(
        "{} set, {} not; set all four to use the engines, or none for the embedded default", .given.join(", "), .missing.join(", ")
    )]
    SomeEngines {
        /// The variables that are set.
        given: Vec<&'static str>,
        /// The ones that are missing.
        missing: Vec<&'static str>,
    },
    /// A setting for librdkafka is none.
    #[error(
        "--kafka {0}: write NAME=VALUE, with a name of librdkafka, for example sasl.mechanism=PLAIN"
    )]
    Kafka(String),
    /// No failpoint is meant by CHATD_FAILPOINT.
    #[cfg(feature = "failpoints")]
    #[error("CHATD_FAILPOINT: {0}")]
    Failpoint(#[from] chat_core::failpoint::Mistake),
    /// The program was built for the embedded default alone.
    #[error("{} set, and this chatd was built without the engines; build it with the feature `engines`", .0.join(", "))]
    WithoutEngines(Vec<&'static str>),
}

/// Shortest retention of the log; none where a test waits for retention to crash in the middle of it.
const RETENTION_HOURS_MIN: i64 = if cfg!(feature = "failpoints") { 0 } else { 1 };

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Everything that can be set.
#[derive(Debug, Clone, Args)]
pub struct Config {
    /// Address of the API
    #[arg(
        long,
        env = "CHATD_LISTEN",
        default_value = "127.0.0.1:7700",
        global = true
    )]
    pub listen: SocketAddr,

    /// Address of health, metrics and administration
    #[arg(
        long,
        env = "CHATD_ADMIN_LISTEN",
        default_value = "127.0.0.1:7701",
        global = true
    )]
    pub admin_listen: SocketAddr,

    /// Bearer key of the admin listener; needed where that is not loopback
    #[arg(long, env = "CHATD_ADMIN_KEY", hide_env_values = true, global = true)]
    pub admin_key: Option<String>,

    /// Directory of log, store and index
    #[arg(long, env = "CHATD_DATA_DIR", default_value_os_t = default_data_dir(), global = true)]
    pub data_dir: PathBuf,

    /// Milliseconds in which the log must acknowledge a create
    #[arg(long, env = "CHATD_CREATE_DEADLINE_MS", default_value_t = 5_000, global = true,
          value_parser = clap::value_parser!(u64).range(100..=60_000))]
    pub create_deadline_ms: u64,

    /// Messages a second that one application may create in each API process, where nothing else was set for
    /// it; 0 for no limit
    #[arg(long, env = "CHATD_RATE_LIMIT", default_value_t = 0, global = true)]
    pub rate_limit: u32,

    /// Applications a second that may be created in each API process; 0 for no limit
    #[arg(
        long,
        env = "CHATD_APPLICATIONS_RATE_LIMIT",
        default_value_t = 500,
        global = true
    )]
    pub applications_rate_limit: u32,

    /// Records that a consumer group may be behind before creates are answered 503; 0 for no limit
    #[arg(
        long,
        env = "CHATD_LAG_MAX",
        default_value_t = 2_000_000,
        global = true
    )]
    pub lag_max: u64,

    /// The same in MiB, by the mean size of the records that came in lately; 0 for no limit
    #[arg(
        long,
        env = "CHATD_LAG_MAX_MIB",
        default_value_t = 4_096,
        global = true
    )]
    pub lag_max_mib: u64,

    /// Requests at work at the same time; what comes beyond is answered 503
    #[arg(long, env = "CHATD_MAX_IN_FLIGHT", default_value_t = 2_048, global = true,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_in_flight: u32,

    /// Open connections; what comes beyond waits
    #[arg(long, env = "CHATD_MAX_CONNECTIONS", default_value_t = 10_000, global = true,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_connections: u32,

    /// Hours that records stay in the log: 24 on the embedded default, 336 on Kafka, where `migrate` sets it
    #[arg(long, env = "CHATD_LOG_RETENTION_HOURS", global = true,
          value_parser = clap::value_parser!(u32).range(RETENTION_HOURS_MIN..=100_000))]
    pub log_retention_hours: Option<u32>,

    /// Nice value of `chatd worker`: where processors are short, the API and the engines go first; 0 for none
    #[arg(long, env = "CHATD_WORKER_NICE", default_value_t = 10, global = true,
          value_parser = clap::value_parser!(u8).range(0..=19))]
    pub worker_nice: u8,

    /// Milliseconds that requests and workers have to finish when the process is told to stop
    #[arg(
        long,
        env = "CHATD_STOP_DEADLINE_MS",
        default_value_t = 10_000,
        global = true
    )]
    pub stop_deadline_ms: u64,

    /// Seconds that an engine may take to come up when the process starts; without it, as long as it takes
    #[arg(long, env = "CHATD_START_DEADLINE_S", global = true)]
    pub start_deadline_s: Option<u64>,

    /// Milliseconds between two kept looks at the lag; a status is judged over the last 60 of them
    #[arg(long, env = "CHATD_LAG_EVERY_MS", default_value_t = 5_000, global = true,
          value_parser = clap::value_parser!(u64).range(10..=600_000))]
    pub lag_every_ms: u64,

    /// Between two reconciliations of what changed: seconds, or 90s, 10m, 1h; 0 for none
    #[arg(long, env = "CHATD_RECONCILE_EVERY", default_value = "10m", global = true,
          value_parser = duration)]
    pub reconcile_every: Duration,

    /// What is logged: a level, or directives as in tracing's EnvFilter
    #[arg(long, env = "CHATD_LOG", default_value = "info", global = true)]
    pub log: String,

    /// Form of log lines
    #[arg(
        long,
        env = "CHATD_LOG_FORMAT",
        value_enum,
        default_value = "text",
        global = true
    )]
    pub log_format: LogFormat,

    /// MySQL, Kafka, Redis and Elasticsearch
    #[command(flatten)]
    pub engines: Engines,
}

impl Config {
    /// The create deadline.
    #[must_use]
    pub const fn create_deadline(&self) -> Duration {
        Duration::from_millis(self.create_deadline_ms)
    }

    /// The deadline of a stop.
    #[must_use]
    pub const fn stop_deadline(&self) -> Duration {
        Duration::from_millis(self.stop_deadline_ms)
    }

    /// The deadline of a start, if there is one.
    #[must_use]
    pub fn start_deadline(&self) -> Option<Duration> {
        self.start_deadline_s.map(Duration::from_secs)
    }

    /// Between two kept looks at the lag.
    #[must_use]
    pub const fn lag_every(&self) -> Duration {
        Duration::from_millis(self.lag_every_ms)
    }

    fn check(&self) -> Result<(), Error> {
        if !self.admin_listen.ip().is_loopback()
            && self.admin_key.as_deref().is_none_or(str::is_empty)
        {
            return Err(Error::OpenAdmin(self.admin_listen));
        }
        self.engines.check()
    }
}

/// Reads seconds, or a number with `s`, `m` or `h`.
fn duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let (number, unit) = match text.strip_suffix(['s', 'm', 'h']) {
        Some(number) => (number, &text[number.len()..]),
        None => (text, "s"),
    };
    let seconds = match unit {
        "h" => 3_600,
        "m" => 60,
        _ => 1,
    };
    let number: u32 = number
        .trim()
        .parse()
        .map_err(|_| "write seconds, or a number with s, m or h, such as 10m".to_owned())?;
    Ok(Duration::from_secs(u64::from(number) * seconds))
}

/// `$XDG_DATA_HOME/chatd`, `~/.local/share/chatd`, or `chatd-data` here where there is no home.
fn default_data_dir() -> PathBuf {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    set("XDG_DATA_HOME")
        .map(|data| PathBuf::from(data).join("chatd"))
        .or_else(|| set("HOME").map(|home| PathBuf::from(home).join(".local/share/chatd")))
        .unwrap_or_else(|| PathBuf::from("chatd-data"))
}

/// What the process was asked to do.
#[derive(Debug)]
pub enum Command {
    /// The API and all workers.
    Serve,
    /// Only the API.
    Api,
    /// One worker.
    Worker(Worker),
    /// Create or update the schemas, then end.
    Migrate,
    /// Read everything in the data directory and list what is damaged.
    Check(Output),
    /// Copy what is intact in the data directory into this new one.
    Salvage(PathBuf, Output),
    /// Print this text: every setting, its value and where it came from.
    Config(String),
    /// Print the API's description.
    Openapi,
    /// Print the names of the failpoints, and what each lies between.
    #[cfg(feature = "failpoints")]
    Failpoints,
}

/// The form of what a command finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

/// The workers by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Worker {
    /// Applications into the store
    Applications,
    /// Chats into the store
    Chats,
    /// Messages into the store
    Messages,
    /// Messages into the search index
    Search,
}

/// The chat backend
///
/// Without a command it runs the API and all workers in one process: on SQLite and tantivy in the data directory,
/// or on MySQL, Kafka, Redis and Elasticsearch where their four URLs are set.
#[derive(Debug, Parser)]
#[command(name = "chatd", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<CliCommand>,
    #[command(flatten)]
    config: Config,
}

#[derive(Debug, Subcommand)]
enum CliCommand {
    /// Run only the API
    Api,
    /// Run only one worker
    Worker {
        /// Which one
        name: Worker,
    },
    /// Create or update the schemas, then end
    Migrate,
    /// Read everything in the data directory of a stopped chatd, and list what is damaged; exit 1 if anything is
    Check {
        /// The form of the list
        #[arg(short, long, value_enum, default_value = "text")]
        output: Output,
    },
    /// Copy what is intact in the data directory of a stopped chatd into a new one, and list what is not; exit 1 if
    /// anything is not
    Salvage {
        /// The new data directory, which must not exist
        #[arg(long)]
        to: PathBuf,
        /// The form of the list
        #[arg(short, long, value_enum, default_value = "text")]
        output: Output,
    },
    /// Print every setting, its value and where it came from
    Config,
    /// Print the OpenAPI document of the API
    Openapi,
    /// Print the failpoints that CHATD_FAILPOINT=NAME[:COUNT] can arm, one a line: name, adapters, meaning
    #[cfg(feature = "failpoints")]
    Failpoints,
}

/// A parsed command line.
#[derive(Debug)]
pub struct Startup {
    /// What to do.
    pub command: Command,
    /// With which settings.
    pub config: Config,
}

impl Startup {
    /// Reads `.env`, the environment and the command line; on `--help` and on bad flags the process ends here.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn from_process() -> Result<Self, Error> {
        let before: HashSet<String> = std::env::vars().map(|(name, _)| name).collect();
        match dotenvy::dotenv() {
            Ok(_) => {}
            Err(error) if error.not_found() => {}
            Err(error) => return Err(error.into()),
        }
        let matches = Cli::command().get_matches();
        let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
        cli.config.check()?;
        #[cfg(feature = "failpoints")]
        if let Ok(text) = std::env::var("CHATD_FAILPOINT") {
            chat_core::failpoint::arm(&text)?;
        }
        let command = match cli.command {
            None => Command::Serve,
            Some(CliCommand::Api) => Command::Api,
            Some(CliCommand::Worker { name }) => Command::Worker(name),
            Some(CliCommand::Migrate) => Command::Migrate,
            Some(CliCommand::Check { output }) => Command::Check(output),
            Some(CliCommand::Salvage { to, output }) => Command::Salvage(to, output),
            Some(CliCommand::Config) => {
                Command::Config(report(&matches, &before, &cli.config.engines.shown()))
            }
            Some(CliCommand::Openapi) => Command::Openapi,
            #[cfg(feature = "failpoints")]
            Some(CliCommand::Failpoints) => Command::Failpoints,
        };
        Ok(Self {
            command,
            config: cli.config,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn durations_are_read() {
        let seconds = |text| duration(text).map(|duration| duration.as_secs());
        for (text, expected) in [
            ("0", 0),
            ("90", 90),
            ("90s", 90),
            ("10m", 600),
            ("1h", 3_600),
        ] {
            assert_eq!(seconds(text), Ok(expected), "{text}");
        }
        for wrong in ["", "m", "1d", "-1", "1.5m"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_open_admin_listener_needs_a_key() {
        let parse = |args: &[&str]| Cli::try_parse_from(args).unwrap().config.check();
        assert!(parse(&["chatd", "--admin-listen", "0.0.0.0:1"]).is_err());
        assert!(parse(&["chatd", "--admin-listen", "0.0.0.0:1", "--admin-key", "k"]).is_ok());
        assert!(parse(&["chatd", "--admin-listen", "[::1]:1"]).is_ok());
    }

    #[test]
    fn the_report_masks_the_key_and_names_the_source() {
        let args = [
            "chatd",
            "config",
            "--admin-key",
            "hush",
            "--rate-limit",
            "7",
        ];
        let matches = Cli::command().get_matches_from(args);
        let report = report(&matches, &HashSet::new(), &[]);
        assert!(!report.contains("hush"));
        let line = report
            .lines()
            .find(|line| line.starts_with("CHATD_RATE_LIMIT"))
            .unwrap();
        assert!(
            line.contains('7') && line.contains("--rate-limit"),
            "{line}"
        );
    }
}
