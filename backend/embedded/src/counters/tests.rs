//! The state machine, alone.
