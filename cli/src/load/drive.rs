//! The driver: sends what is due, when it is due, and tells the recorder.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chat_client::client::Client;
use chat_tui::load::{Live, Phase};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;

use crate::load::act::{Order, Sample, act};
use crate::load::alarm::Alarm;
use crate::load::lane::Lane;
use crate::load::mix::Mix;
use crate::load::record::{Answer, Measured, Recorder, Shown};
use crate::load::scenario::Arrivals;
use crate::load::schedule::{Schedule, Shape};
use crate::load::stages::Stages;
use crate::load::watch::Lags;
use crate::load::world::World;

/// Longest nap of the driver, so that a request to stop is seen soon.
const NAP_MAX: Duration = Duration::from_millis(50);
/// Requests that are begun, or skipped, before a lane looks for answers again, where more than one is due.
/// A lane that is busy must not fall behind the schedule: what it cannot send is skipped, and told.
const AT_ONCE: u32 = 4_096;
/// Pause of a user of a later stage who is not wanted yet.
const USER_NAP: Duration = Duration::from_millis(10);

/// Everything that requests need.
#[derive(Debug, Clone)]
pub(crate) struct Driver {
    pub(crate) lanes: Arc<[Lane]>,
    pub(crate) world: Arc<World>,
    pub(crate) mix: Arc<Mix>,
    pub(crate) arrivals: Arrivals,
    pub(crate) max_in_flight: u32,
    /// Requests that are sent at once; 0 for no limit of its own.
    pub(crate) connections: u32,
    pub(crate) timeout: Duration,
    pub(crate) seed: u64,
    pub(crate) lags: Arc<Lags>,
    pub(crate) shown: Shown,
    /// Set once no more requests shall be sent.
    pub(crate) stop: Arc<AtomicBool>,
}

/// One phase of a run.
struct Sending {
    driver: Driver,
    recorder: Recorder,
    began: Instant,
    /// Places for requests that are sent at once.
    connections: Semaphore,
    samples: Option<mpsc::Sender<(Sample, Instant)>>,
}

