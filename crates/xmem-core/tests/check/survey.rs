//! A single survey of a host.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use std::{fs, thread};

use xen::hypervisor::Shutdown;
use xen::userdata::Letter;
use xen::{Host as _, Kib, NoInterrupt};
use xmem_core::change::{ChangeRequest, ChangeSession};
use xmem_core::memory::GuestType;
use xmem_core::plan::MemoryRequest;
use xmem_core::state::State;
use xmem_core::survey::{Detail, Survey, survey};
use xmem_sim::{Call, SimHost, World};

use crate::scene::{Scene, refs, wanted};

fn look_at(host: &SimHost, names: &[&str]) -> Survey {
    survey(host, &*host.connect().unwrap(), &refs(names), Detail::Reports).unwrap()
}

fn look(scene: &Scene) -> Survey {
    look_at(&scene.host(), &[])
}

/// `name: state kinds` of each row.
fn rows(survey: &Survey) -> Vec<String> {
    let row = |row: &xmem_core::survey::Row| {
        let kinds: Vec<_> = row.findings.iter().map(|it| it.kind.word()).collect();
        let name = row.domain.name.as_ref().map_or_else(String::new, |name| name.0.clone());
        format!("{name}: {} [{}]", row.state.word(), kinds.join(" "))
    };
    survey.rows.iter().map(row).collect()
}

#[test]
fn a_host_in_step_has_no_findings() {
    let survey = look(&Scene::new());
    assert_eq!(
        rows(&survey),
        ["Domain-0: running []", "web: running []", "db: running []", "win: running []"]
    );
    assert_eq!(survey.host.unwrap().free, Kib::from_mib(9 * 1024));
    let types: Vec<_> = survey.rows.iter().map(|row| row.memory.info.guest_type).collect();
    assert_eq!(types, [GuestType::Pv, GuestType::Pvh, GuestType::Pv, GuestType::Hvm]);
}

#[test]
fn each_state_is_one_finding_without_consequences() {
    let survey = look(&Scene::of(World::states()));
    let rows = rows(&survey);
    for expected in [
        "paused: paused [paused]",
        "moved--incoming: building [building]",
        "suspended: suspended [suspended]",
        "shut-down: shut-down [shut-down]",
        "crashed: crashed [crashed]",
        "dying: dying [dying]",
        "populating: running [populating]",
        "win-dm: running [device-model]",
    ] {
        assert!(rows.iter().any(|row| row == expected), "{expected}: {rows:?}");
    }
    let stub = survey.rows.iter().find(|row| row.memory.device_model_of.is_some()).unwrap();
    assert_eq!(stub.memory.device_model_of.unwrap().get(), 9);
}

#[test]
fn a_paused_domain_without_a_configuration_is_still_being_built() {
    let scene = Scene::new();
    scene.edit(7, |web| (web.paused, web.cpu_time_ms) = (true, 0));
    assert_eq!(look(&scene).rows[1].state, State::Building);
    // `xl create -p`
    scene.leave(scene.identity(7), Letter::Data, "libxl-json");
    assert_eq!(look(&scene).rows[1].state, State::Paused);
    // `xl pause`
    scene.edit(8, |db| db.paused = true);
    assert_eq!(look(&scene).rows[2].state, State::Paused);
}

#[test]
fn a_guests_report_is_shown_unless_it_exceeds_its_memory() {
    let scene = Scene::new();
    let used = || look(&scene).rows.iter().map(|row| row.memory.used()).collect::<Vec<_>>();
    assert_eq!(used(), [None; 4]);
    for (path, value) in [
        ("7/memory/meminfo", "200704"),
        ("8/data/meminfo_total", "2000000"),
        ("8/data/meminfo_free", "1500000"),
        ("9/data/meminfo_total", "99999999999"),
        ("9/data/meminfo_free", "1"),
    ] {
        scene.world().write(&format!("/local/domain/{path}"), value);
    }
    let most = Some(Kib::from_mib(2048));
    assert_eq!(used(), [None, Some(Kib(200_704)), Some(Kib(500_000)), most]);
    scene.world().write("/local/domain/7/memory/meminfo", "lots");
    assert_eq!(used()[1], None);
}

