//! The wait for the guest, by a clock that the test moves.

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use rustix::io::Errno;
use serde_json::Value;
use xmem::balloon::{Ending, News, Patience, Progress, Reason, Time, Waited, wait};
use xmem::change::Outcome;
use xmem::error::Exit;
use xmem::plan::Wish;
use xmem::size::Kib;

use crate::watched::{Error, Scene, Step, Then, edit, max, set};

const PATIENCE: Patience = Patience { still: Duration::from_secs(30), at_most: None };

/// A clock that stands still but for rests. At each, the guest (or anybody else) does something.
struct Fake<'a> {
    now: Duration,
    at_rest: Box<dyn FnMut(Duration) -> bool + 'a>,
}

impl Time for Fake<'_> {
    fn now(&self) -> Duration {
        self.now
    }

    fn rest(&mut self, time: Duration) -> io::Result<bool> {
        self.now += time;
        Ok((self.at_rest)(self.now))
    }
}

/// What the guest is to hold is changed as `wish` says, and then waited for.
fn after(
    scene: &Scene,
    wish: &Wish,
    patience: Patience,
    at_rest: impl FnMut(Duration) -> bool,
) -> (Waited, Vec<Progress>) {
    let outcome = scene.plain(wish).unwrap();
    waited(scene, &outcome, patience, |_| Then::Go, at_rest)
}

fn waited(
    scene: &Scene,
    outcome: &Outcome,
    patience: Patience,
    hook: impl FnMut(&Step) -> Then + 'static,
    at_rest: impl FnMut(Duration) -> bool,
) -> (Waited, Vec<Progress>) {
    let (mut told, mut ends) = (Vec::new(), Vec::new());
    let mut time = Fake { now: Duration::ZERO, at_rest: Box::new(at_rest) };
    let host = scene.host(hook);
    wait(&host, &[outcome], patience, &mut time, &mut |_, news| match news {
        News::Moves(progress) => told.push(progress),
        News::Ends(waited) => ends.push(waited),
    });
    let [waited] = ends.try_into().unwrap();
    (waited, told)
}

fn web(world: &mut Value) -> &mut Value {
    &mut world["domains"]["7"]
}

fn holds(dir: &Path, kib: u64) {
    edit(dir, |world| web(world)["current_kib"] = kib.into());
}

/// A guest whose balloon moves at `rate` KiB/s from 1 GiB down to `goal`.
fn shrinking(scene: &Scene, rate: u64, goal: u64) -> impl FnMut(Duration) -> bool {
    let dir = scene.path().to_owned();
    move |now| {
        let way = rate * u64::try_from(now.as_millis()).unwrap() / 1000 / 4 * 4;
        holds(&dir, 1_048_576_u64.saturating_sub(way).max(goal));
        false
    }
}

/// 512 MiB at 1 MiB/s are far more than 30 s, and there is no bound.
#[test]
fn a_guest_that_moves_is_waited_for_to_the_end() {
    let scene = Scene::new();
    let guest = shrinking(&scene, 1024, 524_288);
    let (waited, told) = after(&scene, &set("512M"), PATIENCE, guest);
    assert!(matches!(waited.end, Ending::There), "{waited:?}");
    assert_eq!((waited.exit(), waited.hint()), (Exit::Done, None));
    assert!((510..=512).contains(&waited.took.as_secs()), "{waited:?}");
    assert_eq!(waited.reasons, []);
    assert_eq!(
        told[0],
        Progress {
            at: Duration::ZERO,
            from: Kib(1_048_576),
            current: Kib(1_048_576),
            wanted: Kib(524_288),
        }
    );
    assert_eq!(told[0].to_go(), Kib(524_288));
    // Once a second when it takes long.
    assert!((500..560).contains(&told.len()), "{}", told.len());
    assert!(told.is_sorted_by(|a, b| a.at < b.at && a.to_go() >= b.to_go()));
}

