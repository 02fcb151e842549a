//! An alarm clock that rings within microseconds, on the thread that waits for answers too.
//!
//! Timers of the runtime ring within a millisecond, which would be most of the response time of a fast
//! server; a thread of its own that sleeps has to wake another one for every request. Linux tells of a
//! time as it tells of an answer (timerfd), so nobody has to be woken but who sends.

use std::time::{Duration, Instant};

/// Rings at one time after another.
#[derive(Debug)]
pub(crate) struct Alarm(imp::Alarm);

impl Alarm {
    /// Only within a runtime.
    ///
    /// # Errors
    /// Those of the system, which has no more file handles.
    pub(crate) fn new() -> std::io::Result<Self> {
        imp::Alarm::new().map(Self)
    }

    /// Waits until then.
    pub(crate) async fn at(&self, then: Instant) {
        let left = then.saturating_duration_since(Instant::now());
        if !left.is_zero() {
            self.0.after(left).await;
        }
    }
}

#[cfg(target_os = "linux")]
mod imp {
    use std::os::fd::OwnedFd;

    use rustix::io::{Errno, read};
    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;

    use super::Duration;

    #[derive(Debug)]
    pub(super) struct Alarm(AsyncFd<OwnedFd>);

    impl Alarm {
        #[expect(
            deprecated,
            reason = "what took its place is unsafe, and asks for what an `OwnedFd` is by its type"
        )]
        pub(super) fn new() -> std::io::Result<Self> {
            let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
            let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
            AsyncFd::with_interest(timer, Interest::READABLE).map(Self)
        }

        pub(super) async fn after(&self, left: Duration) {
            if self.ring(left).await.is_err() {
                tokio::time::sleep(left).await;
            }
        }

        async fn ring(&self, left: Duration) -> std::io::Result<()> {
            let once = Itimerspec {
                it_interval: Timespec::default(),
                it_value: Timespec::try_from(left).unwrap_or(Timespec {
                    tv_sec: 1,
                    tv_nsec: 0,
                }),
            };
            timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::empty(), &once)?;
            loop {
                let mut ready = self.0.readable().await?;
                match read(self.0.get_ref(), &mut [0; 8]) {
                    // It rang, and the next time is told anew.
                    Ok(_) => return Ok(()),
                    Err(Errno::AGAIN) => ready.clear_ready(),
                    Err(Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod imp {
    use super::Duration;

    #[derive(Debug)]
    pub(super) struct Alarm;

    impl Alarm {
        pub(super) fn new() -> std::io::Result<Self> {
            Ok(Self)
        }

        pub(super) async fn after(&self, left: Duration) {
            tokio::time::sleep(left).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_rings_again_and_again_and_never_early() {
        let alarm = Alarm::new().unwrap();
        let began = Instant::now();
        for nth in 1..=50 {
            let then = began + Duration::from_micros(300) * nth;
            alarm.at(then).await;
            assert!(Instant::now() >= then);
        }
        // What is past does not wait.
        alarm.at(began).await;
    }
}
