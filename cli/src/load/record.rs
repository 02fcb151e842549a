//! The recorder: every answer goes to one thread, which keeps histograms and nothing else.
//!
//! Two histograms for each operation, as Gil Tene's "How NOT to Measure Latency" asks for: service
//! time begins when a request is sent, response time when it was due. A server that stalls delays
//! the requests behind the stall; only the response time tells of it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use chat_tui::load::{self as live, Live};
use hdrhistogram::Histogram;

use crate::load::latency::{histogram, latency, latency_of, millis};
use crate::load::mix::Kind;
use crate::load::report::{Latency, Operation, Second, Totals};
use crate::load::watch::Lags;

/// Between two looks for answers.
const NAP: Duration = Duration::from_millis(20);

/// What the sender counts by itself.
#[derive(Debug, Default)]
pub(crate) struct Flow {
    pub(crate) wanted: AtomicU64,
    pub(crate) sent: AtomicU64,
    pub(crate) skipped: AtomicU64,
    pub(crate) answered: AtomicU64,
    pub(crate) in_flight_max: AtomicU64,
    /// Microseconds of the phase after which nothing more is sent; 0 where it goes on as planned.
    ended: AtomicU64,
}

impl Flow {
    pub(crate) fn in_flight(&self) -> u64 {
        let answered = self.answered.load(Ordering::Relaxed);
        self.sent.load(Ordering::Relaxed).saturating_sub(answered)
    }

    /// Nothing more is sent from this moment of the phase on, because somebody wants it to end.
    pub(crate) fn end(&self, at: Duration) {
        let at = u64::try_from(at.as_micros()).unwrap_or(u64::MAX);
        let _ = self
            .ended
            .compare_exchange(0, at.max(1), Ordering::Relaxed, Ordering::Relaxed);
    }

    /// For how long requests are sent, of as long as was planned.
    fn lasting(&self, planned: Duration) -> Duration {
        match self.ended.load(Ordering::Relaxed) {
            0 => planned,
            ended => planned.min(Duration::from_micros(ended)),
        }
    }

    /// A request is sent now.
    pub(crate) fn send(&self) {
        self.sent.fetch_add(1, Ordering::Relaxed);
        self.in_flight_max
            .fetch_max(self.in_flight(), Ordering::Relaxed);
    }
}

/// One answer, or its absence. Times are microseconds since the phase began.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) kind: Kind,
    pub(crate) due: u64,
    pub(crate) sent: u64,
    pub(crate) done: u64,
    /// Messages that it acknowledged, or what it says instead.
    pub(crate) result: Result<u32, Cow<'static, str>>,
}

/// What a phase was.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    pub(crate) totals: Totals,
    pub(crate) operations: Vec<Operation>,
    pub(crate) late: Latency,
    pub(crate) series: Vec<Second>,
}

/// Where the live view and the lines of progress come from.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    pub(crate) live: tokio::sync::watch::Sender<Live>,
    /// Whether a line a second is written.
    pub(crate) lines: bool,
}

/// A running recorder.
#[derive(Debug)]
pub(crate) struct Recorder {
    pub(crate) flow: Arc<Flow>,
    pub(crate) answers: mpsc::Sender<Answer>,
    thread: JoinHandle<Measured>,
}

impl Recorder {
    /// Starts to count; `lasting` is how long requests are sent.
    pub(crate) fn start(began: Instant, lasting: Duration, lags: Arc<Lags>, shown: Shown) -> Self {
        let (answers, received) = mpsc::channel();
        let flow = Arc::new(Flow::default());
        let mut book = Book::new(began, lasting, Arc::clone(&flow), lags, shown);
        let thread = std::thread::spawn(move || {
            book.keep(&received);
            book.finish()
        });
        Self {
            flow,
            answers,
            thread,
        }
    }

