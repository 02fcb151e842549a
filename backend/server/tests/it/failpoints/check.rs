//! What has to be true after a crash: nothing that was acknowledged is lost, nothing is there twice or of
//! nobody, numbers are unique and dense, search finds what the pages show.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::time::Duration;

use chat_client::admin::DriftQuery;
use chat_client::client::{Client, Read};
use chat_client::error::Error;
use chat_client::key::IdempotencyKey;
use chat_client::messages::Span;
use chat_client::search::Query;
use chat_wire::admin::reconcile::Phase;
use chat_wire::ids::{AppToken, ChatNumber, MessageNumber};
use chat_wire::problem::Code;
use chat_wire::search::Sort;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::child::Child;
use super::damage::{self, Expected};
use super::drive::{self, Book, Ledger, Lines, MARK, Tried};
use crate::harness::{Chat, eventually};

const PAGE: u32 = 100;
/// Calls at the same time.
const AT_ONCE: usize = 8;
/// Of so many tries that nobody answered, one is left as it is; the others are repeated.
const LEFT: usize = 3;

/// What was compared.
#[derive(Debug, Default)]
pub(super) struct Checked {
    chats: usize,
    acknowledged: usize,
    unanswered: usize,
    live: usize,
    void: u32,
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            chats,
            acknowledged,
            unanswered,
            live,
            void,
        } = self;
        write!(
            f,
            "{chats} chats, {acknowledged} creates of messages acknowledged, {unanswered} without an answer, \
             {live} live, {void} void"
        )
    }
}

/// Repeats what was asked for, lets everything settle, and compares.
pub(super) async fn promises(child: &Child, ledger: &Ledger, expected: &Expected) -> Checked {
    let mut book = ledger.read();
    let unanswered = book.messages.iter().filter(|one| one.answer.is_none());
    let mut checked = Checked {
        unanswered: unanswered.count(),
        ..Checked::default()
    };
    repeat_all(&child.patient, &mut book).await;
    drive::settled(child).await;
    if expected.drift {
        assert!(reconcile(child).await > 0, "it finds the damage");
    }
    assert_eq!(
        damage::letters(child, None).await,
        expected.letters,
        "dead letters"
    );
    applications(&child.patient, &book).await;
    let chats = chats(&child.patient, &book).await;
    let mut by_chat: HashMap<(AppToken, ChatNumber), Vec<&Tried<Lines, u32>>> = HashMap::new();
    for tried in &book.messages {
        let Chat { token, number } = tried.wanted.chat;
        by_chat.entry((token, number)).or_default().push(tried);
    }
    for tried in by_chat.keys() {
        assert!(
            chats.contains(tried),
            "a chat that was acknowledged is not listed"
        );
    }
    let mut ends = Vec::new();
    for (token, number) in chats {
        let chat = Chat { token, number };
        let tried = by_chat.remove(&(token, number)).unwrap_or_default();
        let acknowledged = tried.iter().filter(|one| one.answer.is_some());
        checked.acknowledged += acknowledged.count();
        let sent = Sent::new(chat, &tried, expected);
        let (live, settled) = sent.compare(&child.patient).await;
        checked.chats += 1;
        checked.live += live;
        checked.void += settled - u32::try_from(live).unwrap();
        ends.push((chat, settled));
    }
    assert_eq!(reconcile(child).await, 0, "nothing is left to be mended");
    // Only now: what is new is not searchable at once.
    for (chat, settled) in ends {
        next_number(&child.patient, chat, settled).await;
    }
    checked
}

/// Asks again with the keys of before: who had an answer gets the same, and most of the others get one.
async fn repeat_all(client: &Client, book: &mut Book) {
    let ask = async |name, key| drive::application(client, name, key).await;
    repeat(&mut book.applications, ask).await;
    let ask = async |token, key| drive::chat(client, token, key).await;
    repeat(&mut book.chats, ask).await;
    let ask = async |lines, key| drive::messages(client, lines, key, None).await;
    repeat(&mut book.messages, ask).await;
}

