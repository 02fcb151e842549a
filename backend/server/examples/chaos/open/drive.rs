//! The loop of the generator: sends what is due, reads what has come, and sleeps in between.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chat_wire::messages::MessageCreated;
use chat_wire::problem::Problem;
use mio::{Events, Poll, Token};

use super::connection::{Answer, Connection, Sent};
use super::figures::{Figures, is_shed, number};
use super::{Arrivals, Fate, Generator};
use crate::{Failure, cores};

/// How long the last answers are waited for: longer than any deadline of ours.
const PATIENCE: Duration = Duration::from_secs(40);
/// The longest sleep, and what poll(2) can be told.
const TICK: Duration = Duration::from_millis(1);
/// The sleep where more is due within a tick: so late may an arrival be. To wake up for each of them would
/// cost more of the processor, which engines share, than to send them.
const NAP: Duration = Duration::from_micros(500);
/// Arrivals that are sent before answers are looked at again.
const BURST: usize = 64;
/// Events of one look.
const EVENTS: usize = 1_024;
/// Clients have been there before: as many connections as arrivals in this time, in milliseconds, are
/// open when the first is due. What comes on top opens more.
const READY_MS: f64 = 200.0;
/// Connections that are opened at once before that, and how long all of them may take.
const OPENING: usize = 128;
const OPENED_WITHIN: Duration = Duration::from_secs(20);

/// All generators that send together.
pub(super) struct Drive {
    poll: Poll,
    lanes: Vec<Lane>,
    /// By the token of their events.
    connections: Vec<Option<Placed>>,
    vacant: Vec<usize>,
}

/// A connection, and whose it is.
struct Placed {
    connection: Connection,
    lane: usize,
    api: usize,
}

/// One generator at work.
struct Lane {
    generator: Arc<Generator>,
    arrivals: Arrivals,
    arrived: usize,
    /// Connections without a create on them, for each API process.
    free: Vec<Vec<usize>>,
    open: usize,
    waiting: usize,
    figures: Figures,
    /// The last refusal and its code: the next one is most likely the same.
    refusal: (Vec<u8>, String),
}

impl Lane {
    fn new((generator, arrivals): (Arc<Generator>, Arrivals)) -> Self {
        Self {
            free: vec![Vec::new(); generator.target.apis.len()],
            generator,
            arrivals,
            arrived: 0,
            open: 0,
            waiting: 0,
            figures: Figures::default(),
            refusal: (Vec::new(), String::new()),
        }
    }

    /// When the next create is due, in the open model.
    fn due(&self, began: Instant) -> Option<Instant> {
        match self.arrivals {
            Arrivals::Open(rate) => {
                Some(began + Duration::from_secs_f64(number(self.arrived) / rate))
            }
            Arrivals::Closed(_) => None,
        }
    }

    /// What an answer says became of its create.
    fn fate(&mut self, answer: &Answer<'_>) -> Result<Fate, Failure> {
        if answer.status == 202 {
            let created: MessageCreated = serde_json::from_slice(answer.body)?;
            return Ok(Fate::Given(created.message_number));
        }
        if self.refusal.0 != answer.body {
            let problem: Problem = serde_json::from_slice(answer.body)?;
            self.refusal = (answer.body.to_owned(), problem.code.as_str().to_owned());
        }
        let shed = is_shed(&self.refusal.1);
        if shed && !(answer.is_problem && answer.retry_after) {
            return Err("a refusal without its media type or Retry-After".into());
        }
        Ok(if shed { Fate::Shed } else { Fate::Unknown })
    }

    /// Counts a create that is over.
    fn end(&mut self, sent: Sent, fate: Fate, code: &str) -> Result<(), Failure> {
        let took = micros(sent.due.elapsed());
        self.waiting -= 1;
        match fate {
            Fate::Given(_) => self.figures.accepted_us.push(took),
            Fate::Unknown | Fate::Shed => match self.figures.refused_us.get_mut(code) {
                Some(times) => times.push(took),
                None => {
                    let times = vec![took];
                    self.figures.refused_us.insert(code.to_owned(), times);
                }
            },
        }
        self.generator.end(sent.id, fate, code)
    }
}

impl Drive {
    pub(super) fn new(flows: Vec<(Arc<Generator>, Arrivals)>) -> Result<Self, Failure> {
        Ok(Self {
            poll: Poll::new()?,
            lanes: flows.into_iter().map(Lane::new).collect(),
            connections: Vec::new(),
            vacant: Vec::new(),
        })
    }

