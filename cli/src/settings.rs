//! What every command needs to know, and which layer said so: defaults, file, environment, flags.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::Duration;

use chat_wire::ids::ChatNumber;
use clap::ArgMatches;
use clap::parser::ValueSource;

use crate::config_file::ConfigFile;
use crate::error::Error;
use crate::output::{Color, Format};

/// One setting. Its flag is `--name`, its key in the file `name`.
#[derive(Debug)]
pub(crate) struct Key {
    /// As it is typed.
    pub(crate) name: &'static str,
    /// Its environment variable.
    pub(crate) env: &'static str,
    /// What holds where nothing is said.
    pub(crate) default: Option<&'static str>,
    /// Whether its value is a credential.
    pub(crate) secret: bool,
}

const fn key(name: &'static str, env: &'static str, default: Option<&'static str>) -> Key {
    Key {
        name,
        env,
        default,
        secret: false,
    }
}

const fn secret(name: &'static str, env: &'static str) -> Key {
    Key {
        name,
        env,
        default: None,
        secret: true,
    }
}

/// All settings, in the order in which they are shown.
pub(crate) const KEYS: &[Key] = &[
    key("server", "CHATCTL_SERVER", Some("http://127.0.0.1:7700")),
    key("admin", "CHATCTL_ADMIN", Some("http://127.0.0.1:7701")),
    secret("admin-key", "CHATCTL_ADMIN_KEY"),
    key("admin-key-file", "CHATCTL_ADMIN_KEY_FILE", None),
    secret("app", "CHATCTL_APP"),
    key("chat", "CHATCTL_CHAT", None),
    key("output", "CHATCTL_OUTPUT", Some("table")),
    key("quiet", "CHATCTL_QUIET", Some("false")),
    key("timeout", "CHATCTL_TIMEOUT", Some("30s")),
    key("retries", "CHATCTL_RETRIES", Some("3")),
    key("no-input", "CHATCTL_NO_INPUT", Some("false")),
    key("color", "CHATCTL_COLOR", Some("auto")),
    key("verbose", "CHATCTL_VERBOSE", Some("false")),
];

/// Who said it; later ones win.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Layer {
    /// Nobody.
    Default,
    /// The configuration file.
    File,
    /// An environment variable.
    Environment,
    /// A flag on the command line.
    Flag,
}

impl Layer {
    /// As it is shown.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::File => "file",
            Self::Environment => "environment",
            Self::Flag => "flag",
        }
    }
}

/// One setting and what each layer says of it.
#[derive(Debug)]
pub(crate) struct Resolved {
    /// Which one.
    pub(crate) key: &'static Key,
    /// From the strongest layer to the weakest.
    pub(crate) layers: [(Layer, Option<String>); 4],
}

impl Resolved {
    /// The strongest layer that says something, and what it says.
    pub(crate) fn chosen(&self) -> Option<(Layer, &str)> {
        self.layers
            .iter()
            .find_map(|(layer, value)| value.as_deref().map(|value| (*layer, value)))
    }
}

/// The settings of this run, checked once.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) server: String,
    pub(crate) admin: String,
    pub(crate) admin_key: Option<String>,
    pub(crate) app: Option<String>,
    pub(crate) chat: Option<ChatNumber>,
    pub(crate) format: Format,
    /// Whether the format was asked for on this very command line.
    pub(crate) format_is_flag: bool,
    pub(crate) quiet: bool,
    pub(crate) timeout: Duration,
    pub(crate) retries: u32,
    /// Whether nobody said how often to retry.
    pub(crate) retries_is_default: bool,
    pub(crate) no_input: bool,
    pub(crate) color: Color,
    pub(crate) verbose: bool,
    /// Where the configuration file is, or would be.
    pub(crate) file: Option<PathBuf>,
    /// The same before it was parsed, in order of [`KEYS`].
    pub(crate) resolved: Vec<Resolved>,
}

impl Settings {
    /// Gathers all layers.
    pub(crate) fn resolve(matches: &ArgMatches) -> Result<Self, Error> {
        let file = ConfigFile::load(matches.get_one::<PathBuf>("config").cloned())?;
        let resolved = KEYS
            .iter()
            .map(|key| Resolved {
                key,
                layers: [
                    (Layer::Flag, flag(matches, key)),
                    (Layer::Environment, environment(key)),
                    (Layer::File, file.values.get(key.name).cloned()),
                    (Layer::Default, key.default.map(str::to_owned)),
                ],
            })
            .collect();
        Self::parse(resolved, file.path)
    }

    /// Every credential that any layer holds, and the key that was read from a file.
    pub(crate) fn secrets(&self) -> Vec<String> {
        let of_keys = self.resolved.iter().filter(|resolved| resolved.key.secret);
        let values = of_keys.flat_map(|resolved| &resolved.layers);
        let values = values.filter_map(|(_, value)| value.clone());
        values.chain(self.admin_key.clone()).collect()
    }

    /// Whether the configuration file holds a credential.
    pub(crate) fn file_holds_secret(&self) -> bool {
        let of_keys = self.resolved.iter().filter(|resolved| resolved.key.secret);
        let mut layers = of_keys.flat_map(|resolved| &resolved.layers);
        layers.any(|(layer, value)| *layer == Layer::File && value.is_some())
    }

