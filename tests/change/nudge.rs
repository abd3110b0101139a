//! Waking up a guest whose target is set and that does nothing: two changes that leave all as it was.

use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal::SIGTERM;
use nix::sys::signal::{SigSet, raise};
use rustix::io::Errno;
use xmem::change::{End, Outcome, nudge};
use xmem::error::{After, Cause, Exit, Failure};
use xmem::signals::Signals;
use xmem::size::Kib;

use crate::watched::{Error, START, Scene, Step, Then, edit, numbers, set};

/// A guest that holds `current` and is set to 1 GiB already.
fn asleep(current: u64) -> Scene {
    let scene = Scene::new();
    scene.edit(|world| world["domains"]["7"]["current_kib"] = current.into());
    scene
}

fn nudged(
    scene: &Scene,
    hook: impl FnMut(&Step) -> Then + 'static,
) -> Result<Vec<Outcome>, Failure> {
    let outcome = scene.plain(&set("1G")).unwrap();
    assert_eq!(outcome.end, End::Already);
    nudge(&scene.host(hook), &outcome, Duration::from_secs(60), &mut Signals::default())
}

/// The targets that are committed on the way.
fn way(outcomes: &[Outcome]) -> Vec<u64> {
    outcomes.iter().map(|outcome| outcome.plan.target.0).collect()
}

#[test]
fn one_page_off_and_back_with_the_limit() {
    for (current, aside) in [(2_000_000, 1_048_580), (500_000, 1_048_572)] {
        let scene = asleep(current);
        let dir = scene.path().to_owned();
        let mut seen = Vec::new();
        let (send, receive) = std::sync::mpsc::channel();
        let outcomes = nudged(&scene, move |step| {
            if *step == Step::Start {
                seen.push(numbers(&dir));
                send.send(seen.clone()).unwrap();
            }
            Then::Go
        })
        .unwrap();
        assert_eq!(way(&outcomes), [aside, 1_048_576]);
        assert_eq!(scene.numbers(), START);
        assert_eq!(scene.state().len(), 0);
        // In between all is in step.
        let seen = receive.try_iter().last().unwrap();
        assert_eq!(seen, [START, (aside, 2_097_152, aside + 1024)]);
    }
}

/// It stays long enough for a guest to see it, and nobody else gets the lock meanwhile.
#[test]
fn the_other_target_stays_for_a_while() {
    let scene = asleep(500_000);
    let lock = scene.lock();
    let mut first = None;
    nudged(&scene, move |step| {
        if *step == Step::Commit {
            assert!(lock.exists());
            let now = std::time::Instant::now();
            if let Some(first) = first.replace(now) {
                assert!(now.duration_since(first) >= Duration::from_millis(500));
            }
        }
        Then::Go
    })
    .unwrap();
}

#[test]
fn inside_the_rules() {
    // A guest that is to shrink, and no room above: down then.
    let scene = asleep(2_000_000);
    scene.edit(|world| {
        world["xenstore"]["/local/domain/7/memory/static-max"] = "1048576".into();
    });
    assert_eq!(way(&nudged(&scene, |_| Then::Go).unwrap()), [1_048_572, 1_048_576]);

    // One at the floor that is to grow: up, and back down to the floor.
    let small = |static_max: &str, target: u64| {
        let scene = asleep(4096);
        scene.edit(|world| {
            let nodes = &mut world["xenstore"];
            nodes["/local/domain/7/memory/target"] = target.to_string().into();
            nodes["/local/domain/7/memory/static-max"] = static_max.into();
            world["domains"]["7"]["limit_kib"] = (target + 1024).into();
        });
        let outcome = scene.plain(&set(&format!("{target}k"))).unwrap();
        assert_eq!(outcome.end, End::Already);
        let before = scene.numbers();
        let host = scene.host(|_| Then::Go);
        let outcomes =
            nudge(&host, &outcome, Duration::from_secs(60), &mut Signals::default()).unwrap();
        assert_eq!(scene.numbers(), before);
        way(&outcomes)
    };
    assert_eq!(small("2097152", 32_768), [32_772, 32_768]);
    // One that was forced below it can be woken up as well.
    assert_eq!(small("2097152", 8192), [8196, 8192]);
    // No way at all.
    assert_eq!(small("32768", 32_768), [0; 0]);
}

