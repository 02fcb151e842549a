//! The configuration file: TOML whose keys are the long flags.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::error::Error;
use crate::settings::KEYS;

/// Values by key, and the file that they came from.
#[derive(Debug, Default)]
pub(crate) struct ConfigFile {
    /// Where it is, or would be; `None` where the system has no such place.
    pub(crate) path: Option<PathBuf>,
    /// As text, whatever their type in the file.
    pub(crate) values: BTreeMap<String, String>,
}

impl ConfigFile {
    /// Reads the named file, or the one in the user's configuration directory if it is there.
    pub(crate) fn load(named: Option<PathBuf>) -> Result<Self, Error> {
        let must_exist = named.is_some();
        let Some(path) = named.or_else(default_path) else {
            return Ok(Self::default());
        };
        let values = match std::fs::read_to_string(&path) {
            Ok(text) => parse(&text)
                .map_err(|reason| Error::usage(format!("{}: {reason}", path.display())))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !must_exist => {
                BTreeMap::new()
            }
            Err(error) => return Err(Error::usage(format!("{}: {error}", path.display()))),
        };
        Ok(Self {
            path: Some(path),
            values,
        })
    }
}

/// `$XDG_CONFIG_HOME/chatctl/config.toml`, with the directory's usual defaults.
fn default_path() -> Option<PathBuf> {
    let directory = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let base = if cfg!(windows) {
        directory("APPDATA")
    } else {
        directory("XDG_CONFIG_HOME").or_else(|| directory("HOME").map(|home| home.join(".config")))
    };
    Some(base?.join("chatctl").join("config.toml"))
}

fn parse(text: &str) -> Result<BTreeMap<String, String>, String> {
    let table: toml::Table = text
        .parse()
        .map_err(|error: toml::de::Error| error.to_string().trim_end().to_owned())?;
    let mut values = BTreeMap::new();
    for (key, value) in table {
        if !KEYS.iter().any(|known| known.name == key) {
            let known: Vec<_> = KEYS.iter().map(|key| key.name).collect();
            return Err(format!(
                "there is no key {key:?}; the keys are {}",
                known.join(", ")
            ));
        }
        let text = match value {
            toml::Value::String(text) => text,
            toml::Value::Integer(number) => number.to_string(),
            toml::Value::Float(number) => number.to_string(),
            toml::Value::Boolean(flag) => flag.to_string(),
            _ => return Err(format!("{key} must be a text, a number, true or false")),
        };
        values.insert(key, text);
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_become_text() {
        let values = parse("server = \"http://a:1\"\nchat = 7\nno-input = true\ntimeout = 2.5\n");
        let expected = [
            ("chat", "7"),
            ("no-input", "true"),
            ("server", "http://a:1"),
            ("timeout", "2.5"),
        ];
        let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(values, Ok(BTreeMap::from(expected)));
    }

    #[test]
    fn mistakes_are_named() {
        assert!(parse("sever = 1").unwrap_err().contains("\"sever\""));
        assert!(parse("server = [1]").unwrap_err().starts_with("server"));
        assert!(parse("server =").unwrap_err().contains("line 1"));
    }
}
