//! `chatctl load run`: a scenario, its flags, and what is printed and written of it.

use std::fs;
use std::io::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use chat_client::admin::Admin;
use chat_client::client::{Client, Config};
use chat_client::retries::Retries;
use chat_tui::load::Live;
use clap::Args;
use tokio::sync::watch;

use super::{print, screen};
use crate::error::Error;
use crate::exit::Exit;
use crate::load::maximum::FindMax;
use crate::load::record::Shown;
use crate::load::run::{Options, Ran, Target, kept, run};
use crate::load::scenario::{self, Scenario, Time};
use crate::load::stages::{self, Stage};
use crate::load::verify::Finding;
use crate::session::Session;
use crate::settings::duration;
use crate::signals;

/// Where findings go, unless told otherwise.
const FINDINGS: &str = "chatctl-load-findings.ndjson";

/// Send load, measure it without coordinated omission, and verify that nothing was lost
///
/// A scenario is a TOML file; every flag overrides what the file says, and without a file the flags
/// are the scenario. In the open model (--rate) requests are sent when they are due, whether or not
/// earlier ones were answered, and response times count from that moment; in the closed model
/// (--users) each user waits for an answer before sending again.
///
/// Afterwards the workers are waited for, and then every message that was acknowledged is looked
/// for: once in the store, once in the index, its number given to nobody else. The first Ctrl-C or
/// SIGTERM ends the load early, and everything else still happens; the second ends the process.
///
/// Exit codes: 8 where something was lost or doubled, 99 where an objective was missed, 130 where
/// Ctrl-C ended the load early, 143 where SIGTERM did.
#[derive(Debug, Args)]
#[command(after_help = "For example:
  chatctl load run scripts/load/steady.toml --report steady.json --report steady.html
  chatctl load run --rate 500 --for 30s --mix send=90,search=10 --slo 'send.p99<50ms'
  chatctl load run --find-max --slo 'send.p99<50ms'")]
