//! The chats that are damaged, and what `chatctl` and the dashboard say of them.

use std::time::Duration;

use chat_client::client::{Client, Create};
use chat_wire::admin::drift::Verdict as Judged;
use chat_wire::ids::{AppToken, ChatNumber};
use chat_wire::messages::NewMessage;
use serde_json::Value;

use crate::damage::{Damage, Place};
use crate::system::{SETTLING, System};
use crate::{Failure, say};

/// Messages of a chat that is damaged.
pub(super) const MESSAGES: u32 = 10;

/// Chats that are or will be damaged, each in its own way.
pub(super) struct Broken {
    pub(super) token: AppToken,
    pub(super) chats: Vec<(Damage, ChatNumber)>,
}

impl Broken {
    /// Fresh chats of an application, one for each damage of this mode.
    pub(super) async fn prepare(system: &System, token: AppToken) -> Result<Self, Failure> {
        let client = system.client()?;
        let mode = &system.plan.mode;
        let mut chats = Vec::new();
        for damage in Damage::ALL {
            if damage.text(mode).is_some() {
                chats.push((damage, filled(&client, token, MESSAGES).await?));
            }
        }
        Ok(Self { token, chats })
    }

    /// Does what can be done while nothing runs, or everything else.
    pub(super) async fn damage(&self, system: &System, stopped: bool) -> Result<(), Failure> {
        let (mode, data) = (&system.plan.mode, system.plan.data());
        for (damage, chat) in &self.chats {
            if damage.needs_stop(mode) == stopped {
                let place = Place {
                    token: self.token,
                    chat: *chat,
                };
                damage.at(place, mode, &data).await?;
            }
        }
        Ok(())
    }

    /// Does what needs everything to be stopped, if anything does.
    pub(super) async fn damage_stopped(&self, system: &mut System) -> Result<(), Failure> {
        let mode = system.plan.mode.clone();
        if !self.chats.iter().any(|(one, _)| one.needs_stop(&mode)) {
            return Ok(());
        }
        for process in &mut system.processes {
            process.terminate(SETTLING).await?;
        }
        self.damage(system, true).await?;
        for process in &mut system.processes {
            process.respawn()?;
        }
        system.ready().await.map(drop)
    }
}

/// When something was found, and in which words.
pub(super) struct Found {
    pub(super) after: Duration,
    pub(super) details: String,
}

/// Whether a frame has a row for this chat with this verdict.
pub(super) fn is_shown(frame: &str, chat: ChatNumber, verdict: Judged) -> bool {
    let (words, chat) = (verdict.as_str().replace('_', " "), chat.to_string());
    frame.lines().any(|line| {
        let mut cells = line.split_whitespace();
        // While its topic is still read, a document that is missing may only be late.
        let late = verdict == Judged::Unindexed && line.contains("the index still reads");
        (line.contains(&words) || late) && cells.any(|cell| cell == chat)
    })
}

/// A chat and its verdict, of a row in JSON.
pub(super) fn judged(row: &Value) -> Option<(ChatNumber, &str)> {
    let chat = u32::try_from(row["chat"].as_u64()?).ok()?;
    Some((ChatNumber::new(chat)?, row["verdict"].as_str()?))
}

pub(super) fn details(row: &Value) -> String {
    let all = row["details"].as_array().into_iter().flatten();
    all.filter_map(Value::as_str).collect::<Vec<_>>().join("; ")
}

pub(super) fn row(
    scene: &str,
    done: &str,
    verdict: Judged,
    after: Option<Duration>,
    details: &str,
) {
    let after = after.map_or_else(
        || "not found".to_owned(),
        |after| format!("after {:>4.1} s", after.as_secs_f64()),
    );
    let verdict = verdict.as_str();
    say(&format!(
        "{scene:<11} {done:<41} {verdict:<15} {after}  {details}"
    ));
}

/// A chat with so many messages.
pub(super) async fn filled(
    client: &Client,
    token: AppToken,
    messages: u32,
) -> Result<ChatNumber, Failure> {
    let created = client.create_chat(token, &Create::default()).await?;
    let chat = created.value.chat_number;
    for _ in 0..messages {
        say_in(client, token, chat).await?;
    }
    Ok(chat)
}

pub(super) async fn say_in(
    client: &Client,
    token: AppToken,
    chat: ChatNumber,
) -> Result<(), Failure> {
    let message = NewMessage {
        body: "needle in here".to_owned(),
        sender: None,
        sent_at: None,
    };
    let create = Create::default();
    client
        .create_message(token, chat, &message, &create)
        .await?;
    Ok(())
}
