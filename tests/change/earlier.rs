//! What an earlier run left, and what becomes of it.

use std::fs;
use std::path::Path;

use rustix::io::Errno;
use xmem::change::{End, Outcome};
use xmem::error::{After, Cause};
use xmem::settle::Earlier;
use xmem::size::Kib;

use crate::watched::{Error, Numbers, START, Scene, Step, Then, request, set};

/// The intent of a run that was killed on its way from `old` to `new`.
fn leave_intent(path: &Path, old: Numbers, new: Numbers) {
    let side = |(target, max, limit): Numbers| {
        format!(r#"{{"target_kib":{target},"static_max_kib":{max},"limit_kib":{limit}}}"#)
    };
    let text = format!(r#"{{"version":1,"pid":1,"old":{},"new":{}}}"#, side(old), side(new));
    fs::write(path, text).unwrap();
}

/// A scene that shows `now`, with an intent to go from `old` to `new`.
fn scene(now: Numbers, old: Numbers, new: Numbers) -> Scene {
    let scene = Scene::new();
    scene.edit(|world| {
        world["xenstore"]["/local/domain/7/memory/target"] = now.0.to_string().into();
        world["xenstore"]["/local/domain/7/memory/static-max"] = now.1.to_string().into();
        world["domains"]["7"]["limit_kib"] = now.2.into();
    });
    leave_intent(&scene.intent(), old, new);
    scene
}

const SMALL: Numbers = (524_288, 2_097_152, 525_312);

/// Settles, and shows what became of it: the change that settles asks for what is there already.
fn settled(scene: &Scene) -> (Option<Earlier>, Numbers) {
    let target = scene.numbers().0;
    let outcome = scene.plain(&set(&format!("{target}k"))).unwrap();
    assert_eq!(scene.state().len(), 0);
    (outcome.earlier, scene.numbers())
}

#[test]
fn its_target_stands_so_its_limit_is_brought_forward() {
    // It grew, and its limit never came.
    let grown = scene((1_048_576, 2_097_152, 525_312), SMALL, START);
    assert_eq!(settled(&grown), (Some(Earlier::Finished(Kib(START.2))), START));
    // It shrank, and its limit never came.
    let shrunk = scene((524_288, 2_097_152, 1_049_600), START, SMALL);
    assert_eq!(settled(&shrunk), (Some(Earlier::Finished(Kib(SMALL.2))), SMALL));
}

#[test]
fn its_target_never_came_so_its_limit_is_put_back() {
    let shrinking = scene((1_048_576, 2_097_152, 525_312), START, SMALL);
    assert_eq!(settled(&shrinking), (Some(Earlier::Undone(Kib(START.2))), START));
    let growing = scene((524_288, 2_097_152, 1_049_600), SMALL, START);
    assert_eq!(settled(&growing), (Some(Earlier::Undone(Kib(SMALL.2))), SMALL));
}

#[test]
fn somebody_has_set_the_memory_since() {
    // Their limit stands when it is enough...
    let enough = scene((786_432, 2_097_152, 900_000), START, SMALL);
    let outcome = enough.plain(&set("768M")).unwrap();
    assert_eq!(outcome.earlier, Some(Earlier::Overtaken(Kib(900_000))));
    assert_eq!(outcome.plan.old.limit, Kib(900_000));
    // ... and is raised to what their target needs when it is not.
    let starved = scene((786_432, 2_097_152, 525_312), START, SMALL);
    let expected = (786_432, 2_097_152, 787_456);
    assert_eq!(settled(&starved), (Some(Earlier::Overtaken(Kib(787_456))), expected));
}

/// A record with too small a limit does not starve the guest.
#[test]
fn a_limit_is_never_set_below_what_the_target_needs() {
    for (old, new) in [((START.0, START.1, 4096), SMALL), (SMALL, (START.0, START.1, 4096))] {
        let scene = scene((START.0, START.1, 4096), old, new);
        assert_eq!(settled(&scene).1, START);
    }
}

/// The settlement counts before the wish: the limit to go back to is the settled one.
#[test]
fn a_failure_after_a_settlement_goes_back_to_the_settled_limit() {
    let scene = scene((1_048_576, 2_097_152, 525_312), START, SMALL);
    let failure = scene
        .change(&set("768M"), |step| match step {
            Step::SetPod => Then::Fail(Error::Xen(Errno::NOMEM)),
            _ => Then::Go,
        })
        .unwrap_err();
    assert_eq!(failure.after, After::PutBack { limit: Kib(START.2) });
    assert_eq!(scene.numbers(), START);
    assert_eq!(scene.state().len(), 0);
}

/// What could not be settled waits for the next one.
#[test]
fn a_settlement_that_fails_leaves_the_record() {
    let scene = scene((1_048_576, 2_097_152, 525_312), START, SMALL);
    let failure = scene
        .change(&set("512M"), |step| match step {
            Step::SetLimit(_) => Then::Fail(Error::Xen(Errno::PERM)),
            _ => Then::Go,
        })
        .unwrap_err();
    assert!(matches!(failure.cause, Cause::Hypervisor(_)), "{failure}");
    assert_eq!(scene.state(), [scene.intent()]);
    assert_eq!(settled(&scene), (Some(Earlier::Undone(Kib(START.2))), START));
}

#[test]
fn a_dry_run_leaves_it() {
    for foreign in [false, true] {
        let scene = scene((1_048_576, 2_097_152, 525_312), START, SMALL);
        if foreign {
            fs::write(scene.intent(), "?").unwrap();
        }
        let before = fs::read(scene.intent()).unwrap();
        let mut dry = request(&set("1G"));
        dry.dry_run = true;
        let Outcome { earlier, end, .. } = scene.host(|_| Then::Go).change(&dry).unwrap();
        assert_eq!((earlier, end), (Some(Earlier::Waiting(scene.intent())), End::DryRun));
        assert_eq!(fs::read(scene.intent()).unwrap(), before);
        assert_eq!(scene.numbers(), (1_048_576, 2_097_152, 525_312));
    }
}

#[test]
fn a_foreign_record_is_set_aside_and_never_believed() {
    let scene = Scene::new();
    for text in ["", "{}", "null", r#"{"version":2}"#] {
        fs::write(scene.intent(), text).unwrap();
        let outcome = scene.plain(&set("1G")).unwrap();
        let Some(Earlier::Foreign(aside, _)) = outcome.earlier else { panic!("{outcome:?}") };
        assert_eq!(scene.state(), std::slice::from_ref(&aside));
        assert_eq!(fs::read_to_string(&aside).unwrap(), text);
        assert_eq!(scene.numbers(), START);
        fs::remove_file(aside).unwrap();
    }
}

/// Without a record there is no change: a kill could not be made good.
#[test]
fn without_a_record_nothing_is_changed() {
    let scene = Scene::new();
    // In the way of the draft.
    let draft = scene.path().join(format!("lib/userdata-n.7.{}.xmem-intent", crate::watched::WEB));
    fs::create_dir(&draft).unwrap();
    let host = scene.host(|step| {
        assert!(!matches!(step, Step::Write(_) | Step::SetLimit(_) | Step::Commit), "{step:?}");
        Then::Go
    });
    let failure = host.change(&request(&set("512M"))).unwrap_err();
    assert!(matches!(failure.cause, Cause::Intent(_)), "{failure}");
    assert_eq!(failure.after, After::Unchanged);
    assert_eq!(scene.numbers(), START);
    assert_eq!(scene.state(), [draft]);
}

/// What was killed while it wrote its record has changed nothing, and is in nobody's way.
#[test]
fn a_draft_means_nothing() {
    let scene = Scene::new();
    let draft = scene.path().join(format!("lib/userdata-n.7.{}.xmem-intent", crate::watched::WEB));
    fs::write(&draft, r#"{"version":1,"pid":1,"old":{"targ"#).unwrap();
    let outcome = scene.plain(&set("512M")).unwrap();
    assert_eq!((outcome.earlier, outcome.end), (None, End::Changed));
    assert_eq!(scene.numbers(), SMALL);
    assert_eq!(scene.state().len(), 0);
}
