//! After the load: is everything that was acknowledged there, once, and nothing else?
//!
//! Three witnesses: the pages of each chat (every row), search (every document of this run, by the
//! mark in each body), and the server's own comparison of counters, rows, counts and documents.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chat_client::admin::{Admin, DriftQuery};
use chat_client::client::Client;
use chat_client::messages::Span;
use chat_client::search::Query;
use chat_wire::admin::drift::{Drift, Verdict};
use chat_wire::admin::reconcile::{Order, Phase};
use chat_wire::ids::AppToken;
use chat_wire::messages::Message;
use chat_wire::search::Sort;
use serde::Serialize;
use tokio::task::JoinSet;

use crate::error::Error;
use crate::load::ledger::{Chat, Entry, State, fingerprint};
use crate::load::report::Verification;
use crate::load::world::World;

/// Items of a page, everywhere.
const PAGE: u32 = 1_000;
/// Chats that are looked at at once.
const AT_ONCE: usize = 4;
/// Up to so many messages every document is looked at; above, samples of them and their number.
const DOCUMENTS_MAX: u64 = 250_000;
/// Samples in that case.
const SAMPLES: u32 = 1_000;
/// Findings that are kept; a run that lost more is judged already.
const FINDINGS_MAX: usize = 100_000;
/// Longest reconciliation.
const RECONCILE_MAX: Duration = Duration::from_secs(300);

/// Something that is not as it was acknowledged.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Finding {
    /// `lost`, `doubled`, `unexpected`, `unindexed` or `number_twice`.
    pub(crate) what: &'static str,
    pub(crate) token: String,
    pub(crate) chat: u32,
    pub(crate) number: u32,
}

/// What was found out.
#[derive(Debug, Default)]
pub(crate) struct Verified {
    pub(crate) report: Verification,
    pub(crate) findings: Vec<Finding>,
}

/// Compares the ledger with the server. Lag must be 0 by now.
///
/// # Errors
/// Where the server cannot be asked.
pub(crate) async fn verify(
    client: &Client,
    admin: &Admin,
    world: &Arc<World>,
    letters_before: Option<u64>,
) -> Result<Verified, Error> {
    let began = Instant::now();
    let mut verified = Verified::default();
    let complete = world.ledger.acknowledged() <= DOCUMENTS_MAX;
    verified.report.index_complete = complete;
    let mut tasks = JoinSet::new();
    for at in 0..world.ledger.len() {
        if tasks.len() >= AT_ONCE {
            verified.join(tasks.join_next().await)?;
        }
        let (client, world) = (client.clone(), Arc::clone(world));
        tasks.spawn(async move { of_chat(&client, &world, at, complete).await });
    }
    while let Some(done) = tasks.join_next().await {
        verified.join(Some(done))?;
    }
    if !complete {
        samples(client, world, &mut verified).await?;
    }
    for token in &world.applications {
        let drifted = settled(admin, *token).await?;
        verified.report.chats_drifted += drifted;
    }
    let letters = admin.stats().await?.dead_letters;
    let new = letters.zip(letters_before);
    verified.report.dead_letters = new.map(|(now, before)| now.saturating_sub(before));
    verified.report.seconds = began.elapsed().as_secs_f64();
    verified.say();
    Ok(verified)
}

impl Verified {
    fn find(&mut self, world: &World, at: u32, what: &'static str, number: u32) {
        let report = &mut self.report;
        *match what {
            "lost" => &mut report.lost,
            "doubled" => &mut report.doubled,
            "unindexed" => &mut report.unindexed,
            "number_twice" => &mut report.numbers_twice,
            _ => &mut report.unexpected,
        } += 1;
        if self.findings.len() < FINDINGS_MAX {
            let place = world.places[at as usize];
            self.findings.push(Finding {
                what,
                token: place.token.reveal(),
                chat: place.chat.get(),
                number,
            });
        }
    }