#[test]
fn a_look_is_one_hypercall_and_one_read() {
    let scene = Scene::new();
    let outcome = scene.plain(&set("512M")).unwrap();
    let mut guest = shrinking(&scene, 262_144, 524_288);
    let host = scene.host(|_| Then::Go);
    let mut time = Fake { now: Duration::ZERO, at_rest: Box::new(&mut guest) };
    let mut end = None;
    wait(&host, &[&outcome], PATIENCE, &mut time, &mut |_, news| match news {
        News::Moves(_) => assert!(end.is_none()),
        News::Ends(waited) => end = Some(waited),
    });
    assert!(matches!(end.unwrap().end, Ending::There));
    let steps = host.steps();
    assert_eq!(steps[0], Step::Connect);
    let target = || Step::Read("/local/domain/7/memory/target".to_owned());
    for look in steps[1..].chunks(2) {
        assert_eq!(look, [Step::Look, target()]);
    }
}

#[test]
fn there_already_is_no_wait() {
    let scene = Scene::new();
    let (waited, told) = after(&scene, &set("1G"), PATIENCE, |_| panic!("a rest"));
    assert!(matches!(waited.end, Ending::There), "{waited:?}");
    assert_eq!((waited.took, told.len()), (Duration::ZERO, 0));
}

/// Target and video memory together are what it has to hold.
#[test]
fn video_memory_counts() {
    let scene = Scene::new();
    scene.edit(|world| world["xenstore"]["/local/domain/7/memory/videoram"] = "16384".into());
    let guest = shrinking(&scene, 262_144, 524_288);
    let (waited, _) = after(&scene, &set("512M"), PATIENCE, guest);
    assert!(matches!(waited.end, Ending::There), "{waited:?}");
    assert_eq!((waited.target, waited.wanted), (Kib(507_904), Kib(524_288)));
}

/// A new maximum asks nothing of the guest, but it may be on its way to its old target.
#[test]
fn a_maximum_can_be_waited_for() {
    let scene = Scene::new();
    let (waited, _) = after(&scene, &max("4G"), PATIENCE, |_| panic!("a rest"));
    assert!(matches!(waited.end, Ending::There), "{waited:?}");
    holds(scene.path(), 4);
    let (waited, _) = after(&scene, &max("3G"), PATIENCE, |_| false);
    assert!(matches!(waited.end, Ending::Stuck), "{waited:?}");
    assert_eq!(waited.wanted, Kib(1_048_576));
}

#[test]
fn a_guest_that_does_nothing_has_no_driver() {
    let scene = Scene::new();
    let (waited, _) = after(&scene, &set("512M"), PATIENCE, |_| false);
    assert!(matches!(waited.end, Ending::Stuck), "{waited:?}");
    assert_eq!((waited.exit(), waited.moved), (Exit::NotThere, false));
    assert_eq!((waited.took, &*waited.reasons), (Duration::from_secs(30), &[Reason::NoDriver][..]));
    assert_eq!(
        waited.to_string(),
        "the target is set, but the guest holds 1024 MiB where it should hold 512 MiB, \
         and has not moved at all for 30 s; no balloon driver is seen at work"
    );
    assert!(waited.hint().unwrap().starts_with("is its balloon driver loaded?"));
}

#[test]
fn a_guest_that_stops_half_way() {
    let scene = Scene::new();
    let guest = shrinking(&scene, 262_144, 700 * 1024);
    let (waited, _) = after(&scene, &set("512M"), PATIENCE, guest);
    assert!(matches!(waited.end, Ending::Stuck), "{waited:?}");
    assert!(waited.took > Duration::from_secs(31) && waited.took < Duration::from_secs(33));
    assert_eq!((waited.moved, &*waited.reasons), (true, &[Reason::Clings][..]));
    assert_eq!(
        waited.to_string(),
        "the target is set, but the guest holds 700 MiB where it should hold 512 MiB, \
         and has not moved for 30 s; it seems to need what it holds"
    );

    let scene = Scene::new();
    let dir = scene.path().to_owned();
    let (waited, _) = after(&scene, &set("2G"), PATIENCE, |_| {
        holds(&dir, 1_500_000);
        false
    });
    assert!(matches!(waited.end, Ending::Stuck), "{waited:?}");
    assert_eq!(waited.reasons, [Reason::Full]);
}

