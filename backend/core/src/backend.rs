//! The backend as one value: the ports, the settings, and what this process remembers.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use chat_wire::ids::AppToken;
use chat_wire::time::Timestamp;
use uuid::Uuid;

use crate::appends::Appends;
use crate::breaker::Breaker;
use crate::clock::{Sources, TrustedClock};
use crate::deadline::Declared;
use crate::port::Ports;
use crate::reconcile::Reconciler;
use crate::recover::Recovery;
use crate::settle::Settler;

/// What can be set.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// D: an answer 2xx goes out only when the log acknowledged within this time of taking the number.
    pub create_deadline: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            create_deadline: Duration::from_secs(5),
        }
    }
}

impl Settings {
    /// How long a key counts as in flight: the deadline and a second for the answer to travel.
    #[must_use]
    pub fn lease_ms(&self) -> u64 {
        let lease = self.create_deadline + Duration::from_secs(1);
        u64::try_from(lease.as_millis()).unwrap_or(u64::MAX)
    }
}

/// The backend; cheap to clone.
#[derive(Clone)]
pub struct Backend {
    inner: Arc<Inner>,
    _held: Option<Arc<dyn Any + Send + Sync>>,
}

struct Inner {
    ports: Ports,
    settings: Settings,
    sources: Sources,
    trusted_clock: TrustedClock,
    recovery: Recovery,
    settler: Settler,
    reconciler: Reconciler,
    appends: Appends,
    breaker: Breaker,
    declared: Declared,
}

impl Backend {
    /// Puts the rules over these ports.
    #[must_use]
    pub fn new(ports: Ports, settings: Settings) -> Self {
        Self::with_sources(ports, settings, Sources::default())
    }

    /// The same with a clock and identifiers from elsewhere: for tests and the simulation.
    #[must_use]
    pub fn with_sources(ports: Ports, settings: Settings, sources: Sources) -> Self {
        Self {
            inner: Arc::new(Inner {
                ports,
                settings,
                trusted_clock: TrustedClock::new(Arc::clone(&sources.clock)),
                sources,
                recovery: Recovery::default(),
                settler: Settler::default(),
                reconciler: Reconciler::default(),
                appends: Appends::default(),
                breaker: Breaker::default(),
                declared: Declared::default(),
            }),
            _held: None,
        }
    }

    /// The same, holding something until the work that is begun with it has ended: a create goes on
    /// when its client goes away, and what it was let in with should not be free before that.
    #[must_use]
    pub fn holding(&self, held: Arc<dyn Any + Send + Sync>) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            _held: Some(held),
        }
    }

    /// The same, holding nothing: for work that others wait for too.
    pub(crate) fn released(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            _held: None,
        }
    }

    /// The ports.
    #[must_use]
    pub fn ports(&self) -> &Ports {
        &self.inner.ports
    }

    /// The settings.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    /// The wall clock.
    pub(crate) fn now(&self) -> Timestamp {
        self.inner.sources.clock.now()
    }

    /// A wall clock that does not jump ahead; see [`TrustedClock`].
    pub(crate) fn trusted_now(&self) -> Timestamp {
        self.inner.trusted_clock.now()
    }

    /// Time that goes on while the machine is suspended; see [`crate::clock::Clock::uptime`].
    pub(crate) fn uptime(&self) -> Duration {
        self.inner.sources.clock.uptime()
    }

    /// A new identifier of an event, a claim or a run.
    pub(crate) fn new_uid(&self) -> Uuid {
        self.inner.sources.ids.uid()
    }

    /// A new token of an application.
    pub(crate) fn new_token(&self) -> AppToken {
        self.inner.sources.ids.token()
    }

    pub(crate) fn recovery(&self) -> &Recovery {
        &self.inner.recovery
    }

    /// Finds numbers that will never be used and makes them void.
    #[must_use]
    pub fn settler(&self) -> &Settler {
        &self.inner.settler
    }

    /// What reconciliation remembers in this process.
    #[must_use]
    pub fn reconciler(&self) -> &Reconciler {
        &self.inner.reconciler
    }

    /// The longest create deadline that any process declared.
    pub(crate) fn declared(&self) -> &Declared {
        &self.inner.declared
    }

    /// Refuses what would append while the log takes no records.
    #[must_use]
    pub fn breaker(&self) -> &Breaker {
        &self.inner.breaker
    }

    /// What this process has appended.
    #[must_use]
    pub fn appends(&self) -> &Appends {
        &self.inner.appends
    }
}
