//! The command line: what can be typed. Doc comments here are the help text.

use std::path::PathBuf;

use clap::builder::{FalseyValueParser, PossibleValuesParser};
use clap::{Args, Parser, Subcommand};

use crate::commands;

/// Use and operate a chat backend: create, send, search, follow, import and export; see and mend
#[derive(Debug, Parser)]
#[command(
    name = "chatctl",
    version,
    disable_help_subcommand = true,
    max_term_width = 100,
    after_help = "Data goes to standard output, everything else to standard error.\n\
        `chatctl help COMMAND` explains a command, `chatctl help exit-codes` the exit codes."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Read by name in `settings`, which also knows the other layers.
#[derive(Debug, Args)]
#[command(next_help_heading = "Common options")]
struct Global {
    /// Address of the API [default: http://127.0.0.1:7700]
    #[arg(
        long,
        global = true,
        env = "CHATCTL_SERVER",
        value_name = "URL",
        hide_env_values = true
    )]
    server: Option<String>,

    /// Address of the admin listener [default: http://127.0.0.1:7701]
    #[arg(
        long,
        global = true,
        env = "CHATCTL_ADMIN",
        value_name = "URL",
        hide_env_values = true
    )]
    admin: Option<String>,

    /// Key of the admin listener; a flag can be seen by other users, so prefer the variable or the file
    #[arg(
        long = "admin-key",
        id = "admin-key",
        global = true,
        env = "CHATCTL_ADMIN_KEY",
        value_name = "KEY",
        hide_env_values = true
    )]
    admin_key: Option<String>,

    /// File that holds the key of the admin listener
    #[arg(
        long = "admin-key-file",
        id = "admin-key-file",
        global = true,
        env = "CHATCTL_ADMIN_KEY_FILE",
        value_name = "FILE",
        hide_env_values = true
    )]
    admin_key_file: Option<String>,

    /// Token of the application
    #[arg(
        long,
        global = true,
        env = "CHATCTL_APP",
        value_name = "TOKEN",
        hide_env_values = true
    )]
    app: Option<String>,

    /// Number of the chat
    #[arg(
        long,
        global = true,
        env = "CHATCTL_CHAT",
        value_name = "NUMBER",
        hide_env_values = true
    )]
    chat: Option<String>,

    /// Format of the output [default: table]
    #[arg(short, long, global = true, env = "CHATCTL_OUTPUT", value_name = "FORMAT", hide_env_values = true,
        value_parser = PossibleValuesParser::new(["table", "json", "ndjson", "yaml", "csv"]))]
    output: Option<String>,

    /// Print only the id (token or number), and no remarks
    #[arg(short, long, global = true, env = "CHATCTL_QUIET", hide_env_values = true,
        value_parser = FalseyValueParser::new())]
    quiet: bool,

    /// Longest wait for one answer, retries included: 500ms, 30s, 2m [default: 30s]
    #[arg(
        long,
        global = true,
        env = "CHATCTL_TIMEOUT",
        value_name = "TIME",
        hide_env_values = true
    )]
    timeout: Option<String>,

    /// Most retries of one call [default: 3, import 8]
    #[arg(
        long,
        global = true,
        env = "CHATCTL_RETRIES",
        value_name = "COUNT",
        hide_env_values = true
    )]
    retries: Option<String>,

    /// Never ask for what is missing, fail instead
    #[arg(long = "no-input", id = "no-input", global = true, env = "CHATCTL_NO_INPUT", hide_env_values = true,
        value_parser = FalseyValueParser::new())]
    no_input: bool,

    /// When to use colour [default: auto]
    #[arg(long, global = true, env = "CHATCTL_COLOR", value_name = "WHEN", hide_env_values = true,
        value_parser = PossibleValuesParser::new(["auto", "always", "never"]))]
    color: Option<String>,

    /// Tell of every request
    #[arg(short, long, global = true, env = "CHATCTL_VERBOSE", hide_env_values = true,
        value_parser = FalseyValueParser::new())]
    verbose: bool,

    /// Configuration file, TOML with the long flags as keys [default: chatctl/config.toml in the user's configuration directory]
    #[arg(
        long,
        global = true,
        env = "CHATCTL_CONFIG",
        value_name = "FILE",
        hide_env_values = true
    )]
    config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create, show, rename and list applications
    #[command(subcommand)]
    App(commands::app::Command),
    /// Create, show and list chats
    #[command(subcommand)]
    Chat(commands::chat::Command),
    /// Send, read, search, follow, edit and delete messages
    #[command(subcommand)]
    Msg(commands::msg::Command),
    Import(commands::import::Import),
    Export(commands::export::Export),
    /// Generate load, verify what became of it, and compare runs
    #[command(subcommand)]
    Load(commands::load::Command),
    Stats(commands::stats::StatsArgs),
    Lag(commands::lag::LagArgs),
    Drift(commands::drift::DriftArgs),
    Reconcile(commands::reconcile::Reconcile),
    /// List, show, replay and discard dead letters: records that could not be applied
    #[command(subcommand)]
    Dlq(commands::dlq::Command),
    Doctor(commands::doctor::Doctor),
    Dashboard(commands::dashboard::Dashboard),
    /// Show the settings and where they come from
    #[command(subcommand)]
    Config(commands::config::Command),
    Completions(commands::generate::Completions),
    Man(commands::generate::Man),
    Help(commands::help::Help),
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_key_is_a_flag_with_its_variable() {
        let command = Cli::command();
        for key in crate::settings::KEYS {
            let arg = command
                .get_arguments()
                .find(|arg| arg.get_id() == key.name)
                .unwrap_or_else(|| panic!("no flag for {}", key.name));
            assert_eq!(arg.get_long(), Some(key.name));
            assert_eq!(arg.get_env().and_then(|env| env.to_str()), Some(key.env));
        }
    }
}
