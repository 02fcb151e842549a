//! `chatd`: the HTTP API and the workers behind it.

use std::process::ExitCode;

use chat_server::boot::{self, Role, Running};
use chat_server::config::{Command, Config, Startup};
use chat_server::{http, priority, telemetry};
use tikv_jemallocator::Jemalloc;
use tokio::signal::unix::{SignalKind, signal};

/// Every request allocates and frees a few dozen times, and this one takes less of a processor and of memory for
/// that than the system's (BENCHMARKS.md).
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    let Startup { command, config } = match Startup::from_process() {
        Ok(startup) => startup,
        Err(error) => return fail(&error),
    };
    let done = match command {
        Command::Serve => serve(config, Role::All),
        Command::Api => serve(config, Role::Api),
        Command::Worker(worker) => serve(config, Role::Worker(worker)),
        Command::Migrate => migrate(&config),
        Command::Config(report) => print(&report),
        Command::Openapi => print(&http::openapi::text()),
        #[cfg(feature = "failpoints")]
        Command::Failpoints => print(&failpoints()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(error.as_ref()),
    }
}

type AnyError = Box<dyn std::error::Error>;

fn serve(config: Config, role: Role) -> Result<(), AnyError> {
    let _lines = telemetry::init(&config)?;
    if let Role::Worker(_) = role
        && let Err(error) = priority::step_back(config.worker_nice)
    {
        tracing::warn!(%error, "the worker keeps its priority");
    }
    runtime()?.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut told_to_stop = std::pin::pin!(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        });
        // A start may wait for an engine as long as it takes; it ends when it is told to.
        let mut running = tokio::select! {
            running = Running::start(config, role) => running?,
            () = &mut told_to_stop => return Ok(()),
        };
        let failure = tokio::select! {
            () = told_to_stop => None,
            failure = running.failed() => Some(failure),
        };
        if let Some(failure) = &failure {
            tracing::error!(failure, "chatd cannot go on and ends with an error");
        }
        running.stop().await;
        match failure {
            Some(failure) => Err(failure.into()),
            None => Ok(()),
        }
    })
}

fn migrate(config: &Config) -> Result<(), AnyError> {
    let _lines = telemetry::init(config)?;
    runtime()?.block_on(async {
        boot::migrate(config).await?;
        Ok(())
    })
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("chatd")
        .build()
}

#[cfg(feature = "failpoints")]
fn failpoints() -> String {
    use chat_core::failpoint::{Failpoint, Place};
    let line = |point: &Failpoint| {
        let place = match point.place() {
            Place::Both => "both",
            Place::Embedded => "embedded",
            Place::Engines => "engines",
        };
        format!("{}\t{place}\t{}\n", point.name(), point.text())
    };
    Failpoint::ALL.iter().map(line).collect()
}

fn print(text: &str) -> Result<(), AnyError> {
    use std::io::Write as _;
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    Ok(stdout.flush()?)
}

fn fail(error: &dyn std::error::Error) -> ExitCode {
    use std::io::Write as _;
    let mut text = format!("chatd: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        // Messages for users name their cause themselves; only what is not said yet is added.
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    // Nothing is left to tell a failure of stderr to.
    let _ = writeln!(std::io::stderr(), "{text}");
    ExitCode::FAILURE
}
