//! What is asked at each scrape instead of counted: lag, members, dead letters, recoveries, circuits.
//!
//! It is put into a page of its own every time, so that what could not be asked is not in it: a gauge
//! that keeps its last value, or shows zero, would say that all is well.

use chat_core::breaker::Breaker;
use chat_core::port::log::{self, Topic};
use chat_core::recover::Recoveries;
use chat_wire::admin::lag::{GroupLag, Lag, Status};
use chat_wire::time::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::{Registry, Unit};

use super::{PREFIX, Seconds};
use crate::pressure::Pressure;
use crate::stats::{DeadLetters, age_ms};

/// The answers.
pub struct Asked<'a> {
    /// Every group.
    pub lag: &'a Lag,
    /// Those that wait; `None` where that is unknown.
    pub dead_letters: Option<DeadLetters>,
    /// Where creates are shed.
    pub pressure: &'a Pressure,
    /// Counters that could not be believed.
    pub recoveries: Recoveries,
    /// What the log takes.
    pub breaker: &'a Breaker,
}

/// A consumer group and a partition of its topic.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct GroupPartition {
    group: String,
    topic: String,
    partition: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TopicName {
    topic: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Group {
    group: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct GroupStatus {
    group: String,
    status: &'static str,
}

impl Asked<'_> {
    /// As metrics.
    pub(super) fn registry(&self) -> Registry {
        let mut registry = Registry::with_prefix(PREFIX);
        groups(&mut registry, &self.lag.groups);
        pressure(&mut registry, self.pressure);
        if let Some(letters) = self.dead_letters {
            dead_letters(&mut registry, letters);
        }
        circuits(&mut registry, self.breaker);
        registry.register(
            "counter_fences",
            "Calls that were told to come back because a counter was being recovered",
            ConstCounter::new(self.recoveries.fenced),
        );
        registry.register(
            "counter_recoveries",
            "Counters that were put back",
            ConstCounter::new(self.recoveries.recovered),
        );
        registry.register(
            "counter_recovery_failures",
            "Recoveries of a counter that were given up",
            ConstCounter::new(self.recoveries.failed),
        );
        registry
    }
}

fn groups(registry: &mut Registry, groups: &[GroupLag]) {
    let lag = Family::<GroupPartition, Gauge>::default();
    let age = Family::<Group, Seconds>::default();
    let members = Family::<Group, Gauge>::default();
    let status = Family::<GroupStatus, Gauge>::default();
    for group in groups {
        let name = Group {
            group: group.group.clone(),
        };
        for partition in &group.partitions {
            if let Some(records) = partition.figures.lag_records {
                let label = GroupPartition {
                    group: group.group.clone(),
                    topic: group.topic.clone(),
                    partition: partition.partition,
                };
                lag.get_or_create(&label).set(signed(records));
            }
        }
        // Where nothing waits, nothing is old.
        let nothing = group.figures.lag_records == Some(0);
        if let Some(ms) = group.figures.oldest_age_ms.or(nothing.then_some(0)) {
            age.get_or_create(&name).set(seconds(ms));
        }
        if let Some(count) = group.members {
            members.get_or_create(&name).set(i64::from(count));
        }
        for one in Status::ALL {
            let label = GroupStatus {
                group: group.group.clone(),
                status: one.as_str(),
            };
            status
                .get_or_create(&label)
                .set(i64::from(one == group.status));
        }
    }
    registry.register(
        "log_lag_records",
        "End offset minus position, by group and partition; absent where it is unknown",
        lag,
    );
    registry.register_with_unit(
        "log_oldest_age",
        "Age of the oldest record that a group has not applied; absent where it is unknown",
        Unit::Seconds,
        age,
    );
    registry.register(
        "log_group_members",
        "Members of a group; absent where they are unknown",
        members,
    );
    registry.register(
        "log_group_status",
        "1 for the status that a group has, 0 for the others",
        status,
    );
}

fn circuits(registry: &mut Registry, breaker: &Breaker) {
    let open = Family::<TopicName, Gauge>::default();
    let refused = Family::<TopicName, Counter>::default();
    for topic in [Topic::Applications, Topic::Chats, Topic::Messages] {
        let label = TopicName {
            topic: topic.name(),
        };
        let is_open = breaker.open_circuits(topic) > 0;
        open.get_or_create(&label).set(i64::from(is_open));
        refused.get_or_create(&label).inc_by(breaker.refused(topic));
    }
    registry.register(
        "log_circuit_open_status",
        "1 for a topic with a partition whose last append failed, so that what appends there is refused; 0 for the others",
        open,
    );
    registry.register(
        "log_circuit_refusals",
        "Requests refused before they took a number, because the log took no records",
        refused,
    );
}

fn pressure(registry: &mut Registry, pressure: &Pressure) {
    let shedding = pressure.shedding();
    let shed = Family::<Group, Gauge>::default();
    for group in log::Group::ALL {
        let name = group.name().to_owned();
        let shut = shedding.iter().any(|one| one.group == name);
        let label = Group { group: name };
        shed.get_or_create(&label).set(i64::from(shut));
    }
    registry.register(
        "log_lag_shedding_status",
        "1 for a group that is so far behind that this process sheds creates, 0 for the others",
        shed,
    );
    let limits = pressure.limits();
    registry.register(
        "log_lag_limit_records",
        "Records that a group may be behind before creates are shed; 0 for no limit",
        ConstGauge::new(signed(limits.records)),
    );
    registry.register_with_unit(
        "log_lag_limit",
        "Bytes that a group may be behind before creates are shed; 0 for no limit",
        Unit::Bytes,
        ConstGauge::new(signed(limits.bytes)),
    );
}

fn dead_letters(registry: &mut Registry, letters: DeadLetters) {
    registry.register(
        "dead_letters_waiting",
        "Dead letters that nobody has decided about; absent where they are unknown",
        ConstGauge::new(signed(letters.waiting)),
    );
    let age = match letters.oldest_at {
        Some(at) => Some(age_ms(at, Timestamp::now())),
        None => (letters.waiting == 0).then_some(0),
    };
    if let Some(ms) = age {
        registry.register_with_unit(
            "dead_letters_oldest_age",
            "Age of the oldest dead letter that waits; absent where it is unknown",
            Unit::Seconds,
            ConstGauge::new(seconds(ms)),
        );
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "2^53 milliseconds are longer than any log is kept"
)]
fn seconds(ms: u64) -> f64 {
    ms as f64 / 1_000.0
}
