//! Calls that go together: while one script of an application is under way, whoever else asks for its
//! numbers waits for the next, which serves all of them.
//!
//! Where more wait than one script serves, a few scripts go abreast. What one script touches is on one shard of
//! a cluster.

use std::sync::Arc;
use std::time::Duration;

use chat_core::port::counters::Error;
use chat_wire::ids::AppToken;
use futures_util::future::join_all;
use redis::RedisError;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use super::link::{Links, Words};
use super::scripts::Script;
use crate::lanes::Lanes;

/// Calls of one script: about 2 ms, in which the server serves nobody else. Fewer would make this, and not
/// the server, the limit where an answer takes long because the processors are busy.
const TOGETHER: usize = 256;
/// Scripts of an application that are under way at once, where so many wait: others are served between
/// them, as they would not be during a longer one.
const ABREAST: usize = 4;
/// Where calls come faster than the server is asked, this is between two scripts of an application.
const PACE: Duration = Duration::from_millis(1);

/// One create's part of a script.
pub(super) struct Call {
    pub(super) keys: Vec<String>,
    pub(super) arguments: Vec<String>,
}

struct Waiting {
    call: Call,
    reply: oneshot::Sender<Result<Words, Error>>,
}

/// One script, and whoever waits for it.
pub(super) struct Gather {
    links: Arc<Links>,
    script: Script,
    lanes: Lanes<AppToken, Waiting>,
}

impl Gather {
    pub(super) fn new(links: &Arc<Links>, script: Script) -> Arc<Self> {
        Arc::new(Self {
            links: Arc::clone(links),
            script,
            lanes: Lanes::default(),
        })
    }

    /// Makes a call of an application; `shared` are the keys that all its calls have in common.
    pub(super) async fn call(
        self: &Arc<Self>,
        token: AppToken,
        shared: Vec<String>,
        call: Call,
    ) -> Result<Words, Error> {
        let (reply, answer) = oneshot::channel();
        if let Some(first) = self.lanes.join(token, Waiting { call, reply }) {
            // Whoever began it may go away; those who joined would wait for ever.
            let gather = Arc::clone(self);
            tokio::spawn(async move { gather.serve(token, shared, vec![vec![first]]).await });
        }
        answer
            .await
            .unwrap_or_else(|_| Err(Error::Unavailable("the call was given up".into())))
    }

    /// Those who came meanwhile, for one script or a few; without any, nothing is under way now.
    fn next(&self, token: AppToken) -> Vec<Vec<Waiting>> {
        let waiting = self.lanes.next(token, TOGETHER * ABREAST);
        let count = waiting.len();
        let mut waiting = waiting.into_iter();
        let batch = |_| waiting.by_ref().take(TOGETHER).collect();
        (0..count.div_ceil(TOGETHER)).map(batch).collect()
    }

    /// Serves those who wait, and those who come meanwhile, until nobody does.
    async fn serve(&self, token: AppToken, shared: Vec<String>, mut batches: Vec<Vec<Waiting>>) {
        let _serving = self.lanes.serving(token);
        while !batches.is_empty() {
            let began = Instant::now();
            let busy = batches.iter().map(Vec::len).sum::<usize>() > 1;
            let runs = batches.into_iter().map(|batch| self.run(&shared, batch));
            if let Some(reason) = join_all(runs).await.into_iter().find_map(Result::err) {
                // They waited for the same server: another round would keep them as long again.
                for waiting in self.lanes.end(token) {
                    answer(waiting, Err(Error::Unavailable(reason.clone())));
                }
                return;
            }
            if busy {
                sleep_until(began + PACE).await;
            }
            batches = self.next(token);
        }
    }

    /// Runs the script once; an error where nobody was answered by it.
    async fn run(&self, shared: &[String], batch: Vec<Waiting>) -> Result<(), String> {
        let fail = |batch: Vec<Waiting>, reason: String| {
            for waiting in batch {
                answer(waiting, Err(Error::Unavailable(reason.clone())));
            }
            Err(reason)
        };
        let link = match self.links.link().await {
            Ok(link) => link,
            Err(Error::Unavailable(reason)) => return fail(batch, reason),
            Err(other) => return fail(batch, other.to_string()),
        };
        let calls = batch.iter().map(|waiting| &waiting.call);
        let keys: Vec<&str> = shared
            .iter()
            .chain(calls.clone().flat_map(|call| &call.keys))
            .map(String::as_str)
            .collect();
        let arguments: Vec<&str> = [link.server.as_str(), link.forgetful()]
            .into_iter()
            .chain(calls.flat_map(|call| call.arguments.iter().map(String::as_str)))
            .collect();
        let answers: Result<Vec<Words>, RedisError> =
            link.run(self.script, &keys, &arguments).await;
        let answers = match answers {
            Ok(answers) if answers.len() == batch.len() => answers,
            Ok(_) => return fail(batch, "a script answered in a shape of its own".into()),
            Err(error) => {
                self.links.failed(&link, &error);
                return fail(batch, error.to_string());
            }
        };
        for (waiting, words) in batch.into_iter().zip(answers) {
            let words = self.links.judged(&link, words);
            answer(waiting, words);
        }
        Ok(())
    }
}

fn answer(waiting: Waiting, words: Result<Words, Error>) {
    // Whoever does not wait any more took the outcome for unknown.
    let _ = waiting.reply.send(words);
}
