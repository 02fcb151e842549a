//! What is wrong with the engines, if anything: the doctor's checks.

use std::sync::Arc;

use chat_core::examine::engine;
use chat_wire::admin::doctor::Examined;

use crate::config::{Config, masked};
use crate::counters::Numbers;
use crate::log::Events;
use crate::search::Index;
use crate::store::Rows;

/// Everything that is asked.
pub(crate) struct Engines {
    pub(crate) rows: Arc<Rows>,
    pub(crate) log: Arc<Events>,
    pub(crate) counters: Arc<Numbers>,
    pub(crate) search: Arc<Index>,
    hints: Hints,
}

/// What to do about an engine that does not answer.
struct Hints {
    mysql: String,
    redis: String,
    kafka: String,
    elasticsearch: String,
}

impl Engines {
    pub(crate) fn new(
        config: &Config,
        rows: Arc<Rows>,
        log: Arc<Events>,
        counters: Arc<Numbers>,
        search: Arc<Index>,
    ) -> Self {
        let start = |what: &str, place: &str| format!("start {what}: nothing answers at {place}");
        Self {
            rows,
            log,
            counters,
            search,
            hints: Hints {
                mysql: start("MySQL", &masked(&config.database_url)),
                redis: format!("redis-cli -u {} ping", masked(&config.redis_url)),
                kafka: start("Kafka", &config.kafka_brokers),
                elasticsearch: format!("curl {}", masked(&config.elasticsearch_url)),
            },
        }
    }

    /// All four at once, each within its time: a dead one holds up no other.
    pub(crate) async fn examine(&self) -> Vec<Examined> {
        let hints = &self.hints;
        let (mysql, redis, kafka, elasticsearch) = tokio::join!(
            engine("mysql", &hints.mysql, self.rows.examine()),
            engine("redis", &hints.redis, self.counters.examine()),
            engine("kafka", &hints.kafka, self.log.examine(&self.rows)),
            engine("elasticsearch", &hints.elasticsearch, self.search.examine()),
        );
        [mysql, redis, kafka, elasticsearch].concat()
    }
}
