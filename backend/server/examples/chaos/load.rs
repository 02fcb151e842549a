//! Creates of many connections: patient and impatient ones, repeated ones, ones whose client goes away.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use chat_client::client::{Client, Create};
use chat_client::error::Error;
use chat_client::key::IdempotencyKey;
use chat_wire::applications::NewApplication;
use chat_wire::ids::{AppToken, ChatNumber};
use chat_wire::messages::NewMessage;
use futures_util::future::try_join_all;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::task::JoinSet;

use crate::Failure;
use crate::ledger::Ledger;
use crate::system::{SETTLING, System};

/// Every body contains it.
pub(crate) const COMMON: &str = "create ";
/// How long one create is tried, restarts and outages included.
const PATIENCE: Duration = Duration::from_secs(90);
/// Pause before a create is sent again, where the server does not say.
const PAUSE: Duration = Duration::from_millis(50);

/// What clients do, as shares of all creates.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Habits {
    /// Sent again and again until there is an answer; the others give up at the first failure.
    pub(crate) stubborn: f64,
    /// The client goes away within a few milliseconds.
    pub(crate) aborted: f64,
    /// Sent two to five times at once.
    pub(crate) repeated: f64,
}

impl Habits {
    /// As many real ones are.
    pub(crate) const MIXED: Self = Self {
        stubborn: 0.5,
        aborted: 0.04,
        repeated: 0.05,
    };
}

/// What came back, until it is looked at.
#[derive(Debug, Default, Clone)]
pub(crate) struct Outcomes {
    /// Answers by kind: `202`, the code of a problem, or why there was none.
    pub(crate) by_kind: BTreeMap<String, usize>,
    /// Milliseconds of every answer, refusals included.
    latencies_ms: Vec<u32>,
    /// Refusals with 503 that do not say when to come back.
    pub(crate) without_retry_after: usize,
}

impl Outcomes {
    /// The longest wait for an answer of any kind.
    pub(crate) fn slowest(&self) -> Duration {
        let slowest = self.latencies_ms.iter().max().copied().unwrap_or(0);
        Duration::from_millis(slowest.into())
    }

    /// How many were acknowledged.
    pub(crate) fn acknowledged(&self) -> usize {
        self.by_kind.get("acknowledged").copied().unwrap_or(0)
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        let kinds = self.by_kind.iter();
        let kinds: Vec<String> = kinds
            .map(|(kind, count)| format!("{kind} {count}"))
            .collect();
        let mut sorted = self.latencies_ms.clone();
        sorted.sort_unstable();
        let at = |share: usize| sorted.get(sorted.len().saturating_sub(1) * share / 100);
        let (p50, p99) = (at(50).unwrap_or(&0), at(99).unwrap_or(&0));
        format!(
            "{}; p50 {p50} ms, p99 {p99} ms, slowest {} ms",
            kinds.join(", "),
            self.slowest().as_millis()
        )
    }
}

/// The creates of one case.
pub(crate) struct Load {
    pub(crate) clients: Vec<Client>,
    pub(crate) token: AppToken,
    pub(crate) chats: Vec<ChatNumber>,
    pub(crate) ledger: Ledger,
    habits: Habits,
    begun: AtomicUsize,
    limit: AtomicUsize,
    pause: Duration,
    /// Creates a second, and when the first of them began.
    pace: Option<(f64, OnceLock<Instant>)>,
    outcomes: Mutex<Outcomes>,
}

/// Connections at work.
pub(crate) struct Running(JoinSet<Result<(), Failure>>);

impl Running {
    /// Waits until all have ended.
    pub(crate) async fn join(mut self) -> Result<(), Failure> {
        while let Some(done) = self.0.join_next().await {
            done??;
        }
        Ok(())
    }
}

impl Load {
    /// An application with this many chats, and nothing at work yet.
    pub(crate) async fn prepare(
        system: &System,
        name: &str,
        chats: u32,
        habits: Habits,
    ) -> Result<Arc<Self>, Failure> {
        let ledger = Ledger::create(&system.plan.work)?;
        let clients = system.clients()?;
        let (token, chats) = application(&clients[0], name, chats).await?;
        Ok(Arc::new(Self {
            clients,
            token,
            chats,
            ledger,
            habits,
            begun: AtomicUsize::new(0),
            limit: AtomicUsize::new(usize::MAX),
            pause: Duration::ZERO,
            pace: None,
            outcomes: Mutex::default(),
        }))
    }

