//! `chatd config`: every setting, its value with secrets masked, and where it came from.

use std::collections::HashSet;

use clap::CommandFactory as _;
use clap::parser::ValueSource;

use super::Cli;
use super::engines::{Shown, masked};

/// One line a setting: its variable, its value, where that came from, what it is.
pub(super) fn report(
    matches: &clap::ArgMatches,
    before_dotenv: &HashSet<String>,
    kafka: &[Shown],
) -> String {
    // Global flags may stand before or behind the subcommand; clap keeps them in both places.
    let innermost = matches.subcommand().map_or(matches, |(_, inner)| inner);
    let mut rows = Vec::new();
    for arg in Cli::command().get_arguments() {
        let Some(variable) = arg
            .get_env()
            .map(|name| name.to_string_lossy().into_owned())
        else {
            continue;
        };
        let id = arg.get_id().as_str();
        let raw = innermost.get_raw(id).and_then(|mut values| values.next());
        let value = match raw {
            None => "(not set)".to_owned(),
            Some(value) if arg.is_hide_env_values_set() => {
                masked(&variable, &value.to_string_lossy())
            }
            Some(value) => value.to_string_lossy().into_owned(),
        };
        let source = match innermost.value_source(id) {
            None | Some(ValueSource::DefaultValue) => "default".to_owned(),
            Some(ValueSource::EnvVariable) if before_dotenv.contains(&variable) => {
                "environment".to_owned()
            }
            Some(ValueSource::EnvVariable) => ".env".to_owned(),
            _ => format!("--{}", arg.get_long().unwrap_or(id)),
        };
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        rows.push((variable, value, source, help));
    }
    for Shown {
        variable,
        value,
        source,
    } in kafka
    {
        rows.push((
            variable.clone(),
            value.clone(),
            match source {
                Some(flag) => (*flag).to_owned(),
                None if before_dotenv.contains(variable) => "environment".to_owned(),
                None => ".env".to_owned(),
            },
            "Passed to librdkafka".to_owned(),
        ));
    }
    let width = |column: fn(&(String, String, String, String)) -> usize| {
        rows.iter().map(column).max().unwrap_or(0)
    };
    let (first, second, third) = (
        width(|row| row.0.len()),
        width(|row| row.1.len()),
        width(|row| row.2.len()),
    );
    rows.iter()
        .map(|(variable, value, source, help)| {
            format!("{variable:first$}  {value:second$}  {source:third$}  {help}\n")
        })
        .collect()
}
