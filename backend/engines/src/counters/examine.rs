//! What is wrong with Redis, if anything.

use std::collections::BTreeMap;

use chat_core::examine::{clock, failed, ok, skipped, warning};
use chat_core::port::counters::Error;
use chat_wire::admin::doctor::Examined;
use chat_wire::time::Timestamp;

use super::Numbers;

impl Numbers {
    /// The checks of the server; an error where it does not answer.
    pub(crate) async fn examine(&self) -> Result<Vec<Examined>, Error> {
        let link = self.links.link().await?;
        let failed = |error| self.links.failed(&link, &error);
        let asked = Timestamp::now();
        let (seconds, micros) = link.time().await.map_err(failed)?;
        let answered = Timestamp::now();
        let middle = i64::midpoint(asked.as_micros(), answered.as_micros());
        let ahead_ms = (seconds * 1_000_000 + micros - middle) / 1_000;
        let info = link.info().await.map_err(failed)?;
        let info = fields(&info);
        let mut checks = judge(&info);
        // Where the server is somebody else's, it may keep its configuration to itself.
        let configured = link
            .configured("min-replicas-to-write")
            .await
            .ok()
            .flatten();
        checks.push(replicas(&info, configured.as_deref()));
        let saves = link.configured("save").await.ok().flatten();
        checks.push(persistence(&info, saves.as_deref()));
        checks.push(clock("redis.clock", ahead_ms));
        Ok(checks)
    }
}

/// `name:value` lines.
fn fields(info: &str) -> BTreeMap<&str, &str> {
    info.lines()
        .filter_map(|line| line.split_once(':'))
        .collect()
}

fn get<'a>(info: &BTreeMap<&str, &'a str>, name: &str) -> &'a str {
    info.get(name).map_or("", |value| value.trim())
}

fn judge(info: &BTreeMap<&str, &str>) -> Vec<Examined> {
    let mut checks = Vec::new();
    let version = get(info, "redis_version");
    checks.push(ok("redis.version", version));
    let id = "redis.role";
    checks.push(match get(info, "role") {
        "master" | "" => ok(id, "it is the primary"),
        role => failed(
            id,
            format!("it is a {role}: it takes no writes, or loses them"),
            "give the address of the primary in REDIS_URL",
        ),
    });
    let id = "redis.eviction";
    let hint = "redis-cli config set maxmemory-policy noeviction";
    checks.push(match (get(info, "maxmemory_policy"), get(info, "maxmemory")) {
        ("noeviction", _) if !matches!(get(info, "evicted_keys"), "" | "0") => warning(
            id,
            format!(
                "{} keys were evicted since the server started: until it is restarted, the store is asked about every \
                 idempotency key that is unknown",
                get(info, "evicted_keys")
            ),
            "give it more memory, and restart it where that is no trouble",
        ),
        ("noeviction", _) => ok(id, "nothing is evicted"),
        ("", _) => skipped(id, "the server does not tell its policy"),
        (policy, "0") => warning(
            id,
            format!("maxmemory-policy is {policy}, and only for want of a limit nothing is evicted"),
            hint,
        ),
        (policy, _) => failed(
            id,
            format!("maxmemory-policy is {policy}: counters and keys are evicted when memory is short, and each eviction fences an application"),
            hint,
        ),
    });
    checks
}

/// The counters can be made again from the rows and the log, but their applications are fenced meanwhile.
fn persistence(info: &BTreeMap<&str, &str>, saves: Option<&str>) -> Examined {
    let id = "redis.persistence";
    let hint = "redis-cli config set appendonly yes";
    if get(info, "aof_enabled") == "1" {
        return match get(info, "aof_last_write_status") {
            "ok" | "" => ok(id, "append-only file"),
            status => failed(
                id,
                format!("the last write to the append-only file says {status}"),
                "see the server's log, and its disk",
            ),
        };
    }
    if get(info, "rdb_last_bgsave_status") == "err" {
        return failed(
            id,
            "the last snapshot failed",
            "see the server's log, and its disk",
        );
    }
    match saves {
        Some("") => warning(
            id,
            "nothing is kept over a restart: every application is fenced until its counters are made again",
            hint,
        ),
        Some(saves) => warning(
            id,
            format!(
                "only snapshots ({saves}): what came after the last one is made again after a restart"
            ),
            hint,
        ),
        None => skipped(id, "the server does not tell how often it saves"),
    }
}

