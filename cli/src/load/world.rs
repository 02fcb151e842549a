//! The applications and chats of a run: made before it, chosen from during it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use chat_client::client::{Client, Create};
use chat_client::error::Error as ClientError;
use chat_wire::applications::NewApplication;
use chat_wire::ids::{AppToken, ChatNumber};
use chat_wire::messages::NewMessage;
use rand::Rng;
use rand::rngs::StdRng;
use tokio::task::JoinSet;

use crate::error::Error;
use crate::load::bodies::Bodies;
use crate::load::ledger::{Ledger, fingerprint};
use crate::load::scenario;

/// Chats that are created at once.
const CREATES_AT_ONCE: usize = 64;
/// Batches that are sent at once, and messages in each, before the load begins.
const BATCHES_AT_ONCE: usize = 8;
const BATCH: u64 = 1_000;
/// Most bytes of a batch; the server takes 768 KiB.
const BATCH_BYTES: usize = 700 * 1024;

/// A chat.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) token: AppToken,
    pub(crate) chat: ChatNumber,
}

/// Where requests go to, and what is known of it.
#[derive(Debug)]
pub(crate) struct World {
    /// The applications.
    pub(crate) applications: Vec<AppToken>,
    /// All chats, those of one application next to each other.
    pub(crate) places: Vec<Place>,
    pub(crate) ledger: Ledger,
    pub(crate) bodies: Bodies,
    serial: AtomicU64,
    choose_application: Zipf,
    choose_chat: Zipf,
}

/// Zipf's law: the n-th is chosen in proportion to 1 / n^skew.
#[derive(Debug)]
struct Zipf {
    sums: Vec<f64>,
}

impl Zipf {
    fn new(count: u32, skew: f64) -> Self {
        let mut sum = 0.0;
        let weights = (1..=count).map(|n| f64::from(n).powf(-skew));
        let sums = weights.map(|weight| {
            sum += weight;
            sum
        });
        Self {
            sums: sums.collect(),
        }
    }

    fn choose(&self, random: &mut StdRng) -> usize {
        let sum = self.sums.last().copied().unwrap_or(1.0);
        let at = random.random::<f64>() * sum;
        let found = self.sums.partition_point(|upper| *upper <= at);
        found.min(self.sums.len() - 1)
    }
}

impl World {
    /// Creates the applications and chats, and what they hold before the load.
    ///
    /// # Errors
    /// The first create that fails for good.
    pub(crate) async fn make(
        client: &Client,
        asked: &scenario::World,
        bodies: Bodies,
        name: &str,
    ) -> Result<Arc<Self>, Error> {
        let mut applications = Vec::new();
        let mut places = Vec::new();
        for _ in 0..asked.applications {
            let new = NewApplication {
                name: format!("load {name}"),
            };
            let made = client.create_application(&new, &Create::default()).await?;
            let token = made.value.token;
            applications.push(token);
            places.extend(chats(client, token, asked.chats).await?);
        }
        let world = Arc::new(Self {
            ledger: Ledger::new(places.len()),
            choose_application: Zipf::new(asked.applications, asked.skew),
            choose_chat: Zipf::new(asked.chats, asked.skew),
            applications,
            places,
            bodies,
            serial: AtomicU64::new(0),
        });
        Self::fill(&world, client, asked.prefill).await?;
        Ok(world)
    }

    /// Chooses a chat; its place.
    pub(crate) fn choose(&self, random: &mut StdRng) -> u32 {
        let application = self.choose_application.choose(random);
        let chats = self.choose_chat.sums.len();
        let at = application * chats + self.choose_chat.choose(random);
        u32::try_from(at).unwrap_or(0)
    }

    /// A number for a body that no other body has.
    pub(crate) fn serial(&self) -> u64 {
        self.serial.fetch_add(1, Ordering::Relaxed)
    }

    /// `count` numbers in a row; the first of them.
    pub(crate) fn serials(&self, count: u64) -> u64 {
        self.serial.fetch_add(count, Ordering::Relaxed)
    }

    async fn fill(world: &Arc<Self>, client: &Client, messages: u64) -> Result<(), Error> {
        let chats = u64::from(world.ledger.len());
        let mut tasks = JoinSet::new();
        for at in 0..world.ledger.len() {
            // The first chats get one more where it does not come out even.
            let mut left = messages / chats + u64::from(u64::from(at) < messages % chats);
            while left > 0 {
                let count = left.min(BATCH);
                left -= count;
                if tasks.len() >= BATCHES_AT_ONCE {
                    joined(tasks.join_next().await)?;
                }
                let (world, client) = (Arc::clone(world), client.clone());
                tasks.spawn(async move { world.batch(&client, at, count).await });
            }
        }
        while let Some(done) = tasks.join_next().await {
            joined(Some(done))?;
        }
        Ok(())
    }