    /// Sends for so long, and waits for the answers.
    pub(super) fn run(mut self, span: Duration) -> Result<Vec<Figures>, Failure> {
        let mut events = Events::with_capacity(EVENTS);
        (0..self.lanes.len()).try_for_each(|lane| self.get_ready(lane, &mut events))?;
        let (began, busy) = (Instant::now(), cores::processor_time());
        let over = began + span;
        for lane in 0..self.lanes.len() {
            if let Arrivals::Closed(connections) = self.lanes[lane].arrivals {
                (0..connections).try_for_each(|_| self.arrive(lane, began))?;
            }
        }
        while Instant::now() < over {
            self.arrivals(began)?;
            self.turn(&mut events, self.pause(began, over), over)?;
        }
        let (elapsed, used) = (began.elapsed(), cores::processor_time());
        while self.lanes.iter().any(|lane| lane.waiting > 0) && over.elapsed() < PATIENCE {
            self.turn(&mut events, TICK, over)?;
        }
        self.give_up()?;
        let figures = self.lanes.into_iter().map(|lane| Figures {
            seconds: elapsed.as_secs_f64(),
            busy: used.zip(busy).map(|(used, before)| used - before),
            ..lane.figures
        });
        Ok(figures.collect())
    }

    /// Opens the connections that are there before the first arrival.
    fn get_ready(&mut self, lane: usize, events: &mut Events) -> Result<(), Failure> {
        let began = Instant::now();
        let Lane {
            generator,
            arrivals,
            ..
        } = &self.lanes[lane];
        let (apis, most) = (generator.target.apis.len(), generator.most);
        let wanted = match arrivals {
            Arrivals::Open(rate) => whole(rate * READY_MS / 1_000.0).min(most),
            Arrivals::Closed(_) => 0,
        };
        let mut opening: Vec<usize> = Vec::new();
        let mut opened = 0;
        while opened < wanted || !opening.is_empty() {
            while opened < wanted && opening.len() < OPENING {
                opening.push(self.open(lane, opened % apis)?);
                opened += 1;
            }
            self.turn(events, TICK, began)?;
            let connections = &self.connections;
            let mut gone = false;
            let (ready, rest): (Vec<usize>, Vec<usize>) = opening.into_iter().partition(|token| {
                gone |= connections[*token].is_none();
                let placed = connections[*token].as_ref();
                placed.is_some_and(|placed| placed.connection.is_connected())
            });
            opening = rest;
            if gone || began.elapsed() > OPENED_WITHIN {
                return Err("the server does not take the connections of the generator".into());
            }
            for token in ready {
                if let Some(placed) = &self.connections[token] {
                    self.lanes[lane].free[placed.api].push(token);
                }
            }
        }
        Ok(())
    }

    /// Sends what is due by now, up to a burst of each.
    fn arrivals(&mut self, began: Instant) -> Result<(), Failure> {
        let now = Instant::now();
        for lane in 0..self.lanes.len() {
            for _ in 0..BURST {
                match self.lanes[lane].due(began).filter(|due| *due <= now) {
                    Some(due) => self.arrive(lane, due)?,
                    None => break,
                }
            }
        }
        Ok(())
    }

    /// One create that is due, unless there is no connection for it.
    fn arrive(&mut self, lane: usize, due: Instant) -> Result<(), Failure> {
        let nth = self.lanes[lane].arrived;
        self.lanes[lane].arrived += 1;
        match self.place(lane, nth)? {
            Some(token) => self.send(token, due),
            None => {
                self.lanes[lane].figures.skipped += 1;
                Ok(())
            }
        }
    }

    /// A free connection, or a new one, to the API process whose turn it is; or one to another.
    fn place(&mut self, lane: usize, nth: usize) -> Result<Option<usize>, Failure> {
        let Lane {
            free,
            open,
            generator,
            ..
        } = &mut self.lanes[lane];
        let api = nth % free.len();
        if let Some(token) = free[api].pop() {
            return Ok(Some(token));
        }
        if *open >= generator.most {
            return Ok(free.iter_mut().find_map(Vec::pop));
        }
        self.open(lane, api).map(Some)
    }

    /// Begins to open a connection.
    fn open(&mut self, lane: usize, api: usize) -> Result<usize, Failure> {
        let Lane {
            open,
            generator,
            figures,
            ..
        } = &mut self.lanes[lane];
        let token = self.vacant.pop().unwrap_or_else(|| {
            self.connections.push(None);
            self.connections.len() - 1
        });
        let to = generator.target.apis[api];
        let connection = Connection::open(to, self.poll.registry(), Token(token))?;
        *open += 1;
        figures.connections = figures.connections.max(*open);
        self.connections[token] = Some(Placed {
            connection,
            lane,
            api,
        });
        Ok(token)
    }

