//! What is watched beside the load: consumer lag, and how soon samples of it can be seen.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chat_client::admin::Admin;
use chat_client::client::{Client, Read};
use chat_client::search::Query;
use chat_tui::load as live;
use chat_wire::search::Sort;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::load::act::Sample;
use crate::load::latency::latency_of_times;
use crate::load::report::Freshness;
use crate::load::world::World;

/// Between two looks at the lag.
const LAG_EVERY: Duration = Duration::from_secs(1);
/// Samples that are followed at once; others are left out.
const FOLLOWED_MAX: usize = 8;
/// Least pauses between two looks for a row, and for a document: looking is load too.
const ROW_EVERY: Duration = Duration::from_millis(5);
const DOCUMENT_EVERY: Duration = Duration::from_millis(100);
/// What is late is looked for the less often the longer it takes, so many times in as long again: beside the
/// least pause it seems later than it is by a tenth.
const LOOKS: u32 = 10;
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// A sample that cannot be seen for so long is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// How far the consumer groups are behind, as far as is known.
#[derive(Debug, Default)]
pub(crate) struct Lags {
    groups: Mutex<Vec<live::Lag>>,
}

impl Lags {
    /// Remembers it, and shows it: while the workers catch up, nobody else does.
    fn set(&self, groups: Vec<live::Lag>, view: &watch::Sender<live::Live>) {
        view.send_modify(|live| live.lag.clone_from(&groups));
        *self.groups.lock().unwrap_or_else(PoisonError::into_inner) = groups;
    }

    /// For the live view.
    pub(crate) fn shown(&self) -> Vec<live::Lag> {
        self.groups
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Unread records by group.
    pub(crate) fn records(&self) -> BTreeMap<String, Option<u64>> {
        let groups = self.shown().into_iter();
        groups.map(|lag| (lag.group, lag.records)).collect()
    }

    /// Asks until it is dropped; where nobody answers, everything is unknown.
    pub(crate) async fn watch(self: Arc<Self>, admin: Admin, view: watch::Sender<live::Live>) {
        loop {
            match admin.lag().await {
                Ok(lag) => {
                    let groups = lag.groups.into_iter().map(|group| live::Lag {
                        group: group.group,
                        records: group.figures.lag_records,
                        status: group.status.as_str().to_owned(),
                        drain_seconds: group.figures.drain_seconds,
                    });
                    self.set(groups.collect(), &view);
                }
                Err(_) => {
                    let mut groups = self.shown();
                    for group in &mut groups {
                        (group.records, group.drain_seconds) = (None, None);
                        "unknown".clone_into(&mut group.status);
                    }
                    self.set(groups, &view);
                }
            }
            tokio::time::sleep(LAG_EVERY).await;
        }
    }
}

/// What became of the samples.
#[derive(Debug, Default)]
struct Seen {
    stored: Vec<Duration>,
    searchable: Vec<Duration>,
    given_up: u64,
}

/// Follows samples of acknowledged messages until they are stored and found.
#[derive(Debug)]
pub(crate) struct Follower {
    sender: mpsc::Sender<(Sample, Instant)>,
    task: tokio::task::JoinHandle<Seen>,
}

impl Follower {
    /// Follows at most so many new samples a second.
    pub(crate) fn start(client: Client, world: Arc<World>, per_second: u32) -> Self {
        // A place for one: what does not fit is left out.
        let (sender, receiver) = mpsc::channel(1);
        let every = Duration::from_secs(1) / per_second.max(1);
        let task = tokio::spawn(collect(client, world, receiver, every));
        Self { sender, task }
    }

    /// Where samples are given; whoever does not get one in goes on without.
    pub(crate) fn sender(&self) -> mpsc::Sender<(Sample, Instant)> {
        self.sender.clone()
    }

    /// Waits for the samples under way; every other sender must be gone.
    pub(crate) async fn finish(self) -> Freshness {
        drop(self.sender);
        let seen = self.task.await.unwrap_or_default();
        Freshness {
            stored: latency_of_times(&seen.stored),
            searchable: latency_of_times(&seen.searchable),
            given_up: seen.given_up,
        }
    }
}

async fn collect(
    client: Client,
    world: Arc<World>,
    mut samples: mpsc::Receiver<(Sample, Instant)>,
    every: Duration,
) -> Seen {
    let mut seen = Seen::default();
    let mut tasks = JoinSet::new();
    let mut next = tokio::time::Instant::now();
    loop {
        let fresh = async {
            tokio::time::sleep_until(next).await;
            // The one that waited here would seem late by as long as it waited.
            let _ = samples.try_recv();
            samples.recv().await
        };
        tokio::select! {
            sample = fresh, if tasks.len() < FOLLOWED_MAX => {
                let Some((sample, since)) = sample else { break };
                next = tokio::time::Instant::now() + every;
                let (client, world) = (client.clone(), Arc::clone(&world));
                tasks.spawn(async move { follow(&client, &world, sample, since).await });
            }
            Some(done) = tasks.join_next() => seen.add(done.unwrap_or_default()),
        }
    }
    while let Some(done) = tasks.join_next().await {
        seen.add(done.unwrap_or_default());
    }
    seen
}

impl Seen {
    fn add(&mut self, (stored, searchable): (Option<Duration>, Option<Duration>)) {
        self.given_up += u64::from(stored.is_none() || searchable.is_none());
        self.stored.extend(stored);
        self.searchable.extend(searchable);
    }
}

/// How long it took until the row and the document were there.
async fn follow(
    client: &Client,
    world: &World,
    sample: Sample,
    since: Instant,
) -> (Option<Duration>, Option<Duration>) {
    let place = world.places[sample.at as usize];
    let row = async {
        loop {
            let read = client.peek_message(place.token, place.chat, sample.number);
            if matches!(read.await, Ok(Read::Ready(_))) {
                return since.elapsed();
            }
            pause(since, ROW_EVERY).await;
        }
    };
    let query = Query {
        text: world.bodies.tag(sample.serial),
        chat: Some(place.chat),
        sort: Sort::Newest,
        limit: 1,
        cursor: None,
    };
    let document = async {
        loop {
            let found = client.search(place.token, &query).await;
            if found.is_ok_and(|page| !page.hits.is_empty()) {
                return since.elapsed();
            }
            pause(since, DOCUMENT_EVERY).await;
        }
    };
    tokio::join!(
        async { tokio::time::timeout(PATIENCE, row).await.ok() },
        async { tokio::time::timeout(PATIENCE, document).await.ok() },
    )
}

/// Until the next look for what has been looked for since then.
async fn pause(since: Instant, least: Duration) {
    tokio::time::sleep((since.elapsed() / LOOKS).clamp(least, PAUSE_MAX)).await;
}
