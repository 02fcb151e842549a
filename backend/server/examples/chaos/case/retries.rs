//! The same create again: at once, after a restart, after Redis was emptied (invariant: key-repeats-create,
//! invariant: keys-outlive-counters).

use std::sync::Arc;
use std::time::{Duration, Instant};

use chat_client::client::{Client, Create};
use chat_client::error::Error;
use chat_client::key::IdempotencyKey;
use chat_wire::applications::NewApplication;
use chat_wire::ids::{AppToken, ChatNumber, MessageNumber};
use chat_wire::messages::NewMessage;
use chat_wire::problem::Code;
use futures_util::future::{join_all, try_join_all};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::check::{self, Verdict};
use crate::load::{Habits, Load, fuzz};
use crate::mode::{Engine, Mode};
use crate::process;
use crate::system::{Shape, System};
use crate::{Failure, say};

/// How much.
#[derive(Debug, clap::Args)]
pub(crate) struct Plan {
    /// Messages of each round, besides a tenth as many chats and applications
    #[arg(long, default_value_t = 1_000)]
    creates: usize,
    /// Chats that they are spread over
    #[arg(long, default_value_t = 20)]
    chats: u32,
}

/// What is sent together.
const AT_ONCE: usize = 32;
/// How long a repeated create may be refused.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pause before a create is sent again.
const PAUSE: Duration = Duration::from_millis(100);

/// Something that was created, and the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Thing {
    Application(AppToken),
    Chat(ChatNumber),
    Message(MessageNumber),
}

/// A create that can be sent any number of times.
struct Keyed {
    key: IdempotencyKey,
    what: What,
    answer: Option<Thing>,
    /// How often it was told that it is under way.
    in_flight: usize,
}

enum What {
    Application(String),
    Chat,
    /// With its line in the ledger.
    Message(usize, ChatNumber, String),
}

/// Runs the case.
pub(crate) async fn run(
    plan: &Plan,
    on: process::Plan,
    shape: Shape,
    seed: u64,
    verdict: &mut Verdict,
) -> Result<(), Failure> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut system = System::start(on, shape).await?;
    let load = Load::prepare(&system, "retries", plan.chats, Habits::MIXED).await?;
    let mut all = first_answers(plan, &load, &mut rng, verdict).await?;
    let in_flight = all.iter().map(|keyed| keyed.in_flight).sum();
    verdict.happened("409 while in flight", in_flight);

    say("kill -9 all processes, then all of it again");
    for process in &mut system.processes {
        process.kill_and_respawn().await?;
    }
    system.ready().await?;
    again("after a restart", &load, &all, verdict).await?;
    other_bodies(&load, &all, verdict).await?;

    if let Mode::Engines(engines) = &system.plan.mode {
        let engines = Arc::clone(engines);
        say("creates that no worker reads, FLUSHALL, then all of it again");
        for worker in system.workers() {
            worker.kill().await?;
        }
        all.extend(first_answers(plan, &load, &mut rng, verdict).await?);
        engines.tool(Engine::Redis, &["FLUSHALL"]).await?;
        again("after Redis was emptied", &load, &all, verdict).await?;
        for worker in system.workers() {
            worker.respawn()?;
        }
        system.ready().await?;
        touch(&load, &all).await?;
    }
    check::load(&system, &load, verdict).await?;
    check_chats(&system, &load, &all, verdict).await?;
    system.end().await
}

/// Sends a round of creates, each one to five times at once.
async fn first_answers(
    plan: &Plan,
    load: &Load,
    rng: &mut StdRng,
    verdict: &mut Verdict,
) -> Result<Vec<Keyed>, Failure> {
    let mut all = Vec::new();
    for nth in 0..plan.creates {
        let chat = load.chats[rng.random_range(0..load.chats.len())];
        let key = IdempotencyKey::random();
        let body = format!("{}{} {}", crate::load::COMMON, key.as_str(), fuzz(rng));
        let id = load.ledger.begin(chat, &body, &key)?;
        all.push(Keyed::new(key, What::Message(id, chat, body)));
        if nth % 10 == 0 {
            let name = format!("application {nth}");
            all.push(Keyed::new(
                IdempotencyKey::random(),
                What::Application(name),
            ));
            all.push(Keyed::new(IdempotencyKey::random(), What::Chat));
        }
    }
    for some in all.chunks_mut(AT_ONCE) {
        let times: Vec<usize> = some.iter().map(|_| rng.random_range(1..=5)).collect();
        let sends = some
            .iter_mut()
            .zip(times)
            .map(|(keyed, times)| keyed.send_at_once(load, times));
        for told in join_all(sends).await {
            for other in told? {
                verdict.must("equal answers at once", false, || other);
            }
        }
    }
    Ok(all)
}

/// Sends everything once more, until it is answered; the answers are to be the first ones.
async fn again(
    when: &'static str,
    load: &Load,
    all: &[Keyed],
    verdict: &mut Verdict,
) -> Result<(), Failure> {
    let began = Instant::now();
    let mut refusals = 0;
    for (round, some) in all.chunks(AT_ONCE).enumerate() {
        let client = &load.clients[round % load.clients.len()];
        let sends = some.iter().map(|keyed| keyed.until_answered(client, load));
        for (keyed, (answer, refused)) in some.iter().zip(try_join_all(sends).await?) {
            refusals += refused;
            verdict.must(
                "equal answers later",
                Some(&answer) == keyed.answer.as_ref(),
                || format!("{when}: {:?}, then {answer:?}", keyed.answer),
            );
        }
    }
    verdict.figure(
        when,
        format!(
            "{} equal answers asked for, {refusals} refusals before them, {:.1} s",
            all.len(),
            began.elapsed().as_secs_f64()
        ),
    );
    Ok(())
}

