use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::time::Duration;

use xen::{Host as _, Kib};

use super::{host, host_in, names};
use crate::directory::Directory;
use crate::{Faults, SimError, SimHost, StartWorld, World};

fn open(dir: &Path) -> Result<SimHost, SimError> {
    SimHost::open_with(Some(dir), StartWorld::Start, Faults::default())
}

fn reason(result: Result<impl Sized, SimError>) -> String {
    let error = result.err().unwrap();
    assert!(error.is_usage() && error.hint().is_some(), "{error}");
    match error {
        SimError::Directory { reason, .. } => reason,
        other => panic!("{other}"),
    }
}

#[test]
fn a_new_directory_is_filled_and_an_existing_one_kept() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("deep/er");
    let host = open(&dir).unwrap();
    assert_eq!(names(&dir), ["lib", "world.json", "world.lock"]);
    assert_eq!(host.state_dir(), dir.join("lib"));
    host.with_world(|world| world.memory_kib = Kib(4)).unwrap();
    let again = SimHost::open_with(Some(&dir), StartWorld::States, Faults::default()).unwrap();
    assert_eq!(again.with_world(|world| world.memory_kib).unwrap(), Kib(4));
}

#[test]
fn reading_does_not_replace_the_file() {
    let (dir, host) = host("");
    let inode = || fs::metadata(dir.path().join("world.json")).unwrap().ino();
    let before = inode();
    host.hypervisor().domains().unwrap();
    assert_eq!(inode(), before);
    host.with_world(|world| world.memory_kib = Kib(4)).unwrap();
    assert_ne!(inode(), before);
}

#[test]
fn each_edit_of_the_file_is_seen() {
    let (dir, host) = host("");
    for kib in 1000..1100 {
        let mut world = World::start();
        world.memory_kib = Kib(kib);
        fs::write(dir.path().join("world.json"), serde_json::to_vec(&world).unwrap()).unwrap();
        assert_eq!(host.with_world(|world| world.memory_kib).unwrap(), Kib(kib));
    }
}

#[test]
fn a_directory_of_other_files_is_refused_and_left_alone() {
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("precious"), "").unwrap();
    assert!(reason(open(temp.path())).starts_with("is neither empty nor a sim"));
    assert_eq!(names(temp.path()), ["precious"]);
    for path in [temp.path().join("precious"), temp.path().join("precious/below")] {
        assert_eq!(reason(open(&path)), "is not a directory");
    }
    // A directory with a world is a sim, whatever else it contains.
    fs::write(temp.path().join("world.json"), serde_json::to_vec(&World::start()).unwrap())
        .unwrap();
    open(temp.path()).unwrap();
}

#[test]
fn a_link_in_place_of_the_next_world_is_not_followed() {
    let (dir, host) = host("");
    let precious = dir.path().join("lib/precious");
    fs::write(&precious, "precious").unwrap();
    for name in ["world.json.new", "world.lock"] {
        drop(fs::remove_file(dir.path().join(name)));
        symlink(&precious, dir.path().join(name)).unwrap();
        let error = host.with_world(|world| world.memory_kib = Kib(4)).unwrap_err();
        assert!(error.to_string().ends_with(name) && !error.is_usage(), "{error}");
        assert_eq!(fs::read(&precious).unwrap(), b"precious");
        fs::remove_file(dir.path().join(name)).unwrap();
    }
    assert_eq!(host.with_world(|world| world.memory_kib).unwrap(), Kib::from_mib(16 * 1024));
}

#[test]
fn the_world_may_be_a_link_to_a_file_elsewhere() {
    let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let kept = outside.path().join("kept.json");
    let text = serde_json::to_vec(&World::start()).unwrap();
    fs::write(&kept, &text).unwrap();
    symlink(&kept, dir.path().join("world.json")).unwrap();
    let host = host_in(dir.path(), "");
    host.with_world(|world| world.memory_kib = Kib(8)).unwrap();
    assert_eq!(host.with_world(|world| world.memory_kib).unwrap(), Kib(8));
    assert_eq!(fs::read(kept).unwrap(), text);
}

