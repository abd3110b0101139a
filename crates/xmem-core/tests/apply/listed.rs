//! Lines of `list --json`.

use xen::hypervisor::UNLIMITED;
use xen::{Kib, NoInterrupt};
use xmem_core::apply::{ApplyOptions, apply};
use xmem_core::change::ChangeStatus;
use xmem_core::plan::Note;
use xmem_sim::{GuestType, World};

use crate::plans::{OPTIONS, plan, refusals};
use crate::testbed::{Bed, mib};

/// Applies `text` and returns whether each line changed anything.
fn run(bed: &Bed, text: &str) -> Vec<bool> {
    let host = bed.host();
    let steps = plan(&host, text, &OPTIONS);
    let mut changed = Vec::new();
    apply(&host, &steps, &OPTIONS, &NoInterrupt, &mut |_, result| {
        changed.push(result.unwrap().status == ChangeStatus::Changed);
    });
    changed
}

/// Video memory is not subtracted at each round trip.
#[test]
fn an_hvm_guest_keeps_its_listed_target_and_size() {
    let bed = Bed::new(World::start());
    let before = bed.edit(|world| world.clone());
    let uuid = "\"uuid\":\"00000000-0000-4000-8000-000000000009\"";
    for text in [
        "{\"name\":\"win\",\"target_kib\":2080768}".to_owned(),
        "{\"domid\":9,\"target_kib\":2080768,\"videoram_kib\":16384}".to_owned(),
        "{\"domid\":9,\"size_kib\":2097152}".to_owned(),
        format!("{{\"domid\":9,{uuid},\"target_kib\":2080768,\"size_kib\":2097152}}"),
    ] {
        for _ in 0..3 {
            assert_eq!(run(&bed, &text), [false], "{text}");
        }
    }
    assert_eq!(bed.edit(|world| world.clone()), before);
    assert_eq!(run(&bed, "{\"name\":\"win\",\"target_kib\":1048576}"), [true]);
    assert_eq!((bed.target(9), bed.limit(9)), (mib(1024), mib(1024 + 16 + 1)));
}

/// libxl 4.10 to 4.16 writes a target of static-max + 1 and video memory of -1.
#[test]
fn a_listed_target_with_video_memory_of_minus_one_stays() {
    let mut world = World::start();
    world.write("/local/domain/7/memory/videoram", "-1");
    world.write("/local/domain/7/memory/target", "2097153");
    let bed = Bed::new(world);
    let text = "{\"domid\":7,\"target_kib\":2097153,\"size_kib\":2097152,\"videoram_kib\":-1,\"static_max_kib\":2097152}";
    assert_eq!(run(&bed, text), [false]);
}

/// Rounding to whole pages would change them.
#[test]
fn listed_numbers_that_are_not_whole_pages_stay() {
    for (node, value, line) in [
        ("videoram", "-1", "\"target_kib\":1048576"),
        ("videoram", "-1", "\"size_kib\":1048575"),
        ("target", "600001", "\"target_kib\":600001,\"static_max_kib\":600001"),
        ("target", "600001", "\"size_kib\":600001"),
    ] {
        let mut world = World::start();
        world.write(&format!("/local/domain/7/memory/{node}"), value);
        if node == "target" {
            world.write("/local/domain/7/memory/static-max", value);
        }
        let bed = Bed::new(world);
        let before = (bed.target(7), bed.limit(7));
        assert_eq!(run(&bed, &format!("{{\"name\":\"web\",{line}}}")), [false], "{line}");
        assert_eq!((bed.target(7), bed.limit(7)), before, "{line}");
    }
}