pub(crate) struct Run {
    /// Scenario file
    #[arg(value_name = "SCENARIO.toml")]
    file: Option<PathBuf>,
    /// Open model: requests a second
    #[arg(long, value_name = "NUMBER", conflicts_with_all = ["users", "stage"])]
    rate: Option<f64>,
    /// Closed model: users who each wait for their answer
    #[arg(long, value_name = "COUNT", conflicts_with = "stage")]
    users: Option<u32>,
    /// How long, with --rate or --users [default: 10s]
    #[arg(long = "for", value_name = "TIME", value_parser = duration, conflicts_with = "stage")]
    lasting: Option<Duration>,
    /// A stage, in place of those of the file; may be repeated: 30s:100 (rate), 30s:100-500 (ramp), 30s:8u (users)
    #[arg(long, value_name = "STAGE", value_parser = stages::stage)]
    stage: Vec<Stage>,
    /// Load before the measurement, at its first rate; 0 for none [default: 2s]
    #[arg(long, value_name = "TIME", value_parser = Time::parse)]
    warmup: Option<Time>,
    /// Weights of the operations: send, batch, edit, delete, read, page, search, search_app, tail, create_chat, create_app [default: send=1]
    #[arg(long, value_name = "NAME=WEIGHT,…")]
    mix: Option<String>,
    /// Applications that are made for the run [default: 1]
    #[arg(long, value_name = "COUNT")]
    applications: Option<u32>,
    /// Chats in each of them [default: 100]
    #[arg(long, value_name = "COUNT")]
    chats: Option<u32>,
    /// Exponent of Zipf's law for the choice among them; 0 chooses evenly [default: 0]
    #[arg(long, value_name = "NUMBER")]
    skew: Option<f64>,
    /// Messages that are there before the load begins [default: 0]
    #[arg(long, value_name = "COUNT")]
    prefill: Option<u64>,
    /// NDJSON with a `body` in each line, also gzipped [default: words at random]
    #[arg(long, value_name = "FILE")]
    bodies: Option<PathBuf>,
    /// Seed of every choice [default: drawn, and in the report]
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// Most requests in flight; what is due beyond them is skipped and counted [default: 1000]
    #[arg(long, value_name = "COUNT")]
    max_in_flight: Option<u32>,
    /// Most requests sent at once; what is due beyond them waits, and its response time counts that [default: as many as in flight]
    #[arg(long, value_name = "COUNT")]
    connections: Option<u32>,
    /// Threads that send, each with connections of its own [default: half the processors]
    #[arg(long, value_name = "COUNT")]
    threads: Option<u32>,
    /// Created messages a second that are followed until they are stored and found; 0 for none [default: 2]
    #[arg(long, value_name = "COUNT")]
    follow: Option<u32>,
    /// Longest wait for one answer [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = Time::parse)]
    answer_timeout: Option<Time>,
    /// An objective, beside those of the file; may be repeated: send.p99<50ms, errors<0.1%, skipped==0
    #[arg(long, value_name = "OBJECTIVE")]
    slo: Vec<String>,
    /// Search the highest rate at which the objectives hold, nothing is skipped and what is due is answered
    #[arg(long, conflicts_with_all = ["rate", "users", "stage"])]
    find_max: bool,
    /// First rate of the search
    #[arg(
        long,
        value_name = "NUMBER",
        default_value_t = 500.0,
        requires = "find_max"
    )]
    from: f64,
    /// Length of each trial of the search
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration, requires = "find_max")]
    trial: Duration,
    /// Longest wait for the workers after the load, and between the trials of a search
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration)]
    drain: Duration,
    /// Do not look whether everything is there
    #[arg(long)]
    no_verify: bool,
    /// Where messages that are lost or doubled are written to, where there are any
    #[arg(long, value_name = "FILE", default_value = FINDINGS)]
    findings: PathBuf,
    /// Write the report too; may be repeated: FILE.json, FILE.html (a page with plots), FILE.csv (its seconds)
    #[arg(long, value_name = "FILE")]
    report: Vec<PathBuf>,
    /// Allow a server that is not on this machine
    #[arg(long)]
    i_own_this_target: bool,
}

