//! What the applications of the sample hold: chats, messages and hits.

use chat_wire::admin::ApplicationPage;
use chat_wire::applications::Application;
use chat_wire::chats::{Chat, ChatPage};
use chat_wire::ids::MessageNumber;
use chat_wire::messages::{Message, MessagePage};
use chat_wire::search::{Hit, SearchPage};
use chat_wire::time::Timestamp;

use super::data::{before, chat, token};

fn number(n: u32) -> MessageNumber {
    MessageNumber::new(n).unwrap()
}

pub(crate) fn message(at: Timestamp, chat_number: u32, n: u32, body: &str) -> Message {
    Message {
        chat_number: chat(chat_number),
        message_number: number(n),
        sender: (!n.is_multiple_of(3)).then(|| {
            if n.is_multiple_of(2) {
                "ada".into()
            } else {
                "Günther".into()
            }
        }),
        body: body.into(),
        sent_at: None,
        created_at: before(at, 4_000 - i64::from(n)),
        updated_at: (n == 21).then(|| before(at, 30)),
        revision: n.into(),
    }
}

const BODIES: [&str; 6] = [
    "where is my parcel?",
    "It left the warehouse yesterday; the courier says it will be with you before noon, unless the snow gets worse.",
    "merci 🙏, très bien",
    "two lines\nof text",
    "谢谢，我再看看",
    "ok",
];

pub(crate) fn messages(at: Timestamp) -> MessagePage {
    let numbers = (10..=30).filter(|n| !(14..=16).contains(n));
    MessagePage {
        messages: numbers
            .map(|n| message(at, 17, n, BODIES[n as usize % BODIES.len()]))
            .collect(),
        settled_through: 30,
        next_after: None,
        next_before: Some(number(10)),
    }
}

pub(crate) fn hits(at: Timestamp) -> SearchPage {
    let hit = |chat_number, n, body: &str, highlights: Vec<(u32, u32)>| Hit {
        message: message(at, chat_number, n, body),
        highlights,
    };
    let long = format!(
        "{} and then the parcel came, and it was the wrong parcel",
        "we waited and waited".repeat(4)
    );
    let first = u32::try_from(long.find("parcel").unwrap()).unwrap();
    let second = u32::try_from(long.rfind("parcel").unwrap()).unwrap();
    SearchPage {
        hits: vec![
            hit(17, 21, "where is my parcel?", vec![(12, 18)]),
            hit(
                17,
                18,
                &long,
                vec![(first, first + 6), (second, second + 6)],
            ),
            hit(3, 2, "客服: your PARCEL is late", vec![(9, 15)]),
        ],
        complete: false,
        lag_records: 2_310_455,
        next_cursor: Some("more".into()),
    }
}

pub(crate) fn application_page(at: Timestamp) -> ApplicationPage {
    let names = ["Corner shop", "Newsroom", "Hotline 24/7"];
    let applications = names.iter().zip(1..).map(|(name, n)| Application {
        token: token(n),
        name: (*name).into(),
        chats_count: u32::from(n) * 57,
        created_at: before(at, 90_000),
        updated_at: before(at, 90_000),
    });
    ApplicationPage {
        applications: applications.collect(),
        next_after: None,
    }
}

pub(crate) fn chat_page(at: Timestamp) -> ChatPage {
    let chats = [1, 2, 3, 17].map(|n| Chat {
        chat_number: chat(n),
        messages_count: n * 30,
        created_at: before(at, 80_000),
    });
    ChatPage {
        chats: chats.into(),
        next_after: None,
    }
}