/// Creates in each chat that was made by a key: a counter that nobody asks for stays lost.
async fn touch(load: &Load, all: &[Keyed]) -> Result<(), Failure> {
    let made = all.iter().filter_map(|keyed| match keyed.answer {
        Some(Thing::Chat(chat)) => Some(chat),
        _ => None,
    });
    // All at once: each recovery waits for some seconds.
    let touches = made.map(|chat| touch_one(load, chat));
    try_join_all(touches).await.map(drop)
}

async fn touch_one(load: &Load, chat: ChatNumber) -> Result<(), Failure> {
    let (began, message) = (Instant::now(), message("a number for the counter"));
    let (client, create) = (&load.clients[0], Create::default());
    loop {
        let created = client.create_message(load.token, chat, &message, &create);
        match created.await {
            Ok(_) => return Ok(()),
            Err(error) if !error.retryable() || began.elapsed() > PATIENCE => {
                return Err(error.into());
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

async fn other_bodies(load: &Load, all: &[Keyed], verdict: &mut Verdict) -> Result<(), Failure> {
    let mut refused = 0;
    for keyed in all {
        let What::Message(_, chat, _) = &keyed.what else {
            continue;
        };
        let message = message("another body");
        let answer = load.clients[0]
            .create_message(load.token, *chat, &message, &keyed.create())
            .await;
        let is_422 = answer
            .as_ref()
            .is_err_and(|error| error.code() == Some(Code::KeyReused));
        verdict.must("other body 422", is_422, || format!("{answer:?}"));
        refused += usize::from(is_422);
    }
    verdict.figure("other bodies refused", refused);
    Ok(())
}

/// The chats that were made by keys, and no others, are there.
async fn check_chats(
    system: &System,
    load: &Load,
    all: &[Keyed],
    verdict: &mut Verdict,
) -> Result<(), Failure> {
    let client = system.client()?;
    let made = all.iter().filter(|keyed| matches!(keyed.what, What::Chat));
    let expected = load.chats.len() + made.count();
    let counted = client.application(load.token).await?.chats_count as usize;
    verdict.figure("chats", counted);
    verdict.must("no chat twice", counted == expected, || {
        format!("{counted} chats, {expected} were created")
    });
    let applications = system
        .admin()?
        .applications(None, 1_000)
        .await?
        .applications;
    let expected = 1 + all
        .iter()
        .filter(|keyed| matches!(keyed.what, What::Application(_)))
        .count();
    verdict.figure("applications", applications.len());
    verdict.must(
        "no application twice",
        applications.len() == expected,
        || {
            format!(
                "{} applications, {expected} were created",
                applications.len()
            )
        },
    );
    Ok(())
}

impl Keyed {
    const fn new(key: IdempotencyKey, what: What) -> Self {
        Self {
            key,
            what,
            answer: None,
            in_flight: 0,
        }
    }

    fn create(&self) -> Create {
        Create {
            key: Some(self.key.clone()),
            wait: None,
        }
    }

    async fn send(&self, client: &Client, load: &Load) -> Result<Thing, Error> {
        let create = self.create();
        match &self.what {
            What::Application(name) => {
                let name = NewApplication { name: name.clone() };
                let created = client.create_application(&name, &create).await?;
                Ok(Thing::Application(created.value.token))
            }
            What::Chat => {
                let created = client.create_chat(load.token, &create).await?;
                Ok(Thing::Chat(created.value.chat_number))
            }
            What::Message(_, chat, body) => {
                let message = message(body);
                let created = client
                    .create_message(load.token, *chat, &message, &create)
                    .await?;
                Ok(Thing::Message(created.value.message_number))
            }
        }
    }

    /// Sends it several times at once; returns what was not answered alike.
    async fn send_at_once(&mut self, load: &Load, times: usize) -> Result<Vec<String>, Failure> {
        let this = &*self;
        let sends = (0..times).map(|nth| this.send(&load.clients[nth % load.clients.len()], load));
        let answers = join_all(sends).await;
        let mut differing = Vec::new();
        for answer in answers {
            self.note(load, &answer)?;
            match answer {
                Ok(thing) => {
                    let first = self.answer.get_or_insert_with(|| thing.clone());
                    if *first != thing {
                        differing.push(format!("{first:?} and {thing:?}"));
                    }
                }
                Err(error) if error.code() == Some(Code::KeyInFlight) => self.in_flight += 1,
                Err(error) => return Err(error.into()),
            }
        }
        match self.answer {
            Some(_) => Ok(differing),
            None => Err("nobody got an answer".into()),
        }
    }

    /// Sends it until there is an answer; returns how often it was refused before.
    async fn until_answered(
        &self,
        client: &Client,
        load: &Load,
    ) -> Result<(Thing, usize), Failure> {
        let (began, mut refused) = (Instant::now(), 0);
        loop {
            let answer = self.send(client, load).await;
            self.note(load, &answer)?;
            match answer {
                Ok(thing) => return Ok((thing, refused)),
                Err(error) if !error.retryable() || began.elapsed() > PATIENCE => {
                    return Err(error.into());
                }
                Err(_) => refused += 1,
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn note(&self, load: &Load, answer: &Result<Thing, Error>) -> Result<(), Failure> {
        let What::Message(id, ..) = &self.what else {
            return Ok(());
        };
        match answer {
            Ok(Thing::Message(number)) => load.ledger.answer(*id, Ok(*number)),
            Ok(_) => Ok(()),
            Err(error) => load.ledger.answer(*id, Err(&error.to_string())),
        }
    }
}

fn message(body: &str) -> NewMessage {
    NewMessage {
        body: body.to_owned(),
        sender: None,
        sent_at: None,
    }
}
