//! SIGINT and SIGTERM: at once for most commands, with grace for those that ask for it.

use std::sync::OnceLock;

use tokio::sync::watch;

use crate::exit::Exit;

/// Set once a command wants to finish by itself; before that a signal ends the process.
static GRACE: OnceLock<watch::Sender<Option<Exit>>> = OnceLock::new();

/// Begins to watch. A thread of its own sees signals even while the command is stuck in a write to a full pipe.
pub(crate) fn watch() {
    let (ready, is_ready) = std::sync::mpsc::channel::<()>();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build();
        // Without this thread the system's default holds: the process ends at once,
        // and the shell shows the same codes.
        if let Ok(runtime) = runtime {
            runtime.block_on(listen(ready));
        }
    });
    // The sender is dropped once signals are caught, or cannot be.
    let _ = is_ready.recv();
}

/// From now on the first signal only asks; the second ends the process.
pub(crate) fn ask_first() -> Asked {
    let sender = GRACE.get_or_init(|| watch::channel(None).0);
    Asked(sender.subscribe())
}

/// Knows whether a signal has asked the command to end.
#[derive(Debug, Clone)]
pub(crate) struct Asked(watch::Receiver<Option<Exit>>);

impl Asked {
    /// Waits for the signal.
    pub(crate) async fn wait(&mut self) -> Exit {
        // A guard that lived on would keep this from moving between threads.
        let asked = self.0.wait_for(Option::is_some).await.map(|exit| *exit);
        match asked {
            Ok(exit) => exit.unwrap_or(Exit::Interrupted),
            // The sender lives as long as the process.
            Err(_) => std::future::pending().await,
        }
    }
}

async fn listen(ready: std::sync::mpsc::Sender<()>) {
    let Ok(mut signals) = Signals::new() else {
        return;
    };
    drop(ready);
    loop {
        let exit = signals.next().await;
        let asked_before = GRACE.get().map(|sender| sender.send_replace(Some(exit)));
        if !matches!(asked_before, Some(None)) {
            std::process::exit(exit.code().into());
        }
    }
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) -> Exit {
        tokio::select! {
            _ = self.interrupt.recv() => Exit::Interrupted,
            _ = self.terminate.recv() => Exit::Terminated,
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> Exit {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        Exit::Interrupted
    }
}