fn replicas(info: &BTreeMap<&str, &str>, min_to_write: Option<&str>) -> Examined {
    let id = "redis.replicas";
    let connected = get(info, "connected_slaves");
    match (connected, min_to_write) {
        ("0" | "", _) => ok(id, "no replica, so none can be promoted with fewer numbers"),
        (_, None) => skipped(
            id,
            format!("{connected} replicas; the server does not tell how many must have a write"),
        ),
        (_, Some("0")) => warning(
            id,
            format!(
                "{connected} replicas, and none has to have a number before it is given out: a promoted one gives it again, which costs a collision"
            ),
            "redis-cli config set min-replicas-to-write 1",
        ),
        (_, Some(least)) => ok(
            id,
            format!("{connected} replicas, {least} of them connected at each write"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chat_wire::admin::doctor::Finding;

    fn of(text: &str, id: &str) -> Finding {
        let info = fields(text);
        let checks = judge(&info);
        checks.iter().find(|check| check.id == id).unwrap().finding
    }

    #[test]
    fn eviction_is_no_way_to_keep_numbers() {
        let of = |text: &str| of(text, "redis.eviction");
        assert_eq!(
            of("maxmemory:9\r\nmaxmemory_policy:noeviction\r\n"),
            Finding::Ok
        );
        assert_eq!(
            of("maxmemory:0\r\nmaxmemory_policy:allkeys-lru\r\n"),
            Finding::Warning
        );
        assert_eq!(
            of("maxmemory:9\r\nmaxmemory_policy:volatile-lru\r\n"),
            Finding::Failed
        );
        assert_eq!(of(""), Finding::Skipped);
        assert_eq!(
            of("maxmemory:9\r\nmaxmemory_policy:noeviction\r\nevicted_keys:3\r\n"),
            Finding::Warning
        );
    }

    #[test]
    fn a_replica_is_no_primary() {
        assert_eq!(of("role:slave\r\n", "redis.role"), Finding::Failed);
        assert_eq!(of("role:master\r\n", "redis.role"), Finding::Ok);
        let two = fields("connected_slaves:2\r\n");
        assert_eq!(replicas(&two, Some("0")).finding, Finding::Warning);
        assert_eq!(replicas(&two, Some("1")).finding, Finding::Ok);
        assert_eq!(replicas(&two, None).finding, Finding::Skipped);
        let none = fields("connected_slaves:0\r\n");
        assert_eq!(replicas(&none, Some("0")).finding, Finding::Ok);
    }

    #[test]
    fn what_is_kept_over_a_restart() {
        let of = |text: &str, saves| persistence(&fields(text), saves).finding;
        assert_eq!(
            of("aof_enabled:1\r\naof_last_write_status:ok\r\n", None),
            Finding::Ok
        );
        assert_eq!(
            of("aof_enabled:1\r\naof_last_write_status:err\r\n", None),
            Finding::Failed
        );
        assert_eq!(of("aof_enabled:0\r\n", Some("3600 1")), Finding::Warning);
        assert_eq!(of("aof_enabled:0\r\n", Some("")), Finding::Warning);
        assert_eq!(
            of(
                "aof_enabled:0\r\nrdb_last_bgsave_status:err\r\n",
                Some("1 1")
            ),
            Finding::Failed
        );
        assert_eq!(of("aof_enabled:0\r\n", None), Finding::Skipped);
    }
}