#[test]
fn a_fifo_does_not_block() {
    let temp = tempfile::tempdir().unwrap();
    let fifo = temp.path().join("world.json");
    let mode = rustix::fs::Mode::from_bits_retain(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    assert!(matches!(open(temp.path()), Err(SimError::World { .. })));
}

#[test]
fn the_default_directory_must_be_the_users_own_and_not_a_link() {
    let temp = tempfile::tempdir().unwrap();
    let euid = rustix::process::geteuid().as_raw();
    let check = |name: &str, euid| {
        let mut directory = Directory::at(Some(&temp.path().join(name)), StartWorld::Start);
        directory.is_default = true;
        directory.check(euid)
    };
    fs::create_dir(temp.path().join("own")).unwrap();
    symlink(temp.path().join("own"), temp.path().join("link")).unwrap();
    fs::write(temp.path().join("file"), "").unwrap();
    check("own", euid).unwrap();
    assert_eq!(reason(check("own", euid + 1)), format!("belongs to user {euid}, not to you"));
    assert_eq!(reason(check("link", euid)), "is a symbolic link");
    assert_eq!(reason(check("file", euid)), "is not a directory");
    let error = check("missing", euid).unwrap_err();
    assert!(matches!(error, SimError::Io { .. }) && !error.is_usage());
}

#[test]
fn root_refuses_a_directory_of_another_user() {
    let temp = tempfile::tempdir().unwrap();
    let check = |euid| Directory::at(Some(temp.path()), StartWorld::Start).check(euid);
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(temp.path(), Some(65534), None).unwrap();
    }
    assert!(reason(check(0)).starts_with("belongs to user "));
    check(4_000_000).unwrap();
    if rustix::process::geteuid().is_root() {
        assert!(reason(open(temp.path())).starts_with("belongs to user 65534"));
        assert!(names(temp.path()).is_empty());
    }
}

#[test]
fn an_existing_sim_can_be_read_without_creating_files() {
    let temp = tempfile::tempdir().unwrap();
    let look = |dir: &Path| SimHost::open_existing(Some(dir)).unwrap();
    assert!(look(&temp.path().join("missing")).is_none());
    assert!(look(temp.path()).is_none());
    assert!(names(temp.path()).is_empty());

    let mut world = World::start();
    world.write(super::TARGET, "524288");
    fs::write(temp.path().join("world.json"), serde_json::to_vec(&world).unwrap()).unwrap();
    let before = fs::read(temp.path().join("world.json")).unwrap();
    let host = look(temp.path()).unwrap();
    assert_eq!(host.hypervisor().domains().unwrap().len(), 4);
    assert_eq!(super::read(&host, "/local/domain/7/name").unwrap(), "web");
    assert_eq!(names(temp.path()), ["world.json"]);
    assert_eq!(fs::read(temp.path().join("world.json")).unwrap(), before);
}

#[test]
fn a_read_only_directory_is_not_wrong_usage() {
    if rustix::process::geteuid().is_root() {
        return;
    }
    let (dir, host) = host("");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o500)).unwrap();
    assert!(host.hypervisor().domains().is_ok(), "a world at rest can be read");
    let error = host.with_world(|world| world.memory_kib = Kib(4)).unwrap_err();
    assert!(!error.is_usage() && error.hint().is_some(), "{error}");
    let error = open(&dir.path().join("new")).unwrap_err();
    assert!(!error.is_usage(), "{error}");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn a_change_that_cannot_be_saved_is_not_made() {
    let (dir, host) = host("");
    let memory = host.with_world(|world| world.memory_kib).unwrap();
    fs::create_dir(dir.path().join("world.json.new")).unwrap();
    let error = host.with_world(|world| world.memory_kib = Kib(12)).unwrap_err();
    assert!(error.to_string().starts_with("cannot write "), "{error}");
    assert_eq!(host.with_world(|world| world.memory_kib).unwrap(), memory);
}

#[test]
fn concurrent_processes_fill_one_directory_once() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("new");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let host = open(&dir).unwrap();
                for _ in 0..20 {
                    host.with_world(|world| world.memory_kib.0 += 4).unwrap();
                }
            });
        }
    });
    let memory = open(&dir).unwrap().with_world(|world| world.memory_kib).unwrap();
    assert_eq!(memory, Kib(World::start().memory_kib.0 + 8 * 20 * 4), "a change was lost");
}

#[test]
fn a_stopped_process_does_not_stop_the_others() {
    let temp = tempfile::tempdir().unwrap();
    let directory = Directory::open(Some(temp.path()), StartWorld::Start).unwrap();
    let held = directory.lock(Duration::ZERO).unwrap();
    let error = directory.lock(Duration::from_millis(20)).unwrap_err();
    assert!(matches!(error, SimError::Io { action: "lock", .. }), "{error}");
    drop(held);
    directory.lock(Duration::ZERO).unwrap();
}
