//! What the process itself takes: memory, file handles, threads and processor time, under the names that
//! every Prometheus client gives them (<https://prometheus.io/docs/instrumenting/writing_clientlibs/>).

use prometheus_client::registry::Registry;

/// Adds what the system tells of this process. What it does not tell is left out.
#[cfg(target_os = "linux")]
pub(super) fn register(registry: &mut Registry) {
    use prometheus_client::metrics::counter::ConstCounter;
    use prometheus_client::metrics::gauge::ConstGauge;
    use prometheus_client::registry::Unit;

    let Ok(this) = procfs::process::Process::myself() else {
        return;
    };
    let mut gauge = |name: &str, help: &str, unit: Option<Unit>, value: Option<u64>| {
        let Some(value) = value.and_then(|value| i64::try_from(value).ok()) else {
            return;
        };
        match unit {
            Some(unit) => registry.register_with_unit(name, help, unit, ConstGauge::new(value)),
            None => registry.register(name, help, ConstGauge::new(value)),
        }
    };
    let stat = this.stat().ok();
    gauge(
        "process_resident_memory",
        "Memory of the process that is in RAM",
        Some(Unit::Bytes),
        stat.as_ref().map(|stat| stat.rss * procfs::page_size()),
    );
    gauge(
        "process_virtual_memory",
        "Address space of the process",
        Some(Unit::Bytes),
        stat.as_ref().map(|stat| stat.vsize),
    );
    gauge(
        "process_threads",
        "Threads of the process",
        None,
        stat.as_ref()
            .and_then(|stat| u64::try_from(stat.num_threads).ok()),
    );
    gauge(
        "process_open_fds",
        "File handles that are open",
        None,
        this.fd_count()
            .ok()
            .and_then(|count| u64::try_from(count).ok()),
    );
    let most = this.limits().ok().map(|limits| limits.max_open_files);
    gauge(
        "process_max_fds",
        "File handles that may be open",
        None,
        most.and_then(|most| match most.soft_limit {
            procfs::process::LimitValue::Value(value) => Some(value),
            procfs::process::LimitValue::Unlimited => None,
        }),
    );
    if let Some(stat) = stat {
        // Ticks of a clock that has 100 of them a second; exact far beyond the age of any machine.
        #[expect(clippy::cast_precision_loss, reason = "seconds, to the hundredth")]
        let seconds = (stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64;
        registry.register_with_unit(
            "process_cpu",
            "Processor time of the process, in user and system mode",
            Unit::Seconds,
            ConstCounter::new(seconds),
        );
    }
}

/// Elsewhere the system is not asked.
#[cfg(not(target_os = "linux"))]
pub(super) fn register(_: &mut Registry) {}
