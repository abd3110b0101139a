//! Every exit code with its message and hint, provoked by the sim's faults.

use std::path::Path;

use snapbox::str;

use crate::sandbox::{Sim, WEB, xmem};

const DONE: &str = "\
web (7): target 1024 MiB -> 512 MiB, limit 1025 MiB -> 513 MiB (simulated)
";

/// Fails under this fault with this message, and does not keep the next run from succeeding.
#[track_caller]
fn fails(fault: &str, code: i32, stderr: impl snapbox::IntoData) {
    let sim = Sim::new();
    sim.xmem("set web 512M --lock-timeout 0").fault(fault).run().fails(code, stderr);
    sim.xmem("set web 512M").run().says(DONE);
}

#[test]
fn exit_code_7_is_a_host_without_xen() {
    if Path::new("/dev/xen/privcmd").exists() {
        return;
    }
    xmem("set web 1G").run().fails(
        7,
        str![[r#"
xmem: there is no Xen here: /dev/xen/privcmd is missing; nothing changed
hint: without Xen, try: xmem --host sim list

"#]],
    );
}

#[test]
fn exit_code_1_is_a_failure() {
    fails(
        "pod-refused",
        1,
        str![[r#"
xmem: web (7): the hypervisor refused XENMEM_set_pod_target: Cannot allocate memory; rolled back; the limit is 1025 MiB again (simulated)
hint (simulated): the host has no free memory for it: see `xl info`

"#]],
    );
    fails(
        "store-full",
        1,
        str![[r#"
xmem: web (7): xenstored answered ENOSPC to WRITE /local/domain/7/memory/target; nothing changed (simulated)
hint (simulated): xenstore's quota is used up: `xenstore-ls` shows what fills it

"#]],
    );
    fails(
        "commit-lost-undone",
        1,
        str![[r#"
warning: web (7): no clear answer to the commit; reading its outcome: xenstored closed the connection during TRANSACTION_END
xmem: web (7): xenstored closed the connection during TRANSACTION_END; rolled back; the limit is 1025 MiB again (simulated)
hint: is xenstored still running? check its log

"#]],
    );
}

/// Whichever way it was given on the command line.
#[test]
fn a_warning_about_a_change_names_its_domain() {
    for (words, stdin) in [
        ("set 7 512M".to_owned(), ""),
        (format!("set {WEB} 512M"), ""),
        ("apply -".to_owned(), "7 512M\n"),
        ("reclaim 9500M --from 7".to_owned(), ""),
    ] {
        let sim = Sim::new();
        let ran = sim.xmem(&words).stdin(stdin).fault("commit-lost-undone").run();
        assert!(ran.stderr.starts_with("warning: web (7): no clear answer"), "{words}: {ran:?}");
    }
}

/// The hypervisor never takes back what it has added to a populate-on-demand guest.
#[test]
fn a_rollback_says_that_memory_already_added_stays() {
    let sim = Sim::new();
    sim.edit(|world| {
        world["memory_kib"] = ((7 * 1024 + 100) * 1024).into();
        world["domains"]["7"]["pod_entries_kib"] = (1024 * 1024).into();
    });
    let warning = "warning: web (7): the hypervisor has added 100 MiB, which stay until the guest balloons down\n";
    let ran = sim.xmem("set 7 2G").recovers().run();
    assert!(ran.stderr.starts_with(warning), "{ran:?}");
    assert!(ran.stderr.contains("; rolled back; the limit is 1025 MiB again"), "{ran:?}");
    // Nothing is added to a full host, or to a guest that has started.
    for entries in [1024 * 1024, 0] {
        sim.edit(|world| world["domains"]["7"]["pod_entries_kib"] = entries.into());
        let ran = sim.xmem("set 7 2G").fault("pod-refused").recovers().run();
        assert!(ran.stderr.starts_with("xmem: "), "{ran:?}");
    }
}

/// xenstored answers again, whether or not the change had a new limit to roll back.
#[test]
fn exit_code_1_is_a_commit_without_effect() {
    for words in ["set web 512M", "max web 1G"] {
        let sim = Sim::new();
        let ran = sim.xmem(words).fault("commit-lost-undone").run();
        assert_eq!(ran.status.code(), Some(1), "{words}: {ran:?}");
    }
}

#[test]
fn exit_code_3_is_an_unknown_domain() {
    fails(
        "gone",
        3,
        str![[r#"
xmem: web (7): the domain went away; nothing changed (simulated)

"#]],
    );
}

#[test]
fn exit_code_5_is_a_held_lock() {
    let sim = Sim::new();
    let ran = sim.xmem("set web 512M --lock-timeout 0").fault("lock-busy").run();
    assert_eq!(ran.status.code(), Some(5), "{ran:?}");
    let prefix = "xmem: web (7): cannot take the domain's lock, held by process ";
    let who = ran.stderr.strip_prefix(prefix).unwrap();
    let (pid, who) = who.split_once(" (").unwrap();
    assert_ne!(pid.parse::<u32>().unwrap(), 0);
    assert!(who.contains("xmem set web 512M"), "{who}");
    assert!(
        who.ends_with(
            "); nothing changed (simulated)\n\
             hint: wait longer with --lock-timeout, or check what that process is doing\n"
        ),
        "{who}"
    );
    sim.xmem("set web 512M").run().says(DONE);
}

#[test]
fn exit_code_6_is_endless_conflicts() {
    fails(
        "conflict",
        6,
        str![[r#"
xmem: web (7): gave up after 16 conflicting xenstore transactions; rolled back; the limit is 1025 MiB again (simulated)
hint: stop the program that changes this domain's memory without its lock, such as a memory daemon (squeezed, qmemman)

"#]],
    );
}

#[test]
fn exit_code_7_is_no_access() {
    fails(
        "no-xen",
        7,
        str![[r#"
xmem: there is no Xen here: /dev/xen/privcmd is missing; nothing changed (simulated)
hint: without Xen, try: xmem --host sim list

"#]],
    );
    fails(
        "no-permission",
        7,
        str![[r#"
xmem: cannot use /dev/xen/privcmd: Permission denied; nothing changed (simulated)
hint: run xmem as root, in dom0

"#]],
    );
    fails(
        "not-control",
        7,
        str![[r#"
xmem: the hypervisor refused XEN_DOMCTL_getdomaininfo: Operation not permitted; nothing changed (simulated)
hint: run xmem as root, in dom0

"#]],
    );
    fails(
        "limit-refused",
        7,
        str![[r#"
xmem: web (7): the hypervisor refused XEN_DOMCTL_max_mem: Operation not permitted; nothing changed (simulated)
hint: run xmem as root, in dom0

"#]],
    );
    fails(
        "store-down",
        7,
        str![[r#"
xmem: cannot reach the sim's xenstored: Connection refused; nothing changed (simulated)
hint: is xenstored running? without Xen, try: xmem --host sim list

"#]],
    );
}

/// The larger limit stays; the next run completes or rolls back the change, and says so.
#[test]
fn exit_code_9_is_an_unknown_commit() {
    let sim = Sim::new();
    sim.xmem("set web 1536M").fault("commit-unknown").leaves(1).run().fails(9, str![[r#"
warning: web (7): no clear answer to the commit; reading its outcome: xenstored closed the connection during TRANSACTION_END
warning: web (7): cannot read it: cannot reach the sim's xenstored: Connection refused
xmem: web (7): xenstored closed the connection during TRANSACTION_END; target and limit may be out of step: whether the new target of 1536 MiB was committed is not known; the limit is 1537 MiB now (simulated)
hint: once xenstored answers: xmem check --repair 7

"#]]);
    assert_eq!(sim.numbers(7), (1_048_576, 2_097_152, 1_573_888));
    sim.xmem("set web 512M").run().is(
        0,
        str![[r#"
web (7): target 1024 MiB -> 512 MiB, limit 1537 MiB -> 513 MiB (simulated)

"#]],
        str![[r#"
note: an earlier xmem was interrupted before its commit; the limit is rolled back to 1025 MiB

"#]],
    );
}

#[test]
fn exit_code_0_survives_faults_that_do_not_matter() {
    for fault in ["conflict-once", "commit-lost-done", "guest-ignores", "host-full"] {
        let sim = Sim::new();
        let ran = sim.xmem("set web 512M").fault(fault).run();
        assert_eq!((ran.status.code(), &*ran.stdout), (Some(0), DONE), "{ran:?}");
        // Warnings are logged by default.
        assert_eq!(ran.stderr.contains("warning: "), fault == "commit-lost-done", "{ran:?}");
        assert_eq!(sim.numbers(7), (524_288, 2_097_152, 525_312), "{fault}");
    }
}

/// The arguments are checked before xenstored and the hypervisor are asked.
#[test]
fn exit_code_2_is_wrong_usage_on_any_host() {
    for fault in ["no-permission", "store-down", "lock-busy"] {
        let sim = Sim::new();
        assert_eq!(sim.xmem("set web 1.5G").fault(fault).run().status.code(), Some(2), "{fault}");
    }
}
