//! `chatd`: the HTTP API and the workers behind it.

use std::fmt::Display;
use std::path::Path;
use std::process::ExitCode;

use chat_embedded::offline::{self, Report};
use chat_server::boot::{self, Role, Running};
use chat_server::config::{Command, Config, Output, Startup};
use chat_server::{http, priority, telemetry};
use serde::Serialize;
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
        Command::Serve => serve(config, Role::All).map(success),
        Command::Api => serve(config, Role::Api).map(success),
        Command::Worker(worker) => serve(config, Role::Worker(worker)).map(success),
        Command::Migrate => migrate(&config).map(success),
        Command::Check(output) => check(&config, output),
        Command::Salvage(to, output) => salvage(&config, &to, output),
        Command::Config(report) => print(&report).map(success),
        Command::Openapi => print(&http::openapi::text()).map(success),
        #[cfg(feature = "failpoints")]
        Command::Failpoints => print(&failpoints()).map(success),
    };
    match done {
        Ok(code) => code,
        Err(error) => fail(error.as_ref()),
    }
}

const fn success((): ()) -> ExitCode {
    ExitCode::SUCCESS
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

fn check(config: &Config, output: Output) -> Result<ExitCode, AnyError> {
    let report = runtime()?.block_on(offline::check(&config.data_dir))?;
    show(&report, output)?;
    Ok(verdict(&report))
}

fn salvage(config: &Config, to: &Path, output: Output) -> Result<ExitCode, AnyError> {
    let done = runtime()?.block_on(offline::salvage(&config.data_dir, to))?;
    show(&done, output)?;
    Ok(verdict(&done.report))
}

fn show(found: &(impl Display + Serialize), output: Output) -> Result<(), AnyError> {
    match output {
        Output::Text => print(&found.to_string()),
        Output::Json => print(&format!("{}\n", serde_json::to_string(found)?)),
    }
}

fn verdict(report: &Report) -> ExitCode {
    if report.is_sound() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
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