impl Driver {
    /// Sends these stages, waits for every answer, and says what came of it. `salt` makes the
    /// choices of one phase other than those of the next.
    pub(crate) async fn run(
        &self,
        phase: Phase,
        stages: Stages,
        salt: u64,
        samples: Option<mpsc::Sender<(Sample, Instant)>>,
    ) -> Measured {
        let began = Instant::now();
        let lasting = stages.lasting();
        self.shown.live.send_modify(|live| {
            *live = Live {
                phase,
                elapsed: 0.0,
                planned: Some(lasting.as_secs_f64()),
                in_flight_max: self.max_in_flight.into(),
                model: stages.model().as_str(),
                name: std::mem::take(&mut live.name),
                target: std::mem::take(&mut live.target),
                lag: std::mem::take(&mut live.lag),
                note: std::mem::take(&mut live.note),
                ..Live::default()
            };
        });
        let recorder = Recorder::start(began, lasting, Arc::clone(&self.lags), self.shown.clone());
        let sending = Arc::new(Sending {
            driver: self.clone(),
            recorder,
            began,
            connections: Semaphore::new(match self.connections {
                0 => Semaphore::MAX_PERMITS,
                most => most as usize,
            }),
            samples,
        });
        let random = StdRng::seed_from_u64(self.seed ^ salt.rotate_left(32));
        match stages {
            Stages::Open(stages) => open(&sending, &stages, &random).await,
            Stages::Closed(stages) => closed(&sending, &stages, random).await,
        }
        let Ok(sending) = Arc::try_unwrap(sending).map_err(|_| ()) else {
            unreachable!("every task has ended, and each held one reference");
        };
        // Its thread ends as soon as it has counted what is there.
        let finished = tokio::task::spawn_blocking(move || sending.recorder.finish()).await;
        finished.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn order(&self, random: &mut StdRng) -> Order {
        Order {
            kind: self.mix.choose(random),
            at: self.world.choose(random),
            choice: random.random(),
        }
    }
}

impl Sending {
    /// Sends one request. `due` is counted from the beginning; without it, it is due now.
    async fn send(&self, client: &Client, order: Order, due: Option<Duration>) {
        // Whoever waits here is late, and its response time says so. It is never closed.
        let connection = self.connections.acquire().await;
        let flow = &self.recorder.flow;
        flow.send();
        let sent = self.began.elapsed();
        let Driver { world, timeout, .. } = &self.driver;
        let done = act(client, world, order, *timeout).await;
        let ended = self.began.elapsed();
        drop(connection);
        flow.answered.fetch_add(1, Ordering::Relaxed);
        if let (Some(samples), Some(sample)) = (&self.samples, done.sample) {
            // Full means that enough others are followed already.
            let _ = samples.try_send((sample, self.began + ended));
        }
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let answer = Answer {
            kind: order.kind,
            due: micros(due.unwrap_or(sent)),
            sent: micros(sent),
            done: micros(ended),
            result: done.result,
        };
        // The recorder lives until every answer is in.
        let _ = self.recorder.answers.send(answer);
    }
}

/// Each request when it is due, whatever became of those before it.
async fn open(sending: &Arc<Sending>, stages: &[(Duration, Shape)], random: &StdRng) {
    let driver = &sending.driver;
    let places = driver.max_in_flight;
    let free = Arc::new(Semaphore::new(places as usize));
    let turns = 0..driver.lanes.len();
    let lanes: Vec<_> = turns
        .map(|turn| {
            // All draw the same, whatever their number, and each sends what it is the turn of.
            let mut random = random.clone();
            let seed = StdRng::seed_from_u64(random.random());
            let due = Schedule::new(stages.to_vec(), driver.arrivals, seed);
            let sending = Arc::clone(sending);
            let lane = Turn {
                turn,
                sending,
                free: Arc::clone(&free),
                due,
                random,
            };
            driver.lanes[turn].spawn(lane.open())
        })
        .collect();
    all(lanes).await;
    // Every place is free again once every answer is in; each request has a deadline.
    let _ = free.acquire_many(places).await;
}

/// What one lane does in the open model.
struct Turn {
    turn: usize,
    sending: Arc<Sending>,
    free: Arc<Semaphore>,
    due: Schedule,
    random: StdRng,
}

impl Turn {
    async fn open(mut self) {
        let sending = &self.sending;
        let lanes = &sending.driver.lanes;
        let alarm = &lanes[self.turn].alarm;
        let flow = &sending.recorder.flow;
        let mut begun = 0_u32;
        for (nth, due) in self.due.enumerate() {
            let order = sending.driver.order(&mut self.random);
            if nth % lanes.len() != self.turn {
                continue;
            }
            if begun.is_multiple_of(AT_ONCE) {
                tokio::task::yield_now().await;
            }
            begun = begun.wrapping_add(1);
            if !wait(sending, alarm, due).await {
                flow.end(sending.began.elapsed());
                return;
            }
            flow.wanted.fetch_add(1, Ordering::Relaxed);
            let Ok(place) = Arc::clone(&self.free).try_acquire_owned() else {
                flow.skipped.fetch_add(1, Ordering::Relaxed);
                continue;
            };
            let sending = Arc::clone(sending);
            let turn = self.turn;
            tokio::spawn(async move {
                let client = &sending.driver.lanes[turn].client;
                sending.send(client, order, Some(due)).await;
                drop(sending);
                drop(place);
            });
        }
    }
}

/// Waits until it is due; `false` where nothing more is to be sent.
async fn wait(sending: &Sending, alarm: &Alarm, due: Duration) -> bool {
    loop {
        if sending.driver.stopped() {
            return false;
        }
        let at = sending.began.elapsed();
        if at >= due {
            return true;
        }
        alarm.at(sending.began + due.min(at + NAP_MAX)).await;
    }
}

/// Users who each wait for their answer before they send again.
async fn closed(sending: &Arc<Sending>, stages: &[(Duration, u32)], mut random: StdRng) {
    let most = stages.iter().map(|(_, users)| *users).max().unwrap_or(0);
    let stages: Arc<[(Duration, u32)]> = stages.into();
    let lanes = sending.driver.lanes.len();
    let mut users = Vec::new();
    for user in 0..most {
        let (sending, stages) = (Arc::clone(sending), Arc::clone(&stages));
        let mut random = StdRng::seed_from_u64(random.random());
        let lane = user as usize % lanes;
        let work = async move {
            let client = &sending.driver.lanes[lane].client;
            while let Some(wanted) = users_at(&stages, sending.began.elapsed()) {
                if sending.driver.stopped() {
                    sending.recorder.flow.end(sending.began.elapsed());
                    return;
                }
                if user >= wanted {
                    tokio::time::sleep(USER_NAP).await;
                    continue;
                }
                let flow = &sending.recorder.flow;
                flow.wanted.fetch_add(1, Ordering::Relaxed);
                let order = sending.driver.order(&mut random);
                sending.send(client, order, None).await;
            }
        };
        users.push((lane, work));
    }
    let driver = &sending.driver;
    let users = users.into_iter();
    all(users.map(|(lane, work)| driver.lanes[lane].spawn(work))).await;
}

/// Waits for all of them; a panic in one of them goes on here.
async fn all(tasks: impl IntoIterator<Item = JoinHandle<()>>) {
    // Collected, so that all of them are under way before the first one is waited for.
    let tasks: Vec<_> = tasks.into_iter().collect();
    for task in tasks {
        if let Err(error) = task.await {
            std::panic::resume_unwind(error.into_panic());
        }
    }
}

/// How many users there are at this time; `None` once it is over.
fn users_at(stages: &[(Duration, u32)], at: Duration) -> Option<u32> {
    let mut end = Duration::ZERO;
    stages.iter().find_map(|(lasting, users)| {
        end += *lasting;
        (at < end).then_some(*users)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_of_each_stage() {
        let second = Duration::from_secs(1);
        let stages = [(second, 2), (second, 5)];
        let at = |ms| users_at(&stages, Duration::from_millis(ms));
        assert_eq!(
            (at(0), at(999), at(1_000), at(2_000)),
            (Some(2), Some(2), Some(5), None)
        );
    }
}
