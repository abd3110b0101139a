//! The order of things, and what is there while they happen.

use fs2::FileExt as _;
use xmem::plan::Note;
use xmem::size::Kib;

use crate::watched::{Scene, Step, Then, max, request, set};

#[test]
fn a_set_from_top_to_bottom() {
    let scene = Scene::new();
    let host = scene.host(|_| Then::Go);
    host.change(&request(&set("512M"))).unwrap();
    let steps = host.steps();
    let memory = |node: &str| format!("/local/domain/7/memory/{node}");
    let locked = steps.iter().rposition(|step| *step == Step::Look).unwrap();
    assert_eq!(
        steps[locked..],
        [
            Step::Look,
            Step::Start,
            Step::Read("/local/domain/7/name".to_owned()),
            Step::Read(memory("target")),
            Step::Read(memory("static-max")),
            Step::Read(memory("videoram")),
            Step::Write(memory("target")),
            Step::Write(format!("/vm/{}/memory", crate::watched::WEB)),
            Step::SetLimit(525_312),
            Step::SetPod,
            Step::Commit,
        ]
    );
}

/// The nodes that are read are read in the transaction, or another's change of them would be missed.
#[test]
fn everything_under_the_lock_happens_under_the_lock() {
    for wish in [set("512M"), set("1536M"), max("4G")] {
        let scene = Scene::new();
        let (lock, intent) = (scene.lock(), scene.intent());
        let mut looked = false;
        scene
            .change(&wish, move |step| {
                looked |= *step == Step::Look;
                if looked {
                    let file = std::fs::File::open(&lock).expect("no lock file");
                    assert!(
                        file.try_lock_exclusive().is_err(),
                        "nobody holds the lock at {step:?}"
                    );
                }
                // From the first thing that cannot be taken back by itself until the end.
                if matches!(step, Step::SetLimit(_) | Step::SetPod | Step::Commit) {
                    assert!(intent.exists(), "no intent at {step:?}");
                    assert!(looked);
                }
                Then::Go
            })
            .unwrap();
        assert_eq!(scene.state().len(), 0);
    }
}

/// Whether the host has enough is asked once, and only for a guest that is to grow.
#[test]
fn the_hosts_memory_is_asked_for_when_it_matters() {
    for (wish, asked) in [
        (set("512M"), 0),
        (set("1G"), 0),
        (set("1025M"), 0),
        (set("1026M"), 1),
        (set("1536M"), 1),
        (max("4G"), 0),
    ] {
        let scene = Scene::new();
        let host = scene.host(|_| Then::Go);
        host.change(&request(&wish)).unwrap();
        let steps = host.steps();
        let count = steps.iter().filter(|step| **step == Step::HostMemory).count();
        assert_eq!(count, asked, "{wish:?}");
    }
    // A maximum lets nothing grow, also if the guest is below its target.
    let scene = Scene::new();
    scene.edit(|world| world["domains"]["7"]["current_kib"] = 524_288.into());
    let host = scene.host(|_| Then::Go);
    host.change(&request(&max("4G"))).unwrap();
    assert!(!host.steps().contains(&Step::HostMemory));
}

/// More than the host has is told, with the numbers, and done.
#[test]
fn a_host_that_has_too_little_is_told_of() {
    for (spare_kib, claimed_kib, note) in [
        (524_288, 0, None),
        (524_284, 0, Some((524_288, 524_284))),
        (600_000, 100_000, Some((524_288, 500_000))),
        (0, 4, Some((524_288, 0))),
    ] {
        let scene = Scene::new();
        scene.edit(|world| {
            world["memory_kib"] = (1_048_576 + spare_kib).into();
            world["domains"]["7"]["outstanding_kib"] = claimed_kib.into();
        });
        let note = note.map(|(missing, available)| Note::HostShort {
            missing: Kib(missing),
            available: Kib(available),
        });
        let outcome = scene.plain(&set("1536M")).unwrap();
        assert_eq!(outcome.plan.notes, Vec::from_iter(note));
        assert_eq!(scene.numbers(), (1_572_864, 2_097_152, 1_573_888));
    }
}

/// A dry run, and a change that there is no need for, write nothing at all.
#[test]
fn what_changes_nothing_writes_nothing() {
    let scene = Scene::new();
    let mut dry = request(&set("512M"));
    dry.dry_run = true;
    for request in [dry, request(&set("1G"))] {
        let intent = scene.intent();
        let host = scene.host(move |step| {
            let writes =
                matches!(step, Step::Write(_) | Step::SetLimit(_) | Step::SetPod | Step::Commit);
            assert!(!writes && !intent.exists(), "{step:?}");
            Then::Go
        });
        host.change(&request).unwrap();
        assert_eq!(scene.state().len(), 0);
    }
}

/// A limit that is out of step is put right together with its target, as libxl does it: whoever else
/// writes the target is met at the commit.
#[test]
fn a_limit_is_never_changed_without_writing_its_target() {
    let scene = Scene::new();
    scene.edit(|world| world["domains"]["7"]["limit_kib"] = 4096.into());
    let host = scene.host(|_| Then::Go);
    host.change(&request(&set("1G"))).unwrap();
    assert!(host.steps().contains(&Step::Write("/local/domain/7/memory/target".to_owned())));
}
