//! A record that cannot be written to its end: write(2) takes the first hundred bytes of it, and then no more.

use crate::sandbox::Sim;

#[test]
fn a_record_that_is_cut_off_is_taken_away_again() {
    for words in ["set web 512M", "set web 1536M", "max web 3G", "set web 3G --raise-max"] {
        let sim = Sim::new();
        let ran = sim.xmem(words).with_files_of(100).run();
        assert_eq!(ran.status.code(), Some(1), "{ran:?}");
        assert!(
            ran.stderr.starts_with("xmem: web (7): cannot write DIR/lib/userdata-n.7.")
                && ran.stderr.contains("File too large"),
            "{ran:?}"
        );
        assert!(ran.stderr.contains("; nothing is changed"), "{ran:?}");
        assert_eq!(sim.numbers(7), (1_048_576, 2_097_152, 1_049_600));
    }
}