    /// Everything that was counted; waits for nothing but the thread, so all answers must be in.
    pub(crate) fn finish(self) -> Measured {
        drop(self.answers);
        match self.thread.join() {
            Ok(measured) => measured,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

/// Histograms of one operation.
struct Page {
    ok: u64,
    ok_this_second: u64,
    per_second: f64,
    errors: BTreeMap<Cow<'static, str>, u64>,
    response: Histogram<u64>,
    service: Histogram<u64>,
    refused: Histogram<u64>,
}

impl Page {
    fn new() -> Self {
        Self {
            ok: 0,
            ok_this_second: 0,
            per_second: 0.0,
            errors: BTreeMap::new(),
            response: histogram(),
            service: histogram(),
            refused: histogram(),
        }
    }

    fn failed(&self) -> u64 {
        self.errors.values().sum()
    }
}

struct Book {
    began: Instant,
    lasting: Duration,
    flow: Arc<Flow>,
    lags: Arc<Lags>,
    shown: Shown,
    pages: [Option<Box<Page>>; Kind::ALL.len()],
    late: Histogram<u64>,
    late_second: Histogram<u64>,
    second: Histogram<u64>,
    ok_second: u64,
    failed_second: u64,
    /// Answers as wanted while requests were sent.
    ok_in_time: u64,
    messages: u64,
    last: Last,
    series: Vec<Second>,
}

/// The counters at the end of the last second.
#[derive(Default)]
struct Last {
    wanted: u64,
    sent: u64,
    skipped: u64,
}

impl Book {
    fn new(
        began: Instant,
        lasting: Duration,
        flow: Arc<Flow>,
        lags: Arc<Lags>,
        shown: Shown,
    ) -> Self {
        Self {
            began,
            lasting,
            flow,
            lags,
            shown,
            pages: [const { None }; Kind::ALL.len()],
            late: histogram(),
            late_second: histogram(),
            second: histogram(),
            ok_second: 0,
            failed_second: 0,
            ok_in_time: 0,
            messages: 0,
            last: Last::default(),
            series: Vec::new(),
        }
    }

    /// Takes what is there, and then naps: an answer that had to wake somebody would cost twice as much.
    #[expect(
        clippy::disallowed_methods,
        reason = "the thread is the recorder's own, and has nothing else to do"
    )]
    fn keep(&mut self, received: &mpsc::Receiver<Answer>) {
        let mut next = self.began + Duration::from_secs(1);
        loop {
            let met = received.try_recv();
            // The clock is looked at after each answer too: a flood shall not hold up a second.
            while Instant::now() >= next {
                self.turn();
                next += Duration::from_secs(1);
            }
            match met {
                Ok(answer) => self.count(answer),
                Err(mpsc::TryRecvError::Empty) => {
                    let left = next.saturating_duration_since(Instant::now());
                    std::thread::sleep(left.min(NAP));
                }
                Err(mpsc::TryRecvError::Disconnected) => return,
            }
        }
    }

    fn count(&mut self, answer: Answer) {
        let page = self.pages[answer.kind.index()].get_or_insert_with(|| Box::new(Page::new()));
        let response = answer.done.saturating_sub(answer.due);
        let late = answer.sent.saturating_sub(answer.due);
        self.late.saturating_record(late);
        self.late_second.saturating_record(late);
        match answer.result {
            Ok(messages) => {
                page.ok += 1;
                page.ok_this_second += 1;
                page.response.saturating_record(response);
                page.service
                    .saturating_record(answer.done.saturating_sub(answer.sent));
                self.messages += u64::from(messages);
                self.second.saturating_record(response);
                self.ok_second += 1;
                let lasting = self.flow.lasting(self.lasting);
                if u128::from(answer.done) <= lasting.as_micros() {
                    self.ok_in_time += 1;
                }
            }
            Err(code) => {
                *page.errors.entry(code).or_default() += 1;
                page.refused.saturating_record(response);
                self.failed_second += 1;
            }
        }
    }

    /// The end of a second.
    fn turn(&mut self) {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (wanted, sent) = (load(&self.flow.wanted), load(&self.flow.sent));
        let skipped = load(&self.flow.skipped);
        let quantile = |histogram: &Histogram<u64>, at: f64| {
            (!histogram.is_empty()).then(|| millis(histogram.value_at_quantile(at)))
        };
        let seconds = self.series.len() + 1;
        self.series.push(Second {
            at: seconds as f64,
            wanted: wanted - self.last.wanted,
            sent: sent - self.last.sent,
            ok: self.ok_second,
            errors: self.failed_second,
            skipped: skipped - self.last.skipped,
            in_flight: self.flow.in_flight(),
            p50: quantile(&self.second, 0.5),
            p99: quantile(&self.second, 0.99),
            p99_9: quantile(&self.second, 0.999),
            lag: self.lags.records(),
        });
        self.last = Last {
            wanted,
            sent,
            skipped,
        };
        for page in self.pages.iter_mut().flatten() {
            page.per_second = std::mem::take(&mut page.ok_this_second) as f64;
        }
        self.show(quantile(&self.late_second, 0.99));
        self.second.reset();
        self.late_second.reset();
        (self.ok_second, self.failed_second) = (0, 0);
    }

    /// Tells the live view and the lines of progress.
    fn show(&self, late_p99: Option<f64>) {
        let Some(second) = self.series.last() else {
            return;
        };
        self.shown.live.send_modify(|live| {
            live.elapsed = second.at;
            live.planned = Some(self.lasting.as_secs_f64());
            live.wanted_per_second = second.wanted as f64;
            live.sent_per_second = second.sent as f64;
            live.ok_per_second = second.ok as f64;
            live.sent = self.last.sent;
            live.skipped = self.last.skipped;
            live.in_flight = second.in_flight;
            live.late_p99 = late_p99;
            let pages = || self.pages.iter().flatten();
            live.ok = pages().map(|page| page.ok).sum();
            live.failed = pages().map(|page| page.failed()).sum();
            live.operations = self.named().map(|(kind, page)| shown(kind, page)).collect();
            live.errors = by_frequency(pages());
            live.series.push(live::Point {
                wanted: second.wanted as f64,
                ok: second.ok as f64,
                p50: second.p50,
                p99: second.p99,
            });
            live.lag = self.lags.shown();
        });
        if self.shown.lines {
            crate::note::line(&progress(&self.shown.live.borrow(), second));
        }
    }

    fn named(&self) -> impl Iterator<Item = (Kind, &Page)> {
        let pages = Kind::ALL.into_iter().zip(&self.pages);
        pages.filter_map(|(kind, page)| Some((kind, page.as_deref()?)))
    }

    fn finish(mut self) -> Measured {
        // What is left of the last second, unless it only has the wait for the last answers in it.
        if self.ok_second + self.failed_second > 0 {
            self.turn();
        }
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut errors = BTreeMap::new();
        for (_, page) in self.named() {
            for (code, count) in &page.errors {
                *errors.entry(code.to_string()).or_default() += count;
            }
        }
        let seconds = self.flow.lasting(self.lasting).as_secs_f64();
        let (wanted, sent) = (load(&self.flow.wanted), load(&self.flow.sent));
        let operations: Vec<Operation> = self
            .named()
            .map(|(kind, page)| Operation {
                name: kind.name().to_owned(),
                ok: page.ok,
                errors: page
                    .errors
                    .iter()
                    .map(|(code, count)| (code.to_string(), *count))
                    .collect(),
                response: latency(&page.response),
                service: latency(&page.service),
                refused: latency(&page.refused),
            })
            .collect();
        Measured {
            totals: Totals {
                seconds,
                wanted,
                sent,
                ok: operations.iter().map(|operation| operation.ok).sum(),
                skipped: load(&self.flow.skipped),
                errors,
                messages: self.messages,
                in_flight_max: load(&self.flow.in_flight_max),
                wanted_per_second: wanted as f64 / seconds,
                sent_per_second: sent as f64 / seconds,
                ok_per_second: self.ok_in_time as f64 / seconds,
            },
            operations,
            late: latency(&self.late),
            series: self.series,
        }
    }
}

fn shown(kind: Kind, page: &Page) -> live::Operation {
    let response = latency_of(&page.response);
    live::Operation {
        name: kind.name().to_owned(),
        per_second: page.per_second,
        ok: page.ok,
        failed: page.failed(),
        p50: response.p50,
        p99: response.p99,
        max: response.max,
        service_p99: latency_of(&page.service).p99,
    }
}

fn by_frequency<'a>(pages: impl Iterator<Item = &'a Box<Page>>) -> Vec<(String, u64)> {
    let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
    for page in pages {
        for (code, count) in &page.errors {
            *sums.entry(code).or_default() += count;
        }
    }
    let mut errors: Vec<_> = sums
        .into_iter()
        .map(|(code, n)| (code.to_owned(), n))
        .collect();
    errors.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    errors
}

