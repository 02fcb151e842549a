//! Makes a failing plan smaller, as long as it fails: what is left is what somebody has to understand.

use crate::history;
use crate::plan::{Noise, Plan};

/// Runs that one minimization makes at most.
const RUNS_MAX: usize = 600;

/// The smallest plan that was found to break a promise.
#[must_use]
pub fn minimize(plan: &Plan) -> Plan {
    let mut search = Search {
        best: plan.clone(),
        runs: 0,
    };
    let quiet = Plan {
        noise: Noise::default(),
        ..search.best.clone()
    };
    search.adopt(quiet);
    for _ in 0..3 {
        let before = search.size();
        search.drop_some();
        search.shrink_processes();
        if search.size() == before {
            break;
        }
    }
    search.best
}

struct Search {
    best: Plan,
    runs: usize,
}

impl Search {
    fn size(&self) -> usize {
        self.best.ops.len() + self.best.faults.len() + self.best.apis + self.best.workers
    }

    fn adopt(&mut self, candidate: Plan) -> bool {
        if self.runs >= RUNS_MAX {
            return false;
        }
        self.runs += 1;
        let fails = !history::run(&candidate, false).breaches.is_empty();
        if fails {
            self.best = candidate;
        }
        fails
    }

    /// Leaves out ever smaller runs of operations, then each fault.
    fn drop_some(&mut self) {
        let mut size = self.best.ops.len().div_ceil(2);
        while size > 0 {
            let mut at = 0;
            while at < self.best.ops.len() {
                let mut candidate = self.best.clone();
                let end = (at + size).min(candidate.ops.len());
                candidate.ops.drain(at..end);
                if !self.adopt(candidate) {
                    at += size;
                }
            }
            size /= 2;
        }
        let mut at = 0;
        while at < self.best.faults.len() {
            let mut candidate = self.best.clone();
            candidate.faults.remove(at);
            if !self.adopt(candidate) {
                at += 1;
            }
        }
    }

    fn shrink_processes(&mut self) {
        if self.best.workers > 1 {
            let mut candidate = self.best.clone();
            candidate.workers -= 1;
            let processes = candidate.apis + candidate.workers;
            candidate.faults.retain(|(_, fault)| match fault {
                crate::plan::Fault::Kill { process, .. }
                | crate::plan::Fault::Pause { process, .. }
                | crate::plan::Fault::ClockJump { process, .. } => *process < processes,
                _ => true,
            });
            self.adopt(candidate);
        }
    }
}