#[test]
fn somebody_elses_target_is_left_alone() {
    // Before the first, and between the two.
    for (at, left, way) in [(0, 700_000, 0), (1, 700_000, 1)] {
        let scene = asleep(500_000);
        let dir = scene.path().to_owned();
        let mut starts = 0;
        let outcomes = nudged(&scene, move |step| {
            if *step == Step::Start {
                if starts == at {
                    edit(&dir, |world| {
                        world["xenstore"]["/local/domain/7/memory/target"] = "700000".into();
                    });
                }
                starts += 1;
            }
            Then::Go
        })
        .unwrap();
        assert_eq!((scene.numbers().0, outcomes.len()), (left, way));
    }
}

#[test]
fn another_domain_with_its_number_is_not_touched() {
    let scene = asleep(500_000);
    let outcome = scene.plain(&set("1G")).unwrap();
    scene.edit(|world| {
        world["domains"]["7"]["uuid"] = "00000000-0000-4000-8000-00000000000a".into();
    });
    let host = scene.host(|_| Then::Go);
    let failure =
        nudge(&host, &outcome, Duration::from_secs(60), &mut Signals::default()).unwrap_err();
    assert!(matches!(failure.cause, Cause::Gone), "{failure}");
    assert_eq!(failure.exit(), Exit::NoDomain);
    assert_eq!(scene.numbers(), START);
}

/// One that waits before: nothing is touched. One that comes in between: back all the same.
#[test]
fn signals() {
    for (at, way) in [(0, 0), (1, 2)] {
        let scene = asleep(500_000);
        let outcome = scene.plain(&set("1G")).unwrap();
        let mut commits = 0;
        let host = scene.host(move |step| {
            let now = if at == 0 { *step == Step::Look } else { *step == Step::Commit };
            commits += usize::from(now);
            if now && commits == 1 {
                raise(SIGTERM).unwrap();
            }
            Then::Go
        });
        let mut signals = Signals::default();
        let outcomes = nudge(&host, &outcome, Duration::from_secs(60), &mut signals).unwrap();
        // Taken, so that the test does not die of it.
        assert_eq!(SigSet::from(SIGTERM).wait().unwrap(), SIGTERM);
        assert_eq!((outcomes.len(), scene.numbers()), (way, START));
    }
}

/// Whatever fails, at whatever step: it says what is left, and that is in step.
#[test]
fn a_failure_at_any_step_leaves_what_it_says() {
    let rehearsal = asleep(500_000);
    let outcome = rehearsal.plain(&set("1G")).unwrap();
    let host = rehearsal.host(|_| Then::Go);
    nudge(&host, &outcome, Duration::from_secs(60), &mut Signals::default()).unwrap();
    let steps = host.steps();
    let commit = steps.iter().position(|step| *step == Step::Commit).unwrap();
    thread::scope(|scope| {
        for (index, step) in steps.iter().enumerate() {
            scope.spawn(move || {
                let scene = asleep(500_000);
                let mut at = 0..;
                let error = match step {
                    Step::Look | Step::SetLimit(_) | Step::SetPod => Error::Xen(Errno::NOMEM),
                    _ => Error::Answer("EIO"),
                };
                let hook = move |_: &Step| {
                    if at.next() == Some(index) { Then::Fail(error) } else { Then::Go }
                };
                let failure = nudged(&scene, hook).expect_err("no failure");
                if index <= commit {
                    assert!(
                        matches!(failure.after, After::Unchanged | After::PutBack { .. }),
                        "{index} {step:?}: {failure}"
                    );
                    assert_eq!(scene.numbers(), START, "{index} {step:?}");
                } else {
                    let target = 1_048_572;
                    assert_eq!(failure.after, After::Aside { target: Kib(target) }, "{step:?}");
                    assert_eq!(scene.numbers(), (target, 2_097_152, target + 1024), "{step:?}");
                    assert!(failure.to_string().ends_with(
                        "; the target is 1048572 KiB, in step, where it was put to wake the guest's driver"
                    ));
                }
                assert_eq!(scene.state().len(), 0, "{step:?}");
            });
        }
    });
}
