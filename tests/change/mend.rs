//! Mending: a change with nothing asked for. And a check that meets somebody else's change.

use std::path::Path;
use std::time::Duration;

use xmem::change::End;
use xmem::check::{Finding, check, repair};
use xmem::domain::DomId;
use xmem::error::After;
use xmem::host::Host as _;
use xmem::hypervisor::Hypervisor as _;
use xmem::plan::Wish;
use xmem::signals::Signals;
use xmem::size::Kib;
use xmem::xenstore::Xs as _;

use crate::watched::{Error, START, Scene, Step, Then, at, edit, request, sim};

fn set_limit(dir: &Path, kib: u64) {
    sim(dir).hypervisor().set_limit(DomId::new(7).unwrap(), Kib(kib)).unwrap();
}

/// `web` with half the limit that it needs.
fn too_low() -> Scene {
    let scene = Scene::new();
    set_limit(scene.path(), 524_288);
    scene
}

/// The limit alone, and the target once more, so that whoever writes the target meanwhile is seen.
#[test]
fn from_top_to_bottom() {
    let scene = too_low();
    let host = scene.host(|_| Then::Go);
    let outcome = host.change(&request(&Wish::Mend)).unwrap();
    assert_eq!(outcome.end, End::Changed);
    let steps = host.steps();
    let done = steps.iter().position(|step| matches!(step, Step::Write(_))).unwrap();
    assert_eq!(
        steps[done..],
        [
            Step::Write("/local/domain/7/memory/target".to_owned()),
            Step::SetLimit(1_049_600),
            Step::Commit,
        ]
    );
    assert_eq!(scene.numbers(), START);
    assert_eq!(scene.state().len(), 0);
    assert_eq!(scene.plain(&Wish::Mend).unwrap().end, End::Already);
}

/// Somebody without the lock raises the target while it is mended.
#[test]
fn a_target_that_is_set_meanwhile_gets_its_limit() {
    let scene = too_low();
    let dir = scene.path().to_owned();
    let raise = move || {
        let store = sim(&dir).connect().unwrap();
        store.write("/local/domain/7/memory/target", "1572864").unwrap();
        Then::Go
    };
    scene.change(&Wish::Mend, at(|step| *step == Step::Commit, raise)).unwrap();
    assert_eq!(scene.numbers(), (1_572_864, 2_097_152, 1_573_888));
}

#[test]
fn what_fails_is_put_back() {
    let scene = too_low();
    let before = scene.world();
    let fails = at(|step| *step == Step::Commit, || Then::Fail(Error::Unusable));
    let failure = scene.change(&Wish::Mend, fails).unwrap_err();
    assert_eq!(failure.after, After::PutBack { limit: Kib(524_288) });
    assert_eq!(scene.world()["domains"], before["domains"]);
    assert_eq!(scene.state().len(), 0);
}

/// What is off at one look, and not at the next, was half of somebody's change.
#[test]
fn a_check_looks_twice() {
    let scene = too_low();
    let dir = scene.path().to_owned();
    let (mut looks, mut named) = (0, 0);
    let host = scene.host(move |step| {
        // The second look at the domains begins.
        named += usize::from(*step == Step::LookAround);
        if named == 2 && looks == 0 {
            looks = 1;
            set_limit(&dir, 1_049_600);
        }
        Then::Go
    });
    assert_eq!(off(&check(&host, &[]).unwrap().findings), [""; 0]);
}

#[test]
fn what_is_so_at_every_look_is_so() {
    let scene = too_low();
    let found = check(&scene.host(|_| Then::Go), &[]).unwrap();
    assert_eq!(off(&found.findings), ["limit-too-low"]);
    assert_eq!(scene.state().len(), 0);
}

/// What is repaired is what is seen to be right afterwards, not what was said to be done.
#[test]
fn a_repair_looks_again() {
    for undone in [false, true] {
        let scene = too_low();
        let found = check(&scene.host(|_| Then::Go), &[]).unwrap();
        let dir = scene.path().to_owned();
        let mut committed = false;
        let host = scene.host(move |step| {
            if committed && undone && *step == Step::LookAround {
                set_limit(&dir, 524_288);
            }
            committed |= *step == Step::Commit;
            Then::Go
        });
        let wait = Duration::from_secs(60);
        let repaired = repair(&host, &found, &[], wait, &mut Signals::default()).unwrap();
        let (finding, fate) = &repaired.findings[0];
        assert_eq!(finding.kind(), "limit-too-low");
        assert_eq!(fate.is_open(), undone, "{fate:?}");
        assert_eq!(repaired.changes.len(), 1);
    }
}

/// A domain that is destroyed between two questions is no ghost.
#[test]
fn a_ghost_is_one_twice() {
    const NODE: &str = "/local/domain/12/name";
    for stays in [true, false] {
        let scene = Scene::new();
        scene.edit(|world| world["xenstore"][NODE] = "ghost".into());
        let dir = scene.path().to_owned();
        let mut listings = 0;
        let host = scene.host(move |step| {
            listings += usize::from(*step == Step::Read("/local/domain".to_owned()));
            if listings == 2 && !stays {
                edit(&dir, |world| drop(world["xenstore"].as_object_mut().unwrap().remove(NODE)));
            }
            Then::Go
        });
        let found = check(&host, &[]).unwrap().findings;
        let ghosts = found.iter().filter(|it| it.kind() == "ghost").count();
        assert_eq!(ghosts, usize::from(stays), "{found:?}");
    }
}

/// Numbers that somebody changes at every look: what they are at the last is told.
#[test]
fn a_check_comes_to_an_end() {
    let scene = too_low();
    let dir = scene.path().to_owned();
    let mut limit = 524_288;
    let host = scene.host(move |step| {
        if *step == Step::Read("/local/domain".to_owned()) {
            limit += 4;
            set_limit(&dir, limit);
        }
        Then::Go
    });
    assert_eq!(off(&check(&host, &[]).unwrap().findings), ["limit-too-low"]);
    let listings = host
        .steps()
        .iter()
        .filter(|step| matches!(step, Step::Read(path) if path == "/local/domain"))
        .count();
    assert!(listings <= 6, "{listings}");
}

fn off(findings: &[Finding]) -> Vec<&'static str> {
    findings.iter().filter(|it| it.is_out_of_step()).map(Finding::kind).collect()
}

/// oxenstored over the device, with more domains than a page has room for.
#[test]
fn ghosts_that_cannot_be_looked_for_are_told_of_and_hide_nothing() {
    let scene = too_low();
    let host = scene.host(|step| {
        if *step == Step::Read("/local/domain".to_owned()) {
            return Then::Fail(Error::Answer("E2BIG"));
        }
        Then::Go
    });
    let found = check(&host, &[]).unwrap().findings;
    assert_eq!(off(&found), ["limit-too-low"]);
    assert!(found.iter().any(|it| it.kind() == "unlisted"), "{found:?}");
}