    fn send(&mut self, token: usize, due: Instant) -> Result<(), Failure> {
        let Some(placed) = &mut self.connections[token] else {
            return Err("a connection that is gone was free".into());
        };
        let lane = &mut self.lanes[placed.lane];
        let id = lane.generator.begin()?;
        lane.waiting += 1;
        lane.figures.late_us.push(micros(due.elapsed()));
        let request = |out: &mut Vec<u8>| lane.generator.request(id, out);
        match placed.connection.send(Sent { id, due }, request) {
            Ok(()) => Ok(()),
            Err(error) => self.broken(token, &error),
        }
    }

    /// How long there is nothing to send.
    fn pause(&self, began: Instant, over: Instant) -> Duration {
        let due = self.lanes.iter().filter_map(|lane| lane.due(began)).min();
        let next = due.map_or(over, |due| due.min(over));
        next.saturating_duration_since(Instant::now())
    }

    /// Looks at what has come; where nothing is due for so long, waits for it, up to a tick.
    #[expect(
        clippy::disallowed_methods,
        reason = "a thread of its own, and poll(2) knows no shorter wait than a millisecond"
    )]
    fn turn(&mut self, events: &mut Events, most: Duration, over: Instant) -> Result<(), Failure> {
        if most >= TICK {
            self.look(events, TICK)?;
        } else {
            if !most.is_zero() {
                std::thread::sleep(NAP);
            }
            self.look(events, Duration::ZERO)?;
        }
        for event in &*events {
            let token = event.token().0;
            if event.is_writable() {
                self.writable(token)?;
            }
            if event.is_readable() || event.is_error() {
                self.readable(token, over)?;
            }
        }
        Ok(())
    }

    fn look(&mut self, events: &mut Events, most: Duration) -> Result<(), Failure> {
        match self.poll.poll(events, Some(most)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error.into()),
            _ => Ok(()),
        }
    }

    fn writable(&mut self, token: usize) -> Result<(), Failure> {
        let written = match &mut self.connections[token] {
            Some(placed) => placed.connection.writable(),
            None => Ok(()),
        };
        written.or_else(|error| self.broken(token, &error))
    }

    fn readable(&mut self, token: usize, over: Instant) -> Result<(), Failure> {
        let Some(placed) = &mut self.connections[token] else {
            return Ok(());
        };
        let lane = &mut self.lanes[placed.lane];
        let (fate, stays) = match placed.connection.readable() {
            Ok(None) => return Ok(()),
            Ok(Some(answer)) => (lane.fate(&answer), answer.stays),
            Err(error) => return self.broken(token, &error),
        };
        let Some(sent) = placed.connection.sent.take() else {
            return Err("an answer to nothing".into());
        };
        match fate {
            Ok(fate @ Fate::Given(_)) => lane.end(sent, fate, "acknowledged")?,
            Ok(fate) => {
                let code = std::mem::take(&mut lane.refusal.1);
                lane.end(sent, fate, &code)?;
                lane.refusal.1 = code;
            }
            Err(error) => lane.end(sent, Fate::Unknown, &format!("wrong: {error}"))?,
        }
        let (nth, api) = (placed.lane, placed.api);
        if !stays {
            self.close(token);
            return self.again(nth, over);
        }
        match self.lanes[nth].arrivals {
            Arrivals::Closed(_) if Instant::now() < over => self.send(token, Instant::now()),
            _ => {
                self.lanes[nth].free[api].push(token);
                Ok(())
            }
        }
    }

    /// The closed model goes on with another connection in place of one that ended.
    fn again(&mut self, lane: usize, over: Instant) -> Result<(), Failure> {
        match self.lanes[lane].arrivals {
            Arrivals::Closed(_) if Instant::now() < over => self.arrive(lane, Instant::now()),
            _ => Ok(()),
        }
    }

    /// Ends a connection that broke; what was on it is unknown for ever.
    fn broken(&mut self, token: usize, error: &io::Error) -> Result<(), Failure> {
        let Some(placed) = &mut self.connections[token] else {
            return Ok(());
        };
        let lane = &mut self.lanes[placed.lane];
        match placed.connection.sent.take() {
            Some(sent) => lane.end(sent, Fate::Unknown, &format!("broken: {error}"))?,
            None => lane.free[placed.api].retain(|free| *free != token),
        }
        self.close(token);
        Ok(())
    }

    fn close(&mut self, token: usize) {
        if let Some(placed) = self.connections[token].take() {
            self.lanes[placed.lane].open -= 1;
            placed.connection.close(self.poll.registry());
            self.vacant.push(token);
        }
    }

    /// Whoever has no answer by now gets none.
    fn give_up(&mut self) -> Result<(), Failure> {
        for placed in self.connections.iter_mut().flatten() {
            if let Some(sent) = placed.connection.sent.take() {
                self.lanes[placed.lane].end(sent, Fate::Unknown, "no answer")?;
            }
        }
        Ok(())
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a number of connections"
)]
const fn whole(number: f64) -> usize {
    number as usize
}

fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}
