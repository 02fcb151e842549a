//! Walks through a chat in every direction while writers append and delete (invariant: pages-stop-at-settled).

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chat_client::client::{Client, Create};
use chat_client::messages::Span;
use chat_wire::ids::{AppToken, ChatNumber, MessageNumber};
use chat_wire::messages::{MessagePage, NewMessage};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::Failure;
use crate::check::{Verdict, all_messages};
use crate::load;
use crate::process;
use crate::system::{SETTLING, Shape, System};

/// How much.
#[derive(Debug, clap::Args)]
pub(crate) struct Plan {
    /// Seconds of writing and walking
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Writers at once
    #[arg(long, default_value_t = 8)]
    writers: u64,
    /// Pause of a writer, in milliseconds
    #[arg(long, default_value_t = 10)]
    pause_ms: u64,
}

/// Items of a page: few, so that a walk takes many.
const PAGE: u32 = 40;
/// Share of the creates whose client goes away: numbers without a message.
const ABORTED: f64 = 0.01;
/// Share of the messages that are deleted some time later.
const DELETED: f64 = 0.2;
/// Longest time of a client that goes away.
const ABORTED_WITHIN_US: u64 = 3_000;

/// One acknowledged message.
#[derive(Debug, Clone, Copy)]
struct Written {
    number: u32,
    at: Instant,
    /// From here on it may be missing.
    deleted_at: Option<Instant>,
}

/// The only chat, and what was written to it.
struct Chat {
    clients: Vec<Client>,
    token: AppToken,
    chat: ChatNumber,
    pause: Duration,
    stop: CancellationToken,
    written: Mutex<Vec<Written>>,
}

/// Which way a walk goes.
#[derive(Debug, Clone, Copy)]
enum Way {
    After,
    Before,
    Around,
}

impl Way {
    const ALL: [Self; 3] = [Self::After, Self::Before, Self::Around];
}

/// Walks, and what was wrong with them.
#[derive(Debug, Default)]
struct Walked {
    walks: usize,
    pages: usize,
    wrong: Vec<String>,
}

/// Runs the case.
pub(crate) async fn run(
    plan: &Plan,
    on: process::Plan,
    shape: Shape,
    seed: u64,
    verdict: &mut Verdict,
) -> Result<(), Failure> {
    let system = System::start(on, shape).await?;
    let clients = system.clients()?;
    let (token, chats) = load::application(&clients[0], "pages", 1).await?;
    let chat = Arc::new(Chat {
        clients,
        token,
        chat: chats[0],
        pause: Duration::from_millis(plan.pause_ms),
        stop: CancellationToken::new(),
        written: Mutex::default(),
    });
    let (mut writers, mut walkers) = (JoinSet::new(), JoinSet::new());
    for nth in 0..plan.writers {
        let rng = StdRng::seed_from_u64(seed ^ (nth + 1));
        writers.spawn(Arc::clone(&chat).write(rng));
    }
    for way in Way::ALL {
        let rng = StdRng::seed_from_u64(seed);
        walkers.spawn(Arc::clone(&chat).walk_on(way, rng));
    }
    tokio::time::sleep(Duration::from_secs(plan.seconds)).await;
    chat.stop.cancel();
    while let Some(done) = writers.join_next().await {
        done??;
    }
    while let Some(done) = walkers.join_next().await {
        let (way, walked) = done??;
        let name = match way {
            Way::After => "walks by after",
            Way::Before => "walks by before",
            Way::Around => "walks by around",
        };
        verdict.happened(name, walked.walks);
        verdict.happened("pages", walked.pages);
        for wrong in walked.wrong {
            verdict.must("complete pages", false, || format!("{way:?}: {wrong}"));
        }
    }
    chat.compare(&system, verdict).await?;
    system.end().await
}

impl Chat {
    async fn write(self: Arc<Self>, mut rng: StdRng) -> Result<(), Failure> {
        let mut mine: Vec<MessageNumber> = Vec::new();
        while !self.stop.is_cancelled() {
            let client = &self.clients[rng.random_range(0..self.clients.len())];
            let message = NewMessage {
                body: format!("one of many {}", rng.random::<u32>()),
                sender: None,
                sent_at: None,
            };
            let create = Create::default();
            let create = client.create_message(self.token, self.chat, &message, &create);
            if rng.random_bool(ABORTED) {
                let within = Duration::from_micros(rng.random_range(0..ABORTED_WITHIN_US));
                // Nobody knows what became of it.
                let _ = tokio::time::timeout(within, create).await;
            } else {
                let number = create.await?.value.message_number;
                self.written
                    .lock()
                    .expect("no holder panics")
                    .push(Written {
                        number: number.get(),
                        at: Instant::now(),
                        deleted_at: None,
                    });
                mine.push(number);
            }
            if rng.random_bool(DELETED) && !mine.is_empty() {
                let number = mine.swap_remove(rng.random_range(0..mine.len()));
                self.begin_delete(number);
                client.delete_message(self.token, self.chat, number).await?;
            }
            tokio::time::sleep(self.pause).await;
        }
        Ok(())
    }

