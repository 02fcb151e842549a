//! Storms of edits and deletes: the highest revision wins in store and index, and what was deleted
//! never comes back (invariant: highest-revision-wins).

use std::sync::Arc;
use std::time::{Duration, Instant};

use chat_client::client::{Client, Create};
use chat_client::error::Error;
use chat_client::key::IdempotencyKey;
use chat_client::search::Query;
use chat_wire::ids::{AppToken, ChatNumber, MessageNumber};
use chat_wire::messages::{EditMessage, NewMessage};
use chat_wire::problem::Code;
use chat_wire::search::Sort;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::task::JoinSet;

use crate::check::Verdict;
use crate::damage;
use crate::ledger::Ledger;
use crate::load;
use crate::mode::Mode;
use crate::process;
use crate::system::{SETTLING, Shape, System};
use crate::{Failure, say};

/// How much.
#[derive(Debug, clap::Args)]
pub(crate) struct Plan {
    /// Messages, each with a storm of its own
    #[arg(long, default_value_t = 1_000)]
    messages: usize,
    /// Chats that they are spread over
    #[arg(long, default_value_t = 5)]
    chats: u32,
    /// Storms at once
    #[arg(long, default_value_t = 32)]
    connections: usize,
    /// Seconds after which what was deleted is delivered once more
    #[arg(long, default_value_t = 65)]
    later: u64,
}

/// How long one change is tried.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(50);
/// Between two kills during the storms.
const KILL_EVERY: Duration = Duration::from_millis(500);
/// Between two changes of one message, at most: there should be time for kills.
const CHANGE_WITHIN_MS: u64 = 200;

/// One message and what may have become of it.
struct Story {
    chat: ChatNumber,
    number: MessageNumber,
    /// What the last change that was acknowledged may have left; empty where it was deleted.
    possible: Vec<String>,
    /// Everything that it ever was, by the part that is its own.
    tokens: Vec<String>,
    changes: usize,
}

/// One request.
enum Change {
    Create(ChatNumber, IdempotencyKey, String),
    Edit(ChatNumber, MessageNumber, String),
    Delete(ChatNumber, MessageNumber),
}

struct Storms {
    clients: Vec<Client>,
    token: AppToken,
    chats: Vec<ChatNumber>,
    ledger: Ledger,
}

/// Runs the case.
pub(crate) async fn run(
    plan: &Plan,
    on: process::Plan,
    shape: Shape,
    seed: u64,
    verdict: &mut Verdict,
) -> Result<(), Failure> {
    let mut system = System::start(on, shape).await?;
    let clients = system.clients()?;
    let (token, chats) = load::application(&clients[0], "revisions", plan.chats).await?;
    let storms = Arc::new(Storms {
        clients,
        token,
        chats,
        ledger: Ledger::create(&system.plan.work)?,
    });
    let stories = rage(plan, &mut system, &storms, seed, verdict).await?;
    system.ready().await?;
    system.drained(SETTLING).await?;
    compare("after the storms", &storms, &stories, verdict).await?;

    tell_again(&mut system, &["messages-store", "messages-index"], verdict).await?;
    compare("all delivered again", &storms, &stories, verdict).await?;
    tokio::time::sleep(Duration::from_secs(plan.later)).await;
    tell_again(&mut system, &["messages-index"], verdict).await?;
    compare("and later once more", &storms, &stories, verdict).await?;
    system.end().await
}

/// All storms, while processes are killed.
async fn rage(
    plan: &Plan,
    system: &mut System,
    storms: &Arc<Storms>,
    seed: u64,
    verdict: &mut Verdict,
) -> Result<Vec<Story>, Failure> {
    let mut rng = StdRng::seed_from_u64(seed);
    let (mut running, mut stories, mut kills) = (JoinSet::new(), Vec::new(), 0);
    let mut begun = 0;
    let mut kill_at = Instant::now() + KILL_EVERY;
    while begun < plan.messages || !running.is_empty() {
        while begun < plan.messages && running.len() < plan.connections {
            let rng = StdRng::seed_from_u64(seed ^ (begun as u64 + 1));
            running.spawn(Arc::clone(storms).story(begun, rng));
            begun += 1;
        }
        if let Ok(Some(done)) = tokio::time::timeout(PAUSE, running.join_next()).await {
            stories.push(done??);
        }
        if Instant::now() > kill_at {
            system.any(&mut rng).kill_and_respawn().await?;
            if matches!(system.plan.mode, Mode::Embedded) {
                system.ready().await?;
            }
            kills += 1;
            kill_at = Instant::now() + KILL_EVERY;
        }
    }
    let deleted = stories.iter().filter(|story| story.possible.is_empty());
    verdict.figure("messages", stories.len());
    verdict.figure("deleted", deleted.count());
    verdict.figure(
        "changes",
        stories.iter().map(|story| story.changes).sum::<usize>(),
    );
    verdict.happened("kills", kills);
    Ok(stories)
}

/// Has the workers read their topic from the beginning: every record comes a second time, long after
/// what came behind it.
async fn tell_again(
    system: &mut System,
    groups: &[&str],
    verdict: &mut Verdict,
) -> Result<(), Failure> {
    say(&format!("positions of {} back to 0", groups.join(" and ")));
    let (mode, data) = (system.plan.mode.clone(), system.plan.data());
    system.stop_applying().await?;
    damage::read_again(groups, &mode, &data).await?;
    system.go_on_applying().await?;
    system.drained(SETTLING).await?;
    verdict.happened("events told again", system.applied().await?);
    Ok(())
}