    /// With a pause of each connection between two creates.
    pub(crate) fn slowly(mut self: Arc<Self>, pause: Duration) -> Result<Arc<Self>, Failure> {
        Arc::get_mut(&mut self).ok_or("the load is at work")?.pause = pause;
        Ok(self)
    }

    /// At this many creates a second, as far as the connections suffice.
    pub(crate) fn paced(mut self: Arc<Self>, per_second: u32) -> Result<Arc<Self>, Failure> {
        let pace = Some((f64::from(per_second), OnceLock::new()));
        Arc::get_mut(&mut self).ok_or("the load is at work")?.pace = pace;
        Ok(self)
    }

    /// Begins this many creates more, on so many connections.
    pub(crate) fn run(self: &Arc<Self>, creates: usize, connections: u64, seed: u64) -> Running {
        let begun = self.begun.load(Ordering::Relaxed);
        let limit = begun.saturating_add(creates);
        self.limit.store(limit, Ordering::Relaxed);
        let mut running = JoinSet::new();
        for nth in 0..connections {
            let seed = seed.wrapping_add((begun as u64) << 8).wrapping_add(nth);
            let rng = StdRng::seed_from_u64(seed);
            running.spawn(Arc::clone(self).work(rng));
        }
        Running(running)
    }

    /// Creates once in each chat, tried until it is answered; returns how long the last one took.
    pub(crate) async fn probe(self: &Arc<Self>) -> Result<Duration, Failure> {
        let began = Instant::now();
        let mut probes = JoinSet::new();
        for (nth, chat) in self.chats.iter().copied().enumerate() {
            let load = Arc::clone(self);
            probes.spawn(async move {
                let client = &load.clients[nth % load.clients.len()];
                let key = IdempotencyKey::random();
                let body = format!("{COMMON}probe {}", key.as_str());
                let id = load.ledger.begin(chat, &body, &key)?;
                while load.send(client, id, chat, &body, &key).await?.is_some() {
                    if began.elapsed() > SETTLING {
                        return Err(format!("chat {chat} does not come back").into());
                    }
                    tokio::time::sleep(PAUSE).await;
                }
                Ok::<_, Failure>(began.elapsed())
            });
        }
        let mut last = Duration::ZERO;
        while let Some(done) = probes.join_next().await {
            last = last.max(done??);
        }
        Ok(last)
    }

    /// Lets no create begin any more.
    pub(crate) fn stop(&self) {
        self.limit.store(0, Ordering::Relaxed);
    }

    /// How many have begun.
    pub(crate) fn begun(&self) -> usize {
        self.begun
            .load(Ordering::Relaxed)
            .min(self.limit.load(Ordering::Relaxed))
    }

    /// How many have ever begun, whether or not more may begin.
    pub(crate) fn begun_ever(&self) -> usize {
        self.begun.load(Ordering::Relaxed)
    }

    /// What came back since this was asked last.
    pub(crate) fn outcomes(&self) -> Outcomes {
        std::mem::take(&mut *self.outcomes.lock().expect("no holder panics"))
    }