/// What is seen to be in the guest's way goes before what is only guessed.
#[test]
fn reasons_that_can_be_seen() {
    let stuck = |edit: fn(&mut Value)| {
        let scene = Scene::new();
        let outcome = scene.plain(&set("2G")).unwrap();
        scene.edit(edit);
        let (waited, _) = waited(&scene, &outcome, PATIENCE, |_| Then::Go, |_| false);
        assert!(matches!(waited.end, Ending::Stuck), "{waited:?}");
        (waited.reasons.clone(), waited.to_string(), waited.hint().unwrap())
    };
    let (reasons, text, hint) = stuck(|world| web(world)["paused"] = true.into());
    assert_eq!(reasons, [Reason::Paused]);
    assert!(text.ends_with("; it is paused"), "{text}");
    assert_eq!(hint, "`xl unpause 7` lets it go on");

    let (reasons, text, _) = stuck(|world| web(world)["limit_kib"] = 1_048_576.into());
    assert_eq!(reasons, [Reason::Limit(Kib(1_048_576))]);
    assert!(text.ends_with("; its limit is only 1024 MiB"), "{text}");

    let (reasons, text, hint) = stuck(|world| world["memory_kib"] = (1_048_576 + 102_400).into());
    let (missing, available) = (Kib(1_048_576), Kib(102_400));
    assert_eq!(reasons, [Reason::HostShort { missing, available }]);
    assert!(
        text.ends_with("; the host has only 100 MiB free of the 1024 MiB that it lacks"),
        "{text}"
    );
    assert!(hint.starts_with("shrink or shut down another domain"), "{hint}");

    let (reasons, ..) = stuck(|world| {
        world["memory_kib"] = 1_048_576.into();
        web(world)["paused"] = true.into();
        web(world)["limit_kib"] = 4.into();
    });
    assert_eq!(reasons.len(), 3, "{reasons:?}");
}

/// A guest that shrinks needs nothing of the host, and its limit is below what it holds.
#[test]
fn a_full_host_is_no_reason_not_to_shrink() {
    let scene = Scene::new();
    scene.edit(|world| world["memory_kib"] = 1_048_576.into());
    let outcome = scene.plain(&set("512M")).unwrap();
    let hook = |step: &Step| {
        assert_ne!(*step, Step::HostMemory);
        Then::Go
    };
    let (waited, _) = waited(&scene, &outcome, PATIENCE, hook, |_| false);
    assert_eq!(waited.reasons, [Reason::NoDriver]);
}

#[test]
fn the_bound_is_kept() {
    let scene = Scene::new();
    let bound = Patience { at_most: Some(Duration::from_secs(10)), ..PATIENCE };
    let guest = shrinking(&scene, 1024, 524_288);
    let (waited, _) = after(&scene, &set("512M"), bound, guest);
    assert!(matches!(waited.end, Ending::TimeUp), "{waited:?}");
    assert_eq!((waited.exit(), waited.took), (Exit::NotThere, Duration::from_secs(10)));
    assert_eq!((waited.moved, waited.reasons.len()), (true, 0));
    assert_eq!(
        waited.to_string(),
        "the target is set, but the guest holds 1014 MiB where it should hold 512 MiB after 10 s"
    );
    assert_eq!(waited.hint().unwrap(), "it was on its way: the same command waits on");
    let (waited, _) = after(&scene, &set("256M"), bound, |_| false);
    assert_eq!(waited.reasons, [Reason::NoDriver]);
}

#[test]
fn a_signal_ends_the_wait_and_nothing_else() {
    let scene = Scene::new();
    let mut rests = 0;
    let (waited, _) = after(&scene, &set("512M"), PATIENCE, |_| {
        rests += 1;
        rests == 3
    });
    assert!(matches!(waited.end, Ending::Interrupted), "{waited:?}");
    assert_eq!((waited.exit(), waited.hint()), (Exit::NotThere, None));
    assert_eq!(
        waited.to_string(),
        "interrupted; the target is set, and the guest goes on: it holds 1024 MiB where it should \
         hold 512 MiB"
    );
    assert_eq!(scene.numbers(), (524_288, 2_097_152, 525_312));
}

