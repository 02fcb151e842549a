//! Tones and what they look like. A tone never stands alone: a sign or a word says the same.

use ratatui::style::{Color, Modifier, Style};

/// What a piece of text means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tone {
    /// Nothing in particular.
    #[default]
    Plain,
    /// Well.
    Good,
    /// Look at it.
    Warn,
    /// Mend it.
    Bad,
    /// Nobody knows.
    Unknown,
    /// Beside the point.
    Dim,
    /// A name or a figure that matters.
    Accent,
    /// An occurrence of what was searched for.
    Mark,
    /// A heading.
    Title,
    /// A key that can be pressed.
    Key,
    /// What is chosen.
    Selected,
}

/// A set of colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Theme {
    /// For dark backgrounds.
    #[default]
    Dark,
    /// For light backgrounds.
    Light,
    /// No colour at all.
    Mono,
    /// Blue, yellow and orange, which nearly everybody can tell apart.
    ColourBlind,
}

impl Theme {
    /// All of them, in the order of the key that changes them.
    pub const ALL: [Self; 4] = [Self::Dark, Self::Light, Self::Mono, Self::ColourBlind];

    /// As it is typed.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dark => "dark",
            Self::Light => "light",
            Self::Mono => "mono",
            Self::ColourBlind => "colour-blind",
        }
    }

    /// By name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|theme| theme.name() == name)
    }

    /// The next one.
    #[must_use]
    pub const fn next(self) -> Self {
        match self {
            Self::Dark => Self::Light,
            Self::Light => Self::Mono,
            Self::Mono => Self::ColourBlind,
            Self::ColourBlind => Self::Dark,
        }
    }

    /// What a tone looks like.
    #[must_use]
    pub const fn style(self, tone: Tone) -> Style {
        let plain = Style::new();
        match tone {
            Tone::Plain => return plain,
            Tone::Title => return plain.add_modifier(Modifier::BOLD),
            Tone::Selected => return plain.add_modifier(Modifier::REVERSED),
            _ => {}
        }
        match self {
            Self::Mono => mono(tone),
            Self::Dark => coloured(
                tone,
                [
                    Color::Green,
                    Color::Yellow,
                    Color::LightRed,
                    Color::Magenta,
                    Color::DarkGray,
                    Color::Cyan,
                ],
            ),
            Self::Light => coloured(
                tone,
                [
                    Color::Indexed(28),
                    Color::Indexed(130),
                    Color::Indexed(160),
                    Color::Indexed(90),
                    Color::Indexed(244),
                    Color::Indexed(25),
                ],
            ),
            // The palette of Okabe and Ito, as near as 256 colours come.
            Self::ColourBlind => coloured(
                tone,
                [
                    Color::Indexed(39),
                    Color::Indexed(220),
                    Color::Indexed(208),
                    Color::Indexed(175),
                    Color::Indexed(244),
                    Color::Indexed(117),
                ],
            ),
        }
    }
}

const fn coloured(tone: Tone, [good, warn, bad, unknown, dim, accent]: [Color; 6]) -> Style {
    let plain = Style::new();
    match tone {
        Tone::Good => plain.fg(good),
        Tone::Warn => plain.fg(warn),
        Tone::Bad => plain.fg(bad).add_modifier(Modifier::BOLD),
        Tone::Unknown => plain.fg(unknown),
        Tone::Dim => plain.fg(dim),
        Tone::Accent => plain.fg(accent),
        Tone::Key => plain.fg(accent).add_modifier(Modifier::BOLD),
        Tone::Mark => plain.fg(Color::Black).bg(warn),
        Tone::Plain | Tone::Title | Tone::Selected => plain,
    }
}

const fn mono(tone: Tone) -> Style {
    let plain = Style::new();
    match tone {
        Tone::Warn => plain.add_modifier(Modifier::UNDERLINED),
        Tone::Bad => plain.add_modifier(Modifier::BOLD.union(Modifier::UNDERLINED)),
        Tone::Unknown => plain.add_modifier(Modifier::ITALIC),
        Tone::Dim => plain.add_modifier(Modifier::DIM),
        Tone::Key => plain.add_modifier(Modifier::BOLD),
        Tone::Mark => plain.add_modifier(Modifier::REVERSED),
        Tone::Good | Tone::Accent | Tone::Plain | Tone::Title | Tone::Selected => plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn themes_go_round_and_are_found_by_name() {
        let mut theme = Theme::Dark;
        for _ in Theme::ALL {
            assert_eq!(Theme::parse(theme.name()), Some(theme));
            theme = theme.next();
        }
        assert_eq!(theme, Theme::Dark);
        assert_eq!(Theme::parse("pink"), None);
    }

    #[test]
    fn mono_has_no_colour() {
        for tone in [Tone::Good, Tone::Bad, Tone::Mark, Tone::Key, Tone::Dim] {
            let style = Theme::Mono.style(tone);
            assert_eq!((style.fg, style.bg), (None, None));
        }
    }
}
