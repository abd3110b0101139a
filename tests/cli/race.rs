//! Several processes that change one domain at once.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::thread;

use crate::sandbox::Sim;

const ROUNDS: u32 = 100;

/// `web`'s lock, taken as libxl takes it.
fn lock(sim: &Sim) -> File {
    loop {
        let file = File::options().read(true).append(true).create(true).open(sim.lock()).unwrap();
        file.lock().unwrap();
        if fs::metadata(sim.lock()).is_ok_and(|path| path.ino() == file.metadata().unwrap().ino()) {
            return file;
        }
    }
}

/// Two runs set different sizes, and a third process looks whenever it gets the lock.
#[test]
fn concurrent_changes_leave_target_and_limit_in_step() {
    let sim = Sim::new();
    let in_step = || {
        let (target, static_max, limit) = sim.numbers(7);
        assert_eq!((limit, static_max), (target + 1024, 2_097_152));
    };
    for round in 0..ROUNDS {
        let sizes = [256 + round, 1024 + round];
        let children = sizes.map(|mib| sim.xmem(&format!("set web {mib}M")).start());
        let held = lock(&sim);
        in_step();
        fs::remove_file(sim.lock()).unwrap();
        drop(held);
        for child in children {
            let output = child.wait_with_output();
            assert_eq!(output.status.code(), Some(0), "{output:?}");
        }
        in_step();
        let target = sim.numbers(7).0;
        assert!(sizes.iter().any(|mib| target == u64::from(*mib) * 1024), "{target}: {sizes:?}");
        assert_eq!(sim.state(), [""; 0]);
    }
}

/// None is lost, and each starts from the present target.
#[test]
fn concurrent_relative_sizes_add_up() {
    let sim = Sim::new();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..8 {
                    let output = sim.xmem("set web +4M").start().wait_with_output();
                    assert_eq!(output.status.code(), Some(0), "{output:?}");
                }
            });
        }
    });
    let target = (1024 + 4 * 8 * 4) * 1024;
    assert_eq!(sim.numbers(7), (target, 2_097_152, target + 1024));
    assert_eq!(sim.state(), [""; 0]);
}