/// `list` reads `videoram` of an HVM guest, and of others only where it can explain their numbers.
#[test]
fn video_memory_that_is_not_read_changes_no_finding() {
    let scene = Scene::new();
    let (host, calls) = scene.host_with_calls();
    for (max, limit, video, is_read, finding) in [
        (2048 * 1024, 1_049_600, "0", false, ""),
        // As xl builds a PV or PVH guest with `videoram=16`.
        (2048 * 1024, 1_065_984, "16384", true, ""),
        // As libxl 4.10 to 4.16.0 and dom0less builds make it.
        (1_048_575, 1_049_600, "-1", true, ""),
        (1_048_575, 1_049_600, "0", true, "target-above-maximum"),
        (2048 * 1024, 1_049_596, "0", true, "limit-too-low"),
        (2048 * 1024, 1_060_864, "0", true, "limit-high"),
        (2048 * 1024, 1_065_984, "x", true, "bad-node limit-high"),
    ] {
        for (domid, current) in [(7, 1_048_576), (8, 1_048_576)] {
            scene.edit(domid, |guest| {
                let video: u64 = video.parse().unwrap_or_default();
                guest.balloon = false;
                (guest.current_kib, guest.limit_kib) = (Kib(current + video), Kib(limit));
            });
            for (node, value) in
                [("target", "1048576"), ("static-max", &max.to_string()), ("videoram", video)]
            {
                scene.world().write(&format!("/local/domain/{domid}/memory/{node}"), value);
            }
        }
        let look = |detail| {
            calls.take();
            let survey = survey(&host, &*host.connect().unwrap(), &[], detail).unwrap();
            let reads = calls.take_requests();
            let of = |domid: u16| format!("READ /local/domain/{domid}/memory/videoram");
            let is_read = |domid: u16| reads.contains(&of(domid));
            assert!(is_read(9), "an HVM guest's");
            assert!(!is_read(0) || detail != Detail::Numbers, "dom0's");
            assert_eq!(is_read(7), is_read(8));
            (rows(&survey), is_read(7))
        };
        let (shown, was_read) = look(Detail::Numbers);
        assert_eq!((&shown, was_read), (&look(Detail::Findings).0, is_read), "{video}, {limit}");
        assert!(shown[1].ends_with(&format!("[{finding}]")), "{shown:?}");
    }
}

#[test]
fn only_the_named_domains_are_read() {
    let scene = Scene::new();
    let (host, calls) = scene.host_with_calls();
    for (names, domids) in [
        (&["7"][..], &["/7/"][..]),
        (&["id:7", "8"], &["/7/", "/8/"]),
        (&["00000000-0000-4000-8000-000000000007"], &["/7/"]),
    ] {
        look_at(&host, names);
        let requests = calls.take_requests();
        assert!(requests.len() > 5);
        for request in &requests[1..] {
            let request = format!("{request}/");
            assert!(domids.iter().any(|domid| request.contains(domid)), "{names:?}: {request}");
        }
    }
    // Names exist in xenstore only, so all names are read, and nothing else of other domains.
    look_at(&host, &["web"]);
    let others = calls.take_requests().into_iter().filter(|request| !request.contains("/7/"));
    for request in others.skip(1) {
        assert!(request.ends_with("/name"), "{request}");
    }
}

#[test]
fn a_missing_name_is_reported_beside_the_domains_found() {
    let scene = Scene::new();
    let survey = look_at(&scene.host(), &["web", "nosuch", "99"]);
    assert_eq!(rows(&survey), ["web: running []"]);
    assert_eq!(wanted(&survey.missing), refs(&["nosuch", "99"]));
}

#[test]
fn an_ambiguous_name_means_all_its_domains() {
    let scene = Scene::new();
    scene.world().write("/local/domain/8/name", "web");
    assert_eq!(look_at(&scene.host(), &["web", "7"]).rows.len(), 2);
}

