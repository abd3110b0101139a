//! A kill at every step: what is left is put right by the next one.

use std::env;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal::SIGKILL;
use nix::sys::signal::raise;
use xmem::plan::Wish;

use crate::watched::{
    Numbers, START, Scene, Step, Then, Watched, max, raise as raised, request, set,
};

/// What the child process of these tests is told.
const DIR: &str = "XMEM_TEST_KILL_DIR";
const WISH: &str = "XMEM_TEST_KILL_WISH";
const STEP: &str = "XMEM_TEST_KILL_STEP";

fn wishes() -> [(Wish, Numbers); 4] {
    [
        (set("512M"), (524_288, 2_097_152, 525_312)),
        (set("1536M"), (1_572_864, 2_097_152, 1_573_888)),
        (raised("3G"), (3_145_728, 3_145_728, 3_146_752)),
        (max("4G"), (1_048_576, 4_194_304, 4_195_328)),
    ]
}

/// The change of a child process, which does not survive it.
fn be_killed(dir: &Path) {
    let number = |key| env::var(key).unwrap().parse::<usize>().unwrap();
    let (wish, step) = (wishes()[number(WISH)].0, number(STEP));
    let mut steps = 0..;
    let host = Watched::new(dir, move |_| {
        if steps.next() == Some(step) {
            raise(SIGKILL).unwrap();
        }
        Then::Go
    });
    host.change(&request(&wish)).unwrap();
}

#[test]
fn a_kill_at_any_step_is_made_good_by_the_next_run() {
    if let Some(dir) = env::var_os(DIR) {
        return be_killed(Path::new(&dir));
    }
    for (index, (wish, new)) in wishes().into_iter().enumerate() {
        let rehearsal = Scene::new();
        let host = rehearsal.host(|_| Then::Go);
        host.change(&request(&wish)).unwrap();
        let steps = host.steps();
        let mut half_way = 0;
        for (step, name) in steps.iter().enumerate() {
            let what = format!("{wish:?}, killed before {name:?}");
            let scene = Scene::new();
            let status = Command::new(env::current_exe().unwrap())
                .args(["--exact", "kills::a_kill_at_any_step_is_made_good_by_the_next_run"])
                .env(DIR, scene.path())
                .env(WISH, index.to_string())
                .env(STEP, step.to_string())
                .stdout(Stdio::null())
                .status()
                .unwrap();
            assert_eq!(status.signal(), Some(SIGKILL as i32), "{what}");
            half_way += usize::from(scene.numbers() != START);
            // Refused, so that nothing but the settlement changes anything.
            let refused = scene.plain(&set("15T")).unwrap_err();
            assert_eq!(u8::from(refused.exit()), 4, "{what}: {refused}");
            assert_eq!(scene.numbers(), START, "{what}");
            assert_eq!(scene.state().len(), 0, "{what}");
            // And nothing is in the way of doing it.
            scene.plain(&wish).unwrap();
            assert_eq!(scene.numbers(), new, "{what}");
        }
        assert!(half_way > 0, "no kill of {wish:?} has left anything: {:?}", Step::Commit);
    }
}