    /// Creates this many messages in as many batches as their size asks for.
    ///
    /// # Errors
    /// Those of the first batch that is refused; the ledger knows what became of it.
    pub(crate) async fn batch(
        &self,
        client: &Client,
        at: u32,
        count: u64,
    ) -> Result<(), ClientError> {
        let first = self.serials(count);
        let mut prints = Vec::new();
        let mut lines = Vec::new();
        for serial in first..first + count {
            let body = self.bodies.body(mixed(serial), serial);
            prints.push(fingerprint(&body));
            let line = NewMessage {
                body,
                sender: None,
                sent_at: None,
            };
            serde_json::to_writer(&mut lines, &line).expect("wire types always become JSON");
            lines.push(b'\n');
            if lines.len() > BATCH_BYTES || serial + 1 == first + count {
                let lines = Bytes::from(std::mem::take(&mut lines));
                self.send_batch(client, at, lines, &prints).await?;
                prints.clear();
            }
        }
        Ok(())
    }

    async fn send_batch(
        &self,
        client: &Client,
        at: u32,
        lines: Bytes,
        prints: &[u64],
    ) -> Result<(), ClientError> {
        let Place { token, chat } = self.places[at as usize];
        let sent = client
            .create_batch(token, chat, lines, &Create::default())
            .await;
        let mut known = self.ledger.chat(at);
        match sent {
            Ok(created) => {
                let first = created.value.first.get();
                for (number, print) in (first..).zip(prints) {
                    known.acknowledged(number, *print);
                }
                Ok(())
            }
            Err(error) => {
                if super::act::is_uncertain(&error) {
                    known.unanswered.extend(prints);
                }
                Err(error)
            }
        }
    }
}

#[cfg(test)]
impl World {
    /// One chat of which nothing is known, for tests of what is compared with it.
    pub(crate) fn of_one_chat() -> Self {
        use rand::SeedableRng;
        let token = "00000000000000000000000000000abc".parse();
        let place = Place {
            token: token.expect("it is a token"),
            chat: ChatNumber::new(1).expect("1 is a number"),
        };
        let mut random = StdRng::seed_from_u64(1);
        Self {
            applications: vec![place.token],
            places: vec![place],
            ledger: Ledger::new(1),
            bodies: Bodies::new(None, 1, &mut random).expect("no file is read"),
            serial: AtomicU64::new(0),
            choose_application: Zipf::new(1, 0.0),
            choose_chat: Zipf::new(1, 0.0),
        }
    }
}

/// Spreads serial numbers over all bodies (Fibonacci hashing).
pub(crate) fn mixed(serial: u64) -> u32 {
    let mixed = serial.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    u32::try_from(mixed).unwrap_or(0)
}

async fn chats(client: &Client, token: AppToken, count: u32) -> Result<Vec<Place>, Error> {
    let mut tasks = JoinSet::new();
    let mut places = Vec::new();
    let mut started = 0;
    while places.len() < count as usize {
        while started < count && tasks.len() < CREATES_AT_ONCE {
            started += 1;
            let client = client.clone();
            tasks.spawn(async move { client.create_chat(token, &Create::default()).await });
        }
        let created = joined(tasks.join_next().await)?;
        if let Some(created) = created {
            let chat = created.value.chat_number;
            places.push(Place { token, chat });
        }
    }
    places.sort_by_key(|place| place.chat);
    Ok(places)
}

fn joined<T>(
    done: Option<Result<Result<T, ClientError>, tokio::task::JoinError>>,
) -> Result<Option<T>, Error> {
    match done {
        None => Ok(None),
        Some(Ok(result)) => Ok(Some(result?)),
        Some(Err(error)) => Err(Error::failure(format!("a task ended early: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn skew_prefers_the_first() {
        let mut random = StdRng::seed_from_u64(1);
        let mut shares = |skew: f64| {
            let zipf = Zipf::new(100, skew);
            let mut counts = [0_u32; 100];
            for _ in 0..100_000 {
                counts[zipf.choose(&mut random)] += 1;
            }
            counts
        };
        let even = shares(0.0);
        assert!(even.iter().all(|count| (800..1_200).contains(count)));
        let skewed = shares(1.0);
        // The harmonic number of 100 is 5.187.
        assert!((18_700..19_900).contains(&skewed[0]), "{}", skewed[0]);
        assert!((9_200..10_100).contains(&skewed[1]), "{}", skewed[1]);
    }
}