/// A session makes changes all the time, as `xmem set` would.
#[test]
fn a_change_in_progress_is_never_called_interrupted_or_out_of_step() {
    let scene = Scene::new();
    scene.edit(7, |web| web.rate_kib_per_second = Kib(u64::MAX));
    let (is_over, changes) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|threads| {
        threads.spawn(|| {
            let host = scene.host();
            let mut session = ChangeSession::new(&host);
            for size in ["512M", "1G"].into_iter().cycle() {
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
                let size = size.parse().unwrap();
                let request = ChangeRequest {
                    domain: "7".parse().unwrap(),
                    memory: MemoryRequest::Set { size, raise_max: false, force: false },
                    keep_free: None,
                    dry_run: false,
                    lock_timeout: Duration::from_secs(10),
                };
                session.change(&request, &NoInterrupt).unwrap();
                changes.fetch_add(1, Ordering::Relaxed);
            }
        });
        let host = scene.host();
        let mut false_alarms = Vec::new();
        for _ in 0..1500 {
            let survey = look_at(&host, &["7"]);
            false_alarms
                .extend(survey.rows[0].findings.iter().filter(|it| it.is_out_of_step()).cloned());
        }
        is_over.store(true, Ordering::Relaxed);
        assert_eq!(false_alarms, []);
        assert!(changes.load(Ordering::Relaxed) > 10);
    });
}

/// The change is committed between the hypervisor's answer and xenstore's.
#[test]
fn numbers_from_before_and_after_a_change_are_not_compared() {
    let scene = Scene::new();
    let world = std::sync::Arc::clone(&scene.world);
    let is_made = AtomicBool::new(false);
    let host = scene.host_that(move |call| {
        if matches!(call, Call::Read(_)) && !is_made.swap(true, Ordering::Relaxed) {
            let mut world = world.lock().unwrap();
            world.write("/local/domain/7/memory/target", "1572864");
            world.domains.get_mut(&7).unwrap().limit_kib = Kib(1_573_888);
        }
    });
    let survey = look_at(&host, &["7"]);
    assert!(!survey.rows[0].is_out_of_step(), "{:?}", survey.rows[0].findings);
}

#[test]
fn a_domain_destroyed_during_the_survey_is_not_a_finding() {
    let scene = Scene::new();
    let world = std::sync::Arc::clone(&scene.world);
    let host = scene.host_that(move |call| {
        if matches!(call, Call::Read(_)) {
            world.lock().unwrap().destroy(7);
        }
    });
    let survey = look_at(&host, &[]);
    assert_eq!(rows(&survey), ["Domain-0: running []", "db: running []", "win: running []"]);
}

#[test]
fn a_domain_out_of_step_is_found_unless_it_is_locked() {
    let scene = Scene::new();
    scene.edit(7, |web| web.limit_kib = Kib::from_mib(512));
    scene.kill_a_change(8, Kib::from_mib(1024));
    let survey = look(&scene);
    assert_eq!(
        rows(&survey)[1..3],
        ["web: running [limit-too-low]", "db: running [interrupted-change]"]
    );
    let locks = (scene.lock(7), scene.lock(8));
    let survey = look(&scene);
    assert_eq!(rows(&survey)[1..3], ["web: running [locked]", "db: running [locked]"]);
    assert!(survey.rows[1].is_locked() && !survey.rows[1].is_out_of_step());
    drop(locks);
}

#[test]
fn a_missing_state_directory_holds_no_locks() {
    let scene = Scene::new();
    fs::remove_dir(scene.state_dir()).unwrap();
    assert_eq!(rows(&look(&scene)).len(), 4);
}

#[test]
fn a_memory_manager_is_found_by_its_node() {
    let scene = Scene::new();
    scene.world().write("/local/domain/7/memory/dynamic-max", "1048576");
    scene.world().write("/local/domain/8/memory/hotplug-max", "1048576");
    let survey = look(&scene);
    assert_eq!(rows(&survey)[1..3], ["web: running [managed]", "db: running [managed]"]);
}

#[test]
fn a_suspended_domain_is_not_checked_by_its_memory() {
    let scene = Scene::new();
    scene.edit(7, |web| {
        (web.shutdown, web.current_kib) = (Some(Shutdown::Suspend), Kib::from_mib(2048));
    });
    assert_eq!(rows(&look(&scene))[1], "web: suspended [suspended]");
}