impl Run {
    pub(crate) fn run(self, session: &mut Session) -> Result<Exit, Error> {
        print::check_format(session)?;
        print::check(&self.report)?;
        for address in [&session.settings.server, &session.settings.admin] {
            self.check_target(address)?;
        }
        let scenario = self.scenario()?;
        let timeout = scenario.timeout.0;
        let plan = scenario.plan().map_err(Error::usage)?;
        session.remark(&format!(
            "{}: {} model, {} s, seed {}",
            plan.scenario.name,
            plan.stages.model().as_str(),
            plan.stages.lasting().as_secs_f64(),
            plan.seed
        ));
        let target = target(session, timeout)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|error| Error::failure(format!("cannot start: {error}")))?;
        let stop = Arc::new(AtomicBool::new(false));
        let ender = Ender {
            stop: Arc::clone(&stop),
            exit: Arc::default(),
        };
        let screen = screen::wanted(session);
        if !screen {
            end_at_signal(&runtime, ender.clone());
        }
        let (live, watched) = watch::channel(Live {
            name: plan.scenario.name.clone(),
            ..Live::default()
        });
        let options = Options {
            verify: !self.no_verify,
            drain_max: self.drain,
            find_max: self.find_max.then_some(FindMax {
                from: self.from,
                trial: self.trial,
                drain_max: self.drain,
            }),
            shown: Shown {
                live,
                lines: !screen && !session.settings.quiet,
            },
            stop,
        };
        let work = run(&target, plan, options);
        let shown = if screen {
            let theme = screen::theme(session);
            runtime.block_on(screen::beside(work, watched, theme, |exit| ender.end(exit)))
        } else {
            screen::Shown::Done(runtime.block_on(work))
        };
        runtime.shutdown_background();
        match shown {
            screen::Shown::Done(ran) => self.finish(session, ran?, ender.exit()),
            screen::Shown::Left(exit) => Ok(exit),
        }
    }

    /// The file with the flags over it.
    fn scenario(&self) -> Result<Scenario, Error> {
        let mut scenario = match &self.file {
            None => Scenario::default(),
            Some(file) => read(file)?,
        };
        let one = |stage: Stage| {
            vec![Stage {
                lasting: Some(Time(self.lasting.unwrap_or(Duration::from_secs(10)))),
                ..stage
            }]
        };
        if self.rate.is_some() || self.users.is_some() {
            scenario.stage = one(Stage {
                rate: self.rate,
                users: self.users,
                ..Stage::default()
            });
        } else if !self.stage.is_empty() {
            scenario.stage.clone_from(&self.stage);
        } else if self.find_max {
            scenario.stage = vec![Stage {
                lasting: Some(Time(self.trial)),
                rate: Some(self.from),
                ..Stage::default()
            }];
        } else if let Some(lasting) = self.lasting {
            let [stage] = scenario.stage.as_mut_slice() else {
                return Err(Error::usage(
                    "--for needs --rate, --users, or a scenario with one stage",
                ));
            };
            stage.lasting = Some(Time(lasting));
        }
        if scenario.stage.is_empty() {
            return Err(Error::usage("there is nothing to send")
                .with_hint("give a scenario file, or --rate, --users, --stage or --find-max"));
        }
        if let Some(mix) = &self.mix {
            scenario.mix = scenario::mix(mix).map_err(Error::usage)?;
        }
        let world = &mut scenario.world;
        set(&mut world.applications, self.applications);
        set(&mut world.chats, self.chats);
        set(&mut world.skew, self.skew);
        set(&mut world.prefill, self.prefill);
        if self.bodies.is_some() {
            world.bodies.clone_from(&self.bodies);
        }
        set(&mut scenario.warmup, self.warmup);
        set(&mut scenario.timeout, self.answer_timeout);
        set(&mut scenario.max_in_flight, self.max_in_flight);
        set(&mut scenario.connections, self.connections);
        set(&mut scenario.threads, self.threads);
        set(&mut scenario.follow, self.follow);
        scenario.seed = self.seed.or(scenario.seed);
        scenario.objectives.extend(self.slo.iter().cloned());
        Ok(scenario)
    }

    /// Load is not for the servers of others.
    fn check_target(&self, address: &str) -> Result<(), Error> {
        if self.i_own_this_target || is_loopback(address) {
            return Ok(());
        }
        Err(Error::usage(format!(
            "{address} is not on this machine, and load can take a server down"
        ))
        .with_hint("if it is yours and you mean it, give --i-own-this-target"))
    }

    /// Prints and writes what was found; `early` is the exit of a load that was ended before its time.
    fn finish(&self, session: &mut Session, ran: Ran, early: Exit) -> Result<Exit, Error> {
        let Ran { report, findings } = ran;
        for file in &self.report {
            print::write(file, &report)?;
        }
        if !findings.is_empty() {
            write_findings(&self.findings, &findings)?;
            session.remark(&format!(
                "{} messages that are not as they should be are in {}",
                findings.len(),
                self.findings.display()
            ));
        }
        print::print(session, &report)?;
        if !kept(report.verification.as_ref()) {
            let findings = report.verification.map(|v| v.findings).unwrap_or_default();
            return Err(Error::new(Exit::Partial, findings.join("; ")).with_code("verification"));
        }
        if report.interrupted {
            return Ok(early);
        }
        let missed: Vec<_> = report.objectives.iter().filter(|one| !one.met).collect();
        if missed.is_empty() {
            return Ok(Exit::Ok);
        }
        let missed = missed
            .iter()
            .map(|one| {
                format!("{} is {:.3} {}", one.text, one.value, one.unit)
                    .trim_end()
                    .to_owned()
            })
            .collect::<Vec<_>>();
        Err(Error::new(
            Exit::Objective,
            format!("objectives were missed: {}", missed.join(", ")),
        ))
    }
}