/// What somebody else does while xmem waits, at the third rest.
fn meanwhile(act: impl Fn(&Path)) -> Waited {
    let scene = Scene::new();
    let dir: PathBuf = scene.path().to_owned();
    let mut rests = 0;
    after(&scene, &set("512M"), PATIENCE, |_| {
        rests += 1;
        if rests == 3 {
            act(&dir);
        }
        assert!(rests <= 3, "it goes on");
        false
    })
    .0
}

#[test]
fn somebody_else_changes_the_target() {
    let node = "/local/domain/7/memory/target";
    let waited = meanwhile(|dir| edit(dir, |world| world["xenstore"][node] = "716800".into()));
    assert!(matches!(waited.end, Ending::Overtaken { now: Some(Kib(716_800)) }), "{waited:?}");
    assert_eq!(waited.exit(), Exit::NotThere);
    assert_eq!(
        waited.to_string(),
        "somebody else has changed the target: it is now 700 MiB, not 512 MiB; the guest holds 1024 MiB"
    );
    // Even if the guest is where xmem wanted it.
    let waited = meanwhile(|dir| {
        holds(dir, 524_288);
        edit(dir, |world| world["xenstore"][node] = "716800".into());
    });
    assert!(matches!(waited.end, Ending::Overtaken { .. }), "{waited:?}");
    let waited = meanwhile(|dir| {
        edit(dir, |world| drop(world["xenstore"].as_object_mut().unwrap().remove(node)));
    });
    assert!(matches!(waited.end, Ending::Overtaken { now: None }), "{waited:?}");
}

#[test]
fn the_domain_goes_away() {
    let leaves: [fn(&mut Value); 4] = [
        |world| drop(world["domains"].as_object_mut().unwrap().remove("7")),
        |world| web(world)["dying"] = true.into(),
        // The number is another domain's by now.
        |world| web(world)["uuid"] = "00000000-0000-4000-8000-00000000000a".into(),
        // What `xl destroy` does first.
        |world| {
            world["xenstore"]
                .as_object_mut()
                .unwrap()
                .retain(|path, _| !path.starts_with("/local"));
        },
    ];
    for leave in leaves {
        let waited = meanwhile(|dir| edit(dir, leave));
        assert!(matches!(waited.end, Ending::Gone), "{waited:?}");
        assert_eq!((waited.exit(), waited.hint()), (Exit::NoDomain, None));
        assert_eq!(waited.to_string(), "the domain went away while its guest was waited for");
    }
}

/// xenstored or the hypervisor answer no more: the change stands, and nobody knows about the guest.
#[test]
fn nothing_can_be_seen_any_more() {
    for (step, error) in [
        (Step::Connect, Error::Closed),
        (Step::Read("/local/domain/7/memory/target".to_owned()), Error::Closed),
        (Step::Read("/local/domain/7/memory/target".to_owned()), Error::Deadline),
        (Step::Look, Error::Xen(Errno::PERM)),
    ] {
        let scene = Scene::new();
        let outcome = scene.plain(&set("512M")).unwrap();
        let fails = step.clone();
        let hook = move |now: &Step| if *now == fails { Then::Fail(error) } else { Then::Go };
        let (waited, _) = waited(&scene, &outcome, PATIENCE, hook, |_| false);
        assert!(matches!(waited.end, Ending::LostSight(_)), "{step:?}: {waited:?}");
        assert_eq!((waited.exit(), waited.reasons.len()), (Exit::NotThere, 0), "{step:?}");
        let text = waited.to_string();
        assert!(
            text.starts_with("the target is set, but the guest cannot be seen any more: "),
            "{text}"
        );
        assert!(text.ends_with("; it held 1024 MiB where it should hold 512 MiB"), "{text}");
        assert_eq!(scene.numbers(), (524_288, 2_097_152, 525_312));
        assert!(fs::read_dir(scene.path().join("lib")).unwrap().next().is_none());
    }
    let nonsense = meanwhile(|dir| {
        edit(dir, |world| world["xenstore"]["/local/domain/7/memory/target"] = "much".into());
    });
    assert!(matches!(nonsense.end, Ending::LostSight(_)), "{nonsense:?}");
}
