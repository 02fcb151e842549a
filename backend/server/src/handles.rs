//! File handles: connections leave enough of them for logs, stores and engines.

/// Handles that connections never get: an index that commits and a log that turns over open files.
const RESERVED: u64 = 512;

/// How many connections there may be: what was asked for, and no more than the system leaves room for.
///
/// A flood of connections that takes the last handle stops no flood: it stops the commits behind them.
pub(crate) fn connections(asked: u32) -> u32 {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let room = room(&limits, asked);
    if room < asked {
        tracing::warn!(
            asked,
            connections = room,
            "the system allows few open files, so fewer connections are taken; raise the limit (ulimit -n, LimitNOFILE)"
        );
    }
    room
}

/// `limits` is what Linux says in proc(5); elsewhere, where nothing is known, nothing is changed.
fn room(limits: &str, asked: u32) -> u32 {
    let line = limits
        .lines()
        .find_map(|l| l.strip_prefix("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().next());
    let Some(soft) = soft.and_then(|soft| soft.parse::<u64>().ok()) else {
        return asked;
    };
    // Where there are less than twice as many, both get half.
    let room = soft.saturating_sub(RESERVED).max(soft / 2).max(1);
    asked.min(u32::try_from(room).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_handles_for_files() {
        let limits = |soft: &str| {
            format!(
                "Limit                     Soft Limit           Hard Limit           Units\n\
                 Max processes             96354                96354                processes\n\
                 Max open files            {soft}                 524288               files\n"
            )
        };
        assert_eq!(room(&limits("1024"), 10_000), 512);
        assert_eq!(room(&limits("256"), 10_000), 128);
        assert_eq!(room(&limits("20000"), 10_000), 10_000);
        assert_eq!(room(&limits("4096"), 10_000), 3_584);
        assert_eq!(room(&limits("unlimited"), 10_000), 10_000);
        assert_eq!(room("", 10_000), 10_000);
    }
}
