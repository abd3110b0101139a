//! Repeated surveys of a host by one monitor.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use xen::{Host as _, Kib};
use xmem_core::survey::{Detail, Monitor, Survey};
use xmem_sim::{Call, Failure, GuestType, Observer, Verdict};

use crate::scene::{Scene, refs, wanted};

fn names(survey: &Survey) -> Vec<String> {
    let name = |row: &xmem_core::survey::Row| row.domain.name.as_ref().unwrap().0.clone();
    survey.rows.iter().map(name).collect()
}

/// The domids whose nodes were read.
fn read<'a>(requests: &'a [String]) -> Vec<&'a str> {
    let path = |it: &'a String| it.strip_prefix("READ /local/domain/");
    let mut domids: Vec<_> =
        requests.iter().filter_map(path).filter_map(|it| it.split('/').next()).collect();
    domids.dedup();
    domids
}

#[test]
fn a_monitor_asks_xenstored_nothing_while_nothing_changes() {
    let scene = Scene::new();
    let (host, calls) = scene.host_with_calls();
    for wanted in [&[][..], &["7"], &["web", "db"], &["00000000-0000-4000-8000-000000000007"]] {
        let mut monitor = Monitor::new(&host, &refs(wanted), Detail::Reports).unwrap();
        let first = names(&monitor.refresh().unwrap());
        calls.take();
        for mib in 500..600 {
            scene.edit(7, |web| (web.balloon, web.current_kib) = (false, Kib::from_mib(mib)));
            let survey = monitor.refresh().unwrap();
            assert_eq!(names(&survey), first);
            let web = survey.rows.iter().find(|row| row.domain.identity.domid.get() == 7).unwrap();
            assert_eq!(web.memory.info.current, Kib::from_mib(mib));
            assert_eq!(web.findings[0].kind.word(), "below-target");
        }
        assert_eq!(calls.take_requests(), [""; 0], "{wanted:?}");
    }
}

#[test]
fn only_a_domain_that_changed_is_read_again() {
    let scene = Scene::new();
    let (host, calls) = scene.host_with_calls();
    let mut monitor = Monitor::new(&host, &[], Detail::Reports).unwrap();
    monitor.refresh().unwrap();
    calls.take();
    scene.world().write("/local/domain/8/memory/target", "1048576");
    let survey = monitor.refresh().unwrap();
    assert_eq!(survey.rows[2].memory.target, Ok(Some(Kib::from_mib(1024))));
    assert_eq!(read(&calls.take_requests()), ["8"]);
    scene.world().write("/local/domain/7/name", "renamed");
    assert_eq!(names(&monitor.refresh().unwrap())[1], "renamed");
    assert_eq!(read(&calls.take_requests()), ["7"]);
    // Device nodes come and go without being read.
    scene.world().write("/local/domain/7/device/vbd/51712/state", "4");
    monitor.refresh().unwrap();
    assert_eq!(calls.take_requests(), [""; 0]);
}

#[test]
fn a_change_of_a_guests_report_reads_that_report_alone() {
    let scene = Scene::new();
    let report = |kib: &str| {
        scene.world().write("/local/domain/7/data/meminfo_total", "1000000");
        scene.world().write("/local/domain/7/data/meminfo_free", kib);
        scene.world().write("/local/domain/8/memory/meminfo", kib);
    };
    report("400000");
    let (host, calls) = scene.host_with_calls();
    let mut monitor = Monitor::new(&host, &[], Detail::Reports).unwrap();
    let mut used = || {
        let survey = monitor.refresh().unwrap();
        [survey.rows[1].memory.used(), survey.rows[2].memory.used()].map(|used| used.unwrap().0)
    };
    assert_eq!(used(), [600_000, 400_000]);
    calls.take();
    report("300000");
    assert_eq!(used(), [700_000, 300_000]);
    let requests = calls.take_requests();
    assert!(requests.iter().all(|request| request.contains("meminfo")), "{requests:?}");
    // If the report is not shown, it is not read.
    let mut monitor = Monitor::new(&host, &[], Detail::Findings).unwrap();
    monitor.refresh().unwrap();
    calls.take();
    report("200000");
    assert_eq!(monitor.refresh().unwrap().rows[1].memory.used(), None);
    assert_eq!(calls.take_requests(), [""; 0]);
}

