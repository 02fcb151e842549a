//! `--bundle`: everything that was found, in one file that can be passed on.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use chat_wire::admin::dlq::LetterPage;
use chat_wire::admin::doctor::Examined;
use chat_wire::time::Timestamp;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;
use serde_json::{Value, json};

use super::here::Reached;
use super::redact::{Redactor, unquoted};
use super::there::Answers;
use crate::error::Error;
use crate::session::Session;

const README: &str = "What `chatctl doctor --bundle` found. Keys, passwords, tokens, names of \
applications and texts of messages are not in it; each token is replaced by a name of its own.\n\n\
doctor.json    the checks, in the order in which they should be mended\n\
settings.json  the settings of chatctl and where they come from\n\
versions.json  versions, the time, the system\n\
stats.json     one snapshot\n\
lag.json       every group, by partition\n\
drift.json     how many have which verdict\n\
runs.json      the run of reconciliation at work, and the last one\n\
dlq.json       dead letters that wait, without their bytes\n\
metrics.txt    as Prometheus reads them\n";

/// Writes the file; it must not exist.
pub(super) async fn write(
    path: &Path,
    session: &Session,
    checks: &[Examined],
    reached: &Reached,
    answers: &Answers,
) -> Result<(), Error> {
    let mut redactor = Redactor::new(session.settings.secrets());
    let files = files(session, checks, reached, answers);
    let files = files
        .into_iter()
        .map(|(name, text)| (name, redactor.text(&text)))
        .collect::<Vec<_>>();
    let failed = |error: std::io::Error| Error::file(&path.display().to_string(), &error);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path).map_err(failed)?;
    pack(file, &files).map_err(failed)
}

fn pack(file: impl Write, files: &[(&'static str, String)]) -> std::io::Result<()> {
    let now = u64::try_from(Timestamp::now().as_micros() / 1_000_000).unwrap_or(0);
    let mut archive = tar::Builder::new(GzEncoder::new(file, Compression::default()));
    for (name, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(now);
        let name = format!("chat-doctor/{name}");
        archive.append_data(&mut header, name, text.as_bytes())?;
    }
    archive.into_inner()?.finish()?.flush()
}

fn files(
    session: &Session,
    checks: &[Examined],
    reached: &Reached,
    answers: &Answers,
) -> Vec<(&'static str, String)> {
    let drift = answers.drift.as_ref().map(|drift| match drift {
        Ok(page) => Ok(json!({"compared_at": page.compared_at, "summary": page.summary})),
        Err(error) => Err(error),
    });
    let letters = answers.letters.as_ref();
    let letters = letters.map(|letters| letters.as_ref().map(summary));
    vec![
        ("README.txt", README.to_owned()),
        ("doctor.json", pretty(&json!({ "checks": checks }))),
        ("settings.json", pretty(&settings(session))),
        ("versions.json", pretty(&versions(reached, answers))),
        ("stats.json", answer(as_ref(&answers.stats))),
        ("lag.json", answer(as_ref(&answers.lag))),
        ("drift.json", answer(drift)),
        ("runs.json", answer(as_ref(&answers.runs))),
        ("dlq.json", answer(letters)),
        (
            "metrics.txt",
            match &answers.metrics {
                Some(Ok(text)) => text.clone(),
                Some(Err(error)) => format!("# {}\n", error.message),
                None => "# not asked: the admin listener does not answer\n".to_owned(),
            },
        ),
    ]
}

fn as_ref<T>(answer: &Option<Result<T, Error>>) -> Option<Result<&T, &Error>> {
    answer.as_ref().map(Result::as_ref)
}

fn answer<T: Serialize>(answer: Option<Result<T, &Error>>) -> String {
    match answer {
        Some(Ok(found)) => pretty(&found),
        Some(Err(error)) => pretty(&json!({"code": error.code, "error": error.message})),
        None => pretty(&json!({"error": "not asked: the admin listener does not answer"})),
    }
}

fn pretty(value: &impl Serialize) -> String {
    let mut text = serde_json::to_string_pretty(value).expect("our own types become JSON");
    text.push('\n');
    text
}

/// Every setting; credentials only as far as that they are there.
fn settings(session: &Session) -> Value {
    let settings = session.settings.resolved.iter().map(|resolved| {
        let chosen = resolved.chosen();
        let value = chosen.map(|(_, value)| if resolved.key.secret { "***" } else { value });
        let layer = chosen.map(|(layer, _)| layer.name());
        json!({"key": resolved.key.name, "value": value, "layer": layer})
    });
    settings.collect()
}

fn versions(reached: &Reached, answers: &Answers) -> Value {
    let probe = |probe: &Result<_, Error>| match probe {
        Ok(chat_client::probe::Probe {
            elapsed,
            date,
            version,
            ..
        }) => {
            json!({"elapsed_ms": super::here::millis(*elapsed), "date": date, "version": version})
        }
        Err(error) => json!({"error": error.message}),
    };
    json!({
        "at": Timestamp::now(),
        "chatctl": env!("CARGO_PKG_VERSION"),
        "system": std::env::consts::OS,
        "architecture": std::env::consts::ARCH,
        "api": probe(&reached.api),
        "admin": probe(&reached.admin),
        "admin_version": answers.version(),
    })
}

/// Dead letters by topic, event and reason, the oldest of each, and no bytes.
fn summary(page: &LetterPage) -> Value {
    let mut kinds: BTreeMap<(String, String, String), (u64, Timestamp)> = BTreeMap::new();
    for letter in &page.letters {
        let origin = letter.origin.as_ref();
        let topic = origin.map_or_else(String::new, |place| place.topic.clone());
        let event = letter.event.clone().unwrap_or_default();
        let kind = (topic, event, unquoted(&letter.reason));
        let (count, oldest) = kinds.entry(kind).or_insert((0, letter.buried_at));
        *count += 1;
        *oldest = (*oldest).min(letter.buried_at);
    }
    let kinds = kinds.into_iter().map(|((topic, event, reason), (count, oldest))| {
        json!({"topic": topic, "event": event, "reason": reason, "count": count, "oldest": oldest})
    });
    json!({
        "waiting": page.waiting,
        "looked_at": page.letters.len(),
        "kinds": kinds.collect::<Value>(),
    })
}