/// Ends the load early, and remembers who wanted that.
#[derive(Debug, Clone)]
struct Ender {
    stop: Arc<AtomicBool>,
    exit: Arc<OnceLock<Exit>>,
}

impl Ender {
    fn end(&self, exit: Exit) {
        // The first one ended it.
        let _ = self.exit.set(exit);
        self.stop.store(true, Ordering::Relaxed);
    }

    fn exit(&self) -> Exit {
        self.exit.get().copied().unwrap_or(Exit::Interrupted)
    }
}

/// The first signal ends the load and the second the process, where no view watches for them.
fn end_at_signal(runtime: &tokio::runtime::Runtime, ender: Ender) {
    signals::watch();
    let mut asked = signals::ask_first();
    runtime.spawn(async move { ender.end(asked.wait().await) });
}

fn set<T>(target: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *target = value;
    }
}

fn read(file: &Path) -> Result<Scenario, Error> {
    let name = file.display().to_string();
    let text = fs::read_to_string(file).map_err(|error| Error::file(&name, &error))?;
    let mut scenario =
        Scenario::parse(&text).map_err(|error| Error::usage(format!("{name}: {error}")))?;
    if scenario.name == Scenario::default().name {
        let stem = file
            .file_stem()
            .map(|stem| stem.to_string_lossy().into_owned());
        scenario.name = stem.unwrap_or(scenario.name);
    }
    // A relative path in a scenario is relative to the scenario.
    if let (Some(bodies), Some(folder)) = (&mut scenario.world.bodies, file.parent()) {
        *bodies = folder.join(&*bodies);
    }
    Ok(scenario)
}

/// How often a call before or after the load is repeated: a server that sheds load answers later.
const PATIENT_RETRIES: u32 = 30;

/// Clients for load repeat nothing, because a repetition would hide what it repeats.
fn target(session: &Session, timeout: Duration) -> Result<Target, Error> {
    let retrying = |most| Retries {
        most,
        ..Retries::default()
    };
    let config = Config {
        timeout,
        retries: retrying(0),
        ..Config::new(&*session.settings.server)
    };
    let patient = Config {
        timeout: session.settings.timeout,
        retries: retrying(PATIENT_RETRIES),
        ..config.clone()
    };
    let admin = Config {
        bearer: session.settings.admin_key.clone(),
        timeout: session.settings.timeout,
        ..Config::new(&*session.settings.admin)
    };
    Ok(Target {
        address: session.settings.server.clone(),
        client: Client::new(config.clone())?,
        config,
        patient: Client::new(patient)?,
        admin: Admin::new(admin)?,
    })
}

fn is_loopback(address: &str) -> bool {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or(rest);
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    let host = match host.strip_prefix('[') {
        Some(six) => six.split(']').next().unwrap_or(six),
        None => host.split(':').next().unwrap_or(host),
    };
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn write_findings(path: &Path, findings: &[Finding]) -> Result<(), Error> {
    let name = path.display().to_string();
    let write = || -> std::io::Result<()> {
        let mut file = std::io::BufWriter::new(fs::File::create(path)?);
        for finding in findings {
            serde_json::to_writer(&mut file, finding)?;
            file.write_all(b"\n")?;
        }
        file.flush()
    };
    write().map_err(|error| Error::file(&name, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_recognised() {
        for (address, loopback) in [
            ("http://127.0.0.1:7700", true),
            ("http://localhost:7700/x", true),
            ("http://[::1]:7700", true),
            ("http://10.0.0.1:7700", false),
            ("https://chat.example.com", false),
            ("http://localhost.example.com", false),
            ("http://127.0.0.1@example.com", false),
        ] {
            assert_eq!(is_loopback(address), loopback, "{address}");
        }
    }
}