    fn join(
        &mut self,
        done: Option<Result<Result<Self, Error>, tokio::task::JoinError>>,
    ) -> Result<(), Error> {
        let Some(done) = done else { return Ok(()) };
        let other =
            done.map_err(|error| Error::failure(format!("a task ended early: {error}")))??;
        let (to, from) = (&mut self.report, other.report);
        to.acknowledged += from.acknowledged;
        to.unanswered += from.unanswered;
        to.rows += from.rows;
        to.documents += from.documents;
        to.lost += from.lost;
        to.doubled += from.doubled;
        to.unexpected += from.unexpected;
        to.unindexed += from.unindexed;
        to.numbers_twice += from.numbers_twice;
        to.void += from.void;
        self.findings.extend(other.findings);
        self.findings.truncate(FINDINGS_MAX);
        Ok(())
    }

    /// Puts what is wrong into words.
    fn say(&mut self) {
        let report = &mut self.report;
        let wrong = [
            (
                report.lost,
                "acknowledged messages are not there as they were acknowledged",
            ),
            (report.doubled, "messages are there more than once"),
            (
                report.unexpected,
                "messages are there that nobody sent, or that were deleted",
            ),
            (
                report.unindexed,
                "messages are not found by search, or not once",
            ),
            (report.numbers_twice, "numbers were given out twice"),
            (
                report.chats_drifted,
                "chats disagree in counter, numbers, rows, count or documents",
            ),
            (
                report.dead_letters.unwrap_or(0),
                "records became dead letters",
            ),
        ];
        let wrong = wrong.into_iter().filter(|(count, _)| *count > 0);
        report.findings = wrong
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        if report.dead_letters.is_none() {
            let text = "whether there are dead letters is unknown: the server did not tell";
            report.findings.push(text.to_owned());
        }
    }
}

/// One chat: its rows against the ledger, its documents against its rows.
async fn of_chat(
    client: &Client,
    world: &World,
    at: u32,
    documents: bool,
) -> Result<Verified, Error> {
    let mut verified = Verified::default();
    let known = std::mem::take(&mut *world.ledger.chat(at));
    let rows = rows(client, world, at).await?;
    compare(world, at, &known, &rows, &mut verified);
    if documents && !(known.entries.is_empty() && known.unanswered.is_empty()) {
        let found = found(client, world, at, world.bodies.mark()).await?;
        verified.report.documents += found.values().map(|count| u64::from(*count)).sum::<u64>();
        for row in &rows {
            let number = row.message_number.get();
            if found.get(&number) != Some(&1) {
                verified.find(world, at, "unindexed", number);
            }
        }
        let numbers: HashSet<u32> = rows.iter().map(|row| row.message_number.get()).collect();
        for number in found.keys().filter(|number| !numbers.contains(number)) {
            verified.find(world, at, "unexpected", *number);
        }
    }
    // The samples are drawn from it afterwards.
    *world.ledger.chat(at) = known;
    Ok(verified)
}

/// All rows of a chat, each page once.
async fn rows(client: &Client, world: &World, at: u32) -> Result<Vec<Message>, Error> {
    let place = world.places[at as usize];
    let mut rows = Vec::new();
    let mut span = Span::Start;
    loop {
        let page = client.messages(place.token, place.chat, span, PAGE).await?;
        rows.extend(page.messages);
        match page.next_after {
            Some(after) => span = Span::After(after),
            None => return Ok(rows),
        }
    }
}

/// How often search finds each message of a chat that contains this text.
async fn found(
    client: &Client,
    world: &World,
    at: u32,
    text: &str,
) -> Result<HashMap<u32, u32>, Error> {
    let place = world.places[at as usize];
    let mut found = HashMap::new();
    let mut query = Query {
        text: text.to_owned(),
        chat: Some(place.chat),
        sort: Sort::Number,
        limit: PAGE,
        cursor: None,
    };
    loop {
        let page = client.search(place.token, &query).await?;
        for hit in &page.hits {
            *found.entry(hit.message.message_number.get()).or_default() += 1;
        }
        query.cursor = page.next_cursor;
        if query.cursor.is_none() {
            return Ok(found);
        }
    }
}

