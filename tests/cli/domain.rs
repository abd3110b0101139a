//! Every spelling of DOMAIN.

use snapbox::str;

use crate::sandbox::{Sim, WEB};

#[test]
fn each_spelling_finds_the_same_domain() {
    let sim = Sim::new();
    for domain in
        ["7", "007", "id:7", "web", "name:web", WEB, &format!("uuid:{WEB}"), &WEB.to_uppercase()]
    {
        sim.xmem("set").arg(domain).arg("1G").run().says(str![[r#"
web (7): already at target 1024 MiB, limit 1025 MiB (simulated)

"#]]);
    }
}

#[test]
fn any_name_finds_its_domain_and_is_escaped() {
    let sim = Sim::new();
    for name in ["12", "id:8", "-n", WEB, "a b", "ünï→", "\u{1b}[31mred\u{202e}\u{9b}\u{e0041}\n"]
    {
        sim.edit(|world| world["xenstore"]["/local/domain/7/name"] = name.into());
        let ran = sim.xmem("set").arg(format!("name:{name}")).arg("1G").run();
        assert_eq!(ran.status.code(), Some(0), "{ran:?}");
        assert!(ran.stdout.contains(" (7): already at"), "{ran:?}");
    }
    sim.xmem("set 7 1G").run().says(str![[r#"
\u{1b}[31mred\u{202e}\u{9b}\u{e0041}\n (7): already at target 1024 MiB, limit 1025 MiB (simulated)

"#]]);
    let ran = sim.xmem("set 7 3G -v").run();
    assert!(
        ran.stderr.contains(r"\u{1b}[31mred\u{202e}\u{9b}\u{e0041}\n (7): a target of"),
        "{ran:?}"
    );
    let ran = sim.xmem("set 7 512M --json -v --log-format json").run();
    assert_eq!(ran.json()["name"], "\u{1b}[31mred\u{202e}\u{9b}\u{e0041}\n");
}

#[test]
fn a_domain_without_a_name_is_called_by_its_domid() {
    let sim = Sim::new();
    sim.edit(|world| {
        assert!(
            world["xenstore"].as_object_mut().unwrap().remove("/local/domain/7/name").is_some()
        );
    });
    sim.xmem("set 7 512M").run().says(str![[r#"
domain 7: target 1024 MiB -> 512 MiB, limit 1025 MiB -> 513 MiB (simulated)

"#]]);
    sim.xmem("set 7 3G").run().fails(4, str![[r#"
xmem: domain 7: a target of 3072 MiB is above the domain's maximum of 2048 MiB (memory/static-max); nothing changed (simulated)
hint: ask for at most 2G, or add --raise-max to raise the maximum too

"#]]);
}

#[test]
fn an_unknown_domain_is_reported_with_a_similar_name() {
    let sim = Sim::new();
    sim.xmem("set wbe 1G").run().fails(
        3,
        str![[r#"
xmem: there is no domain `wbe` on this host; nothing changed (simulated)
hint: did you mean `web`?

"#]],
    );
    sim.xmem("set WEB 1G").run().fails(
        3,
        str![[r#"
xmem: there is no domain `WEB` on this host; nothing changed (simulated)
hint: did you mean `web`?

"#]],
    );
    sim.xmem("set 5 1G").run().fails(
        3,
        str![[r#"
xmem: there is no domain 5 on this host; nothing changed (simulated)
hint: `xmem list` shows the domains

"#]],
    );
    sim.xmem("set 00000000-0000-4000-8000-000000000001 1G").run().fails(
        3,
        str![[r#"
xmem: there is no domain with UUID 00000000-0000-4000-8000-000000000001 on this host; nothing changed (simulated)
hint: `xmem list` shows the domains

"#]],
    );
    sim.xmem("set").arg("\u{1b}[2J").arg("1G").run().fails(
        3,
        str![[r#"
xmem: there is no domain `\u{1b}[2J` on this host; nothing changed (simulated)
hint: `xmem list` shows the domains

"#]],
    );
}

/// A program wrote nodes for a domain that the hypervisor does not have.
#[test]
fn nodes_without_a_domain_are_no_domain() {
    let sim = Sim::new();
    sim.edit(|world| {
        assert!(world["domains"].as_object_mut().unwrap().remove("7").is_some());
    });
    for domain in ["7", "web", WEB] {
        assert_eq!(sim.xmem("set").arg(domain).arg("1G").run().status.code(), Some(3), "{domain}");
    }
}

#[test]
fn an_ambiguous_name_is_refused_with_both_domids() {
    let sim = Sim::new();
    sim.edit(|world| world["xenstore"]["/local/domain/8/name"] = "web".into());
    sim.xmem("set web 1G").run().fails(
        3,
        str![[r#"
xmem: `web` names several domains: 7, 8; nothing changed (simulated)
hint: use id:7 or id:8

"#]],
    );
    assert_eq!(sim.xmem("set id:7 1G").run().status.code(), Some(0));
}

/// So is a domain whose nodes `xl destroy` has removed already.
#[test]
fn a_dying_domain_is_gone() {
    let dying = Sim::new();
    dying.edit(|world| world["domains"]["7"]["dying"] = true.into());
    let emptied = Sim::new();
    emptied.edit(|world| {
        let nodes = world["xenstore"].as_object_mut().unwrap();
        nodes.retain(|path, _| !path.starts_with("/local/domain/7/"));
    });
    dying.xmem("set 7 512M").run().fails(
        3,
        str![[r#"
xmem: web (7): the domain is dying; nothing changed (simulated)

"#]],
    );
    emptied.xmem("set 7 512M").run().fails(
        3,
        str![[r#"
xmem: domain 7: the domain went away; nothing changed (simulated)

"#]],
    );
}

#[test]
fn a_malformed_domain_is_wrong_usage() {
    let sim = Sim::new();
    for domain in ["", " ", "\n"] {
        let ran = sim.xmem("set").arg(domain).arg("1G").run();
        assert_eq!(ran.status.code(), Some(2), "{domain:?}");
        assert!(ran.stderr.contains("is a variable unset in your script?"), "{ran:?}");
    }
    for (domain, why) in [
        ("32752", "domids are 0 to 32751"),
        ("65543", "domids are 0 to 32751"),
        ("4294967303", "domids are 0 to 32751"),
        ("99999999999999999999999999", "domids are 0 to 32751"),
        ("id:", "the domain is empty"),
        ("id:web", "`id:` needs a number"),
        ("id:-1", "`id:` needs a number"),
        ("uuid:7", "`uuid:` needs 8-4-4-4-12 hexadecimal digits"),
    ] {
        let ran = sim.xmem("set").arg(domain).arg("1G").run();
        assert_eq!(ran.status.code(), Some(2), "{ran:?}");
        assert!(
            ran.stderr.starts_with(&format!("xmem: DOMAIN `{domain}`: {why}\nhint: ")),
            "{ran:?}"
        );
    }
}

/// A guest was restarted with its UUID while its dead predecessor still exists.
#[test]
fn a_dead_domain_does_not_hide_the_living_one_with_its_uuid() {
    let sim = Sim::new();
    sim.edit(|world| {
        let mut dead = world["domains"]["7"].clone();
        dead["dying"] = true.into();
        world["domains"]["3"] = dead;
    });
    let ran = sim.xmem("set").arg(WEB).arg("512M").run();
    assert_eq!(ran.status.code(), Some(0), "{ran:?}");
    assert_eq!(sim.numbers(7).0, 524_288);
    // `list` shows the memory that the dead one still has.
    let listed = sim.xmem("list").run().stdout;
    assert!(
        listed.lines().any(|line| line.contains(" 3 ") && line.contains("being destroyed")),
        "{listed}"
    );
    // Without the living one, the UUID means the dead domain, which is gone.
    sim.edit(|world| drop(world["domains"].as_object_mut().unwrap().remove("7")));
    let ran = sim.xmem("set").arg(WEB).arg("512M").run();
    assert_eq!(ran.status.code(), Some(3), "{ran:?}");
}