async fn repeat<W: Clone, A: Copy + PartialEq + fmt::Debug>(
    tries: &mut [Tried<W, A>],
    ask: impl AsyncFn(W, IdempotencyKey) -> Result<A, Error>,
) {
    let unanswered =
        |(at, tried): &(usize, &mut Tried<W, A>)| tried.answer.is_some() || at % LEFT != LEFT - 1;
    stream::iter(tries.iter_mut().enumerate().filter(unanswered))
        .map(Ok::<_, Error>)
        .try_for_each_concurrent(AT_ONCE, async |(_, tried)| {
            let answer = ask(tried.wanted.clone(), tried.key.clone()).await?;
            let before = tried.answer.replace(answer);
            assert_eq!(
                before.unwrap_or(answer),
                answer,
                "the same key, another answer"
            );
            Ok(())
        })
        .await
        .unwrap();
}

/// One full reconciliation, after which nothing drifts; returns how many steps it planned.
async fn reconcile(child: &Child) -> u64 {
    // A run of the process that crashed holds its place for some seconds.
    let begun = eventually("a reconciliation", async || {
        child.admin.reconcile(&damage::RECONCILE).await.ok()
    })
    .await;
    let run = eventually("the end of the reconciliation", async || {
        let runs = child.admin.runs().await.unwrap();
        runs.last.filter(|last| last.id == begun.id)
    })
    .await;
    assert_eq!((run.phase, run.failed), (Phase::Finished, 0), "{run:?}");
    let query = DriftQuery {
        drifted: true,
        limit: PAGE,
        ..DriftQuery::default()
    };
    let page = child.admin.drift(&query).await.unwrap();
    assert!(page.rows.is_empty(), "{page:?}");
    run.planned
}

async fn applications(client: &Client, book: &Book) {
    let answered = book.applications.iter().filter(|one| one.answer.is_some());
    stream::iter(answered)
        .for_each_concurrent(AT_ONCE, async |tried| {
            let token = tried.answer.expect("it was answered");
            let found = client.application(token).await.unwrap();
            assert_eq!(found.name, tried.wanted);
        })
        .await;
}

/// Every chat of every application that was acknowledged, of which no two have one number.
async fn chats(client: &Client, book: &Book) -> HashSet<(AppToken, ChatNumber)> {
    let mut all = HashSet::new();
    for token in book.applications.iter().filter_map(|one| one.answer) {
        let mut after = None;
        let mut listed = 0;
        loop {
            let page = client.chats(token, after, PAGE).await.unwrap();
            for chat in &page.chats {
                assert!(all.insert((token, chat.chat_number)), "a chat twice");
                listed += 1;
            }
            after = page.next_after;
            if after.is_none() {
                break;
            }
        }
        let count = client.application(token).await.unwrap().chats_count;
        assert_eq!(count, listed, "the count of chats");
    }
    let mut acknowledged = HashSet::new();
    for tried in &book.chats {
        if let Some(number) = tried.answer {
            let chat = (tried.wanted, number);
            assert!(acknowledged.insert(chat), "a number of a chat twice");
            assert!(all.contains(&chat), "a chat that was acknowledged is gone");
        }
    }
    all
}

/// What was asked for in a chat.
struct Sent<'a> {
    chat: Chat,
    /// By number, what was acknowledged.
    acknowledged: BTreeMap<u32, &'a str>,
    /// What nobody was given a number for, and has one.
    stored: HashSet<&'a str>,
    /// What may be there or not.
    unknown: Vec<&'a [String]>,
}

