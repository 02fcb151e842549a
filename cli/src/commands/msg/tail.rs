//! `msg tail`: the end of a chat, and what comes after it.

use std::collections::VecDeque;

use chat_client::client::Client;
use chat_client::messages::Span;
use chat_client::stream::StreamEvent;
use chat_wire::ids::{AppToken, ChatNumber, MessageNumber};
use chat_wire::messages::Message;
use clap::Args;

use crate::commands::limit::PAGE_ITEMS_MAX;
use crate::error::Error;
use crate::exit::Exit;
use crate::output::List;
use crate::session::Session;

/// Most messages that `-n` shows: they are held in memory until the last is known.
const LAST_MAX: u32 = 100_000;
/// Most gaps that are remembered; beyond it the oldest is taken for final.
const GAPS_MAX: usize = 1_000;

/// Show the last messages of a chat, and with --follow each new one
///
/// Every message is shown once, in order of number, however often the connection breaks. With
/// --follow, -o json prints one object a line, as ndjson does.
#[derive(Debug, Args)]
pub(crate) struct Tail {
    /// How many of the last messages to show
    #[arg(short = 'n', long = "last", value_name = "COUNT", default_value = "10",
        value_parser = clap::value_parser!(u32).range(0..=i64::from(LAST_MAX)))]
    last: u32,
    /// Begin with this number instead
    #[arg(long, value_name = "NUMBER", conflicts_with = "last")]
    from: Option<MessageNumber>,
    /// Go on with new messages until stopped
    #[arg(short, long)]
    follow: bool,
}

/// One chat that is being shown.
struct Shown<'a> {
    client: Client,
    token: AppToken,
    chat: ChatNumber,
    list: List<'a, Message>,
    gaps: Gaps,
}

/// Numbers below the cursor that were not shown: deleted, void, or still to come.
#[derive(Debug, Default, PartialEq, Eq)]
struct Gaps {
    /// Everything up to here was shown or is in a gap.
    cursor: u32,
    /// First and last number of each, ascending.
    ranges: VecDeque<(u32, u32)>,
}

impl Tail {
    pub(crate) async fn run(self, session: &mut Session) -> Result<Exit, Error> {
        let (token, chat) = (session.app(None)?, session.chat(None)?);
        let client = session.client()?;
        if self.follow {
            session.out.one_object_a_line();
        }
        let mut shown = Shown {
            client,
            token,
            chat,
            list: session.out.list(),
            gaps: Gaps::default(),
        };
        match self.from {
            Some(number) => shown.begin_with(number).await?,
            None => shown.begin_with_last(self.last).await?,
        }
        if !self.follow {
            shown.list.finish()?;
            return Ok(Exit::Ok);
        }
        shown.follow().await
    }
}

