//! Keys, as a user presses them, and what comes of them.