/// Rows against what was acknowledged.
fn compare(world: &World, at: u32, known: &Chat, rows: &[Message], verified: &mut Verified) {
    let by_number: HashMap<u32, &Message> = rows
        .iter()
        .map(|row| (row.message_number.get(), row))
        .collect();
    let mut numbers = HashSet::new();
    let mut acknowledged = HashSet::new();
    for Entry {
        number,
        state,
        body,
    } in &known.entries
    {
        acknowledged.insert(*body);
        if !numbers.insert(*number) {
            verified.find(world, at, "number_twice", *number);
        }
        let row = by_number.get(number);
        match state {
            State::Deleted if row.is_some() => verified.find(world, at, "unexpected", *number),
            State::Live if row.is_none_or(|row| fingerprint(&row.body) != *body) => {
                verified.find(world, at, "lost", *number);
            }
            State::Live | State::Deleted | State::Busy | State::Uncertain => {}
        }
    }
    let mut unanswered: HashSet<u64> = known.unanswered.iter().copied().collect();
    for row in rows {
        let number = row.message_number.get();
        if numbers.contains(&number) {
            continue;
        }
        let body = fingerprint(&row.body);
        if unanswered.remove(&body) {
            // It was sent, nobody was told, and it is there: that is allowed, once.
        } else if acknowledged.contains(&body) || known.unanswered.contains(&body) {
            verified.find(world, at, "doubled", number);
        } else {
            verified.find(world, at, "unexpected", number);
        }
    }
    let live = known
        .entries
        .iter()
        .filter(|entry| entry.state == State::Live);
    verified.report.acknowledged += live.count() as u64;
    verified.report.unanswered += known.unanswered.len() as u64;
    verified.report.rows += rows.len() as u64;
    // A number below the highest that no row and no acknowledgement has belongs to nobody.
    let rows = rows.iter().map(|row| row.message_number.get());
    let all: HashSet<u32> = numbers.into_iter().chain(rows).collect();
    let highest = all.iter().copied().max().unwrap_or(0);
    verified.report.void += u64::from(highest) - all.len() as u64;
}

/// Samples of a run that is too large to look at every document.
async fn samples(
    client: &Client,
    world: &Arc<World>,
    verified: &mut Verified,
) -> Result<(), Error> {
    for sample in 0..SAMPLES {
        let choice = crate::load::world::mixed(u64::from(sample) + 1);
        let at = choice % world.ledger.len();
        let entry = {
            let known = world.ledger.chat(at);
            known
                .some(choice >> 4)
                .map(|(at, number)| (known.entries[at].body, number))
        };
        let Some((body, number)) = entry else {
            continue;
        };
        let place = world.places[at as usize];
        let numbered = chat_wire::ids::MessageNumber::new(number);
        let Some(numbered) = numbered else { continue };
        let Ok(row) = client.message(place.token, place.chat, numbered).await else {
            // It was counted among the rows.
            continue;
        };
        verified.report.documents += 1;
        let tag = row.body.rsplit(' ').next().unwrap_or(&row.body).to_owned();
        let found = found(client, world, at, &tag).await?;
        if fingerprint(&row.body) != body || found.get(&number) != Some(&1) {
            verified.find(world, at, "unindexed", number);
        }
    }
    Ok(())
}