#[test]
fn a_new_domain_is_read_and_a_gone_one_unwatched() {
    let scene = Scene::new();
    let (host, calls) = scene.host_with_calls();
    let mut monitor = Monitor::new(&host, &[], Detail::Reports).unwrap();
    monitor.refresh().unwrap();
    calls.take();
    let size = Kib::from_mib(512);
    scene.world().create(20, "new", GuestType::Pvh, size, size, 0);
    assert_eq!(names(&monitor.refresh().unwrap()), ["Domain-0", "web", "db", "win", "new"]);
    let requests = calls.take_requests();
    assert_eq!(read(&requests), ["20"]);
    let watches = requests.iter().filter(|it| it.starts_with("WATCH /local/domain/20/")).count();
    assert_eq!(watches, 4);

    scene.world().destroy(20);
    assert_eq!(names(&monitor.refresh().unwrap()), ["Domain-0", "web", "db", "win"]);
    let requests = calls.take_requests();
    let unwatches =
        requests.iter().filter(|it| it.starts_with("UNWATCH /local/domain/20/")).count();
    assert_eq!((unwatches, requests.len()), (4, 4), "{requests:?}");
    // A new domain with the same domid.
    scene.world().create(20, "newer", GuestType::Pvh, size, size, 0);
    assert_eq!(names(&monitor.refresh().unwrap())[4], "newer");
}

#[test]
fn a_watched_domain_is_followed_when_it_is_renamed() {
    let scene = Scene::new();
    let host = scene.host();
    let mut monitor = Monitor::new(&host, &refs(&["web"]), Detail::Reports).unwrap();
    assert_eq!(names(&monitor.refresh().unwrap()), ["web"]);
    scene.world().write("/local/domain/7/name", "renamed");
    assert_eq!(names(&monitor.refresh().unwrap()), ["renamed"]);
    assert_eq!(names(&monitor.refresh().unwrap()), ["renamed"]);
    scene.world().write("/local/domain/8/name", "web");
    assert_eq!(names(&monitor.refresh().unwrap()), ["renamed", "web"]);
    scene.world().domains.remove(&7);
    assert_eq!(names(&monitor.refresh().unwrap()), ["web"]);
}

#[test]
fn a_domain_renamed_to_a_watched_name_is_shown() {
    let scene = Scene::new();
    let host = scene.host();
    let mut monitor = Monitor::new(&host, &refs(&["web", "late"]), Detail::Findings).unwrap();
    let survey = monitor.refresh().unwrap();
    assert_eq!(
        (names(&survey), wanted(&survey.missing)),
        (vec!["web".to_owned()], refs(&["late"]))
    );
    let size = Kib::from_mib(512);
    scene.world().create(20, "late--incoming", GuestType::Pvh, size, size, 0);
    assert_eq!(names(&monitor.refresh().unwrap()), ["web"]);
    scene.world().write("/local/domain/20/name", "late");
    let survey = monitor.refresh().unwrap();
    assert_eq!(
        (names(&survey), wanted(&survey.missing)),
        (vec!["web".to_owned(), "late".to_owned()], vec![])
    );
}

#[test]
fn a_wait_ends_when_xenstore_changes_and_not_before() {
    let scene = Scene::new();
    let host = scene.host();
    let mut monitor = Monitor::new(&host, &[], Detail::Findings).unwrap();
    monitor.refresh().unwrap();
    monitor.refresh().unwrap();
    let begin = Instant::now();
    monitor.wait(Duration::from_millis(100)).unwrap();
    assert!(begin.elapsed() >= Duration::from_millis(100));
    scene.world().write("/local/domain/7/memory/target", "524288");
    monitor.wait(Duration::from_mins(1)).unwrap();
    assert!(begin.elapsed() < Duration::from_secs(30));
    assert_eq!(monitor.refresh().unwrap().rows[1].memory.target, Ok(Some(Kib::from_mib(512))));
}

#[test]
fn a_domain_that_stays_out_of_step_is_confirmed_once() {
    let scene = Scene::new();
    scene.edit(7, |web| web.limit_kib = Kib::from_mib(512));
    let (host, calls) = scene.host_with_calls();
    let mut monitor = Monitor::new(&host, &[], Detail::Findings).unwrap();
    assert!(monitor.refresh().unwrap().rows[1].is_out_of_step());
    calls.take();
    assert!(monitor.refresh().unwrap().rows[1].is_out_of_step());
    assert_eq!(calls.take_requests(), [""; 0]);
    // It gets out of step while the monitor runs.
    scene.edit(8, |db| db.limit_kib = Kib::from_mib(512));
    assert!(monitor.refresh().unwrap().rows[2].is_out_of_step());
    assert_eq!(read(&calls.take_requests()), ["8"]);
    // A killed change leaves its record and the old target.
    scene.kill_a_change(9, Kib::from_mib(1024));
    let survey = monitor.refresh().unwrap();
    assert_eq!(survey.rows[3].findings[0].kind.word(), "interrupted-change");
}