    async fn work(self: Arc<Self>, mut rng: StdRng) -> Result<(), Failure> {
        loop {
            let limit = self.limit.load(Ordering::Relaxed);
            let nth = self
                .begun
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |begun| {
                    (begun < limit).then_some(begun + 1)
                });
            let Ok(nth) = nth else {
                return Ok(());
            };
            self.turn(nth).await;
            let chat = self.chats[rng.random_range(0..self.chats.len())];
            let body = format!("{COMMON}{nth} {}", fuzz(&mut rng));
            let key = IdempotencyKey::random();
            let id = self.ledger.begin(chat, &body, &key)?;
            let (body, key) = (&body, &key);
            if rng.random_bool(self.habits.aborted) {
                let within = Duration::from_micros(rng.random_range(0..20_000));
                let send = self.send(self.client(&mut rng), id, chat, body, key);
                if tokio::time::timeout(within, send).await.is_err() {
                    self.ledger.answer(id, Err("the client went away"))?;
                }
            } else if rng.random_bool(self.habits.repeated) {
                let times = rng.random_range(2..=5);
                let clients: Vec<&Client> = (0..times).map(|_| self.client(&mut rng)).collect();
                let sends = clients
                    .into_iter()
                    .map(|client| self.send(client, id, chat, body, key));
                try_join_all(sends).await?;
            } else {
                let stubborn = rng.random_bool(self.habits.stubborn);
                self.until_answered(&mut rng, stubborn, id, chat, body, key)
                    .await?;
            }
            if !self.pause.is_zero() {
                tokio::time::sleep(self.pause).await;
            }
        }
    }

    /// Waits until this create is due; one that is late does not wait.
    #[expect(clippy::cast_precision_loss, reason = "a case has far fewer creates")]
    async fn turn(&self, nth: usize) {
        if let Some((per_second, began)) = &self.pace {
            let began = *began.get_or_init(Instant::now);
            let due = began + Duration::from_secs_f64(nth as f64 / per_second);
            tokio::time::sleep_until(due.into()).await;
        }
    }

    fn client(&self, rng: &mut StdRng) -> &Client {
        &self.clients[rng.random_range(0..self.clients.len())]
    }

    async fn until_answered(
        &self,
        rng: &mut StdRng,
        stubborn: bool,
        id: usize,
        chat: ChatNumber,
        body: &str,
        key: &IdempotencyKey,
    ) -> Result<(), Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // Any process may be asked again: what a key means is known to all of them.
            let client = self.client(rng);
            match self.send(client, id, chat, body, key).await? {
                None => return Ok(()),
                Some(_) if !stubborn => return Ok(()),
                Some(error) if Instant::now() > deadline => {
                    return Err(format!("a create is refused for too long: {error}").into());
                }
                Some(error) => tokio::time::sleep(error.retry_after().unwrap_or(PAUSE)).await,
            }
        }
    }

    /// Sends a create once; returns an error that may be over later.
    pub(crate) async fn send(
        &self,
        client: &Client,
        id: usize,
        chat: ChatNumber,
        body: &str,
        key: &IdempotencyKey,
    ) -> Result<Option<Error>, Failure> {
        let message = NewMessage {
            body: body.to_owned(),
            sender: None,
            sent_at: None,
        };
        let create = Create {
            key: Some(key.clone()),
            wait: None,
        };
        let started = Instant::now();
        let answer = client
            .create_message(self.token, chat, &message, &create)
            .await;
        self.count(&answer, started.elapsed());
        match answer {
            Ok(created) => {
                self.ledger.answer(id, Ok(created.value.message_number))?;
                Ok(None)
            }
            Err(error) => {
                self.ledger.answer(id, Err(&error.to_string()))?;
                match error.retryable() {
                    true => Ok(Some(error)),
                    false => Err(format!("a create is refused for good: {error}").into()),
                }
            }
        }
    }

    fn count<T>(&self, answer: &Result<T, Error>, took: Duration) {
        let kind = match answer {
            Ok(_) => "acknowledged".to_owned(),
            Err(Error::Unreachable { .. }) => "unreachable".to_owned(),
            Err(Error::Timeout { .. }) => "no answer".to_owned(),
            Err(Error::Problem { problem, .. }) => problem.code.as_str().to_owned(),
            Err(error) => error.to_string(),
        };
        let unhelpful = answer.as_ref().is_err_and(|error| {
            matches!(error, Error::Problem { status: 503, .. }) && error.retry_after().is_none()
        });
        let mut outcomes = self.outcomes.lock().expect("no holder panics");
        *outcomes.by_kind.entry(kind).or_default() += 1;
        outcomes.without_retry_after += usize::from(unhelpful);
        let took = u32::try_from(took.as_millis()).unwrap_or(u32::MAX);
        outcomes.latencies_ms.push(took);
    }
}

/// A new application with this many chats.
pub(crate) async fn application(
    client: &Client,
    name: &str,
    chats: u32,
) -> Result<(AppToken, Vec<ChatNumber>), Failure> {
    let name = NewApplication { name: name.into() };
    let created = client.create_application(&name, &Create::default()).await?;
    let token = created.value.token;
    let mut numbers = Vec::new();
    for _ in 0..chats {
        let created = client.create_chat(token, &Create::default()).await?;
        numbers.push(created.value.chat_number);
    }
    Ok((token, numbers))
}

/// Some text of any script.
pub(crate) fn fuzz(rng: &mut StdRng) -> String {
    const ALPHABETS: [&str; 5] = [
        "plain %_*?\"\\",
        "\u{e4}e\u{301}\u{fb01}\u{df}",
        "\u{5e9}\u{5dc}\u{5d5}\u{5dd}\u{202e}",
        "\u{6f22}\u{5b57}\u{304b}\u{3099}",
        "\u{1f600}\u{1f468}\u{200d}\u{1f469}",
    ];
    let alphabet: Vec<char> = ALPHABETS[rng.random_range(0..ALPHABETS.len())]
        .chars()
        .collect();
    let length = rng.random_range(0..60);
    (0..length)
        .map(|_| alphabet[rng.random_range(0..alphabet.len())])
        .collect()
}
