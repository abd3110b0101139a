//! Wrong usage: exit code 2 and a hint, without a panic.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use serde_json::{Value, json};
use snapbox::str;

use crate::sandbox::{Sim, xmem};

#[test]
fn missing_and_extra_arguments_are_explained() {
    for (words, what) in [
        ("", "a command is missing\nhint: the commands are set, "),
        ("set", "DOMAIN and SIZE are missing"),
        ("set web", "SIZE is missing"),
        ("set web 1G 2G", "unexpected argument `2G`"),
        ("set web 1G --dryrun", "unknown option `--dryrun`\nhint: did you mean `--dry-run`?"),
        ("set web --dryrun 1G", "unknown option `--dryrun`\nhint: did you mean `--dry-run`?"),
        ("set web -x 1G", "unknown option `-x`\nhint: see `xmem set --help`"),
        ("set web -force 1G", "unknown option `-force`\nhint: did you mean `--force`?"),
        (
            "set -web 1G",
            "unknown option `-web`\nhint: if the domain's name begins with a dash, write name:-web",
        ),
        (
            "set --wait 5m web 1G",
            "unexpected argument `1G`\nhint: --wait takes its time as --wait=5m",
        ),
        (
            "set web 1G --wait 5m",
            "unexpected argument `5m`\nhint: --wait takes its time as --wait=5m",
        ),
        (
            "set --wait 5m web",
            "SIZE `web`: it is not a whole number with an optional unit\nhint: --wait takes its time as --wait=5m",
        ),
        ("set 512M web", "hint: DOMAIN comes before SIZE: web 512M"),
        ("set -512M web", "hint: DOMAIN comes before SIZE: web -512M"),
        ("mem-sett web 1G", "unknown command `mem-sett`\nhint: did you mean `mem-set`?"),
        ("-q -v set web 1G", "--quiet cannot be used with --verbose"),
        ("--log-format yaml set web 1G", "--log-format `yaml`: not one of text, json"),
        ("watch -c 0", "--count `0`: not a positive whole number"),
        ("check -n", "-n needs --repair\n"),
        ("check --dry-run web", "--dry-run needs --repair\n"),
        ("set web 1G --patience 1s", "--patience needs --wait\n"),
        ("set web 1G --within=1M", "--within needs --wait\n"),
        ("apply - --within 1M", "--within needs --wait\n"),
        ("set web --patience 1s", "SIZE is missing; --patience needs --wait\n"),
        ("-n set web 1G", "unknown option `-n`\nhint: write -n after set\n"),
        ("--dry-run mem-set web 1G", "`--dry-run`\nhint: write --dry-run after mem-set\n"),
        ("--patience=1s apply -", "`--patience`\nhint: write --patience after apply\n"),
        ("set -- web 1G -n", "unknown option `-n`\nhint: write -n before --\n"),
        ("set web 1G -- --quiet", "unknown option `--quiet`\nhint: write --quiet before --\n"),
        ("reclaim --from web db -- 10G -n", "unknown option `-n`\nhint: write -n before --\n"),
        ("list -n", "unknown option `-n`\nhint: see `xmem list --help`\n"),
        (
            "reclaim --from web db 10G",
            "SIZE is missing\nhint: --from takes every word after it, so write SIZE first: ",
        ),
        ("st web 1G", "unknown command `st`\nhint: did you mean `set`?\n"),
        ("lst", "unknown command `lst`\nhint: did you mean `list`?\n"),
        ("mx web 1G", "unknown command `mx`\nhint: did you mean `max`?\n"),
        ("--lock-timeout", "--lock-timeout <TIME> needs a value"),
        ("list -o", "--columns <COLUMN,...> needs a value"),
        (
            "list -o name,,size",
            "--columns: a name is empty\nhint: separate the names by single commas",
        ),
        (
            "list --columns=name,",
            "--columns: a name is empty\nhint: separate the names by single commas",
        ),
        (
            "apply -5.plan",
            "FILE `-5.plan`: No such file or directory\nhint: give a file that xmem can read; ",
        ),
        ("apply /", "FILE `/`: Is a directory\nhint: give a file that xmem can read; "),
        ("list --columns=", "--columns: the value is empty\nhint: is a variable unset"),
        ("reclaim 4G web", "unexpected argument `web`\nhint: name the domains after --from\n"),
        ("reclaim 4G --from web --floor =1G", "xmem: --floor ``: the domain is empty"),
        ("set my guest 512M", "`512M`\nhint: if the domain's name has blanks, quote it: "),
        (
            "set web 1G --wait --within 4k",
            "--within `4k`: less than 1 MiB, within which every guest counts as having reached its target\n\
             hint: leave out --within, or give 1M or more\n",
        ),
    ] {
        let ran = xmem(words).run();
        assert_eq!(ran.status.code(), Some(2), "{ran:?}");
        assert!(ran.stderr.contains(what), "{ran:?}");
        assert_eq!(ran.stdout, "", "{ran:?}");
    }
}

