//! `xmem list` in scripts: `-H`, `-p`, `-o` and `--sort`, without jq or awk.

use snapbox::str;

use crate::sandbox::Sim;

#[test]
fn no_header_separates_columns_by_tabs() {
    let sim = Sim::new();
    sim.xmem("list -H -o name,domid,target")
        .run()
        .says("Domain-0\t0\t2048\nweb\t7\t1024\ndb\t8\t2048\nwin\t9\t2032\n");
    sim.xmem("list -Hp -o current,limit web 0").run().says("2097152\tnone\n1048576\t1049600\n");
    // The default columns, without the host's line.
    sim.xmem("list -Hp web")
        .run()
        .says("web\t7\tPVH\trunning\t1048576\t1048576\t1049600\t2097152\t\n");
    for words in ["list -H", "list -p"] {
        let domains = sim.xmem(words).run().stdout;
        assert!(domains.lines().nth(1).unwrap().contains("running"), "{domains}");
    }
    assert_eq!(sim.xmem("list -H").run().stdout.lines().count(), 4);
}

#[test]
fn exact_sizes_have_a_header_and_a_host_line() {
    let sim = Sim::new();
    sim.xmem("list -p -o domid,size,video,used win").run().says(str![[r#"
ID     SIZE  VIDEO  USED
 9  2097152  16384     -
host (simulated): total 16777216 KiB, free 9437184 KiB, claimed 0 KiB; all sizes in KiB

"#]]);
}

/// Also with video memory, and with a size that is not a whole MiB.
#[test]
fn a_listed_size_can_be_set_unchanged() {
    let sim = Sim::new();
    for size in ["2G", "1000M", "1536004k"] {
        assert_eq!(sim.xmem("set win").arg(size).run().status.code(), Some(0), "{size}");
        let before = sim.numbers(9);
        let shown = sim.xmem("list -H -o size win").run().stdout;
        let ran = sim.xmem("set win").arg(shown.trim()).run();
        assert!(ran.stdout.contains("already at"), "{shown}: {ran:?}");
        assert_eq!(sim.numbers(9), before);
    }
}

#[test]
fn sizes_sort_largest_first() {
    let sim = Sim::new();
    for (sort, names) in [
        ("name", "Domain-0 db web win"),
        ("domid", "Domain-0 web db win"),
        ("id", "Domain-0 web db win"),
        ("target", "Domain-0 db win web"),
        ("size", "Domain-0 db win web"),
        ("max", "Domain-0 db web win"),
    ] {
        let ran = sim.xmem("list -H -o name --sort").arg(sort).run();
        let shown: Vec<&str> = ran.stdout.lines().collect();
        assert_eq!(shown.join(" "), names, "{sort}");
    }
}

#[test]
fn list_names_the_state_of_each_domain() {
    let sim = Sim::with_states();
    let ran = sim.xmem("list -H -o name,state").run();
    for line in [
        "web\trunning",
        "paused\tpaused",
        "moved--incoming\tbuilding",
        "suspended\tsuspended",
        "shut-down\tshut-down",
        "crashed\tcrashed",
        "dying\tdying",
    ] {
        assert!(ran.stdout.lines().any(|shown| shown == line), "{line}: {ran:?}");
    }
    // The column is shown if a domain is not running.
    assert!(sim.xmem("list").run().stdout.contains("TYPE  STATE"), "{ran:?}");
    assert!(!sim.xmem("list web").run().stdout.contains("STATE"), "{ran:?}");
    for words in ["list --json", "list --format openmetrics", "watch -c 1", "watch --json -c 1"] {
        assert_eq!(sim.xmem(words).run().status.code(), Some(0), "{words}");
    }
    // What a guest reports is read only if that column is shown.
    let used = sim.xmem("list -Hp -o used agent").run().stdout;
    assert!(used.trim().parse::<u64>().is_ok(), "{used}");
    assert_eq!(sim.xmem("check").run().status.code(), Some(0));
}

/// A collector whose command has -q gets its metrics.
#[test]
fn quiet_silences_no_table_no_metrics_and_no_json() {
    let sim = Sim::new();
    for words in ["list", "list -H", "list --json", "list --format openmetrics", "check --json"] {
        let loud = sim.xmem(words).run();
        assert!(!loud.stdout.is_empty(), "{words}");
        sim.xmem(&format!("{words} -q")).run().says(&*loud.stdout);
    }
    for words in ["watch -q -c 1", "watch -q --json -c 1"] {
        assert!(sim.xmem(words).run().stdout.contains("web"), "{words}");
    }
    for words in ["check -q", "set web 512M -q"] {
        sim.xmem(words).run().says("");
    }
}

#[test]
fn the_last_of_repeated_options_wins() {
    let (sim, other) = (Sim::new(), Sim::new());
    let ran =
        crate::sandbox::xmem("--host").arg(other.host()).arg("list").arg("--host").arg(sim.host());
    let ran = ran.arg("-H").arg("-H").arg("-o").arg("name").arg("web").run();
    assert_eq!((ran.status.code(), &*ran.stdout), (Some(0), "web\n"), "{ran:?}");
    for words in
        ["--json --json list", "-q -q list", "list --sort name --sort domid", "set web 1G -n -n"]
    {
        assert_eq!(sim.xmem(words).run().status.code(), Some(0), "{words}");
    }
}
