//! How each object of the API is shown.

use chat_wire::applications::{Application, ApplicationCreated};
use chat_wire::chats::{Chat, ChatCreated};
use chat_wire::messages::{Message, MessageCreated};
use chat_wire::search::Hit;

use crate::output::Record;
use crate::output::table::{Cell, Column, left, right};

impl Record for ApplicationCreated {
    const FIELDS: &'static [&'static str] = &["token"];
    const COLUMNS: &'static [Column] = &[left("TOKEN")];

    fn cells(&self) -> Vec<Cell> {
        vec![Cell::show(self.token.reveal())]
    }

    fn id(&self) -> String {
        self.token.reveal()
    }
}

impl Record for Application {
    const FIELDS: &'static [&'static str] =
        &["token", "name", "chats_count", "created_at", "updated_at"];
    const COLUMNS: &'static [Column] =
        &[left("TOKEN"), right("CHATS"), left("CREATED"), left("NAME")];

    fn cells(&self) -> Vec<Cell> {
        vec![
            Cell::show(self.token.reveal()),
            Cell::show(self.chats_count),
            Cell::show(self.created_at),
            Cell::text(&self.name),
        ]
    }

    fn id(&self) -> String {
        self.token.reveal()
    }
}

impl Record for ChatCreated {
    const FIELDS: &'static [&'static str] = &["chat_number"];
    const COLUMNS: &'static [Column] = &[right("CHAT")];

    fn cells(&self) -> Vec<Cell> {
        vec![Cell::show(self.chat_number)]
    }

    fn id(&self) -> String {
        self.chat_number.to_string()
    }
}

impl Record for Chat {
    const FIELDS: &'static [&'static str] = &["chat_number", "messages_count", "created_at"];
    const COLUMNS: &'static [Column] = &[right("CHAT"), right("MESSAGES"), left("CREATED")];

    fn cells(&self) -> Vec<Cell> {
        vec![
            Cell::show(self.chat_number),
            Cell::show(self.messages_count),
            Cell::show(self.created_at),
        ]
    }

    fn id(&self) -> String {
        self.chat_number.to_string()
    }
}

impl Record for MessageCreated {
    const FIELDS: &'static [&'static str] = &["message_number"];
    const COLUMNS: &'static [Column] = &[right("MESSAGE")];

    fn cells(&self) -> Vec<Cell> {
        vec![Cell::show(self.message_number)]
    }

    fn id(&self) -> String {
        self.message_number.to_string()
    }
}

impl Record for Message {
    const FIELDS: &'static [&'static str] = &[
        "chat_number",
        "message_number",
        "sender",
        "body",
        "sent_at",
        "created_at",
        "updated_at",
        "revision",
    ];
    const COLUMNS: &'static [Column] = &[
        right("CHAT"),
        right("MESSAGE"),
        left("SENT"),
        left("SENDER"),
        left("BODY"),
    ];

    fn cells(&self) -> Vec<Cell> {
        message_cells(self, &[])
    }

    fn id(&self) -> String {
        self.message_number.to_string()
    }
}

impl Record for Hit {
    const FIELDS: &'static [&'static str] = &[
        "chat_number",
        "message_number",
        "sender",
        "body",
        "sent_at",
        "created_at",
        "updated_at",
        "revision",
        "highlights",
    ];
    const COLUMNS: &'static [Column] = Message::COLUMNS;

    fn cells(&self) -> Vec<Cell> {
        message_cells(&self.message, &self.highlights)
    }

    fn id(&self) -> String {
        self.message.message_number.to_string()
    }
}

fn message_cells(message: &Message, marks: &[(u32, u32)]) -> Vec<Cell> {
    vec![
        Cell::show(message.chat_number),
        Cell::show(message.message_number),
        Cell::show(message.sent_at.unwrap_or(message.created_at)),
        Cell::text(message.sender.as_deref().unwrap_or("-")),
        Cell::marked(&message.body, marks),
    ]
}
