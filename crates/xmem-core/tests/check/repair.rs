//! Repairs of problems with only one possible fix.

use std::thread;
use std::time::{Duration, Instant};

use xen::hypervisor::UNLIMITED;
use xen::{Kib, NoInterrupt};
use xmem_core::check::{
    CheckReport, RepairAction, RepairOutcome, RepairReport, check, preview, repair,
};
use xmem_core::failure::Cause;
use xmem_core::recovery::{LimitStep, Recovery};
use xmem_sim::SimHost;

use crate::scene::{Scene, refs, said};

fn mib(mib: u64) -> Kib {
    Kib::from_mib(mib)
}

fn repair_all(host: &SimHost, report: &CheckReport, timeout: Duration) -> RepairReport {
    repair(host, report, &[], timeout, &NoInterrupt)
}

fn limit(scene: &Scene, domid: u16) -> Kib {
    scene.world().domains[&domid].limit_kib
}

#[test]
fn a_low_limit_is_raised() {
    let scene = Scene::new();
    scene.edit(7, |web| web.limit_kib = mib(512));
    let report = scene.check();
    let repaired = repair_all(&scene.host(), &report, Duration::ZERO);
    let RepairOutcome::Repaired(RepairAction::Numbers { old, new, recovery: None }) =
        &repaired.findings[0].1
    else {
        panic!("{repaired:?}")
    };
    assert_eq!((old.limit, new.limit, limit(&scene, 7)), (mib(512), mib(1025), mib(1025)));
    assert_eq!(said(&repaired.after.findings), [""; 0]);
    assert_eq!(repaired.changes.len(), 1);
}

#[test]
fn a_low_limit_is_raised_beside_a_bad_node() {
    let scene = Scene::new();
    scene.edit(7, |web| web.limit_kib = mib(512));
    scene.world().write("/local/domain/7/memory/videoram", "x");
    let report = scene.check();
    assert_eq!(said(&report.findings), ["web (7): bad-node", "web (7): limit-too-low"]);
    let repaired = repair_all(&scene.host(), &report, Duration::ZERO);
    assert_eq!(limit(&scene, 7), mib(1025));
    let outcomes: Vec<_> = repaired.findings.iter().map(|(_, outcome)| outcome).collect();
    assert!(
        matches!(outcomes[..], [RepairOutcome::NotRepaired, RepairOutcome::Repaired(_)]),
        "{outcomes:?}"
    );
}

#[test]
fn a_killed_change_is_one_finding_and_one_repair() {
    let scene = Scene::new();
    scene.kill_a_change(7, mib(512));
    let report = scene.check();
    assert_eq!(said(&report.findings), ["web (7): interrupted-change"]);
    let repaired = repair_all(&scene.host(), &report, Duration::ZERO);
    let [(_, RepairOutcome::Repaired(RepairAction::Numbers { recovery, .. }))] =
        &repaired.findings[..]
    else {
        panic!("{repaired:?}")
    };
    assert_eq!(*recovery, Some(Recovery::RolledBack(LimitStep { from: mib(513), to: mib(1025) })));
    assert_eq!(limit(&scene, 7), mib(1025));
    assert_eq!(said(&repaired.after.findings), [""; 0]);
}

#[test]
fn a_locked_domain_is_waited_for_and_fails_if_it_stays_locked() {
    let scene = Scene::new();
    scene.edit(7, |web| web.limit_kib = mib(512));
    let lock = scene.lock(7);
    let report = scene.check();
    let begin = Instant::now();
    let repaired = repair_all(&scene.host(), &report, Duration::from_millis(200));
    assert!(begin.elapsed() >= Duration::from_millis(200));
    let [Err(failure)] = &repaired.changes[..] else { panic!("{repaired:?}") };
    assert!(matches!(failure.cause, Cause::Lock(_)), "{failure}");
    assert_eq!(failure.domain.as_ref().unwrap().to_string(), "web (7)");
    assert_eq!((repaired.after.locked, limit(&scene, 7)), (1, mib(512)));
    assert_eq!(said(&repaired.after.findings), ["web (7): locked"]);
    drop(lock);
}

#[test]
fn a_domain_whose_lock_is_released_is_checked_and_repaired() {
    let scene = Scene::new();
    scene.edit(7, |web| web.limit_kib = mib(512));
    let lock = scene.lock(7);
    let healthy = scene.lock(8);
    let report = scene.check();
    let repaired = thread::scope(|threads| {
        threads.spawn(|| {
            thread::sleep(Duration::from_millis(200));
            drop((lock, healthy));
        });
        repair_all(&scene.host(), &report, Duration::from_mins(1))
    });
    assert_eq!((repaired.after.locked, limit(&scene, 7)), (0, mib(1025)));
    assert_eq!(repaired.findings.len(), 1, "{:?}", repaired.findings);
    let (finding, outcome) = &repaired.findings[0];
    assert_eq!(finding.diagnosis.kind.word(), "limit-too-low");
    assert!(matches!(outcome, RepairOutcome::Repaired(_)), "{outcome:?}");
    assert_eq!(repaired.changes.len(), 1, "the other one needs none");
}

#[test]
fn a_problem_fixed_by_others_meanwhile_is_resolved() {
    let scene = Scene::new();
    scene.world().write("/local/domain/7/memory/target", "x");
    let report = scene.check();
    scene.world().write("/local/domain/7/memory/target", "1048576");
    let repaired = repair_all(&scene.host(), &report, Duration::ZERO);
    assert_eq!(repaired.findings[0].1, RepairOutcome::Resolved);
    // A problem that appeared during the repair is reported too.
    scene.edit(8, |db| db.limit_kib = mib(512));
    let repaired = repair_all(&scene.host(), &report, Duration::ZERO);
    assert_eq!(repaired.findings[1].0.diagnosis.kind.word(), "limit-too-low");
    assert_eq!(repaired.findings[1].1, RepairOutcome::NotRepaired);
}