/// Compares every message, and what can be found of it, with its story.
async fn compare(
    when: &'static str,
    storms: &Storms,
    stories: &[Story],
    verdict: &mut Verdict,
) -> Result<(), Failure> {
    let mut found = 0;
    for (nth, story) in stories.iter().enumerate() {
        let client = &storms.clients[nth % storms.clients.len()];
        let read = client.message(storms.token, story.chat, story.number).await;
        let body = match read {
            Ok(message) => Some(message.body),
            Err(error) if error.code() == Some(Code::Gone) => None,
            Err(error) => return Err(error.into()),
        };
        let told = || format!("{when}: message {} of chat {}", story.number, story.chat);
        let as_told = match &body {
            None => story.possible.is_empty(),
            Some(body) => story.possible.contains(body),
        };
        verdict.must("the last change stands", as_told, || {
            format!("{}: {body:?}, not one of {:?}", told(), story.possible)
        });
        for token in &story.tokens {
            let hits = storms.find(client, story.chat, token).await?;
            found += hits;
            let expected = body
                .as_ref()
                .is_some_and(|body| body.contains(token.as_str()));
            verdict.must(
                "search knows the last change alone",
                hits == usize::from(expected),
                || format!("{}: {token} is found {hits} times", told()),
            );
        }
    }
    verdict.figure(
        when,
        format!("{} messages compared, {found} found", stories.len()),
    );
    Ok(())
}

impl Storms {
    async fn find(&self, client: &Client, chat: ChatNumber, text: &str) -> Result<usize, Failure> {
        let query = Query {
            text: text.to_owned(),
            chat: Some(chat),
            sort: Sort::Number,
            limit: 10,
            cursor: None,
        };
        Ok(client.search(self.token, &query).await?.hits.len())
    }

    /// Creates a message and changes it until its story ends.
    async fn story(self: Arc<Self>, nth: usize, mut rng: StdRng) -> Result<Story, Failure> {
        let chat = self.chats[nth % self.chats.len()];
        let token = |change: usize| format!("story{nth}change{change}end");
        let first = token(0);
        let create = Change::Create(chat, IdempotencyKey::random(), first.clone());
        let number = self.until_done(&mut rng, &create).await?;
        let mut story = Story {
            chat,
            number: number.ok_or("a create has no number")?,
            possible: vec![first.clone()],
            tokens: vec![first],
            changes: 0,
        };
        for _ in 0..rng.random_range(1..=6) {
            let pause = rng.random_range(0..CHANGE_WITHIN_MS);
            tokio::time::sleep(Duration::from_millis(pause)).await;
            // One edit, the same one twice at once, or two that race.
            let at_once = rng.random_range(1..=2);
            let differ = usize::from(rng.random_bool(0.5));
            let edits = (0..at_once).map(|nth| token(story.changes + 1 + nth * differ));
            let edits: Vec<String> = edits.collect();
            self.note(&story, "edit", &edits)?;
            let mut twin = StdRng::seed_from_u64(rng.random());
            let one = Change::Edit(chat, story.number, edits[0].clone());
            if let Some(other) = edits.get(1) {
                let other = Change::Edit(chat, story.number, other.clone());
                let one = self.until_done(&mut rng, &one);
                tokio::try_join!(one, self.until_done(&mut twin, &other))?;
            } else {
                self.until_done(&mut rng, &one).await?;
            }
            story.changes += at_once;
            story.tokens.extend(edits.iter().cloned());
            story.possible = edits;
        }
        if rng.random_bool(0.4) {
            self.note(&story, "delete", &[])?;
            let delete = Change::Delete(chat, story.number);
            self.until_done(&mut rng, &delete).await?;
            // Too late: what is gone stays gone, whatever this is answered.
            let late = token(story.changes + 1);
            let edit = Change::Edit(chat, story.number, late.clone());
            let _ = self.send(&self.clients[0], &edit).await;
            story.tokens.push(late);
            story.possible.clear();
            story.changes += 2;
        }
        story.tokens.dedup();
        Ok(story)
    }

    fn note(&self, story: &Story, what: &str, bodies: &[String]) -> Result<(), Failure> {
        self.ledger.note(serde_json::json!({
            "chat": story.chat, "message": story.number, "what": what, "bodies": bodies,
        }))
    }

    /// Tries until it is acknowledged, each time by any process.
    async fn until_done(
        &self,
        rng: &mut StdRng,
        change: &Change,
    ) -> Result<Option<MessageNumber>, Failure> {
        let began = Instant::now();
        loop {
            let client = &self.clients[rng.random_range(0..self.clients.len())];
            match self.send(client, change).await {
                Ok(done) => return Ok(done),
                Err(error) if !error.retryable() || began.elapsed() > PATIENCE => {
                    return Err(error.into());
                }
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    async fn send(&self, client: &Client, change: &Change) -> Result<Option<MessageNumber>, Error> {
        match change {
            Change::Create(chat, key, body) => {
                let message = NewMessage {
                    body: body.clone(),
                    sender: None,
                    sent_at: None,
                };
                let create = Create {
                    key: Some(key.clone()),
                    wait: None,
                };
                let created = client
                    .create_message(self.token, *chat, &message, &create)
                    .await?;
                Ok(Some(created.value.message_number))
            }
            Change::Edit(chat, number, body) => {
                let edit = EditMessage { body: body.clone() };
                client
                    .edit_message(self.token, *chat, *number, &edit)
                    .await?;
                Ok(None)
            }
            Change::Delete(chat, number) => {
                client.delete_message(self.token, *chat, *number).await?;
                Ok(None)
            }
        }
    }
}