/// How many chats of an application are not well after one reconciliation.
async fn settled(admin: &Admin, token: AppToken) -> Result<u64, Error> {
    if unwell(admin, token).await? == 0 {
        return Ok(0);
    }
    let order = Order {
        token: Some(token),
        full: true,
        execute: true,
        ..Order::default()
    };
    let deadline = Instant::now() + RECONCILE_MAX;
    let run = admin.reconcile(&order).await?;
    loop {
        let runs = admin.runs().await?;
        let ours = runs.last.filter(|last| last.id == run.id);
        if let Some(ours) = ours {
            if ours.phase != Phase::Finished {
                let why = ours.detail.unwrap_or_default();
                return Err(Error::failure(format!("the reconciliation failed: {why}")));
            }
            break;
        }
        if Instant::now() > deadline {
            return Err(Error::failure("the reconciliation does not end")
                .with_hint("`chatctl reconcile status` shows where it is"));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    unwell(admin, token).await
}

async fn unwell(admin: &Admin, token: AppToken) -> Result<u64, Error> {
    let mut query = DriftQuery {
        token: Some(token),
        limit: 500,
        ..DriftQuery::default()
    };
    let mut unwell = 0;
    loop {
        let page = admin.drift(&query).await?;
        unwell += page.rows.iter().filter(|row| !is_well(row)).count() as u64;
        query.after = page.next_after;
        if query.after.is_none() {
            return Ok(unwell);
        }
    }
}

/// Everything agrees, as nothing is in flight any more.
fn is_well(drift: &Drift) -> bool {
    drift.verdict == Verdict::Ok
        && drift.counter == Some(drift.highest)
        && drift.rows == u64::from(drift.highest)
        && drift.documents == Some(drift.live)
        && drift.count == drift.live
}

#[cfg(test)]
mod tests {
    use chat_wire::ids::{ChatNumber, MessageNumber};
    use chat_wire::time::Timestamp;

    use super::*;

    fn row(number: u32, body: &str) -> Message {
        Message {
            chat_number: ChatNumber::new(1).unwrap(),
            message_number: MessageNumber::new(number).unwrap(),
            sender: None,
            body: body.to_owned(),
            sent_at: None,
            created_at: Timestamp::now(),
            updated_at: None,
            revision: 1,
        }
    }

    /// What is found where these messages were acknowledged, these were not answered, and these rows are there.
    fn found(
        acknowledged: &[(u32, &str, State)],
        unanswered: &[&str],
        rows: &[(u32, &str)],
    ) -> (Vec<&'static str>, u64) {
        let world = World::of_one_chat();
        let mut chat = Chat::default();
        for (number, body, state) in acknowledged {
            chat.acknowledged(*number, fingerprint(body));
            chat.entries.last_mut().unwrap().state = *state;
        }
        chat.unanswered = unanswered.iter().map(|body| fingerprint(body)).collect();
        let rows: Vec<Message> = rows
            .iter()
            .map(|(number, body)| row(*number, body))
            .collect();
        let mut verified = Verified::default();
        compare(&world, 0, &chat, &rows, &mut verified);
        let whats = verified.findings.iter().map(|finding| finding.what);
        (whats.collect(), verified.report.void)
    }

    use State::{Deleted, Live, Uncertain};

    #[test]
    fn what_is_as_it_was_acknowledged_is_well() {
        let known = [(1, "a", Live), (2, "b", Deleted), (3, "c", Uncertain)];
        assert_eq!(found(&known, &["x"], &[(1, "a"), (3, "C")]), (vec![], 0));
        assert_eq!(found(&known, &["x"], &[(1, "a"), (4, "x")]), (vec![], 0));
        // A number that was burned.
        assert_eq!(found(&[(2, "b", Live)], &[], &[(2, "b")]), (vec![], 1));
    }

    #[test]
    fn each_way_to_be_wrong_has_its_name() {
        let one = [(1, "a", Live)];
        assert_eq!(found(&one, &[], &[]).0, ["lost"]);
        assert_eq!(found(&one, &[], &[(1, "A")]).0, ["lost"]);
        assert_eq!(found(&one, &[], &[(1, "a"), (2, "a")]).0, ["doubled"]);
        assert_eq!(
            found(&one, &["x"], &[(1, "a"), (2, "x"), (3, "x")]).0,
            ["doubled"]
        );
        assert_eq!(found(&one, &[], &[(1, "a"), (2, "?")]).0, ["unexpected"]);
        assert_eq!(
            found(&[(1, "a", Deleted)], &[], &[(1, "a")]).0,
            ["unexpected"]
        );
        let twice = [(1, "a", Live), (1, "b", Live)];
        assert_eq!(found(&twice, &[], &[(1, "a")]).0, ["number_twice", "lost"]);
    }
}