#[test]
fn no_repair_trusts_a_guest() {
    let scene = Scene::new();
    scene.edit(7, |web| (web.limit_kib, web.owns_nodes) = (mib(512), true));
    let report = scene.check();
    let foreseen = preview(&scene.host(), &report);
    assert!(foreseen.iter().all(|(_, outcome)| *outcome == RepairOutcome::NotRepaired));
    let repaired = repair_all(&scene.host(), &report, Duration::ZERO);
    assert_eq!((repaired.changes.len(), limit(&scene, 7)), (0, mib(512)));
}

/// The recovery alone does not put a guest in step that has raised its own target since.
#[test]
fn a_preview_promises_a_recovery_without_the_repair_that_is_refused() {
    let scene = Scene::new();
    scene.kill_a_change(7, mib(512));
    scene.world().write("/local/domain/7/memory/target", "1572864");
    scene.edit(7, |web| web.owns_nodes = true);
    let report = scene.check();
    let foreseen = preview(&scene.host(), &report);
    let outcomes: Vec<_> = foreseen.iter().map(|(_, outcome)| outcome).collect();
    assert!(matches!(outcomes[..], [RepairOutcome::WouldRepair(_)]), "{foreseen:?}");
    let done = repair_all(&scene.host(), &report, Duration::ZERO);
    let outcomes: Vec<_> = done.findings.iter().map(|(_, outcome)| outcome).collect();
    assert!(
        matches!(outcomes[..], [RepairOutcome::Repaired(_), RepairOutcome::NotRepaired]),
        "{done:?}"
    );
    assert_eq!(said(&done.after.findings), ["web (7): limit-too-low"]);
}

#[test]
fn only_the_named_domains_are_repaired() {
    let scene = Scene::new();
    for domid in [7, 8] {
        scene.edit(domid, |domain| domain.limit_kib = mib(512));
    }
    let (host, wanted) = (scene.host(), refs(&["web"]));
    let report = check(&host, &wanted, &NoInterrupt).unwrap();
    repair(&host, &report, &wanted, Duration::ZERO, &NoInterrupt);
    assert_eq!((limit(&scene, 7), limit(&scene, 8)), (mib(1025), mib(512)));
}

/// A way to put a host out of step.
type Break = fn(&Scene);

/// For everything that the host made by `breaks` has out of step.
#[test]
fn a_preview_says_what_the_repair_does() {
    let breaks: [(&str, Break); 8] = [
        ("a low limit", |scene| scene.edit(7, |web| web.limit_kib = mib(512))),
        ("a killed change that shrinks", |scene| scene.kill_a_change(7, mib(512))),
        ("one that grows", |scene| scene.kill_a_change(7, mib(1536))),
        ("a change killed after its commit", |scene| {
            scene.kill_a_change(7, mib(512));
            scene.world().write("/local/domain/7/memory/target", "524288");
        }),
        ("a limit that another program set since", |scene| {
            scene.kill_a_change(7, mib(512));
            scene.edit(7, |web| web.limit_kib = mib(700));
        }),
        ("a target that another program set since", |scene| {
            scene.kill_a_change(7, mib(512));
            scene.world().write("/local/domain/7/memory/target", "1572864");
        }),
        ("a guest-written target and a killed change", |scene| {
            scene.kill_a_change(7, mib(512));
            scene.edit(7, |web| web.owns_nodes = true);
        }),
        ("dom0 without keys", |scene| {
            scene.world().remove("/local/domain/0/memory");
            scene.edit(0, |dom0| dom0.limit_kib = UNLIMITED);
        }),
    ];
    for (case, make) in breaks {
        let scene = Scene::new();
        scene.edit(7, |web| web.balloon = false);
        make(&scene);
        let report = scene.check();
        let foreseen: Vec<_> = preview(&scene.host(), &report)
            .into_iter()
            .filter_map(|(_, outcome)| match outcome {
                RepairOutcome::WouldRepair(RepairAction::Numbers { old, new, recovery }) => {
                    Some((old, new, recovery))
                }
                _ => None,
            })
            .collect();
        assert!(!foreseen.is_empty(), "{case}: {report:?}");
        repair_all(&scene.host(), &report, Duration::ZERO);
        for (_, new, _) in &foreseen {
            let row = scene.check().rows.into_iter().find(|row| {
                row.domain.identity.domid.get() == if case.starts_with("dom0") { 0 } else { 7 }
            });
            assert_eq!(row.unwrap().memory.numbers().unwrap(), *new, "{case}");
        }
    }
}

#[test]
fn a_repair_report_starts_where_the_killed_run_left_off() {
    let scene = Scene::new();
    scene.kill_a_change(7, mib(512));
    let host = scene.host();
    let report = scene.check();
    let foreseen = preview(&host, &report).remove(0).1;
    let done = repair_all(&host, &report, Duration::ZERO).findings.remove(0).1;
    let (RepairOutcome::WouldRepair(foreseen), RepairOutcome::Repaired(done)) = (foreseen, done)
    else {
        panic!()
    };
    assert_eq!(foreseen, done);
    let RepairAction::Numbers { old, .. } = done else { panic!() };
    assert_eq!(old.limit, mib(513));
}