impl<'a> Sent<'a> {
    fn new(chat: Chat, tried: &[&'a Tried<Lines, u32>], expected: &'a Expected) -> Self {
        let here = |of: &Chat| (of.token, of.number) == (chat.token, chat.number);
        let mut sent = Self {
            chat,
            acknowledged: BTreeMap::new(),
            stored: HashSet::new(),
            unknown: Vec::new(),
        };
        for tried in tried {
            let bodies = &tried.wanted.bodies;
            let Some(first) = tried.answer else {
                sent.unknown.push(bodies);
                continue;
            };
            for (number, body) in (first..).zip(bodies) {
                let before = sent.acknowledged.insert(number, body);
                assert_eq!(before, None, "number {number} of {chat:?} was given twice");
            }
        }
        let bodies = expected.bodies.iter().filter(|(of, _)| here(of));
        sent.stored.extend(bodies.map(|(_, body)| body.as_str()));
        if let Some((of, number, body)) = &expected.edited
            && here(of)
        {
            sent.acknowledged.insert(*number, body);
        }
        sent
    }

    /// Compares with pages, single reads, the count and search; returns how many are live, and how many
    /// numbers there are.
    async fn compare(&self, client: &Client) -> (usize, u32) {
        let (live, settled) = self.pages(client).await;
        for (number, body) in &self.acknowledged {
            let found = live.get(number).map(String::as_str);
            assert_eq!(found, Some(*body), "number {number} of {:?}", self.chat);
        }
        let mut others: HashSet<&str> = HashSet::new();
        for (number, body) in &live {
            if !self.acknowledged.contains_key(number) {
                assert!(others.insert(body), "a body twice");
            }
        }
        for body in &self.stored {
            assert!(others.remove(body), "a message of the log is not stored");
        }
        for bodies in &self.unknown {
            let there = bodies.iter().filter(|body| others.remove(body.as_str()));
            let there = there.count();
            assert!(there == 0 || there == bodies.len(), "a part of a batch");
        }
        assert_eq!(others, HashSet::new(), "messages that nobody sent");
        self.search(client, &live).await;
        self.dense(client, &live, settled).await;
        (live.len(), settled)
    }

    /// Every live message, and the number up to which the chat is settled, which what was acknowledged is.
    async fn pages(&self, client: &Client) -> (BTreeMap<u32, String>, u32) {
        let Chat { token, number } = self.chat;
        let acknowledged = self.acknowledged.keys().next_back().copied().unwrap_or(0);
        eventually("the chat is settled", async || {
            let page = client
                .messages(token, number, Span::Start, 1)
                .await
                .unwrap();
            (page.settled_through >= acknowledged).then_some(())
        })
        .await;
        let mut live = BTreeMap::new();
        let mut span = Span::Start;
        let mut last = 0;
        loop {
            let page = client.messages(token, number, span, PAGE).await.unwrap();
            for message in page.messages {
                let number = message.message_number.get();
                assert!(number > last, "a page out of order");
                last = number;
                live.insert(number, message.body);
            }
            match page.next_after {
                Some(after) => span = Span::After(after),
                None => return (live, page.settled_through),
            }
        }
    }

    /// Every number up to the last is live or void, and the count is that of the live ones.
    async fn dense(&self, client: &Client, live: &BTreeMap<u32, String>, settled: u32) {
        let Chat { token, number } = self.chat;
        let highest = live.keys().next_back().copied().unwrap_or(0);
        assert!(settled >= highest, "settled through {settled} of {highest}");
        for missing in (1..=settled).filter(|number| !live.contains_key(number)) {
            let missing = MessageNumber::new(missing).unwrap();
            match client.peek_message(token, number, missing).await {
                Err(Error::Problem { problem, .. }) if problem.code == Code::Gone => {}
                // A dead letter has it.
                Ok(Read::Pending(_)) => {}
                other => panic!("number {missing} of {:?}: {other:?}", self.chat),
            }
        }
        let stored = client.chat(token, number).await.unwrap();
        assert_eq!(
            stored.messages_count as usize,
            live.len(),
            "the count of messages"
        );
    }

    async fn search(&self, client: &Client, live: &BTreeMap<u32, String>) {
        let mut found = BTreeMap::new();
        let mut cursor = None;
        loop {
            let query = Query {
                text: MARK.to_owned(),
                chat: Some(self.chat.number),
                sort: Sort::Number,
                limit: PAGE,
                cursor,
            };
            let page = client.search(self.chat.token, &query).await.unwrap();
            assert!(page.complete, "a search that is not complete");
            for hit in page.hits {
                let number = hit.message.message_number.get();
                let before = found.insert(number, hit.message.body);
                assert_eq!(before, None, "a hit twice");
            }
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(&found, live, "search and pages of {:?}", self.chat);
    }
}

/// The next create gets the number above the last one.
async fn next_number(client: &Client, chat: Chat, settled: u32) {
    let bodies = vec!["after the crash".to_owned()];
    let lines = Lines { chat, bodies };
    let wait = Some(Duration::from_secs(20));
    let next = drive::messages(client, lines, IdempotencyKey::random(), wait).await;
    assert_eq!(next.unwrap(), settled + 1, "the next number of {chat:?}");
}