/// Even beside a size that begins with a dash.
#[test]
fn a_dry_run_flag_before_the_size_is_a_flag() {
    let sim = Sim::new();
    for flag in ["-n", "--dry-run"] {
        let ran = sim.xmem("set web").arg(flag).arg("-256M").run();
        assert!(ran.stdout.starts_with("web (7): would change: "), "{ran:?}");
    }
}

#[test]
fn arguments_that_are_not_utf8_are_wrong_usage() {
    let sim = Sim::new();
    let bytes = OsStr::from_bytes(b"\xff\xfe");
    for call in [
        sim.xmem("set").arg(bytes).arg("1G"),
        sim.xmem("set web").arg(bytes),
        sim.xmem("set web 1G --lock-timeout").arg(bytes),
        sim.xmem("set web 1G").env("XMEM_LOCK_TIMEOUT", bytes),
        sim.xmem("set web 1G").env("XMEM_LOG", bytes),
        xmem("set web 1G").env("XMEM_HOST", bytes),
        xmem("").arg(bytes),
    ] {
        let ran = call.run();
        assert_eq!(ran.status.code(), Some(2), "{ran:?}");
        assert_eq!(ran.stdout, "", "{ran:?}");
    }
}

/// Also if --json stands before the command.
#[test]
fn options_that_a_format_would_ignore_are_refused() {
    for (words, conflict) in [
        ("list --json -o name", "--columns cannot be used with --json"),
        ("--json list -o name", "--columns cannot be used with --json"),
        ("list -o name --format openmetrics", "--columns cannot be used with --format openmetrics"),
        ("list --json --format openmetrics", "--format cannot be used with --json"),
        ("--json list --format openmetrics", "--format cannot be used with --json"),
    ] {
        let hint = "see `xmem list --help`";
        let ran = xmem(words).run();
        assert_eq!(ran.status.code(), Some(2), "{ran:?}");
        assert_eq!(ran.stderr, format!("xmem: {conflict}\nhint: {hint}\n"));
    }
    assert_eq!(Sim::new().xmem("list --format table -o name").run().status.code(), Some(0));
}

/// Also of values that clap accepts.
#[test]
fn wrong_usage_is_an_object_with_json() {
    for (words, command, what) in [
        ("set web --json", "set", "SIZE is missing"),
        ("--json", "xmem", "a command is missing"),
        ("set web 1G --json --dryrun", "set", "unknown option `--dryrun`"),
        ("watch --json -c x", "watch", "--count `x`: not a positive whole number"),
    ] {
        let ran = xmem(words).run();
        assert_eq!(ran.status.code(), Some(2), "{ran:?}");
        let object: Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!(
            (&object["schema"], &object["command"]),
            (&json!(2), &json!(command)),
            "{object}"
        );
        let error = &object["error"];
        assert_eq!((&error["kind"], &error["exit_code"]), (&json!("usage"), &json!(2)), "{object}");
        assert_eq!(error["message"], what, "{object}");
    }
    // Asking for help is not an error.
    let ran = xmem("--json --help").run();
    assert!(ran.status.success() && ran.stdout.contains("Usage: xmem"), "{ran:?}");
}

/// Arguments are checked before the host is opened.
#[test]
fn wrong_usage_needs_no_host() {
    for words in
        ["set web 1.5G", "set id:x 1G", "max web 0", "list id:x", "check uuid:x", "watch id:x"]
    {
        let ran = xmem(words).env("XENSTORED_PATH", "/nowhere").run();
        assert_eq!((ran.status.code(), &*ran.stdout), (Some(2), ""), "{ran:?}");
    }
}

#[test]
fn very_long_arguments_fail_without_a_panic() {
    let sim = Sim::new();
    // The kernel refuses an argument of more than 128 KiB.
    let long = "w".repeat(100_000);
    for (call, code) in [
        (sim.xmem("set").arg(&long).arg("1G"), 3),
        (sim.xmem("set web").arg(&long), 2),
        (sim.xmem("set web 1G --lock-timeout").arg(&long), 2),
        (xmem("set web 1G --host").arg(&long), 2),
        (xmem("set web 1G --host").arg(format!("sim:/{long}")), 1),
    ] {
        let ran = call.run();
        assert_eq!(ran.status.code(), Some(code), "{:.300}", ran.stderr);
        assert!(!ran.stderr.contains("panicked"), "{:.300}", ran.stderr);
    }
}