/// The change comes between the watch events and the hypervisor's answer: the limit is new, the target old.
#[test]
fn a_change_during_a_survey_is_not_called_out_of_step() {
    let scene = Scene::new();
    let (world, is_due) = (Arc::clone(&scene.world), Arc::new(AtomicBool::new(false)));
    let due = Arc::clone(&is_due);
    let host = scene.host_that(move |call| {
        if matches!(call, Call::Domains) && due.swap(false, Ordering::Relaxed) {
            let mut world = world.lock().unwrap();
            world.write("/local/domain/7/memory/target", "524288");
            let web = world.domains.get_mut(&7).unwrap();
            (web.limit_kib, web.current_kib) = (Kib::from_mib(513), Kib::from_mib(512));
        }
    });
    let mut monitor = Monitor::new(&host, &[], Detail::Findings).unwrap();
    monitor.refresh().unwrap();
    is_due.store(true, Ordering::Relaxed);
    let survey = monitor.refresh().unwrap();
    assert_eq!(survey.rows[1].findings, []);
    assert_eq!(survey.rows[1].memory.target, Ok(Some(Kib::from_mib(512))));
}

#[test]
fn without_watches_each_survey_reads_everything() {
    let scene = Scene::new();
    let refuse = |call: &Call<'_>| match call {
        Call::Watch(_) => Verdict::Fail(Failure::Answer(xen::xenstore::Answer::Denied)),
        _ => Verdict::Proceed,
    };
    let host = scene.host().observed_by(Arc::new(refuse) as Arc<dyn Observer>);
    for wanted in [&[][..], &["web", "db"]] {
        let mut monitor = Monitor::new(&host, &refs(wanted), Detail::Findings).unwrap();
        monitor.refresh().unwrap();
        for target in [524_288, 1_048_576] {
            scene.world().write("/local/domain/7/memory/target", &target.to_string());
            let survey = monitor.refresh().unwrap();
            let web = survey.rows.iter().find(|row| row.domain.identity.domid.get() == 7).unwrap();
            assert_eq!(web.memory.target, Ok(Some(Kib(target))));
        }
    }
}

#[test]
fn a_monitor_fails_when_xenstored_dies() {
    let scene = Scene::new();
    let fail = Arc::new(AtomicBool::new(false));
    let failing = Arc::clone(&fail);
    let observer = move |call: &Call<'_>| {
        let is_due = failing.load(Ordering::Relaxed) && !call.is_hypercall();
        if is_due { Verdict::Fail(Failure::Closed) } else { Verdict::Proceed }
    };
    let host = scene.host().observed_by(Arc::new(observer) as Arc<dyn Observer>);
    let mut monitor = Monitor::new(&host, &[], Detail::Findings).unwrap();
    monitor.refresh().unwrap();
    fail.store(true, Ordering::Relaxed);
    scene.world().write("/local/domain/7/memory/target", "524288");
    monitor.refresh().unwrap_err();
    monitor.wait(Duration::from_mins(1)).unwrap_err();
    assert!(host.connect().is_err());
}

#[test]
fn the_name_of_a_domain_that_came_and_went_is_unwatched() {
    let scene = Scene::new();
    let (host, calls) = scene.host_with_calls();
    let mut monitor = Monitor::new(&host, &["web".parse().unwrap()], Detail::Findings).unwrap();
    monitor.refresh().unwrap();
    let size = Kib::from_mib(512);
    scene.world().create(20, "other", GuestType::Pvh, size, size, 0);
    monitor.refresh().unwrap();
    scene.world().destroy(20);
    calls.take();
    monitor.refresh().unwrap();
    let requests = calls.take_requests();
    assert!(requests.contains(&"UNWATCH /local/domain/20/name".to_owned()), "{requests:?}");
    assert_eq!(names(&monitor.refresh().unwrap()), ["web"]);
    assert_eq!(calls.take_requests(), [""; 0]);
}
