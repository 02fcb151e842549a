//! The embedded adapters as a whole: the contract of the ports, and what is theirs alone.

mod smoke;
