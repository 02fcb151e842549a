//! `chatctl config`: the settings, and who said so.

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::error::Error;
use crate::exit::Exit;
use crate::output::table::{Cell, Column, left};
use crate::output::{Format, Record};
use crate::session::Session;
use crate::settings::{KEYS, Key, Resolved, place};

/// Characters of a credential that are shown, enough to recognise it.
const SECRET_CHARS_SHOWN: usize = 4;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show every setting, its value and where it comes from
    Show,
    Explain(Explain),
}

/// Show what each layer says about one setting, and which layer wins
#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// Name of the setting, like its long flag
    #[arg(value_parser = PossibleValuesParser::new(KEYS.iter().map(|key| key.name)))]
    key: String,
}

/// One setting, or one layer of it.
#[derive(Debug, Serialize)]
struct Setting {
    key: &'static str,
    value: Option<String>,
    layer: &'static str,
    from: String,
}

impl Record for Setting {
    const FIELDS: &'static [&'static str] = &["key", "value", "layer", "from"];
    const COLUMNS: &'static [Column] = &[left("KEY"), left("VALUE"), left("LAYER"), left("FROM")];

    fn cells(&self) -> Vec<Cell> {
        vec![
            Cell::show(self.key),
            Cell::text(self.value.as_deref().unwrap_or("-")),
            Cell::show(self.layer),
            Cell::text(&self.from),
        ]
    }

    fn id(&self) -> String {
        self.value.clone().unwrap_or_default()
    }
}

/// One setting with all its layers.
#[derive(Debug, Serialize)]
struct Explained {
    key: &'static str,
    value: Option<String>,
    layer: &'static str,
    from: String,
    layers: Vec<Said>,
}

/// What one layer says.
#[derive(Debug, Serialize)]
struct Said {
    layer: &'static str,
    from: String,
    value: Option<String>,
    used: bool,
}

impl Record for Said {
    const FIELDS: &'static [&'static str] = &["layer", "from", "value", "used"];
    const COLUMNS: &'static [Column] = &[left("USED"), left("LAYER"), left("FROM"), left("VALUE")];

    fn cells(&self) -> Vec<Cell> {
        vec![
            Cell::show(if self.used { "yes" } else { "" }),
            Cell::show(self.layer),
            Cell::text(&self.from),
            Cell::text(self.value.as_deref().unwrap_or("-")),
        ]
    }

    fn id(&self) -> String {
        self.value.clone().unwrap_or_default()
    }
}

impl Record for Explained {
    const FIELDS: &'static [&'static str] = &["key", "value", "layer", "from", "layers"];
    const COLUMNS: &'static [Column] = Setting::COLUMNS;

    fn cells(&self) -> Vec<Cell> {
        Vec::new()
    }

    fn id(&self) -> String {
        self.value.clone().unwrap_or_default()
    }
}

impl Command {
    pub(crate) fn run(self, session: &mut Session) -> Result<Exit, Error> {
        match self {
            Self::Show => show(session)?,
            Self::Explain(command) => command.run(session)?,
        }
        Ok(Exit::Ok)
    }
}

fn show(session: &mut Session) -> Result<(), Error> {
    let settings = &session.settings;
    let mut list = session.out.list::<Setting>();
    for resolved in &settings.resolved {
        list.push(&setting(resolved, settings.file.as_deref()))?;
    }
    list.finish()
}

impl Explain {
    fn run(self, session: &mut Session) -> Result<(), Error> {
        let settings = &session.settings;
        let file = settings.file.as_deref();
        let resolved = settings
            .resolved
            .iter()
            .find(|resolved| resolved.key.name == self.key)
            .expect("clap lets only known keys through");
        let chosen = resolved.chosen().map(|(layer, _)| layer);
        let layers = resolved.layers.iter().map(|(layer, value)| Said {
            layer: layer.name(),
            from: place(resolved.key, *layer, file),
            value: value.as_deref().map(|value| masked(resolved.key, value)),
            used: Some(*layer) == chosen,
        });
        if session.out.format() == Format::Table && !session.out.quiet() {
            let mut list = session.out.list::<Said>();
            for said in layers {
                list.push(&said)?;
            }
            return list.finish();
        }
        let Setting {
            key,
            value,
            layer,
            from,
        } = setting(resolved, file);
        session.out.one(&Explained {
            key,
            value,
            layer,
            from,
            layers: layers.collect(),
        })
    }
}

fn setting(resolved: &Resolved, file: Option<&std::path::Path>) -> Setting {
    let chosen = resolved.chosen();
    Setting {
        key: resolved.key.name,
        value: chosen.map(|(_, value)| masked(resolved.key, value)),
        layer: chosen.map_or("-", |(layer, _)| layer.name()),
        from: chosen.map_or_else(String::new, |(layer, _)| place(resolved.key, layer, file)),
    }
}

/// Credentials end up in screenshots and bug reports.
fn masked(key: &Key, value: &str) -> String {
    if !key.secret {
        return value.to_owned();
    }
    let shown = if value.chars().count() > 4 * SECRET_CHARS_SHOWN {
        value.chars().take(SECRET_CHARS_SHOWN).collect()
    } else {
        String::new()
    };
    format!("{shown}…")
}