impl Shown<'_> {
    async fn begin_with(&mut self, number: MessageNumber) -> Result<(), Error> {
        self.gaps.cursor = number.get() - 1;
        loop {
            let span = MessageNumber::new(self.gaps.cursor).map_or(Span::Start, Span::After);
            let page = self
                .client
                .messages(self.token, self.chat, span, PAGE_ITEMS_MAX)
                .await?;
            for message in &page.messages {
                self.show(message)?;
            }
            if page.next_after.is_none() || page.messages.is_empty() {
                self.gaps.reach(page.settled_through);
                return Ok(());
            }
        }
    }

    async fn begin_with_last(&mut self, count: u32) -> Result<(), Error> {
        let count = count as usize;
        let mut before = MessageNumber::new(u32::MAX);
        let mut settled = None;
        let mut last: VecDeque<Message> = VecDeque::new();
        while let Some(number) = before {
            let missing = u32::try_from(count - last.len()).unwrap_or(PAGE_ITEMS_MAX);
            let limit = missing.clamp(1, PAGE_ITEMS_MAX);
            let page = self
                .client
                .messages(self.token, self.chat, Span::Before(number), limit)
                .await?;
            // What is above this number comes with the stream: below it something may still be missing.
            let settled = *settled.get_or_insert(page.settled_through);
            for message in page.messages.into_iter().rev() {
                if message.message_number.get() <= settled && last.len() < count {
                    last.push_front(message);
                }
            }
            before = page.next_before.filter(|_| last.len() < count);
        }
        if let Some(first) = last.front() {
            self.gaps.cursor = first.message_number.get() - 1;
            for message in &last {
                self.show(message)?;
            }
            self.gaps.reach(settled.unwrap_or(0));
        } else {
            self.gaps.cursor = settled.unwrap_or(0);
        }
        Ok(())
    }

    async fn follow(&mut self) -> Result<Exit, Error> {
        self.list.flush()?;
        let mut stream = self.client.stream(self.token, self.chat, self.gaps.cursor);
        loop {
            match stream.next().await? {
                StreamEvent::Message(message) => self.show(&message)?,
                StreamEvent::Reset(reset) => {
                    self.gaps.go_back(reset.after);
                    self.fill_gaps(reset.from).await?;
                }
            }
            self.list.flush()?;
        }
    }

    fn show(&mut self, message: &Message) -> Result<(), Error> {
        let number = message.message_number.get();
        if number <= self.gaps.cursor {
            return Ok(());
        }
        self.gaps.reach(number - 1);
        self.gaps.cursor = number;
        self.list.push(message)
    }

    /// Shows what has appeared where there was nothing, from a number on.
    async fn fill_gaps(&mut self, from: u32) -> Result<(), Error> {
        for (first, last) in self.gaps.ranges.clone() {
            let mut after = first.max(from).saturating_sub(1);
            while after < last {
                let span = MessageNumber::new(after).map_or(Span::Start, Span::After);
                let limit = (last - after).min(PAGE_ITEMS_MAX);
                let page = self
                    .client
                    .messages(self.token, self.chat, span, limit)
                    .await?;
                for message in &page.messages {
                    if self.gaps.fill(message.message_number.get()) {
                        self.list.push(message)?;
                    }
                }
                after = match page.messages.last() {
                    Some(message) if page.next_after.is_some() => message.message_number.get(),
                    _ => last,
                };
            }
        }
        Ok(())
    }
}

impl Gaps {
    /// Moves the cursor; what is in between was not shown.
    fn reach(&mut self, number: u32) {
        if number > self.cursor {
            self.ranges.push_back((self.cursor + 1, number));
            self.cursor = number;
            if self.ranges.len() > GAPS_MAX {
                self.ranges.pop_front();
            }
        }
    }

    /// Forgets what is above a number: the server has less than it had.
    fn go_back(&mut self, number: u32) {
        if number >= self.cursor {
            return;
        }
        self.cursor = number;
        self.ranges.retain_mut(|(first, last)| {
            *last = number.min(*last);
            first <= last
        });
    }

    /// Takes one number out; `false` where it is in no gap.
    fn fill(&mut self, number: u32) -> bool {
        let holds = |(first, last): &(u32, u32)| (*first..=*last).contains(&number);
        let Some(at) = self.ranges.iter().position(holds) else {
            return false;
        };
        let (first, last) = self.ranges[at];
        self.ranges.remove(at);
        if number < last {
            self.ranges.insert(at, (number + 1, last));
        }
        if first < number {
            self.ranges.insert(at, (first, number - 1));
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_filled_once() {
        let mut gaps = Gaps::default();
        gaps.reach(4);
        gaps.cursor = 5;
        gaps.reach(5);
        assert_eq!(gaps.ranges, [(1, 4)]);
        assert!(gaps.fill(2));
        assert_eq!(gaps.ranges, [(1, 1), (3, 4)]);
        assert!(!gaps.fill(2));
        assert!(gaps.fill(1) && gaps.fill(4) && gaps.fill(3));
        assert!(gaps.ranges.is_empty());
        assert!(!gaps.fill(5));
    }

    #[test]
    fn a_server_that_has_less_takes_the_cursor_back() {
        let mut gaps = Gaps::default();
        for (reached, shown) in [(2, 3), (6, 7), (9, 10)] {
            gaps.reach(reached);
            gaps.cursor = shown;
        }
        assert_eq!(gaps.ranges, [(1, 2), (4, 6), (8, 9)]);
        gaps.go_back(11);
        assert_eq!(gaps.cursor, 10);
        gaps.go_back(5);
        assert_eq!(gaps.cursor, 5);
        assert_eq!(gaps.ranges, [(1, 2), (4, 5)]);
    }
}
