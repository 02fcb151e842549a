//! The real messages: imported by `chatctl`, then compared with the file.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::time::Instant;

use chat_client::client::{Client, Create};
use chat_wire::ids::{AppToken, ChatNumber};
use chat_wire::messages::Message;
use chat_wire::time::Timestamp;
use serde::Deserialize;
use tokio::process::Command;

use crate::check::{Verdict, all_messages};
use crate::exact;
use crate::load;
use crate::process::{self, Process};
use crate::system::{SETTLING, Shape, System};
use crate::{Failure, say};

/// What to import, and how many searches to compare.
#[derive(Debug, clap::Args)]
pub(crate) struct Plan {
    /// NDJSON, compressed with gzip
    #[arg(long, default_value = "scripts/data/ubuntu-irc.ndjson.gz")]
    file: PathBuf,
    /// The program that imports
    #[arg(long, default_value = "target/release/chatctl")]
    chatctl: PathBuf,
    /// Random fragments of 1 to 20 characters of the bodies
    #[arg(long, default_value_t = 1_000)]
    fragments: usize,
    /// Fragments around a metacharacter
    #[arg(long, default_value_t = 200)]
    metacharacters: usize,
}

#[derive(Debug, Deserialize)]
struct Line {
    chat: String,
    sender: Option<String>,
    sent_at: Option<Timestamp>,
    body: String,
}

/// Runs the case.
pub(crate) async fn run(
    plan: &Plan,
    on: process::Plan,
    shape: Shape,
    seed: u64,
    verdict: &mut Verdict,
) -> Result<(), Failure> {
    let chats = read(&plan.file)?;
    let lines: usize = chats.iter().map(Vec::len).sum();
    let system = System::start(on, shape).await?;
    let client = system.client()?;
    let server = system.serving().next().ok_or("nothing serves")?;
    // A neighbour with the same words: nothing of it may ever be found.
    let other = neighbour(&client, &chats).await?;

    say(&format!("importing {lines} messages"));
    let started = Instant::now();
    let token = import(plan, server).await?;
    verdict.figure("imported", lines);
    verdict.figure(
        "searchable after",
        format!("{:.1} s", started.elapsed().as_secs_f64()),
    );
    if let Some((now, peak)) = server.memory() {
        verdict.figure("memory", format!("{now} MiB now, {peak} MiB at the most"));
    }

    let mut stored: Vec<Message> = Vec::with_capacity(lines);
    for (number, lines) in (1..).zip(&chats) {
        let chat = ChatNumber::new(number).ok_or("a chat has the number 0")?;
        stored.extend(compare(&client, token, chat, lines, verdict).await?);
    }
    let application = client.application(token).await?;
    verdict.figure("rows", stored.len());
    verdict.must(
        "chats_count equals rows",
        application.chats_count as usize == chats.len(),
        || {
            format!(
                "chats_count is {}, there are {}",
                application.chats_count,
                chats.len()
            )
        },
    );

    say("comparing searches with a scan of all bodies");
    let truth = exact::Truth::new(token, other, stored);
    truth
        .compare(&client, plan.fragments, plan.metacharacters, seed, verdict)
        .await?;
    system.drained(SETTLING).await?;
    system.end().await
}

/// The lines by chat, in order of first appearance, as an import numbers them.
fn read(file: &PathBuf) -> Result<Vec<Vec<Line>>, Failure> {
    let reader = BufReader::new(flate2::read::MultiGzDecoder::new(std::fs::File::open(
        file,
    )?));
    let mut index: HashMap<String, usize> = HashMap::new();
    let mut chats: Vec<Vec<Line>> = Vec::new();
    for line in reader.lines() {
        let line: Line = serde_json::from_str(&line?)?;
        let nth = *index.entry(line.chat.clone()).or_insert_with(|| {
            chats.push(Vec::new());
            chats.len() - 1
        });
        chats[nth].push(line);
    }
    Ok(chats)
}

async fn neighbour(client: &Client, chats: &[Vec<Line>]) -> Result<AppToken, Failure> {
    let (token, numbers) = load::application(client, "neighbour", 1).await?;
    let chat = numbers[0];
    let lines: Vec<u8> = chats
        .iter()
        .filter_map(|lines| lines.first())
        .flat_map(|line| {
            let mut json = serde_json::json!({ "body": line.body })
                .to_string()
                .into_bytes();
            json.push(b'\n');
            json
        })
        .collect();
    client
        .create_batch(token, chat, lines.into(), &Create::default())
        .await?;
    Ok(token)
}

async fn import(plan: &Plan, server: &Process) -> Result<AppToken, Failure> {
    let output = Command::new(&plan.chatctl)
        .args([
            "import",
            "--new-app",
            "real",
            "--wait",
            "indexed",
            "-o",
            "json",
        ])
        .arg("--server")
        .arg(server.api())
        .arg("--admin")
        .arg(server.admin_url())
        .arg(&plan.file)
        .output()
        .await
        .map_err(|error| format!("{} cannot be started: {error}", plan.chatctl.display()))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let token = summary["token"]
        .as_str()
        .ok_or("the import printed no token")?;
    Ok(token.parse()?)
}

async fn compare(
    client: &Client,
    token: AppToken,
    chat: ChatNumber,
    lines: &[Line],
    verdict: &mut Verdict,
) -> Result<Vec<Message>, Failure> {
    let (messages, settled) = all_messages(client, token, chat).await?;
    let numbers = messages
        .iter()
        .map(|message| message.message_number.get() as usize);
    verdict.must(
        "numbers are 1..N without a hole",
        numbers.eq(1..=lines.len()) && settled as usize == lines.len(),
        || {
            format!(
                "chat {chat}: {} rows for {} lines",
                messages.len(),
                lines.len()
            )
        },
    );
    for (message, line) in messages.iter().zip(lines) {
        let same = message.body == line.body
            && message.sender == line.sender
            && message.sent_at == line.sent_at;
        verdict.must("stored as it was sent", same, || {
            format!(
                "chat {chat}, message {} differs from its line",
                message.message_number
            )
        });
    }
    let counted = client.chat(token, chat).await?.messages_count;
    verdict.must(
        "messages_count equals rows",
        counted as usize == messages.len(),
        || {
            format!(
                "chat {chat}: counted {counted}, there are {}",
                messages.len()
            )
        },
    );
    Ok(messages)
}
