//! Histories by their seeds: repeatable, and able to fail.

use chat_simulation::history::run;
use chat_simulation::plan::{Fault, Noise, Op, Plan};

#[test]
fn a_seed_decides_everything_that_happens() {
    for seed in 1..12 {
        let plan = Plan::new(seed, None);
        let (first, second) = (run(&plan, true), run(&plan, true));
        assert_eq!(first.trace, second.trace, "seed {seed}");
        assert_eq!(first.digest, second.digest, "seed {seed}");
    }
}

/// A plan without chance: one application, one chat, and messages before and after a fault.
fn plan(fault: Option<Fault>) -> Plan {
    let send = |key| Op::Send {
        chat: 0,
        lines: 1,
        key,
    };
    Plan {
        seed: 7,
        ops: vec![
            (0, Op::CreateApplication { key: None }),
            (
                500,
                Op::CreateChat {
                    application: 0,
                    key: None,
                },
            ),
            (1_500, send(None)),
            (2_000, send(Some(1))),
            (4_500, send(Some(2))),
            (5_500, Op::Search { application: 0 }),
        ],
        faults: fault.map(|fault| (4_000, fault)).into_iter().collect(),
        noise: Noise::default(),
        apis: 1,
        workers: 1,
        skews: vec![0, 0],
    }
}

#[test]
fn a_history_without_faults_keeps_every_promise_and_reports_nothing() {
    let outcome = run(&plan(None), false);
    assert_eq!(outcome.breaches, Vec::<String>::new());
    assert_eq!(outcome.reports, Vec::<String>::new());
}

#[test]
fn what_an_engine_loses_is_made_good_or_reported() {
    for fault in [
        Fault::StoreForgets { commits: 50 },
        Fault::LogRecreated,
        Fault::CountersEmpty,
        Fault::CountersFailOver { states: 5 },
        Fault::IndexEmpty,
        Fault::IndexRollsBack { states: 9 },
    ] {
        let outcome = run(&plan(Some(fault.clone())), false);
        assert_eq!(outcome.breaches, Vec::<String>::new(), "{fault:?}");
        assert!(!outcome.reports.is_empty(), "{fault:?} went unnoticed");
    }
}
