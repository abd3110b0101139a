//! A kill at every call: the next run completes or rolls back the change.

use xmem_core::failure::Cause;
use xmem_core::plan::MemoryRequest;
use xmem_sim::{Failure as Error, Verdict};

use crate::kill_switch::KillSwitch;
use crate::scene::{Numbers, START, Scene, refused, rehearsal, request, requests};

/// A scene in which a change was killed before its call number `index`.
fn killed(memory: MemoryRequest, index: usize) -> Scene {
    let scene = Scene::new();
    let kill_switch = KillSwitch::default();
    let (dying, dir) = (kill_switch.clone(), scene.dir().to_owned());
    let mut count = 0..;
    let host = scene.host(move |_| {
        if dying.is_killed() {
            return Verdict::Fail(Error::Closed);
        }
        if count.next() == Some(index) {
            dying.kill(&dir);
        }
        Verdict::Proceed
    });
    assert!(kill_switch.run(|| host.change(&request(memory))).is_none(), "not killed");
    scene
}

#[test]
fn a_kill_at_any_step_is_recovered_by_the_next_run() {
    for (memory, new) in requests() {
        let mut half_made = 0;
        for (index, step) in rehearsal(memory).iter().enumerate() {
            let what = format!("{memory:?}, killed before {step:?}");
            let scene = killed(memory, index);
            half_made += usize::from(scene.numbers() != START);
            let failure = scene.plain(refused()).unwrap_err();
            assert!(matches!(failure.cause, Cause::Refused(_)), "{what}: {failure}");
            assert_eq!(scene.numbers(), START, "{what}");
            assert_eq!(scene.files().len(), 0, "{what}");
            // The change itself can then be made.
            scene.plain(memory).unwrap();
            assert_eq!(scene.numbers(), new, "{what}");
        }
        let changes_limit = new.2 != START.2;
        assert_eq!(half_made > 0, changes_limit, "{memory:?}: no kill has left anything");
    }
}

/// Before the record is removed.
#[test]
fn a_kill_after_the_commit_is_completed_by_the_next_run() {
    for (memory, new) in requests() {
        let scene = killed(memory, rehearsal(memory).len() - 1);
        // The dead process's commit was still on its way.
        let (target, static_max, limit): Numbers = new;
        scene.world.write("target", target);
        scene.world.write("static-max", static_max);
        scene.world.set_limit(limit);
        let failure = scene.plain(refused()).unwrap_err();
        assert_eq!(failure.state(), Some("recovered"), "{failure}");
        assert_eq!((scene.numbers(), scene.files().len()), (new, 0));
    }
}