#[test]
fn a_domain_that_is_left_alone_out_of_step_is_noted() {
    let mut world = World::start();
    world.domains.get_mut(&7).unwrap().limit_kib = Kib(900_000);
    let bed = Bed::new(world);
    for line in ["\"target_kib\":1048576,\"limit_kib\":900000", "\"size_kib\":1048576"] {
        let text = format!("{{\"name\":\"web\",{line}}}");
        let steps = plan(&bed.host(), &text, &OPTIONS);
        for notes in [&steps[0].plan.notes, &steps[0].preview(&bed.host()).unwrap().plan.notes] {
            let needs = mib(1025);
            let is_noted =
                |note: &Note| matches!(note, Note::LimitTooLow { needs: it, .. } if *it == needs);
            assert!(notes.iter().any(is_noted), "{line}: {notes:?}");
        }
        assert_eq!(run(&bed, &text), [false], "{line}");
    }
    assert_eq!(bed.limit(7), Kib(900_000));
}

#[test]
fn an_unedited_list_changes_nothing_whatever_the_limits_are() {
    let mut world = World::start();
    world.domains.get_mut(&7).unwrap().limit_kib = mib(3000);
    let bed = Bed::new(world);
    let line = |domid, target: Kib, limit: &str| {
        format!("{{\"domid\":{domid},\"target_kib\":{},\"limit_kib\":{limit}}}\n", target.0)
    };
    let text = line(0, mib(2048), "null") + &line(7, mib(1024), &mib(3000).0.to_string());
    let host = bed.host();
    let steps = plan(&host, &text, &OPTIONS);
    for step in &steps {
        let preview = step.preview(&bed.host()).unwrap();
        assert!(preview.plan.changes_nothing() && step.plan.notes.is_empty());
    }
    assert_eq!(run(&bed, &text), [false, false]);
    assert_eq!((bed.limit(0), bed.limit(7)), (UNLIMITED, mib(3000)));
    // Given as DOMAIN SIZE, the same target sets the limit too, as `set` does.
    assert_eq!(run(&bed, "web 1G"), [true]);
    assert_eq!(bed.limit(7), mib(1025));
}

/// Otherwise the wrong domain could be changed.
#[test]
fn a_line_whose_members_name_two_domains_is_refused() {
    let bed = Bed::new(World::start());
    let uuid = |domid| format!("\"uuid\":\"00000000-0000-4000-8000-00000000000{domid}\"");
    for (members, refusal) in [
        ("\"domid\":7,\"name\":\"db\"".to_owned(), "1: `name` is `db`, but domain 7 is web (7)"),
        (
            format!("\"name\":\"db\",{}", uuid(7)),
            "1: `name` is `db`, but UUID 00000000-0000-4000-8000-000000000007 is web (7)",
        ),
        (
            format!("\"domid\":8,{}", uuid(7)),
            "1: `domid` is 8, but UUID 00000000-0000-4000-8000-000000000007 is web (7)",
        ),
    ] {
        let text = format!("{{{members},\"target_kib\":524288}}");
        assert_eq!(refusals(&bed.host(), &text, &OPTIONS), [refusal]);
    }
    // Domain 6 is gone: `web` was created anew.
    let text = format!("{{\"domid\":6,\"name\":\"web\",{},\"target_kib\":524288}}", uuid(7));
    assert_eq!(run(&bed, &text), [true]);
    assert_eq!(bed.target(7), mib(512));
}

/// It is not dropped silently.
#[test]
fn an_edited_maximum_is_refused_with_the_command_that_sets_it() {
    let bed = Bed::new(World::start());
    let text = "{\"domid\":7,\"target_kib\":1048576,\"static_max_kib\":4194304}";
    let refused = "1: `static_max_kib` is 4096 MiB, but the domain has a maximum of 2048 MiB";
    assert_eq!(refusals(&bed.host(), text, &OPTIONS), [refused]);
    let dom0 = "{\"domid\":0,\"target_kib\":1048576,\"static_max_kib\":4194304}";
    let refused = "1: `static_max_kib` is 4096 MiB, but the domain has no maximum";
    assert_eq!(refusals(&bed.host(), dom0, &OPTIONS), [refused]);
    // With --raise-max it is set.
    let raise_max = ApplyOptions { raise_max: true, ..OPTIONS };
    let text = "{\"domid\":7,\"target_kib\":4194304,\"static_max_kib\":4194304}";
    assert_eq!(plan(&bed.host(), text, &raise_max)[0].plan.new.static_max, Some(mib(4096)));
    let text = "{\"domid\":9,\"target_kib\":1048576,\"videoram_kib\":8192}";
    let refused = "1: `videoram_kib` is 8 MiB, but the domain has 16 MiB of video memory";
    assert_eq!(refusals(&bed.host(), text, &OPTIONS), [refused]);
}