/// A line of progress.
fn progress(live: &Live, second: &Second) -> String {
    let time = |time: Option<f64>| time.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1} ms"));
    let mut line = format!(
        "{} {:>4.0} s: due {}, sent {}, ok {}, p50 {}, p99 {}, in flight {}",
        live.phase.name(),
        second.at,
        second.wanted,
        second.sent,
        second.ok,
        time(second.p50),
        time(second.p99),
        second.in_flight,
    );
    if second.skipped > 0 {
        line.push_str(&format!(", skipped {}", second.skipped));
    }
    if second.errors > 0 {
        line.push_str(&format!(", errors {}", second.errors));
    }
    for (group, lag) in &second.lag {
        match lag {
            Some(0) => {}
            Some(lag) => line.push_str(&format!(", {group} lag {lag}")),
            None => line.push_str(&format!(", {group} lag ?")),
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(answers: Vec<Answer>) -> Measured {
        let shown = Shown {
            live: tokio::sync::watch::channel(Live::default()).0,
            lines: false,
        };
        let lasting = Duration::from_secs(1);
        let recorder = Recorder::start(Instant::now(), lasting, Arc::default(), shown);
        for answer in answers {
            recorder.flow.wanted.fetch_add(1, Ordering::Relaxed);
            recorder.flow.send();
            recorder.flow.answered.fetch_add(1, Ordering::Relaxed);
            recorder.answers.send(answer).unwrap();
        }
        recorder.finish()
    }

    fn answer(due: u64, sent: u64, done: u64) -> Answer {
        Answer {
            kind: Kind::Send,
            due,
            sent,
            done,
            result: Ok(1),
        }
    }

    #[test]
    fn response_counts_from_when_it_was_due() {
        let measured = record(vec![
            answer(0, 0, 1_000),
            answer(0, 900_000, 901_000),
            Answer {
                result: Err("overloaded".into()),
                ..answer(0, 0, 2_000)
            },
            answer(0, 0, 1_500_000),
        ]);
        let send = &measured.operations[0];
        assert_eq!((send.ok, send.response.count), (3, 3));
        let close = |a: Option<f64>, b: f64| assert!((a.unwrap() / b - 1.0).abs() < 0.002, "{a:?}");
        close(send.response.p50, 901.0);
        close(send.service.p50, 1.0);
        close(send.refused.max, 2.0);
        close(measured.late.max, 900.0);
        let totals = measured.totals;
        assert_eq!((totals.sent, totals.ok, totals.failed()), (4, 3, 1));
        // One of the answers came after the time.
        assert!((totals.ok_per_second - 2.0).abs() < 1e-9);
    }

    #[test]
    fn an_end_before_its_time_shortens_the_measurement() {
        let flow = Flow::default();
        let planned = Duration::from_secs(60);
        assert_eq!(flow.lasting(planned), planned);
        flow.end(Duration::from_secs(2));
        flow.end(Duration::from_secs(3));
        assert_eq!(flow.lasting(planned), Duration::from_secs(2));
        assert_eq!(flow.lasting(Duration::from_secs(1)), Duration::from_secs(1));
    }
}
