//! Which processors the backend and the generator have: as if the load came from another machine.
//!
//! The generator has the last of those that the harness may use, the processes under test the others.
//! Engines stay where they are, and the generator goes before them. Where there is one processor, or the system cannot tell, all share.

use std::fmt;
use std::time::Duration;

/// A list of processors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cores(Vec<usize>);

/// Who has which.
#[derive(Debug, Clone)]
pub(crate) struct Split {
    /// For the processes under test.
    pub(crate) backend: Cores,
    /// For the thread of the generator.
    pub(crate) generator: Cores,
}

impl Split {
    /// `None` where there is nothing to split.
    pub(crate) fn new() -> Option<Self> {
        Self::of(system::allowed()?)
    }

    fn of(mut allowed: Vec<usize>) -> Option<Self> {
        let last = allowed.pop()?;
        (!allowed.is_empty()).then_some(Self {
            backend: Cores(allowed),
            generator: Cores(vec![last]),
        })
    }
}

impl Cores {
    /// Runs something on these: threads and processes that it starts stay there.
    pub(crate) fn run<T>(&self, work: impl FnOnce() -> T) -> std::io::Result<T> {
        let before = system::allowed();
        system::allow(&self.0)?;
        let done = work();
        if let Some(before) = before {
            system::allow(&before)?;
        }
        Ok(done)
    }
}

/// Lets this thread go before all others from now on, where that is allowed: a client on another machine does
/// not wait for a processor that an engine has.
pub(crate) fn go_first() {
    system::go_first();
}

/// What this thread has used of a processor, where the system tells.
pub(crate) fn processor_time() -> Option<Duration> {
    system::processor_time()
}

impl fmt::Display for Cores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<String> = self.0.iter().map(usize::to_string).collect();
        f.write_str(&numbers.join(","))
    }
}

#[cfg(target_os = "linux")]
mod system {
    use std::process::{Command, Stdio};
    use std::time::Duration;

    use rustix::process::setpriority_process;
    use rustix::thread::{CpuSet, gettid, sched_getaffinity, sched_setaffinity};
    use rustix::time::{ClockId, clock_gettime};

    pub(super) fn processor_time() -> Option<Duration> {
        Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).ok()
    }

    /// Far before whatever has the usual 0 (setpriority(2), which takes a thread here).
    const FIRST: i32 = -15;

    pub(super) fn go_first() {
        // Whether the generator kept its schedule is judged anyway.
        let _ = setpriority_process(None, FIRST);
        // Where the system shares the processors evenly among sessions (sched_autogroup in sched(7)), a
        // nice value counts within one session only, and each engine has its own.
        let thread = gettid().as_raw_nonzero().to_string();
        let _ = Command::new("chrt")
            .args(["--fifo", "--pid", "1", &thread])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }

    /// Those that this thread may use.
    pub(super) fn allowed() -> Option<Vec<usize>> {
        let set = sched_getaffinity(None).ok()?;
        Some(
            (0..CpuSet::MAX_CPU)
                .filter(|cpu| set.is_set(*cpu))
                .collect(),
        )
    }

    pub(super) fn allow(cores: &[usize]) -> std::io::Result<()> {
        let mut set = CpuSet::new();
        cores.iter().for_each(|cpu| set.set(*cpu));
        Ok(sched_setaffinity(None, &set)?)
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    pub(super) const fn go_first() {}

    pub(super) fn allowed() -> Option<Vec<usize>> {
        None
    }

    pub(super) fn processor_time() -> Option<std::time::Duration> {
        None
    }

    pub(super) fn allow(_: &[usize]) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_has_the_last_one() {
        let split = Split::of(vec![0, 1, 5]).unwrap();
        assert_eq!(split.backend.to_string(), "0,1");
        assert_eq!(split.generator.to_string(), "5");
        assert!(Split::of(vec![3]).is_none());
    }
}