    fn begin_delete(&self, number: MessageNumber) {
        let mut written = self.written.lock().expect("no holder panics");
        for one in written.iter_mut().filter(|one| one.number == number.get()) {
            one.deleted_at = Some(Instant::now());
        }
    }

    async fn walk_on(self: Arc<Self>, way: Way, mut rng: StdRng) -> Result<(Way, Walked), Failure> {
        let mut walked = Walked::default();
        while !self.stop.is_cancelled() {
            let client = &self.clients[rng.random_range(0..self.clients.len())];
            let page = self.page(client, Span::Start, 1).await?;
            let settled = page.settled_through;
            if settled == 0 {
                tokio::time::sleep(self.pause).await;
                continue;
            }
            let began = Instant::now();
            let middle = MessageNumber::new(rng.random_range(1..=settled));
            let middle = middle.ok_or("no message has the number 0")?;
            let mut pages = 0;
            let numbers = self.walk(client, way, middle, &mut pages).await?;
            walked.walks += 1;
            walked.pages += pages;
            walked.wrong.extend(self.wrong(settled, began, &numbers));
        }
        Ok((way, walked))
    }

    async fn page(&self, client: &Client, span: Span, limit: u32) -> Result<MessagePage, Failure> {
        Ok(client.messages(self.token, self.chat, span, limit).await?)
    }

    /// Everything, in order.
    async fn walk(
        &self,
        client: &Client,
        way: Way,
        middle: MessageNumber,
        pages: &mut usize,
    ) -> Result<Vec<u32>, Failure> {
        let start = match way {
            Way::After => Span::Start,
            Way::Before => Span::Before(MessageNumber::new(u32::MAX).ok_or("no number")?),
            Way::Around => Span::Around(middle),
        };
        let page = self.page(client, start, PAGE).await?;
        *pages += 1;
        let mut numbers = numbers(&page);
        let (mut back, mut on) = (page.next_before, page.next_after);
        while let Some(before) = back.filter(|_| !matches!(way, Way::After)) {
            let page = self.page(client, Span::Before(before), PAGE).await?;
            *pages += 1;
            numbers.splice(0..0, self::numbers(&page));
            back = page.next_before;
        }
        while let Some(after) = on.filter(|_| !matches!(way, Way::Before)) {
            let page = self.page(client, Span::After(after), PAGE).await?;
            *pages += 1;
            numbers.extend(self::numbers(&page));
            on = page.next_after;
        }
        Ok(numbers)
    }

    /// What is wrong with a walk that began when everything up to this number was settled.
    fn wrong(&self, settled: u32, began: Instant, numbers: &[u32]) -> Option<String> {
        if !numbers.is_sorted_by(|a, b| a < b) {
            return Some(format!("not strictly ascending: {numbers:?}"));
        }
        let written = self.written.lock().expect("no holder panics");
        let missing = written.iter().filter(|one| {
            one.at < began
                && one.number <= settled
                && one.deleted_at.is_none()
                && numbers.binary_search(&one.number).is_err()
        });
        let missing: Vec<u32> = missing.map(|one| one.number).collect();
        (!missing.is_empty()).then(|| format!("settled through {settled}, without {missing:?}"))
    }

    /// What is left in the end, in every direction.
    async fn compare(&self, system: &System, verdict: &mut Verdict) -> Result<(), Failure> {
        system.drained(SETTLING).await?;
        let written = self.written.lock().expect("no holder panics").clone();
        let highest = written.iter().map(|one| one.number).max().unwrap_or(0);
        system.settled(self.token, self.chat, highest).await?;
        let client = &self.clients[0];
        let (messages, _) = all_messages(client, self.token, self.chat).await?;
        let shown: Vec<u32> = messages
            .iter()
            .map(|one| one.message_number.get())
            .collect();
        verdict.happened("messages left", shown.len());
        verdict.happened(
            "deleted",
            written
                .iter()
                .filter(|one| one.deleted_at.is_some())
                .count(),
        );
        for one in &written {
            let there = shown.binary_search(&one.number).is_ok();
            verdict.must(
                "deleted or there",
                there != one.deleted_at.is_some(),
                || format!("{one:?}"),
            );
        }
        let middle = MessageNumber::new(highest / 2 + 1).ok_or("no number")?;
        for way in Way::ALL {
            let walked = self.walk(client, way, middle, &mut 0).await?;
            verdict.must("all directions show the same", walked == shown, || {
                format!("{way:?}: {} of {}", walked.len(), shown.len())
            });
        }
        Ok(())
    }
}

fn numbers(page: &MessagePage) -> Vec<u32> {
    let messages = page.messages.iter();
    messages.map(|one| one.message_number.get()).collect()
}
