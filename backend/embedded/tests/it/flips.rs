//! Single bits of a data directory are flipped: nothing of what is served then is wrong without anybody
//! having been told.
//!
//! `CHAT_FLIPS` is how many bits, each in a copy of its own; `CHAT_FLIPS_SEED` where to begin.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use chat_embedded::offline;
use chat_embedded::open::{Config, open};

use crate::directory::{Ledger, compare, copy_dir, drain, fill, flip};

/// What was met with a flipped bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Met {
    /// The directory does not open, and says why.
    AtOpen,
    /// It opens, says in its log that the index is damaged, and makes it again.
    Rebuilt,
    /// A read or a worker says so.
    OnRead,
    /// A record became a dead letter.
    DeadLetter,
    /// Everything is as it was, and a check finds the damage.
    ByCheck,
    /// Everything is as it was.
    Harmless,
    /// Something else was served and nobody was told.
    Silent,
}

/// splitmix64.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % end
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_is_never_served_silently() {
    let dir = tempfile::tempdir().unwrap();
    let origin = dir.path().join("origin");
    let ledger = fill(&origin).await;
    let files = files(&origin);
    let mut random = Random(setting("CHAT_FLIPS_SEED", 1));
    let mut table: BTreeMap<(String, Met), u64> = BTreeMap::new();
    let mut silent = Vec::new();
    for nth in 0..setting("CHAT_FLIPS", 40) {
        // The databases as often as the index, whose files are many.
        let file = match nth % 3 {
            0 => PathBuf::from("log.db"),
            1 => PathBuf::from("store.db"),
            _ => files[random.below(files.len() as u64) as usize].clone(),
        };
        let kind = if file.starts_with("index") {
            "index/"
        } else {
            file.to_str().unwrap()
        };
        let copy = dir.path().join(format!("flip-{nth}"));
        copy_dir(&origin, &copy);
        let len = std::fs::metadata(copy.join(&file)).unwrap().len();
        let (byte, bit) = (random.below(len.max(1)), random.below(8));
        flip(&copy.join(&file), byte, bit);
        let checked = dir.path().join(format!("check-{nth}"));
        copy_dir(&copy, &checked);
        let (met, why) = meet(&copy, &checked, &ledger).await;
        if met == Met::Silent {
            silent.push(format!(
                "flip {nth}: {} byte {byte} bit {bit}: {why}",
                file.display()
            ));
        }
        *table.entry((kind.to_owned(), met)).or_default() += 1;
        std::fs::remove_dir_all(&copy).unwrap();
        std::fs::remove_dir_all(&checked).unwrap();
    }
    let lines: Vec<String> = table
        .iter()
        .map(|((file, met), times)| format!("{file:9} {:11} {times}", format!("{met:?}")))
        .collect();
    // Captured unless the test runs with `--nocapture`.
    writeln!(std::io::stdout(), "{}", lines.join("\n")).unwrap();
    assert!(
        silent.is_empty(),
        "{}\n{}",
        lines.join("\n"),
        silent.join("\n")
    );
}

/// Opens a damaged directory and uses all of it.
async fn meet(dir: &Path, checked: &Path, ledger: &Ledger) -> (Met, String) {
    let ports = match open(&Config::new(dir)).await {
        Ok(ports) => ports,
        Err(error) => return (Met::AtOpen, error.to_string()),
    };
    let (used, wanted) = (ports.clone(), ledger.clone());
    // What panics has not served anything.
    let served = tokio::spawn(async move {
        let dead = drain(&used).await?;
        Ok::<_, String>((dead, compare(&used, &wanted, dead).await?))
    })
    .await;
    ports.life.close().await;
    let is_rebuilt = std::fs::read_dir(dir).unwrap().any(|entry| {
        let name = entry.unwrap().file_name();
        name.to_string_lossy().starts_with("index.damaged-")
    });
    let report = offline::check(checked).await;
    let found = match &report {
        Ok(report) => (!report.is_sound()).then(|| report.to_string()),
        Err(error) => Some(error.to_string()),
    };
    match served {
        Err(panic) => (Met::OnRead, panic.to_string()),
        Ok(Err(told)) => (Met::OnRead, told),
        Ok(Ok((_, Some(wrong)))) => (Met::Silent, format!("{wrong}; the check finds {found:?}")),
        Ok(Ok((1.., None))) => (Met::DeadLetter, String::new()),
        Ok(Ok((0, None))) if is_rebuilt => (Met::Rebuilt, String::new()),
        Ok(Ok((0, None))) => match found {
            Some(found) => (Met::ByCheck, found),
            None => (Met::Harmless, String::new()),
        },
    }
}

/// The files of the index that a flip can hit, relative to the directory.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir.join("index"))
        .unwrap()
        .map(|entry| PathBuf::from("index").join(entry.unwrap().file_name()))
        .filter(|file| std::fs::metadata(dir.join(file)).unwrap().len() > 0)
        .collect();
    files.sort();
    files
}
