//! A record that cannot be written to its end: write(2) takes the first hundred bytes of it, and then no more.

use std::fs;

use nix::sys::signal::Signal::SIGXFSZ;

use crate::sandbox::Sim;

const START: (u64, u64, u64) = (1_048_576, 2_097_152, 1_049_600);

#[test]
fn a_record_that_is_cut_off_is_taken_away_again() {
    for words in ["set web 512M", "set web 1536M", "max web 3G", "set web 3G --raise-max"] {
        let sim = Sim::new();
        let ran = sim.xmem(words).with_files_of(100, true).run();
        assert_eq!(ran.status.code(), Some(1), "{ran:?}");
        assert!(
            ran.stderr.starts_with("xmem: web (7): cannot write DIR/lib/userdata-n.7.")
                && ran.stderr.contains("File too large"),
            "{ran:?}"
        );
        assert!(ran.stderr.contains("; nothing is changed"), "{ran:?}");
        assert_eq!(sim.numbers(7), START);
    }
}

/// As most shells start it, the kernel ends it there: what it leaves is no record yet.
#[test]
fn a_run_that_dies_of_it_has_changed_nothing() {
    let sim = Sim::new();
    let ran = sim.xmem("set web 512M").with_files_of(100, false).leaves(2).run();
    ran.dies_by(SIGXFSZ);
    let draft = sim.state().into_iter().find(|name| name.starts_with("userdata-n.")).unwrap();
    assert_eq!(fs::metadata(sim.path().join("lib").join(draft)).unwrap().len(), 100);
    assert_eq!(sim.numbers(7), START);
    let ran = sim.xmem("check").leaves(2).run();
    assert_eq!(ran.status.code(), Some(0), "{ran:?}");
    sim.xmem("set web 512M")
        .run()
        .says("web (7): target 1024 MiB -> 512 MiB, limit 1025 MiB -> 513 MiB (simulated)\n");
}
