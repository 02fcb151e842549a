//! A scenario: what to send, how fast, where to, and what is expected of it. TOML on disk.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::load::mix::{Kind, Mix};
use crate::load::objective::Objective;
use crate::load::stages::{Stage, Stages, stages};
use crate::settings::duration;

/// A length of time as people write it: `30s`, `500ms`, `2m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Time(pub(crate) Duration);

impl Time {
    pub(crate) const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// Like `duration`, and 0 is a time too.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if matches!(text, "0" | "0s") {
            return Ok(Self(Duration::ZERO));
        }
        duration(text).map(Self)
    }
}

impl Serialize for Time {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let millis = self.0.as_millis();
        let text = if millis.is_multiple_of(1_000) {
            format!("{}s", millis / 1_000)
        } else {
            format!("{millis}ms")
        };
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// Each thread has its own connections and draws every choice, so many more are no help.
const THREADS_MAX: u32 = 256;

/// What is run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Scenario {
    /// Shown in reports.
    pub(crate) name: String,
    /// What it is for.
    pub(crate) about: String,
    /// Seed of every choice; drawn and printed where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) seed: Option<u64>,
    /// Before the measurement, at the first stage's rate or users.
    pub(crate) warmup: Time,
    /// A request that takes longer counts as an error.
    pub(crate) timeout: Time,
    /// Requests that are due while so many are unanswered are not sent, and counted as skipped.
    pub(crate) max_in_flight: u32,
    /// Requests that are sent at once; what is due beyond them waits, and its response time with it.
    /// 0 for as many as there are in flight.
    pub(crate) connections: u32,
    /// Threads that send, each with connections of its own; 0 for half the processors.
    pub(crate) threads: u32,
    /// Created messages a second that are followed until they are stored and found; 0 for none.
    pub(crate) follow: u32,
    /// Whether arrivals are evenly spaced, or at random as those of independent users are.
    pub(crate) arrivals: Arrivals,
    /// What is expected, for example `send.p99<50ms`.
    pub(crate) objectives: Vec<String>,
    /// Applications, chats and bodies.
    pub(crate) world: World,
    /// Weights of the operations.
    pub(crate) mix: BTreeMap<String, u32>,
    /// One after the other.
    pub(crate) stage: Vec<Stage>,
}

/// How arrivals are spaced in the open model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Arrivals {
    /// As independent users come: exponential gaps.
    #[default]
    Poisson,
    /// Equal gaps.
    Even,
}

/// Where requests go to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct World {
    /// New applications.
    pub(crate) applications: u32,
    /// New chats in each of them.
    pub(crate) chats: u32,
    /// Exponent of Zipf's law for the choice of applications and of chats; 0 chooses evenly.
    pub(crate) skew: f64,
    /// Messages that are created before anything else, over all chats, in batches.
    pub(crate) prefill: u64,
    /// NDJSON with a `body` in each line, also gzipped; words at random where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bodies: Option<PathBuf>,
}

impl Default for World {
    fn default() -> Self {
        Self {
            applications: 1,
            chats: 100,
            skew: 0.0,
            prefill: 0,
            bodies: None,
        }
    }
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            name: "load".to_owned(),
            about: String::new(),
            seed: None,
            warmup: Time::seconds(2),
            timeout: Time::seconds(10),
            max_in_flight: 1_000,
            connections: 0,
            threads: 0,
            follow: 2,
            arrivals: Arrivals::default(),
            objectives: Vec::new(),
            world: World::default(),
            mix: BTreeMap::from([("send".to_owned(), 1)]),
            stage: Vec::new(),
        }
    }
}

/// A scenario that makes sense, in the form in which it is run.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) scenario: Scenario,
    pub(crate) seed: u64,
    pub(crate) mix: Mix,
    pub(crate) objectives: Vec<Objective>,
    pub(crate) stages: Stages,
}

impl Scenario {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())
    }

    /// As a file that says the same.
    pub(crate) fn to_toml(&self) -> String {
        toml::to_string(self).unwrap_or_else(|error| format!("# cannot be written: {error}\n"))
    }

    /// Checks everything and draws the seed.
    ///
    /// # Errors
    /// The first thing that makes no sense.
    pub(crate) fn plan(mut self) -> Result<Plan, String> {
        let seed = self
            .seed
            .unwrap_or_else(|| rand::random_range(1..1_000_000));
        self.seed = Some(seed);
        if self.world.applications == 0 || self.world.chats == 0 {
            return Err("world: applications and chats must be at least 1".to_owned());
        }
        if u64::from(self.world.applications) * u64::from(self.world.chats) > 1_000_000 {
            return Err("world: more than a million chats are not run at once".to_owned());
        }
        if !(0.0..=10.0).contains(&self.world.skew) {
            return Err("world: skew must be from 0 to 10".to_owned());
        }
        if self.max_in_flight == 0 {
            return Err("max_in_flight must be at least 1, or nothing is ever sent".to_owned());
        }
        if self.threads > THREADS_MAX {
            return Err(format!("threads must be at most {THREADS_MAX}"));
        }
        if self.timeout.0.is_zero() {
            return Err("timeout must not be 0".to_owned());
        }
        let mix = Mix::new(&self.mix)?;
        let objectives: Vec<Objective> = self
            .objectives
            .iter()
            .map(|text| Objective::parse(text))
            .collect::<Result<_, _>>()?;
        // Better now than after an hour of load.
        let absent = |one: &&Objective| one.operation().is_some_and(|kind| !mix.has(kind));
        if let Some(objective) = objectives.iter().find(absent) {
            return Err(format!(
                "objective {}: the mix has no such operation",
                objective.text()
            ));
        }
        let stages = stages(&self.stage)?;
        Ok(Plan {
            seed,
            mix,
            objectives,
            stages,
            scenario: self,
        })
    }
}