/// The limit follows the target, so the limit of an older list is no reason to refuse the line.
#[test]
fn an_edited_limit_is_noted() {
    let bed = Bed::new(World::start());
    let note =
        |text: &str| plan(&bed.host(), text, &OPTIONS)[0].preview(&bed.host()).unwrap().plan.notes;
    let ignored = |said, limit| vec![Note::LimitIgnored { said: mib(said), limit: mib(limit) }];
    let line = |target: u64, limit: u64| {
        format!("{{\"domid\":7,\"target_kib\":{},\"limit_kib\":{}}}", mib(target).0, mib(limit).0)
    };
    assert_eq!(note(&line(1024, 3000)), ignored(3000, 1025));
    assert_eq!(note(&line(512, 3000)), ignored(3000, 513));
    assert_eq!(note(&line(512, 1025)), []);
    assert_eq!(note(&line(512, 513)), []);
    // The change itself notes it too.
    let steps = plan(&bed.host(), &line(512, 3000), &OPTIONS);
    let mut noted = Vec::new();
    apply(&bed.host(), &steps, &OPTIONS, &NoInterrupt, &mut |_, result| {
        noted.extend(result.unwrap().plan.notes);
    });
    assert_eq!(noted, ignored(3000, 513));
}

/// Its video memory is in xenstore only.
#[test]
fn a_target_does_not_raise_the_limit_by_video_memory_that_the_guest_wrote() {
    let bed = |owns_nodes| {
        let mut world = World::start();
        world.domains.get_mut(&7).unwrap().owns_nodes = owns_nodes;
        let videoram = "/local/domain/7/memory/videoram".to_owned();
        world.xenstore.insert(videoram, "524288".to_owned());
        Bed::new(world)
    };
    let text = "{\"domid\":7,\"target_kib\":900000}";
    let plans = plan(&bed(false).host(), text, &OPTIONS);
    assert_eq!(plans[0].plan.new.limit, Kib(900_000 + 524_288 + 1024));
    let refusals = refusals(&bed(true).host(), text, &OPTIONS);
    assert!(refusals[0].contains("the guest itself may write"), "{refusals:?}");
}

#[test]
fn a_size_that_contradicts_the_target_is_refused() {
    let bed = Bed::new(World::start());
    for text in [
        "{\"domid\":9,\"target_kib\":1048576,\"size_kib\":2097152}",
        "{\"domid\":9,\"target_kib\":2080768,\"size_kib\":1048576}",
        "{\"domid\":9,\"target_kib\":1048576,\"size_kib\":1048576}",
    ] {
        let refusals = refusals(&bed.host(), text, &OPTIONS);
        assert!(refusals[0].ends_with("contradict each other"), "{refusals:?}");
    }
    let text = "{\"domid\":9,\"target_kib\":1048576,\"size_kib\":1064960}";
    assert_eq!(run(&bed, text), [true]);
}

#[test]
fn a_size_is_rounded_down_to_whole_pages_with_a_note() {
    let mut world = World::start();
    world.create(10, "odd", GuestType::Pvh, mib(512), mib(1024), 0);
    let bed = Bed::new(world);
    for member in ["target_kib", "size_kib"] {
        let text = format!("{{\"domid\":10,\"{member}\":262146}}");
        let plan = plan(&bed.host(), &text, &OPTIONS).remove(0).plan;
        assert_eq!(plan.new.target, Some(mib(256)));
        assert!(plan.notes.contains(&Note::Rounded { bytes: 2048 }), "{:?}", plan.notes);
    }
}
