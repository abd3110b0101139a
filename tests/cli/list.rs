//! `xmem list`: all numbers side by side, and any problems.

use snapbox::str;

use crate::sandbox::{Ran, Sim};

#[test]
fn the_start_world_is_listed_in_step() {
    let sim = Sim::new();
    sim.xmem("list").run().says(str![[r#"
NAME      ID  TYPE  CURRENT  TARGET  LIMIT  MAXIMUM  NOTE
Domain-0   0  PV       2048    2048   none     none
web        7  PVH      1024    1024   1025     2048
db         8  PV       2048    2048   2049     4096
win        9  HVM      2048    2032   2049     2048
host (simulated): total 16384 MiB, free 9216 MiB, claimed 0 MiB; all sizes in MiB

"#]]);
    sim.xmem("ls --sort current db 7 win").run().says(str![[r#"
NAME  ID  TYPE  CURRENT  TARGET  LIMIT  MAXIMUM  NOTE
db     8  PV       2048    2048   2049     4096
win    9  HVM      2048    2032   2049     2048
web    7  PVH      1024    1024   1025     2048
host (simulated): total 16384 MiB, free 9216 MiB, claimed 0 MiB; all sizes in MiB

"#]]);
    sim.xmem("list --sort name").run().says(str![[r#"
NAME      ID  TYPE  CURRENT  TARGET  LIMIT  MAXIMUM  NOTE
Domain-0   0  PV       2048    2048   none     none
db         8  PV       2048    2048   2049     4096
web        7  PVH      1024    1024   1025     2048
win        9  HVM      2048    2032   2049     2048
host (simulated): total 16384 MiB, free 9216 MiB, claimed 0 MiB; all sizes in MiB

"#]]);
}

#[test]
fn problems_are_noted() {
    let sim = Sim::new();
    sim.edit(|world| {
        world["domains"]["7"]["limit_kib"] = 524_288.into();
        world["domains"]["8"]["paused"] = true.into();
        world["domains"]["8"]["limit_kib"] = 3_000_000.into();
        world["xenstore"]["/local/domain/9/memory/target"] = "3000000".into();
        world["xenstore"]["/local/domain/8/memory/dynamic-max"] = "1".into();
    });
    sim.xmem("list").run().says(str![[r#"
NAME      ID  TYPE  STATE    CURRENT  TARGET   LIMIT  MAXIMUM  NOTE
Domain-0   0  PV    running     2048    2048    none     none
web        7  PVH   running     1024    1024     512     2048  out of step: the limit of 512 MiB is below the 1025 MiB that its target needs
db         8  PV    paused      2048    2048  2929.6     4096  the limit of 2929.6 MiB is above the 2049 MiB that its target needs; paused
win        9  HVM   running     2048  2929.6    2049     2048  out of step: the target of 2929.6 MiB is above the maximum of 2048 MiB
host (simulated): total 16384 MiB, free 9216 MiB, claimed 0 MiB; all sizes in MiB

"#]]);
}

/// Finding it takes a request for each domain.
#[test]
fn a_memory_manager_is_noted_where_notes_are_asked_for() {
    let sim = Sim::new();
    sim.edit(|world| world["xenstore"]["/local/domain/8/memory/dynamic-max"] = "1".into());
    let notes = "managed by xapi's squeezed (memory/dynamic-max)";
    for (command, is_shown) in
        [("list", false), ("list -o name,note", true), ("list --sort note", true)]
    {
        let ran = sim.xmem(command).run();
        assert_eq!(ran.stdout.contains(notes), is_shown, "{command}: {ran:?}");
    }
    assert!(sim.xmem("list --json").run().stdout.contains(r#""kind":"managed""#));
}

#[test]
fn a_bad_node_is_noted_and_hides_no_other_domain() {
    let sim = Sim::new();
    sim.edit(|world| {
        world["xenstore"]["/local/domain/7/memory/target"] = "1 GiB\u{1b}[2J".into();
        world["xenstore"]["/local/domain/8/name"] = "d\nb\u{9b}".into();
    });
    sim.xmem("list").run().says(str![[r#"
NAME        ID  TYPE  CURRENT  TARGET  LIMIT  MAXIMUM  NOTE
Domain-0     0  PV       2048    2048   none     none
web          7  PVH      1024       -   1025     2048  out of step: xenstore has "1 GiB\u{1b}[2J" at /local/domain/7/memory/target, which is not a size in KiB
d\nb\u{9b}   8  PV       2048    2048   2049     4096
win          9  HVM      2048    2032   2049     2048
host (simulated): total 16384 MiB, free 9216 MiB, claimed 0 MiB; all sizes in MiB

"#]]);
}

#[test]
fn a_held_lock_is_noted_and_not_waited_for() {
    let sim = Sim::new();
    let ran = sim.xmem("list web").fault("lock-busy").run();
    assert_eq!(ran.status.code(), Some(0), "{ran:?}");
    assert!(ran.stdout.contains("  locked by process "), "{ran:?}");
}

#[test]
fn json_has_a_line_per_domain_and_one_for_the_host() {
    let sim = Sim::new();
    sim.xmem("list --json win").run().says(str![[r#"
{"schema":2,"command":"list","simulated":true,"domid":9,"name":"win","uuid":"00000000-0000-4000-8000-000000000009","type":"HVM","state":"running","device_model_of":null,"current_kib":2097152,"outstanding_kib":0,"target_kib":2080768,"size_kib":2097152,"limit_kib":2098176,"static_max_kib":2097152,"videoram_kib":16384,"used_kib":null,"notes":[]}
{"schema":2,"command":"list","simulated":true,"host":{"total_kib":16777216,"free_kib":9437184,"claimed_kib":0}}

"#]]);
}

#[test]
fn an_unknown_domain_hides_no_other() {
    let sim = Sim::new();
    sim.xmem("list nosuch web").run().is(
        10,
        str![[r#"
NAME  ID  TYPE  CURRENT  TARGET  LIMIT  MAXIMUM  NOTE
web    7  PVH      1024    1024   1025     2048
host (simulated): total 16384 MiB, free 9216 MiB, claimed 0 MiB; all sizes in MiB

"#]],
        str![[r#"
xmem: there is no domain `nosuch` on this host (simulated)
hint: `xmem list` shows the domains

"#]],
    );
    sim.xmem("list nosuch").run().is(
        3,
        str![""],
        str![[r#"
xmem: there is no domain `nosuch` on this host (simulated)
hint: `xmem list` shows the domains

"#]],
    );
    sim.xmem("list id:").run().fails(
        2,
        str![[r#"
xmem: DOMAIN `id:`: the domain is empty
hint: is a variable unset in your script? give a domid, a UUID or a name

"#]],
    );
}

#[test]
fn metrics_are_openmetrics_text() {
    let sim = Sim::new();
    sim.edit(|world| world["xenstore"]["/local/domain/7/name"] = "a\"b\\c".into());
    sim.xmem("list --format openmetrics").run().says(str![[r##"
# HELP xmem_domain_current_bytes Memory allocated to the domain.
# TYPE xmem_domain_current_bytes gauge
xmem_domain_current_bytes{domid="0",name="Domain-0",uuid="00000000-0000-0000-0000-000000000000"} 2147483648
xmem_domain_current_bytes{domid="7",name="a\"b\\c",uuid="00000000-0000-4000-8000-000000000007"} 1073741824
xmem_domain_current_bytes{domid="8",name="db",uuid="00000000-0000-4000-8000-000000000008"} 2147483648
xmem_domain_current_bytes{domid="9",name="win",uuid="00000000-0000-4000-8000-000000000009"} 2147483648
# HELP xmem_domain_target_bytes Balloon target of the domain.
# TYPE xmem_domain_target_bytes gauge
xmem_domain_target_bytes{domid="0",name="Domain-0",uuid="00000000-0000-0000-0000-000000000000"} 2147483648
xmem_domain_target_bytes{domid="7",name="a\"b\\c",uuid="00000000-0000-4000-8000-000000000007"} 1073741824
xmem_domain_target_bytes{domid="8",name="db",uuid="00000000-0000-4000-8000-000000000008"} 2147483648
xmem_domain_target_bytes{domid="9",name="win",uuid="00000000-0000-4000-8000-000000000009"} 2130706432
# HELP xmem_domain_size_bytes Balloon target and video memory of the domain.
# TYPE xmem_domain_size_bytes gauge
xmem_domain_size_bytes{domid="0",name="Domain-0",uuid="00000000-0000-0000-0000-000000000000"} 2147483648
xmem_domain_size_bytes{domid="7",name="a\"b\\c",uuid="00000000-0000-4000-8000-000000000007"} 1073741824
xmem_domain_size_bytes{domid="8",name="db",uuid="00000000-0000-4000-8000-000000000008"} 2147483648
xmem_domain_size_bytes{domid="9",name="win",uuid="00000000-0000-4000-8000-000000000009"} 2147483648
# HELP xmem_domain_limit_bytes Hypervisor's limit of the domain; absent without a limit.
# TYPE xmem_domain_limit_bytes gauge
xmem_domain_limit_bytes{domid="7",name="a\"b\\c",uuid="00000000-0000-4000-8000-000000000007"} 1074790400
xmem_domain_limit_bytes{domid="8",name="db",uuid="00000000-0000-4000-8000-000000000008"} 2148532224
xmem_domain_limit_bytes{domid="9",name="win",uuid="00000000-0000-4000-8000-000000000009"} 2148532224
# HELP xmem_domain_maximum_bytes Maximum (static-max) of the domain; absent without one.
# TYPE xmem_domain_maximum_bytes gauge
xmem_domain_maximum_bytes{domid="7",name="a\"b\\c",uuid="00000000-0000-4000-8000-000000000007"} 2147483648
xmem_domain_maximum_bytes{domid="8",name="db",uuid="00000000-0000-4000-8000-000000000008"} 4294967296
xmem_domain_maximum_bytes{domid="9",name="win",uuid="00000000-0000-4000-8000-000000000009"} 2147483648
# HELP xmem_domain_outstanding_bytes Memory claimed for the domain and not yet allocated.
# TYPE xmem_domain_outstanding_bytes gauge
xmem_domain_outstanding_bytes{domid="0",name="Domain-0",uuid="00000000-0000-0000-0000-000000000000"} 0
xmem_domain_outstanding_bytes{domid="7",name="a\"b\\c",uuid="00000000-0000-4000-8000-000000000007"} 0
xmem_domain_outstanding_bytes{domid="8",name="db",uuid="00000000-0000-4000-8000-000000000008"} 0
xmem_domain_outstanding_bytes{domid="9",name="win",uuid="00000000-0000-4000-8000-000000000009"} 0
# HELP xmem_domain_out_of_step 1 if target, limit and maximum are inconsistent; absent while the domain is locked or built.
# TYPE xmem_domain_out_of_step gauge
xmem_domain_out_of_step{domid="0",name="Domain-0",uuid="00000000-0000-0000-0000-000000000000"} 0
xmem_domain_out_of_step{domid="7",name="a\"b\\c",uuid="00000000-0000-4000-8000-000000000007"} 0
xmem_domain_out_of_step{domid="8",name="db",uuid="00000000-0000-4000-8000-000000000008"} 0
xmem_domain_out_of_step{domid="9",name="win",uuid="00000000-0000-4000-8000-000000000009"} 0
# HELP xmem_domain_state 1 for the state of the domain.
# TYPE xmem_domain_state gauge
xmem_domain_state{domid="0",name="Domain-0",uuid="00000000-0000-0000-0000-000000000000",state="running"} 1
xmem_domain_state{domid="7",name="a\"b\\c",uuid="00000000-0000-4000-8000-000000000007",state="running"} 1
xmem_domain_state{domid="8",name="db",uuid="00000000-0000-4000-8000-000000000008",state="running"} 1
xmem_domain_state{domid="9",name="win",uuid="00000000-0000-4000-8000-000000000009",state="running"} 1
# HELP xmem_host_total_bytes All memory that Xen manages.
# TYPE xmem_host_total_bytes gauge
xmem_host_total_bytes 17179869184
# HELP xmem_host_free_bytes Memory that domains can be given.
# TYPE xmem_host_free_bytes gauge
xmem_host_free_bytes 9663676416
# HELP xmem_host_claimed_bytes Free memory that is claimed by domains.
# TYPE xmem_host_claimed_bytes gauge
xmem_host_claimed_bytes 0
# EOF

"##]]);
}

#[test]
fn a_domain_that_is_not_checked_has_no_out_of_step_metric() {
    let has_metric = |ran: Ran, domain: &str| {
        let lines: Vec<&str> = ran.stdout.lines().filter(|line| line.contains(domain)).collect();
        assert!(lines.iter().any(|line| line.starts_with("xmem_domain_state")), "{ran:?}");
        lines.iter().any(|line| line.starts_with("xmem_domain_out_of_step"))
    };
    let sim = Sim::new();
    sim.edit(|world| world["domains"]["7"]["limit_kib"] = 1_000_000.into());
    let list = "list web --format openmetrics";
    assert!(has_metric(sim.xmem(list).run(), "web"));
    assert!(!has_metric(sim.xmem(list).fault("lock-busy").run(), "web"));
    let sim = Sim::with_states();
    assert!(!has_metric(sim.xmem("list --format openmetrics").run(), "moved--incoming"));
}

#[test]
fn an_unreachable_xenstore_is_an_error() {
    let sim = Sim::new();
    let ran = sim.xmem("list").fault("store-down").run();
    assert_eq!(ran.status.code(), Some(7), "{ran:?}");
    assert!(!ran.stderr.contains("nothing changed"), "{ran:?}");
}

#[test]
fn names_are_escaped_for_the_terminal() {
    let sim = Sim::new();
    let name = "\u{1b}[31mred\u{202e}\u{9b}\n\"x";
    sim.edit(|world| world["xenstore"]["/local/domain/7/name"] = name.into());
    let ran = sim.xmem("list").run();
    assert!(ran.stdout.contains("\n\\u{1b}[31mred\\u{202e}\\u{9b}\\n\"x  "), "{ran:?}");
    let ran = sim.xmem("list --json 7").run();
    let line = ran.stdout.lines().next().unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(line).unwrap()["name"], name);
    let ran = sim.xmem("list --format openmetrics").run();
    assert_eq!(ran.status.code(), Some(0), "{ran:?}");
}

/// It reports a killed run but does not recover from it.
#[test]
fn list_changes_nothing() {
    let sim = Sim::new();
    let killed = sim.xmem("set web 512M").fault("kill-before-commit").leaves(2).run();
    assert_eq!(killed.status.code(), None);
    let before = (sim.world(), sim.state());
    assert_eq!(sim.xmem("list").leaves(2).run().status.code(), Some(0));
    assert_eq!((sim.world(), sim.state()), before);
}
