//! A question before something is done. The answer that changes nothing has the focus.

use chat_wire::admin::dlq;
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::input::Input;
use crate::api::Act;

/// A dialog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dialog {
    /// What is asked.
    pub title: String,
    /// What will happen, with counts.
    pub lines: Vec<String>,
    /// A reason, where one is wanted.
    pub reason: Option<Input>,
    /// Cancel first.
    pub buttons: Vec<Button>,
    /// Which button has the focus; the reason has it before all buttons.
    pub focus: Focus,
    /// What is still missing.
    pub complaint: Option<&'static str>,
}

/// What has the focus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Focus {
    /// The line for the reason.
    Reason,
    /// This button.
    Button(usize),
}

/// A button.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Button {
    /// What is on it.
    pub label: String,
    /// What it does; nothing is Cancel.
    pub act: Option<Act>,
}

/// What became of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The dialog stays.
    Open,
    /// Nothing is done.
    Cancelled,
    /// This is done.
    Confirmed(Box<Act>),
}

impl Dialog {
    /// A question with these acts to choose from, each with its label.
    #[must_use]
    pub fn new(title: impl Into<String>, lines: Vec<String>, acts: Vec<(String, Act)>) -> Self {
        let mut buttons = vec![Button {
            label: "Cancel".to_owned(),
            act: None,
        }];
        buttons.extend(acts.into_iter().map(|(label, act)| Button {
            label,
            act: Some(act),
        }));
        Self {
            title: title.into(),
            lines,
            reason: None,
            buttons,
            focus: Focus::Button(0),
            complaint: None,
        }
    }

    /// The same, wanting a reason first.
    #[must_use]
    pub fn with_reason(mut self) -> Self {
        self.reason = Some(Input::default());
        self.focus = Focus::Reason;
        self
    }

    /// Takes a key.
    pub fn key(&mut self, key: KeyEvent) -> Answer {
        let ctrl = key.modifiers.contains(KeyModifiers::CONTROL);
        match (self.focus, key.code) {
            (_, KeyCode::Esc) => return Answer::Cancelled,
            (_, KeyCode::Char('c')) if ctrl => return Answer::Cancelled,
            (_, KeyCode::Tab | KeyCode::Down) => self.focus = self.beside(1),
            (_, KeyCode::BackTab | KeyCode::Up) => self.focus = self.beside(-1),
            (Focus::Reason, KeyCode::Enter) => self.focus = Focus::Button(0),
            (Focus::Reason, _) => {
                if let Some(reason) = &mut self.reason {
                    reason.key(key);
                    self.complaint = None;
                }
            }
            (Focus::Button(_), KeyCode::Right | KeyCode::Char('l')) => self.focus = self.beside(1),
            (Focus::Button(_), KeyCode::Left | KeyCode::Char('h')) => self.focus = self.beside(-1),
            (Focus::Button(at), KeyCode::Enter) => return self.press(at),
            _ => {}
        }
        Answer::Open
    }

    /// Takes pasted text, where there is a line for it.
    pub fn paste(&mut self, text: &str) {
        if let (Focus::Reason, Some(reason)) = (self.focus, &mut self.reason) {
            reason.paste(text);
        }
    }

    fn press(&mut self, at: usize) -> Answer {
        let Some(mut act) = self.buttons.get(at).and_then(|button| button.act.clone()) else {
            return Answer::Cancelled;
        };
        if let Some(reason) = &self.reason {
            let reason = reason.text().trim();
            if reason.is_empty() {
                self.complaint = Some("a reason is wanted; it is kept with the letter");
                self.focus = Focus::Reason;
                return Answer::Open;
            }
            if let Act::Discard(dlq::Order { reason: given, .. }) = &mut act {
                *given = Some(reason.to_owned());
            }
        }
        Answer::Confirmed(Box::new(act))
    }

    fn beside(&self, by: isize) -> Focus {
        let lead = isize::from(self.reason.is_some());
        let places = self.buttons.len().cast_signed() + lead;
        let at = match self.focus {
            Focus::Reason => 0,
            Focus::Button(at) => at.cast_signed() + lead,
        };
        let to = (at + by).rem_euclid(places) - lead;
        usize::try_from(to).map_or(Focus::Reason, Focus::Button)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn press(dialog: &mut Dialog, code: KeyCode) -> Answer {
        dialog.key(KeyEvent::new(code, KeyModifiers::NONE))
    }

    fn dialog() -> Dialog {
        Dialog::new(
            "Cancel the run?",
            vec![],
            vec![("Cancel the run".to_owned(), Act::CancelReconcile)],
        )
    }

    #[test]
    fn enter_alone_changes_nothing() {
        assert_eq!(press(&mut dialog(), KeyCode::Enter), Answer::Cancelled);
        assert_eq!(press(&mut dialog(), KeyCode::Esc), Answer::Cancelled);
    }

    #[test]
    fn the_focus_has_to_be_moved_to_act() {
        let mut dialog = dialog();
        assert_eq!(press(&mut dialog, KeyCode::Right), Answer::Open);
        let confirmed = Answer::Confirmed(Box::new(Act::CancelReconcile));
        assert_eq!(press(&mut dialog, KeyCode::Enter), confirmed);
    }

    #[test]
    fn a_reason_is_wanted_and_goes_with_the_act() {
        let order = dlq::Order {
            all: true,
            execute: true,
            ..dlq::Order::default()
        };
        let mut dialog =
            Dialog::new("?", vec![], vec![("Discard".into(), Act::Discard(order))]).with_reason();
        press(&mut dialog, KeyCode::Tab);
        press(&mut dialog, KeyCode::Tab);
        assert_eq!(dialog.focus, Focus::Button(1));
        assert_eq!(press(&mut dialog, KeyCode::Enter), Answer::Open);
        assert!(dialog.complaint.is_some());
        for c in "poison".chars() {
            press(&mut dialog, KeyCode::Char(c));
        }
        press(&mut dialog, KeyCode::BackTab);
        let Answer::Confirmed(act) = press(&mut dialog, KeyCode::Enter) else {
            panic!("not confirmed");
        };
        let Act::Discard(order) = *act else {
            panic!("another act");
        };
        assert_eq!(order.reason.as_deref(), Some("poison"));
    }
}
