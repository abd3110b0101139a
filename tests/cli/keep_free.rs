//! `--keep-free` and `XMEM_KEEP_FREE`: memory of the host that no command grows a domain into.

use serde_json::json;

use crate::sandbox::Sim;

/// The host has 9 GiB free, `web` has 1 GiB.
#[test]
fn set_does_not_grow_into_it() {
    let sim = Sim::new();
    let refusal = "xmem: web (7): growing by 1024 MiB would leave the host less than the 9216 MiB to keep free: it has \
                   9216 MiB free; nothing changed (simulated)\n";
    let ran = sim.xmem("set web 2G").env("XMEM_KEEP_FREE", "9G").run();
    assert_eq!(ran.status.code(), Some(4), "{ran:?}");
    assert!(ran.stderr.starts_with(refusal), "{ran:?}");
    // What is not the host's to lose is not refused.
    let ran = sim.xmem("set web 512M").env("XMEM_KEEP_FREE", "9G").run();
    assert_eq!(ran.status.code(), Some(0), "{ran:?}");
    // The option is stronger than the environment.
    let ran = sim.xmem("set web 2G --keep-free 8G").env("XMEM_KEEP_FREE", "9G").run();
    assert_eq!(ran.status.code(), Some(0), "{ran:?}");
}

#[test]
fn apply_does_not_grow_into_it_and_says_what_each_line_got() {
    let sim = Sim::new();
    let apply = |options: &str| {
        let batch = "web 2G\ndb 4G\n";
        let call = sim.xmem(&format!("apply - {options}")).env("XMEM_KEEP_FREE", "7680M");
        call.stdin(batch).run()
    };
    // 1.5 GiB are left for the two.
    let got = "web (7): would change: target 1024 MiB -> 2048 MiB, limit 1025 MiB -> 2049 MiB (simulated)\n\
               db (8): would change: target 2048 MiB -> 2560 MiB, limit 2049 MiB -> 2561 MiB (simulated)\n";
    let note = "note: db (8): the host does not have enough for 4096 MiB: the size is 2560 MiB\n";
    apply("--partial -n").is(0, got, note);
    apply("--partial --patience 100ms").is(0, got.replace("would change: ", ""), note);
    let ran = apply("--patience 100ms");
    assert_eq!(ran.status.code(), Some(10), "{ran:?}");
    assert!(
        ran.stderr.contains("not counting the 7680 MiB to keep free; nothing changed"),
        "{ran:?}"
    );
}

/// 512 MiB are free, and each guest takes 400 MiB slowly.
#[test]
fn what_other_guests_still_take_is_not_free() {
    let sim = Sim::new();
    sim.edit(|world| {
        world["memory_kib"] = (7680 * 1024).into();
        for domid in ["7", "8", "9"] {
            world["domains"][domid]["rate_kib_per_second"] = 4.into();
        }
    });
    let run = |words: &str| sim.xmem(words).stdin("db +400M\n").moving().run();
    let grows = |words: &str| {
        let ran = run(words);
        assert_eq!(ran.status.code(), Some(0), "{ran:?}");
        ran.stderr.clone()
    };
    let note = "note: leaves the host 112 MiB free\n";
    assert_eq!(grows("set 7 +400M --keep-free 100M"), note);
    for words in ["set 8 +400M --keep-free 100M", "set 8 +400M --keep-free 100M -n"] {
        let ran = run(words);
        assert_eq!(ran.status.code(), Some(4), "{ran:?}");
        let refusal = "xmem: db (8): growing by 400 MiB would leave the host less than the 100 MiB to keep free: it has 112";
        assert!(ran.stderr.starts_with(refusal), "{ran:?}");
        assert!(ran.stderr.contains(" MiB that other guests are still taking; nothing"), "{ran:?}");
    }
    for options in ["-n", "--patience 0"] {
        let ran = run(&format!("apply - --keep-free 100M {options}"));
        assert_eq!(ran.status.code(), Some(4), "{ran:?}");
        let refusal = "xmem: line 1: db (8): it needs 400 MiB more, and the host has only 12";
        assert!(ran.stderr.starts_with(refusal), "{ran:?}");
        assert!(ran.stderr.contains(", not counting the 100 MiB to keep free and the "), "{ran:?}");
    }
    // What does not take memory is not refused, and neither is anything without --keep-free.
    grows("set 8 1G --keep-free 100M");
    sim.edit(|world| {
        let size = world["domains"]["8"]["current_kib"].as_u64().unwrap().to_string();
        world["xenstore"]["/local/domain/8/memory/target"] = size.into();
    });
    grows("set 8 +400M");
}

/// 400 MiB are free, and `web` still takes 500 MiB.
#[test]
fn a_lower_target_is_not_refused_to_a_guest_that_still_grows() {
    for size in ["1G", "1500M"] {
        let sim = Sim::new();
        sim.edit(|world| {
            world["xenstore"]["/local/domain/7/memory/target"] = (1500 * 1024).to_string().into();
            world["memory_kib"] = ((2048 + 1000 + 2048 + 2048 + 400) * 1024).into();
            let web = &mut world["domains"]["7"];
            web["limit_kib"] = (2000 * 1024).into();
            web["current_kib"] = (1000 * 1024).into();
            web["rate_kib_per_second"] = 0.into();
        });
        let set = format!("set web {size} --keep-free 390M");
        for words in [format!("{set} -n"), set] {
            let ran = sim.xmem(&words).run();
            assert_eq!(ran.status.code(), Some(0), "{ran:?}");
        }
        for options in ["-n", ""] {
            let apply = format!("apply - --keep-free 390M {options}");
            let ran = sim.xmem(&apply).stdin(&format!("web {size}\n")).run();
            assert_eq!(ran.status.code(), Some(0), "{ran:?}");
        }
    }
}

#[test]
fn reclaim_frees_it_besides() {
    let sim = Sim::new();
    let ran = sim.xmem("reclaim 9G --from web db -n --json").env("XMEM_KEEP_FREE", "512M").run();
    let totals = &ran.objects()[2]["reclaim"];
    assert_eq!(
        (&totals["goal_kib"], &totals["available_kib"]),
        (&json!(9728 * 1024), &json!(9216 * 1024)),
        "{ran:?}"
    );
}

#[test]
fn a_bad_size_in_the_environment_is_refused_even_if_unused() {
    let sim = Sim::new();
    for words in ["set web 512M", "apply -", "reclaim 1G --from web"] {
        let ran = sim.xmem(words).env("XMEM_KEEP_FREE", "lots").stdin("web 512M\n").run();
        assert_eq!(ran.status.code(), Some(2), "{ran:?}");
        assert!(ran.stderr.starts_with("xmem: XMEM_KEEP_FREE `lots`: "), "{ran:?}");
        // Neither +256M nor 50% is taken.
        assert!(ran.stderr.contains("hint: a size looks like 512M or 2G;"), "{ran:?}");
    }
}
