//! What a plan depends on besides the domain's numbers: its state and role, and its host.

use xen::Dom0;
use xen::hypervisor::Shutdown;

use super::*;
use crate::memory::Manager;
use crate::state::State;

fn host(total: u64, free: u64) -> Surroundings {
    let host = HostMemory { total: Kib(total), free: Kib(free), scrub: Kib(0), claimed: Kib(0) };
    Surroundings { host: Some(host), ..Surroundings::default() }
}

fn refused(memory: &Memory, request: MemoryRequest, around: &Surroundings) -> Refusal {
    plan(memory, &request, around).unwrap_err()
}

/// Checks that it is refused without force and made with force.
fn needs_force(memory: &Memory, size: &str, around: &Surroundings) -> Refusal {
    let refusal = refused(memory, set(size), around);
    assert!(refusal.can_be_forced(), "{refusal:?}");
    assert!(!plan(memory, &force(size), around).unwrap().changes_nothing());
    refusal
}

fn notes(memory: &Memory, request: MemoryRequest, around: &Surroundings) -> Vec<Note> {
    plan(memory, &request, around).unwrap().notes
}

#[test]
fn a_size_above_all_of_the_hosts_memory_needs_force() {
    let big = domain(7, GuestType::Pv, 0, GIB, 2 << 30);
    let around = host(16 * GIB, 8 * GIB);
    let above = Refusal::AboveHost { size: Kib(1 << 30), total: Kib(16 * GIB) };
    assert_eq!(needs_force(&big, "1T", &around), above);
    assert_eq!(refused(&pv(), raise("1T"), &around), above);
    assert_eq!(refused(&pv(), max("1T"), &around), above);
    let forced = MemoryRequest::Max { size: "1T".parse().unwrap(), force: true };
    assert!(plan(&pv(), &forced, &around).is_ok());
    assert!(plan(&big, &set("16G"), &around).is_ok());
    // Shrinking from such a size needs no force.
    let huge = domain(7, GuestType::Pv, 0, 2 << 30, 4 << 30);
    assert!(plan(&huge, &set("1T"), &around).is_ok());
    assert!(plan(&huge, &max("3T"), &around).is_ok());
}

#[test]
fn memory_to_keep_free_is_not_given_out_even_by_force() {
    let kept = |free, keep| Surroundings { keep_free: Some(Kib(keep)), ..host(16 * GIB, free) };
    let refusal = Refusal::KeepFree {
        needs: Kib(GIB / 2),
        available: Kib(GIB),
        keep_free: Kib(GIB / 2 + 4),
        granted: Kib(0),
    };
    for request in [set("1G"), force("1G"), raise("1G")] {
        assert_eq!(refused(&pv(), request, &kept(GIB, GIB / 2 + 4)), refusal);
        assert!(plan(&pv(), &request, &kept(GIB, GIB / 2)).is_ok());
        assert!(plan(&pv(), &request, &kept(GIB / 4, 4)).is_err());
    }
    for request in [set("256M"), set("512M"), set("513M"), max("2G")] {
        assert!(plan(&pv(), &request, &kept(0, GIB)).is_ok(), "{request:?} takes nothing");
    }
}

#[test]
fn a_growing_domain_gets_a_note_of_what_it_leaves_the_host() {
    let note = |free| notes(&pv(), set("1G"), &host(16 * GIB, free));
    assert_eq!(note(GIB / 2 + HOST_RESERVE.0), []);
    let left = Kib(HOST_RESERVE.0 - 4);
    assert_eq!(note(GIB / 2 + left.0), [Note::LeavesLittle { free: left, granted: Kib(0) }]);
    assert_eq!(note(GIB / 2), [Note::LeavesLittle { free: Kib(0), granted: Kib(0) }]);
    let short = Note::HostShort {
        needs: Kib(GIB / 2),
        available: Kib(GIB / 2 - 4),
        keep_free: Kib(0),
        granted: Kib(0),
    };
    assert_eq!(note(GIB / 2 - 4), [short]);
    assert_eq!(notes(&pv(), set("256M"), &host(16 * GIB, 0)), []);
    // It already holds its new size.
    let mut there = pv();
    there.info.current = Kib(GIB);
    assert_eq!(notes(&there, set("1G"), &host(16 * GIB, 0)), []);
}

