//! A repair: a change that only puts the domain in step.

use xen::Kib;
use xmem_core::change::ChangeStatus;
use xmem_core::failure::Aftermath;
use xmem_core::plan::MemoryRequest;
use xmem_sim::Failure as Error;
use xmem_sim::Verdict::Fail;

use crate::scene::{START, Scene, Step, at, before_commit, request};

const REPAIR: MemoryRequest = MemoryRequest::Repair;

/// `web` with half the limit that its target needs.
fn too_low() -> Scene {
    let scene = Scene::new();
    scene.world.set_limit(524_288);
    scene
}

/// It rewrites the same target, so that any other writer of the target conflicts.
#[test]
fn a_repair_changes_the_limit_alone() {
    let scene = too_low();
    let host = scene.calm();
    assert_eq!(host.change(&request(REPAIR)).unwrap().status, ChangeStatus::Changed);
    let steps = host.steps();
    let changes: Vec<&Step> = steps.iter().filter(|step| step.is_change()).collect();
    let target = Step::Write(vec!["/local/domain/7/memory/target".to_owned()]);
    assert_eq!(changes, [&target, &Step::SetLimit(1_049_600), &Step::Commit]);
    assert_eq!(scene.numbers(), START);
    assert_eq!(scene.files().len(), 0);
    assert_eq!(scene.plain(REPAIR).unwrap().status, ChangeStatus::Unchanged);
}

#[test]
fn a_target_set_during_a_repair_gets_its_limit() {
    let scene = too_low();
    let world = scene.world.clone();
    scene.change(REPAIR, before_commit(move || world.write("target", 1_572_864))).unwrap();
    assert_eq!(scene.numbers(), (1_572_864, 2_097_152, 1_573_888));
}

/// The old limit, which was too low, is not restored.
#[test]
fn a_failed_repair_leaves_a_sufficient_limit() {
    let scene = too_low();
    let hook = at(|step| *step == Step::Commit, || Fail(Error::Unusable));
    let failure = scene.change(REPAIR, hook).unwrap_err();
    let aftermath = Aftermath::RolledBack { limit: Kib(START.2), before: Kib(524_288) };
    assert_eq!(failure.aftermath, aftermath);
    assert_eq!(scene.numbers(), START);
    assert_eq!(scene.files().len(), 0);
}
