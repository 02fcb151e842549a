//! The settings of topics and brokers that promises rest on.

use std::collections::BTreeMap;

use chat_core::examine::{LIMIT, failed, ok, skipped, warning};
use chat_core::port::log::{Error, Topic};
use chat_wire::admin::doctor::Examined;
use rdkafka::admin::{
    AdminClient, AdminOptions, ConfigResource, ConfigResourceResult, OwnedResourceSpecifier,
    ResourceSpecifier,
};

use super::super::client::{Names, Words, told};
use super::super::reader::Shape;
use super::{APPLIED, COPIES};

/// By name, as text.
type Values = BTreeMap<String, String>;

/// What brokers told.
#[derive(Debug, Default)]
pub(super) struct Settings {
    /// By topic, in the order of [`Topic::ALL`]; empty where we may not see them.
    topics: Vec<(Topic, String, Values)>,
    /// Of one broker; empty where we may not see them.
    broker: Values,
}

/// A client whose end is not waited for: it waits for its threads, and they for the brokers.
struct Asker(Option<AdminClient<Words>>);

impl Drop for Asker {
    fn drop(&mut self) {
        let client = self.0.take();
        std::thread::spawn(move || drop(client));
    }
}

impl Settings {
    /// Asks for the settings of all topics and of one broker.
    pub(super) async fn ask(names: &Names, broker: Option<i32>) -> Result<Self, Error> {
        let client = names.base().create_with_context(Words);
        let asker = Asker(Some(client.map_err(|error| told(&error))?));
        let client = asker.0.as_ref().expect("only its end takes it");
        let options = AdminOptions::new().request_timeout(Some(LIMIT));
        let named: Vec<_> = Topic::ALL.map(|topic| (topic, names.topic(topic))).into();
        let topics: Vec<_> = named
            .iter()
            .map(|(_, name)| ResourceSpecifier::Topic(name))
            .collect();
        let brokers: Vec<_> = broker.map(ResourceSpecifier::Broker).into_iter().collect();
        let (topics, brokers) = tokio::join!(client.describe_configs(&topics, &options), async {
            match brokers.as_slice() {
                [] => Ok(Vec::new()),
                brokers => client.describe_configs(brokers, &options).await,
            }
        });
        let topics = topics.map_err(|error| told(&error))?;
        let mut settings = Self::default();
        for (topic, name) in named {
            let found = topics.iter().find_map(|one| of(one, &name));
            settings
                .topics
                .extend(found.map(|values| (topic, name, values)));
        }
        let broker = brokers.unwrap_or_default();
        if let Some(Ok(broker)) = broker.first() {
            settings.broker = values(broker);
        }
        Ok(settings)
    }

    /// How long records of the topics are kept that workers apply: the shortest of them, in
    /// milliseconds. Nothing where it is for ever, or not known.
    pub(super) fn retention_ms(&self) -> Option<u64> {
        let applied = self
            .topics
            .iter()
            .filter(|(topic, _, _)| APPLIED.contains(topic));
        applied
            .filter_map(|(_, _, values)| values.get("retention.ms")?.parse().ok())
            .min()
    }

    /// The checks, one for each setting, over all topics.
    pub(super) fn judge(&self, shapes: &[Shape]) -> Vec<Examined> {
        if self.topics.is_empty() {
            let detail = "the brokers do not show the settings of the topics to this user";
            return vec![skipped("kafka.settings", detail)];
        }
        let copies = |name: &str| {
            let shape = shapes.iter().find(|shape| shape.name == name);
            let parts = shape.into_iter().flat_map(|shape| &shape.partitions);
            parts.map(|part| part.replicas).min().unwrap_or(0)
        };
        let unclean = "unclean.leader.election.enable";
        let insync = "min.insync.replicas";
        vec![
            self.every(
                "kafka.cleanup",
                "cleanup.policy",
                "delete",
                Severity::Failed,
                "records that are not applied yet may be compacted away",
            ),
            self.every(
                "kafka.unclean_election",
                unclean,
                "false",
                Severity::Failed,
                "a broker without the last records may be elected, and they are lost",
            ),
            self.every(
                "kafka.timestamps",
                "message.timestamp.type",
                "LogAppendTime",
                Severity::Warning,
                "ages and retention follow the senders' clocks",
            ),
            match self.topics.iter().find(|(_, name, values)| {
                copies(name) >= COPIES && values.get(insync).is_some_and(|least| least == "1")
            }) {
                Some((_, name, _)) => warning(
                    "kafka.insync",
                    format!(
                        "{insync} of {name} is 1: an acknowledged record may stand on one broker alone"
                    ),
                    set(name, insync, "2"),
                ),
                None => ok(
                    "kafka.insync",
                    "an acknowledgement means as many copies as it can",
                ),
            },
            self.auto_create(),
        ]
    }