#[test]
fn an_unknown_host_is_wrong_usage() {
    for host in ["", "sim:", "xen:", "xen:DIR", "Sim", "kvm", "sim\u{1b}[2J"] {
        let ran = xmem("set web 1G --host").arg(host).run();
        assert_eq!(ran.status.code(), Some(2), "{ran:?}");
        assert!(ran.stderr.contains("not `xen`, `sim` or `sim:DIR`\nhint: "), "{ran:?}");
    }
    xmem("set web 1G").env("XMEM_HOST", "kvm").run().fails(
        2,
        str![[r#"
xmem: XMEM_HOST `kvm`: not `xen`, `sim` or `sim:DIR`
hint: leave out --host (and XMEM_HOST) to use the local Xen

"#]],
    );
}

#[test]
fn the_command_line_overrides_the_environment() {
    let (sim, other) = (Sim::new(), Sim::new());
    xmem("set web 512M").env("XMEM_HOST", sim.host()).within(&sim).run().says(str![[r#"
web (7): target 1024 MiB -> 512 MiB, limit 1025 MiB -> 513 MiB (simulated)

"#]]);
    let call = xmem("set web 256M --host").arg(sim.host()).env("XMEM_HOST", other.host());
    let ran = call.run();
    assert_eq!(ran.status.code(), Some(0), "{ran:?}");
    assert_eq!((sim.numbers(7).0, other.numbers(7).0), (262_144, 1_048_576));
}

#[test]
fn lock_timeouts_have_units_and_bounds() {
    let sim = Sim::new();
    for timeout in ["0", "5", "10s", "2m", "500ms", "1h 30m", "18446744073709551615", "999999d"] {
        for call in [
            sim.xmem("set web 1G").env("XMEM_LOCK_TIMEOUT", timeout),
            sim.xmem("set web 1G").arg(format!("--lock-timeout={timeout}")),
        ] {
            assert_eq!(call.run().status.code(), Some(0), "{timeout}");
        }
    }
    for timeout in
        ["soon", "-1", "1.5", "10M", "3months", "1y", "10 parsecs", "99999999999999999999"]
    {
        for (what, call) in [
            ("XMEM_LOCK_TIMEOUT", sim.xmem("set web 1G").env("XMEM_LOCK_TIMEOUT", timeout)),
            ("--lock-timeout", sim.xmem("set web 1G").arg(format!("--lock-timeout={timeout}"))),
        ] {
            let ran = call.run();
            assert_eq!(ran.status.code(), Some(2), "{ran:?}");
            let expected = format!("xmem: {what} `{timeout}`: ");
            assert!(ran.stderr.starts_with(&expected), "{ran:?}");
            assert!(ran.stderr.contains("hint: a time looks like 10s"), "{ran:?}");
        }
    }
    // An empty variable counts as unset.
    let ran = sim.xmem("set web 1G").env("XMEM_LOCK_TIMEOUT", "").env("XMEM_KEEP_FREE", "").run();
    assert_eq!(ran.status.code(), Some(0), "{ran:?}");
    // The command line overrides the environment.
    let ran = sim.xmem("set web 1G --lock-timeout 1s").env("XMEM_LOCK_TIMEOUT", "soon").run();
    assert_eq!(ran.status.code(), Some(0), "{ran:?}");
}

#[test]
fn a_directory_that_cannot_be_a_sim_is_explained() {
    let sim = Sim::new();
    let ran = sim.xmem("set web 1G").fault("oops").run();
    assert_eq!(ran.status.code(), Some(2), "{ran:?}");
    assert!(ran.stderr.starts_with("xmem: XMEM_SIM_FAULT: unknown word `oops`, "), "{ran:?}");
    sim.edit(|world| world["version"] = 99.into());
    sim.xmem("set web 1G").run().fails(
        1,
        str![[r#"
xmem: cannot read DIR/world.json: version 99; this xmem reads version 1 at line 1 column 1752
hint: correct the file, or choose another directory: --host sim:DIR

"#]],
    );
    for (dir, why, code) in [
        ("/dev/null", "/dev/null is not a directory", 2),
        ("/proc", "/proc is neither empty nor a sim: it has no world.json", 2),
        // A valid directory that cannot be created.
        ("/proc/nowhere", "cannot create /proc/nowhere: No such file or directory", 1),
    ] {
        let ran = xmem("set web 1G --json --host").arg(format!("sim:{dir}")).run();
        assert_eq!(ran.status.code(), Some(code), "{ran:?}");
        assert_eq!(ran.json()["error"]["message"], why);
    }
}

#[test]
fn an_empty_argument_is_called_empty() {
    let sim = Sim::new();
    for (words, what) in [("apply", "FILE"), ("list -o", "--columns")] {
        let ran = sim.xmem(words).arg("").run();
        assert_eq!(ran.status.code(), Some(2), "{ran:?}");
        let message = format!("xmem: {what}: the value is empty\nhint: is a variable unset");
        assert!(ran.stderr.starts_with(&message), "{ran:?}");
    }
}

#[test]
fn domains_are_separated_by_blanks() {
    let sim = Sim::new();
    for words in ["list web,db", "check web,db", "reclaim 10G --from web,db"] {
        let ran = sim.xmem(words).run();
        assert_eq!(ran.status.code(), Some(3), "{ran:?}");
        assert!(
            ran.stderr.ends_with("hint: a comma does not separate domains, a blank does\n"),
            "{ran:?}"
        );
    }
}

#[test]
fn standard_input_is_called_that() {
    let ran = Sim::new().xmem("apply -").stdin(&"#".repeat((16 << 20) + 1)).run();
    assert!(ran.stderr.starts_with("xmem: standard input: longer than 16 MiB\n"), "{ran:?}");
}
