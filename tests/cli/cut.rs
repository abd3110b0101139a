//! An intent record that is cut off: write(2) accepts 100 bytes, then fails.

use nix::sys::signal::Signal::SIGXFSZ;

use crate::sandbox::Sim;

const START: (u64, u64, u64) = (1_048_576, 2_097_152, 1_049_600);

#[test]
fn a_record_that_cannot_be_completed_is_removed() {
    for words in ["set web 512M", "set web 1536M", "max web 3G", "set web 3G --raise-max"] {
        let sim = Sim::new();
        let ran = sim.xmem(words).with_files_of(100, true).run();
        assert_eq!(ran.status.code(), Some(1), "{ran:?}");
        assert!(
            ran.stderr
                .starts_with("xmem: web (7): cannot write the intent record DIR/lib/userdata-d.7.")
                && ran.stderr.contains("File too large"),
            "{ran:?}"
        );
        assert!(ran.stderr.contains("; nothing changed"), "{ran:?}");
        assert_eq!(sim.numbers(7), START);
    }
}

/// Without SIGXFSZ ignored, as most shells start it, the signal takes effect once the record is removed.
#[test]
fn a_run_killed_by_sigxfsz_has_changed_nothing() {
    let sim = Sim::new();
    let ran = sim.xmem("set web 512M").with_files_of(100, false).run();
    ran.dies_by(SIGXFSZ);
    assert!(ran.stderr.contains("File too large") && ran.stderr.contains("; nothing changed"));
    assert_eq!(sim.numbers(7), START);
    sim.xmem("set web 512M")
        .run()
        .says("web (7): target 1024 MiB -> 512 MiB, limit 1025 MiB -> 513 MiB (simulated)\n");
}