    fn every(
        &self,
        id: &str,
        setting: &str,
        wanted: &str,
        severity: Severity,
        why: &str,
    ) -> Examined {
        let wrong = self.topics.iter().find_map(|(_, name, values)| {
            let value = values.get(setting).filter(|value| *value != wanted)?;
            Some((name, value))
        });
        let Some((name, value)) = wrong else {
            return ok(id, format!("{setting} is {wanted} everywhere"));
        };
        let detail = format!("{setting} of {name} is {value}: {why}");
        let hint = set(name, setting, wanted);
        match severity {
            Severity::Warning => warning(id, detail, hint),
            Severity::Failed => failed(id, detail, hint),
        }
    }

    fn auto_create(&self) -> Examined {
        let id = "kafka.auto_create";
        let setting = "auto.create.topics.enable";
        match self.broker.get(setting).map(String::as_str) {
            None => skipped(id, "the brokers do not show their settings to this user"),
            Some("false") => ok(id, "topics are made by `chatd migrate` alone"),
            Some(value) => warning(
                id,
                format!(
                    "{setting} is {value}: a topic that was removed comes back with another shape"
                ),
                format!("{setting}=false in the configuration of the brokers"),
            ),
        }
    }
}

/// How bad a wrong setting is.
enum Severity {
    Warning,
    Failed,
}

fn set(topic: &str, setting: &str, value: &str) -> String {
    format!("kafka-configs.sh --alter --topic {topic} --add-config {setting}={value}")
}

/// The settings of this topic.
fn of(resource: &ConfigResourceResult, name: &str) -> Option<Values> {
    let resource = resource.as_ref().ok()?;
    match &resource.specifier {
        OwnedResourceSpecifier::Topic(topic) if topic == name => Some(values(resource)),
        _ => None,
    }
}

fn values(resource: &ConfigResource) -> Values {
    let entries = resource.entries.iter();
    entries
        .filter_map(|entry| Some((entry.name.clone(), entry.value.clone()?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::reader::Part;
    use super::*;
    use chat_wire::admin::doctor::Finding;

    fn settings(changed: &[(&str, &str)]) -> Settings {
        let mut values: Values = [
            ("cleanup.policy", "delete"),
            ("unclean.leader.election.enable", "false"),
            ("message.timestamp.type", "LogAppendTime"),
            ("min.insync.replicas", "2"),
            ("retention.ms", "1000"),
            ("auto.create.topics.enable", "false"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        for (name, value) in changed {
            values.insert((*name).to_owned(), (*value).to_owned());
        }
        Settings {
            topics: vec![(Topic::Messages, "messages".to_owned(), values.clone())],
            broker: values,
        }
    }

    fn wrong(changed: &[(&str, &str)]) -> Vec<(String, Finding)> {
        let part = Part {
            has_leader: true,
            replicas: 3,
            in_sync: 3,
        };
        let shape = Shape {
            name: "messages".to_owned(),
            partitions: vec![part],
        };
        let checks = settings(changed).judge(&[shape]);
        let wrong = checks
            .into_iter()
            .filter(|check| check.finding != Finding::Ok);
        wrong.map(|check| (check.id, check.finding)).collect()
    }

    #[test]
    fn each_setting_is_told() {
        assert_eq!(wrong(&[]), []);
        for (name, value, id, finding) in [
            (
                "cleanup.policy",
                "compact",
                "kafka.cleanup",
                Finding::Failed,
            ),
            (
                "unclean.leader.election.enable",
                "true",
                "kafka.unclean_election",
                Finding::Failed,
            ),
            (
                "message.timestamp.type",
                "CreateTime",
                "kafka.timestamps",
                Finding::Warning,
            ),
            ("min.insync.replicas", "1", "kafka.insync", Finding::Warning),
            (
                "auto.create.topics.enable",
                "true",
                "kafka.auto_create",
                Finding::Warning,
            ),
        ] {
            assert_eq!(
                wrong(&[(name, value)]),
                [(id.to_owned(), finding)],
                "{name}"
            );
        }
    }

    #[test]
    fn what_is_kept_for_ever_has_no_retention() {
        assert_eq!(settings(&[]).retention_ms(), Some(1_000));
        assert_eq!(settings(&[("retention.ms", "-1")]).retention_ms(), None);
        assert_eq!(Settings::default().retention_ms(), None);
        let hidden = Settings::default().judge(&[]);
        assert_eq!(hidden[0].finding, Finding::Skipped);
    }
}