#[test]
fn a_device_model_is_shrunk_by_force_only() {
    let stub = Memory { device_model_of: DomId::new(9), ..pv() };
    let refusal = needs_force(&stub, "256M", &Surroundings::default());
    assert_eq!(refusal, Refusal::DeviceModel { of: DomId::new(9).unwrap() });
    assert!(planned(&stub, set("1G")).is_ok());
    assert!(planned(&stub, max("512M")).is_ok());
}

#[test]
fn a_guest_still_giving_back_boot_memory_is_shrunk_by_force_only() {
    let pod = |cache, entries| Surroundings {
        pod: Some(Pod { cache: Kib(cache), entries: Kib(entries) }),
        ..Surroundings::default()
    };
    let refusal = needs_force(&pv(), "256M", &pod(4096, 8192));
    assert_eq!(refusal, Refusal::Populating { outstanding: Kib(4096) });
    assert!(plan(&pv(), &set("1G"), &pod(4096, 8192)).is_ok());
    let forced = notes(&pv(), force("256M"), &pod(4096, 8192));
    assert_eq!(forced, [Note::Populating { outstanding: Kib(4096) }]);
    // Seen on Xen 4.17: a guest that has given back the difference has as many entries as its cache has pages.
    assert!(plan(&pv(), &set("256M"), &pod(4096, 4096)).is_ok());
    assert!(plan(&pv(), &set("256M"), &pod(0, 0)).is_ok());
}

#[test]
fn a_direct_mapped_dom0_is_shrunk_by_force_only() {
    let dom0 = domain(0, GuestType::Pvh, 0, GIB, 2 * GIB);
    let arm = Dom0 { direct_mapped: true, ..Dom0::default() };
    let around = Surroundings { dom0: arm, ..Surroundings::default() };
    assert_eq!(needs_force(&dom0, "512M", &around), Refusal::DirectMapped);
    assert_eq!(notes(&dom0, force("512M"), &around), [Note::DirectMapped]);
    assert_eq!(notes(&dom0, force("2G"), &around), []);
    assert!(plan(&dom0, &set("2G"), &around).is_ok());
    assert!(plan(&pv(), &set("256M"), &around).is_ok());
}

#[test]
fn the_first_target_of_a_pvh_dom0_with_an_old_kernel_needs_force() {
    let mut dom0 = domain(0, GuestType::Pvh, 0, GIB, 2 * GIB);
    dom0.target = Ok(None);
    let kernel = |kernel| Surroundings {
        dom0: Dom0 { kernel, ..Dom0::default() },
        ..Surroundings::default()
    };
    for old in [Some((6, 14)), None] {
        for size in ["512M", "1536M"] {
            let refusal = Refusal::Dom0Kernel { kernel: old };
            assert_eq!(needs_force(&dom0, size, &kernel(old)), refusal);
            let notes = notes(&dom0, force(size), &kernel(old));
            assert!(notes.contains(&Note::Dom0Kernel { kernel: old }), "{notes:?}");
        }
    }
    let refusal = Refusal::Dom0Kernel { kernel: Some((6, 14)) };
    assert_eq!(refused(&dom0, max("2G"), &kernel(Some((6, 14)))), refusal);
    // Missing keys do no harm; filling them in would.
    assert_eq!(refused(&dom0, MemoryRequest::Repair, &kernel(Some((6, 14)))), refusal);
    for fine in [Some((6, 15)), Some((7, 0))] {
        assert!(plan(&dom0, &set("512M"), &kernel(fine)).is_ok());
    }
    assert!(
        plan(&domain(0, GuestType::Pvh, 0, GIB, 2 * GIB), &set("512M"), &kernel(Some((6, 1))))
            .is_ok()
    );
    let mut pv = domain(0, GuestType::Pv, 0, GIB, 2 * GIB);
    pv.target = Ok(None);
    assert!(plan(&pv, &set("512M"), &kernel(Some((6, 1)))).is_ok());
    // On Arm.
    let mut mapped = kernel(Some((6, 1)));
    mapped.dom0.direct_mapped = true;
    assert!(plan(&dom0, &set("1536M"), &mapped).is_ok());
}

#[test]
fn a_state_in_which_the_guest_does_not_balloon_is_noted() {
    let current = Kib(GIB / 2);
    let mut paused = pv();
    paused.info.paused = true;
    assert_eq!(planned(&paused, set("256M")).unwrap().notes, [Note::Paused { current }]);
    assert_eq!(planned(&paused, set("1G")).unwrap().notes, [Note::Paused { current }]);
    assert_eq!(planned(&paused, max("2G")).unwrap().notes, []);
    for (reason, note) in [
        (Shutdown::PowerOff, Note::Stopped(State::ShutDown)),
        (Shutdown::Crash, Note::Stopped(State::Crashed)),
        (Shutdown::Suspend, Note::Suspended),
    ] {
        let mut stopped = pv();
        stopped.info.shutdown = Some(reason);
        assert_eq!(planned(&stopped, set("256M")).unwrap().notes, [note]);
    }
}