    fn parse(resolved: Vec<Resolved>, file: Option<PathBuf>) -> Result<Self, Error> {
        let find = |name: &str| {
            let found = resolved.iter().find(|resolved| resolved.key.name == name);
            found.expect("every name below is in KEYS")
        };
        let text = |name| find(name).chosen().map(|(_, value)| value.to_owned());
        let needed = |name| text(name).unwrap_or_default();
        Ok(Self {
            server: needed("server"),
            admin: needed("admin"),
            admin_key: admin_key(text("admin-key"), text("admin-key-file"))?,
            app: text("app"),
            chat: match text("chat") {
                Some(_) => Some(typed(
                    find("chat"),
                    |text| text.parse().ok(),
                    "a number from 1",
                )?),
                None => None,
            },
            format: typed(find("output"), Format::parse, Format::NAMES)?,
            format_is_flag: matches!(find("output").chosen(), Some((Layer::Flag, _))),
            quiet: typed(find("quiet"), boolean, "true or false")?,
            timeout: typed(
                find("timeout"),
                |text| duration(text).ok(),
                "a time like 30s, 500ms or 2m",
            )?,
            retries: typed(find("retries"), |text| text.parse().ok(), "a whole number")?,
            retries_is_default: matches!(find("retries").chosen(), Some((Layer::Default, _))),
            no_input: typed(find("no-input"), boolean, "true or false")?,
            color: typed(find("color"), Color::parse, Color::NAMES)?,
            verbose: typed(find("verbose"), boolean, "true or false")?,
            file,
            resolved,
        })
    }
}

/// Where a layer keeps a key, as it is shown.
pub(crate) fn place(key: &Key, layer: Layer, file: Option<&std::path::Path>) -> String {
    match layer {
        Layer::Flag => format!("--{}", key.name),
        Layer::Environment => key.env.to_owned(),
        Layer::File => file.map_or_else(String::new, |path| path.display().to_string()),
        Layer::Default => String::new(),
    }
}

/// Reads a length of time: `500ms`, `30s`, `2m`, `1h`, or plain seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit_ms = match &text[digits.len()..] {
        "ms" => 1.0,
        "" | "s" => 1_000.0,
        "m" => 60_000.0,
        "h" => 3_600_000.0,
        unit => {
            return Err(format!(
                "{unit:?} is no unit of time; there are ms, s, m and h"
            ));
        }
    };
    let wrong = || format!("{text:?} is no time like 30s, 500ms or 2m");
    let number: f64 = digits.parse().map_err(|_| wrong())?;
    let seconds = number * unit_ms / 1_000.0;
    let time = Duration::try_from_secs_f64(seconds).map_err(|_| wrong())?;
    // A year is for ever, and sums with it cannot overflow the clock.
    if time.is_zero() || time > Duration::from_secs(366 * 24 * 3_600) {
        return Err(wrong());
    }
    Ok(time)
}

fn typed<T>(
    resolved: &Resolved,
    parse: impl FnOnce(&str) -> Option<T>,
    expected: &str,
) -> Result<T, Error> {
    let (layer, text) = resolved.chosen().unwrap_or((Layer::Default, ""));
    parse(text).ok_or_else(|| {
        let name = match layer {
            Layer::Environment => resolved.key.env.to_owned(),
            Layer::File => format!("{} in the configuration file", resolved.key.name),
            Layer::Flag | Layer::Default => format!("--{}", resolved.key.name),
        };
        Error::usage(format!("{name} is {text:?}, but must be {expected}"))
    })
}

fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    }
}

fn flag(matches: &ArgMatches, key: &Key) -> Option<String> {
    if matches.value_source(key.name) != Some(ValueSource::CommandLine) {
        return None;
    }
    let given = matches.get_raw(key.name).and_then(Iterator::last);
    // A switch is given without a value.
    Some(given.map_or_else(|| "true".to_owned(), lossy))
}

/// An empty variable says nothing.
fn environment(key: &Key) -> Option<String> {
    std::env::var_os(key.env)
        .filter(|value| !value.is_empty())
        .map(|value| lossy(&value))
}

fn lossy(text: &OsStr) -> String {
    text.to_string_lossy().into_owned()
}

fn admin_key(key: Option<String>, file: Option<String>) -> Result<Option<String>, Error> {
    let Some(path) = file.filter(|_| key.is_none()) else {
        return Ok(key);
    };
    let text = std::fs::read_to_string(&path).map_err(|error| Error::file(&path, &error))?;
    Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        for (text, ms) in [
            ("500ms", 500),
            ("30s", 30_000),
            ("2m", 120_000),
            ("1h", 3_600_000),
            ("5", 5_000),
            ("0.5s", 500),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "s", "0", "-1s", "1 s", "1y", "nan", "inf", "1e99h"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_strongest_layer_is_chosen() {
        let resolved = Resolved {
            key: &KEYS[0],
            layers: [
                (Layer::Flag, None),
                (Layer::Environment, Some("env".to_owned())),
                (Layer::File, Some("file".to_owned())),
                (Layer::Default, Some("default".to_owned())),
            ],
        };
        assert_eq!(resolved.chosen(), Some((Layer::Environment, "env")));
    }
}
