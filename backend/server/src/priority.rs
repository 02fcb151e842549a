//! Who goes first where processors are short: clients who wait for an answer, and then workers.
//!
//! A worker that is late catches up, and beyond a limit creates are shed for it. A create that is late is
//! lost to whoever gave up on it.

use rustix::io;
use rustix::process::{getpriority_process, setpriority_process};

/// Gives this thread and those that it will start at least this nice value (sched(7)): 0 is that of most
/// processes, 19 the least urgent. Called before there are other threads, it holds for the whole process.
///
/// # Errors
/// Those of the system.
pub fn step_back(nice: u8) -> io::Result<()> {
    let nice = i32::from(nice);
    // Who was started with less gets no more by this; only the superuser could give it anyway.
    if getpriority_process(None)? >= nice {
        return Ok(());
    }
    setpriority_process(None, nice)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_thread_steps_back_and_not_forward_again() {
        // On Linux each thread has a value of its own, and a new one that of whoever started it.
        let seen = std::thread::spawn(|| {
            let nice = || getpriority_process(None).unwrap();
            let before = nice();
            step_back(7).unwrap();
            let back = nice();
            step_back(3).unwrap();
            let inherited = std::thread::spawn(|| getpriority_process(None).unwrap());
            (before, back, inherited.join().unwrap())
        });
        let (before, back, inherited) = seen.join().unwrap();
        assert_eq!(back, before.max(7));
        assert_eq!(inherited, back);
    }
}