#[test]
fn a_change_of_a_managed_domain_is_noted() {
    let managed = Memory { manager: Some(Manager::Squeezed), ..pv() };
    let note = Note::Managed(Manager::Squeezed);
    for request in [set("256M"), max("2G")] {
        assert_eq!(planned(&managed, request).unwrap().notes, std::slice::from_ref(&note));
    }
    assert_eq!(planned(&managed, set("512M")).unwrap().notes, []);
}

#[test]
fn the_video_memory_and_device_model_of_an_hvm_guest_are_noted() {
    let note = Note::VideoMemory { size: Kib(GIB), target: Kib(GIB - 16_384) };
    assert_eq!(planned(&hvm(GIB), set("1G")).unwrap().notes, std::slice::from_ref(&note));
    assert_eq!(planned(&hvm(GIB), set("512M")).unwrap().notes, []);
    assert_eq!(planned(&hvm(GIB), set("+64M")).unwrap().notes, []);
    let raised = planned(&hvm(GIB / 2), raise("1G")).unwrap().notes;
    assert_eq!(raised, [note, Note::DeviceModelMaximum]);
    assert_eq!(planned(&hvm(GIB / 2), max("1G")).unwrap().notes, [Note::DeviceModelMaximum]);
    assert_eq!(planned(&hvm(GIB), max("512M")).unwrap().notes, []);
    assert_eq!(planned(&minus_one(GIB / 2), max("1G")).unwrap().notes, []);
}

#[test]
fn the_host_is_asked_only_for_what_the_plan_depends_on() {
    let asked = |memory: &Memory, request: MemoryRequest| {
        Questions::of(memory, &request, &planned(memory, request).unwrap())
    };
    let nothing = Questions::default();
    assert_eq!(asked(&pv(), set("256M")), nothing);
    assert_eq!(asked(&pv(), set("1G")), Questions { host: true, ..nothing });
    assert_eq!(asked(&pv(), max("2G")), Questions { host: true, ..nothing });
    assert_eq!(asked(&pv(), max("512M")), nothing);
    assert_eq!(asked(&domain(7, GuestType::Pvh, 0, GIB, GIB), set("1G")), nothing);
    // Its maximum may have been lowered since it was started.
    let pod = cfg!(target_arch = "x86_64");
    for static_max in [GIB / 2, GIB] {
        let guest = domain(7, GuestType::Pvh, 0, GIB / 2, static_max);
        assert_eq!(asked(&guest, set("256M")), Questions { pod, ..nothing });
    }
    let dom0 = domain(0, GuestType::Pvh, 0, GIB, GIB);
    assert_eq!(asked(&dom0, set("512M")), Questions { dom0: true, ..nothing });
    assert_eq!(asked(&dom0, set("1G")), nothing);
}

#[test]
fn refusals_and_notes_state_their_numbers() {
    let kib = |mib: u64| Kib(mib * MIB);
    for (sentence, expected) in [
        (
            Refusal::GuestMinimum { size: kib(31), video: kib(0) }.to_string(),
            "31 MiB is below the 32 MiB minimum for a guest",
        ),
        (
            Refusal::AboveHost { size: kib(1 << 20), total: kib(16_384) }.to_string(),
            "1048576 MiB is more than all of the host's memory (16384 MiB)",
        ),
        (Refusal::BeyondXen.to_string(), "the hypervisor cannot take a limit above 16383 GiB"),
        (
            Note::HostShort {
                needs: kib(1024),
                available: kib(300),
                keep_free: Kib(0),
                granted: Kib(0),
            }
            .to_string(),
            "growing by 1024 MiB, but the host has only 300 MiB free",
        ),
        (
            Note::LeavesLittle { free: kib(0), granted: Kib(0) }.to_string(),
            "leaves the host 0 MiB free",
        ),
        (
            Note::VideoMemory { size: kib(1024), target: kib(1008) }.to_string(),
            "a size of 1024 MiB includes video memory: the target is 1008 MiB",
        ),
        (
            Note::Stopped(State::ShutDown).to_string(),
            "the domain is shut down: its guest no longer balloons",
        ),
    ] {
        assert_eq!(sentence, expected);
    }
}
