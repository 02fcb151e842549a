//! What this machine can tell: its settings, and whether it reaches the server.

use std::time::Duration;

use chat_client::admin::Admin;
use chat_client::client::{Client, Config};
use chat_client::probe::Probe;
use chat_client::retries::Retries;
use chat_wire::admin::doctor::{Examined, Finding};

use super::{check, failed, with_hint};
use crate::error::Error;
use crate::session::Session;
use crate::settings::Settings;

/// Longest wait for a server to say that it is there.
const REACH_TIMEOUT: Duration = Duration::from_secs(3);
/// Clocks that differ by more make ages and lag wrong.
const SKEW_MS_WARNING: u64 = 2_000;
/// Our version.
const OURS: &str = env!("CARGO_PKG_VERSION");

/// Whether the configuration file is as it should be.
pub(super) fn settings(settings: &Settings) -> Examined {
    let id = "client.settings";
    let Some(path) = settings.file.as_deref().filter(|path| path.exists()) else {
        let detail = format!("no configuration file; API at {}", settings.server);
        return check(id, Finding::Ok, 0, detail);
    };
    let shown = path.display();
    if settings.file_holds_secret() && others_can_read(path) {
        let detail = format!("{shown} holds a key, and other users can read it");
        let found = check(id, Finding::Warning, 0, detail);
        return with_hint(found, format!("chmod 600 {shown}"));
    }
    let detail = format!("{shown}; API at {}", settings.server);
    check(id, Finding::Ok, 0, detail)
}

#[cfg(unix)]
fn others_can_read(path: &std::path::Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).is_ok_and(|found| found.permissions().mode() & 0o077 != 0)
}

#[cfg(not(unix))]
fn others_can_read(_: &std::path::Path) -> bool {
    false
}

/// Both listeners, as far as they answered.
pub(super) struct Reached {
    pub(super) api: Result<Probe, Error>,
    pub(super) admin: Result<Probe, Error>,
}

impl Reached {
    /// Asks both at once, each for a few seconds at most.
    pub(super) async fn look(session: &Session) -> Result<Self, Error> {
        let api = Client::new(brief(session, &session.settings.server))?;
        let admin = Admin::new(brief(session, &session.settings.admin))?;
        let (api, admin) = tokio::join!(api.probe(), admin.probe());
        Ok(Self {
            api: api.map_err(Error::from),
            admin: admin.map_err(Error::from),
        })
    }

    pub(super) fn checks(&self) -> [Examined; 2] {
        let reach = |id: &str, probe: &Result<Probe, Error>, hint: &str| match probe {
            Ok(probe) => {
                let ms = millis(probe.elapsed);
                check(id, Finding::Ok, ms, format!("answers in {ms} ms"))
            }
            Err(error) => with_hint(failed(id, error), hint),
        };
        [
            reach(
                "api.reach",
                &self.api,
                "start `chatd`, or give its address with --server",
            ),
            reach(
                "admin.reach",
                &self.admin,
                "start `chatd`, or give the address of CHATD_ADMIN_LISTEN with --admin",
            ),
        ]
    }

    /// Whether client and servers are of one version; `admin` is what the admin listener says.
    pub(super) fn versions(&self, admin: Option<&str>) -> Examined {
        let id = "client.version";
        let api = self.api.as_ref().ok();
        let api = api.and_then(|probe| probe.version.as_deref());
        let theirs: Vec<_> = [api, admin].into_iter().flatten().collect();
        if theirs.is_empty() {
            let detail = format!("chatctl {OURS}; the server does not say its version");
            return check(id, Finding::Skipped, 0, detail);
        }
        match theirs.iter().find(|version| **version != OURS) {
            None => check(id, Finding::Ok, 0, format!("all of version {OURS}")),
            Some(other) => {
                let detail = format!("chatctl is {OURS}, chatd is {other}");
                let found = check(id, Finding::Warning, 0, detail);
                with_hint(found, "use the chatctl that came with chatd")
            }
        }
    }

    /// Whether the clocks agree.
    pub(super) fn clocks(&self) -> Examined {
        let id = "client.clock";
        let probes = [&self.api, &self.admin];
        let skews = probes.into_iter().flatten().filter_map(Probe::skew_ms);
        let Some(skew) = skews.max_by_key(|skew| skew.unsigned_abs()) else {
            return check(id, Finding::Skipped, 0, "no server told its time");
        };
        let apart = skew.unsigned_abs();
        if apart < SKEW_MS_WARNING {
            return check(id, Finding::Ok, 0, "the clocks agree within two seconds");
        }
        let side = if skew > 0 { "ahead of" } else { "behind" };
        let apart = crate::output::units::span(apart);
        let detail = format!("the server's clock is {apart} {side} ours");
        let found = check(id, Finding::Warning, 0, detail);
        with_hint(found, "timedatectl set-ntp true")
    }
}

/// One attempt, and little patience.
fn brief(session: &Session, address: &str) -> Config {
    let config = session.client_config(address);
    Config {
        timeout: config.timeout.min(REACH_TIMEOUT),
        retries: Retries {
            most: 0,
            ..config.retries
        },
        ..config
    }
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