/// Reads `send=90,search=10`.
pub(crate) fn mix(text: &str) -> Result<BTreeMap<String, u32>, String> {
    let mut mix = BTreeMap::new();
    for part in text.split(',') {
        let (name, weight) = part
            .split_once('=')
            .ok_or_else(|| format!("{part:?} is no operation=weight"))?;
        let weight = weight
            .trim()
            .parse()
            .map_err(|_| format!("{weight:?} is no whole number"))?;
        let name = Kind::parse(name.trim())?.name();
        mix.insert(name.to_owned(), weight);
    }
    Ok(mix)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(text: &str) -> Result<Plan, String> {
        Scenario::parse(text)?.plan()
    }

    #[test]
    fn a_file_and_what_is_written_of_it_say_the_same() {
        let text = r#"
            name = "all"
            seed = 7
            warmup = "500ms"
            arrivals = "even"
            objectives = ["send.p99<50ms", "errors<0.1%", "skipped==0"]
            [world]
            applications = 2
            skew = 1.1
            [mix]
            send = 9
            search = 1
            [[stage]]
            for = "30s"
            rate = 100
            [[stage]]
            for = "10s"
            from = 100
            rate = 500
            [[stage]]
            for = "1m"
            rate = 500
            amplitude = 200
            period = "20s"
            [[stage]]
            for = "9s"
            rate = 10
            spike = 1000
        "#;
        let plan = planned(text).unwrap();
        assert_eq!(plan.seed, 7);
        assert_eq!(plan.stages.lasting(), Duration::from_secs(109));
        assert_eq!(plan.objectives.len(), 3);
        let again = Scenario::parse(&plan.scenario.to_toml()).unwrap();
        assert_eq!(again, plan.scenario);
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_place() {
        for (text, why) in [
            ("", "no stage"),
            ("rates = 1", "unknown field"),
            ("[[stage]]\nfor = \"1s\"", "stage 1: `rate` is missing"),
            ("[[stage]]\nrate = 1", "stage 1: `for` is missing"),
            ("[[stage]]\nfor = \"1s\"\nrate = -1", "stage 1: rates go"),
            ("[[stage]]\nfor = \"1s\"\nrate = 0", "not only 0"),
            ("[[stage]]\nfor = \"1s\"\nrate = nan", "stage 1: rates go"),
            (
                "[[stage]]\nfor = \"1s\"\nrate = 1\nspike = 2\nfrom = 1",
                "a stage has a rate",
            ),
            (
                "[[stage]]\nfor = \"1s\"\nrate = 1\namplitude = 2\nperiod = \"1s\"",
                "rates go",
            ),
            ("[[stage]]\nfor = \"1s\"\nusers = 0", "give users"),
            (
                "[[stage]]\nfor = \"1s\"\nusers = 1\nrate = 1",
                "nothing else",
            ),
            (
                "[[stage]]\nfor = \"1s\"\nusers = 1\n[[stage]]\nfor = \"1s\"\nrate = 1",
                "cannot be mixed",
            ),
            ("mix = {send = 0}\n[[stage]]\nfor = \"1s\"\nrate = 1", "mix"),
            (
                "mix = {sned = 1}\n[[stage]]\nfor = \"1s\"\nrate = 1",
                "sned",
            ),
            (
                "objectives = [\"x<1\"]\n[[stage]]\nfor = \"1s\"\nrate = 1",
                "\"x\"",
            ),
            (
                "threads = 257\n[[stage]]\nfor = \"1s\"\nrate = 1",
                "threads",
            ),
            (
                "max_in_flight = 0\n[[stage]]\nfor = \"1s\"\nrate = 1",
                "max_in_flight",
            ),
            (
                "[world]\nchats = 0\n[[stage]]\nfor = \"1s\"\nrate = 1",
                "world",
            ),
        ] {
            let error = planned(text).unwrap_err();
            assert!(error.contains(why), "{text:?}: {error}");
        }
    }

    #[test]
    fn flags_are_read_like_files() {
        assert_eq!(
            mix("send=90, search=10").unwrap(),
            BTreeMap::from([("send".to_owned(), 90), ("search".to_owned(), 10)])
        );
        assert!(mix("send").is_err() && mix("send=x").is_err() && mix("what=1").is_err());
    }
}
