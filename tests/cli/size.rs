//! Every spelling of SIZE.

use snapbox::str;

use crate::sandbox::Sim;

#[test]
fn each_spelling_is_the_same_size() {
    let sim = Sim::new();
    for size in [
        "1024",
        "1024m",
        "1024M",
        "1024MiB",
        "1024mib",
        "1024MIB",
        "1g",
        "1G",
        "1GiB",
        "1048576k",
        "1048576K",
        "1048576KiB",
        "1073741824b",
        "1073741824B",
        "01024",
    ] {
        sim.xmem("set web").arg(size).run().says(str![[r#"
web (7): already at target 1024 MiB, limit 1025 MiB (simulated)

"#]]);
    }
    sim.edit(|world| world["xenstore"]["/local/domain/7/memory/static-max"] = "4294967296".into());
    for size in ["1t", "1T", "1TiB"] {
        let ran = sim.xmem("set web -n --force").arg(size).run();
        assert!(ran.stdout.contains("target 1024 MiB -> 1048576 MiB"), "{ran:?}");
    }
}

#[test]
fn relative_sizes_need_no_double_dash() {
    let sim = Sim::new();
    for size in ["-256", "-256M", "-256MiB", "-262144k"] {
        sim.xmem("set -n web").arg(size).run().says(str![[r#"
web (7): would change: target 1024 MiB -> 768 MiB, limit 1025 MiB -> 769 MiB (simulated)

"#]]);
        assert_eq!(sim.xmem("set -n web --").arg(size).run().status.code(), Some(0));
    }
    for size in ["+256", "+256M", "+262144k"] {
        sim.xmem("set web").arg(size).arg("-n").run().says(str![[r#"
web (7): would change: target 1024 MiB -> 1280 MiB, limit 1025 MiB -> 1281 MiB (simulated)

"#]]);
    }
}

#[test]
fn rounding_to_whole_pages_is_noted() {
    let sim = Sim::new();
    sim.xmem("set web 536870913b").run().is(
        0,
        str![[r#"
web (7): target 1024 MiB -> 512 MiB, limit 1025 MiB -> 513 MiB (simulated)

"#]],
        str![[r#"
note: the size was rounded down by 1 byte to whole 4 KiB pages

"#]],
    );
}

#[test]
fn a_malformed_size_is_wrong_usage() {
    let sim = Sim::new();
    for (size, why) in [
        ("", "the size is empty"),
        (" ", "the size is empty"),
        ("k", "a number is missing"),
        ("-", "a number is missing"),
        ("+g", "a number is missing"),
        ("0", "it is less than one page (4 KiB)"),
        ("4095b", "it is less than one page (4 KiB)"),
        ("1.5G", "fractions are not accepted"),
        ("1,5G", "fractions are not accepted"),
        ("512KB", "`KB` is ambiguous (powers of 1000 or of 1024?)"),
        ("512mb", "`MB` is ambiguous (powers of 1000 or of 1024?)"),
        ("512Gb", "`GB` is ambiguous (powers of 1000 or of 1024?)"),
        ("0x200", "it is not a whole number with an optional unit"),
        ("512p", "the unit is not one of b, k, m, g, t, KiB, MiB, GiB, TiB, %"),
        ("512 M", "it is not a whole number with an optional unit"),
        (" 512M", "it is not a whole number with an optional unit"),
        ("٥١٢", "it is not a whole number with an optional unit"),
        ("18446744073709551616", "it is too large"),
        ("18446744073709551615t", "it is too large"),
    ] {
        let ran = sim.xmem("set web").arg(size).run();
        assert_eq!(ran.status.code(), Some(2), "{ran:?}");
        assert!(ran.stderr.starts_with(&format!("xmem: SIZE `{size}`: {why}\nhint: ")), "{ran:?}");
        assert_eq!(ran.stdout, "");
    }
}

#[test]
fn a_very_long_size_is_shortened_in_the_message() {
    let sim = Sim::new();
    let ran = sim.xmem("set web").arg("9".repeat(100_000)).run();
    assert_eq!(ran.status.code(), Some(2));
    let expected = format!("xmem: SIZE `{}...`: it is too large\n", "9".repeat(100));
    assert!(ran.stderr.starts_with(&expected), "{:.300}", ran.stderr);
}
