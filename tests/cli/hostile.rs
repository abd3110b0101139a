//! Obstacles in the state directory: links, FIFOs and directories where a lock or a record belongs.
//!
//! No run hangs, none follows a link out of the directory, and each names the obstacle.

use std::fs::{self, Permissions};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _, chown, symlink};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use snapbox::str;
use tempfile::TempDir;

use crate::check::limit;
use crate::sandbox::{Ran, Sim, WEB};

/// File types and contents in place of a regular file.
const OBSTACLES: [&str; 7] =
    ["link to /dev/zero", "link", "dangling link", "link to itself", "fifo", "socket", "directory"];

/// A sim, and a directory outside it that must not be touched.
struct Host {
    sim: Sim,
    outside: TempDir,
    batch: PathBuf,
}

impl Host {
    fn new() -> Self {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("precious"), "precious").unwrap();
        let batch = outside.path().join("batch");
        fs::write(&batch, "web 512M\n").unwrap();
        Self { sim: Sim::new(), outside, batch }
    }

    /// Creates an obstacle of this type.
    fn put(&self, what: &str, path: &Path) {
        let outside = |name: &str| self.outside.path().join(name);
        match what {
            "link to /dev/zero" => symlink("/dev/zero", path).unwrap(),
            "link" => symlink(outside("precious"), path).unwrap(),
            "dangling link" => symlink(outside("none"), path).unwrap(),
            "link to itself" => symlink(path.file_name().unwrap(), path).unwrap(),
            "fifo" => {
                assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
            }
            "socket" => drop(UnixListener::bind(path).unwrap()),
            "directory" => {
                fs::create_dir(path).unwrap();
                fs::write(path.join("file"), "").unwrap();
            }
            other => panic!("{other}"),
        }
    }

    /// A path in the state directory that belongs to `web`, or to domain 12, which does not exist.
    fn place(&self, letter: char, domid: u16, last: &str) -> PathBuf {
        self.sim.path().join(format!("lib/userdata-{letter}.{domid}.{WEB}.{last}"))
    }

    /// Runs `words` in time, and counts the files that remain.
    fn run(&self, words: &str, leaves: usize) -> Ran {
        let words = words.replace("FILE", self.batch.to_str().unwrap());
        let ran = self.sim.xmem(&words).leaves(leaves).run();
        assert_eq!(fs::read_to_string(self.outside.path().join("precious")).unwrap(), "precious");
        assert_eq!(fs::read_dir(self.outside.path()).unwrap().count(), 2, "{words}: {ran:?}");
        ran
    }
}

/// The file's type, links not followed.
fn kind(path: &Path) -> String {
    let kind = fs::symlink_metadata(path).unwrap().file_type();
    format!("{kind:?} {}", kind.is_fifo())
}

#[test]
fn an_obstacle_in_place_of_the_lock_is_reported_and_left() {
    for what in OBSTACLES {
        let host = Host::new();
        let lock = host.sim.lock();
        host.put(what, &lock);
        let (before, world) = (kind(&lock), host.sim.world());
        assert_eq!(host.run("set web 512M -n", 1).status.code(), Some(0), "a dry run takes none");
        for words in ["set web 512M", "max web 3G", "set web 512M --json", "apply FILE"] {
            let ran = host.run(words, 1);
            assert_eq!(ran.status.code(), Some(1), "{what}: {ran:?}");
            let message = "xmem: web (7): the lock's path DIR/lib/userdata-l.7.";
            let stderr = ran.stderr.replace("line 1: ", "");
            assert!(stderr.starts_with(message), "{what}: {ran:?}");
            assert!(ran.stderr.contains("; nothing changed"), "{what}: {ran:?}");
        }
        // What takes no lock is not stopped by the obstacle.
        for words in
            ["list", "watch -c 1", "check", "check web", "__complete-domains", "check --repair"]
        {
            let ran = host.run(words, 1);
            let checks = words.starts_with("check");
            // The obstacle keeps everybody from changing the domain.
            let code = if checks { 9 } else { 0 };
            assert_eq!((ran.status.code(), &*ran.stderr), (Some(code), ""), "{what}: {ran:?}");
            let reported =
                ran.stdout.contains("its lock path is not a regular file: DIR/lib/userdata-l.7.");
            assert!(reported || !checks, "{what}: {ran:?}");
        }
        assert_eq!((kind(&lock), host.sim.world()), (before.clone(), world), "{what}");
        // A domain that is out of step stays so, and check says why.
        limit(&host.sim, "7", 524_288);
        let ran = host.run("check --repair", 1);
        assert_eq!(ran.status.code(), Some(9), "{what}: {ran:?}");
        assert!(ran.stderr.contains("lib/userdata-l.7."), "{what}: {ran:?}");
        assert_eq!(kind(&lock), before);
    }
}

/// It is moved as it is, and a link is not followed.
#[test]
fn an_obstacle_in_place_of_the_record_is_moved_aside() {
    for what in OBSTACLES {
        for words in ["set web 512M", "max web 3G", "apply FILE", "check --repair"] {
            let host = Host::new();
            host.put(what, &host.sim.intent());
            let (before, world) = (kind(&host.sim.intent()), host.sim.world());
            let looks = ["list", "watch -c 1", "check", "check --repair -n", "set web 512M -n"];
            // The same in each round, so one is enough.
            for look in looks.iter().take(if words == "max web 3G" { looks.len() } else { 0 }) {
                let ran = host.run(look, 1);
                let code = if look.starts_with("check") { 9 } else { 0 };
                assert_eq!(ran.status.code(), Some(code), "{what}: {ran:?}");
                assert!(format!("{ran:?}").contains("lib/userdata-d.7."), "{what}: {ran:?}");
            }
            assert_eq!((kind(&host.sim.intent()), host.sim.world()), (before.clone(), world));
            let ran = host.run(words, 1);
            assert_eq!(ran.status.code(), Some(0), "{what}: {ran:?}");
            let why = if what.contains("link") {
                "it is a symbolic link"
            } else {
                "it is not a regular file"
            };
            let message = format!(
                "an intent record that xmem does not understand ({why}) was moved to DIR/lib/userdata-d.7."
            );
            assert!(format!("{}{}", ran.stdout, ran.stderr).contains(&message), "{what}: {ran:?}");
            let aside = host.place('d', 7, "xmem-intent-foreign");
            assert_eq!(kind(&aside), before, "{what}");
        }
    }
}

/// A record is written to its draft, which is then renamed.
#[test]
fn an_obstacle_in_place_of_the_draft_is_replaced_unless_a_directory() {
    for what in OBSTACLES {
        let host = Host::new();
        let draft = host.place('n', 7, "xmem-intent");
        host.put(what, &draft);
        let before = host.sim.numbers(7);
        if what == "directory" {
            let ran = host.run("set web 512M", 1);
            assert_eq!(ran.status.code(), Some(1), "{ran:?}");
            assert!(
                ran.stderr.contains("xmem: web (7): cannot write the intent record DIR/lib/"),
                "{ran:?}"
            );
            assert_eq!(host.sim.numbers(7), before);
        } else {
            let ran = host.run("set web 512M", 0);
            assert_eq!((ran.status.code(), &*ran.stderr), (Some(0), ""), "{what}: {ran:?}");
            assert_eq!(host.sim.numbers(7), (524_288, 2_097_152, 525_312));
        }
    }
}

/// The place to which a foreign record is moved.
#[test]
fn an_obstacle_in_place_of_an_older_foreign_record_is_replaced_unless_a_directory() {
    for what in OBSTACLES {
        let host = Host::new();
        let aside = host.place('d', 7, "xmem-intent-foreign");
        host.put(what, &aside);
        fs::write(host.sim.intent(), "none").unwrap();
        let ran = host.run("set web 512M", if what == "directory" { 2 } else { 1 });
        if what == "directory" {
            assert_eq!(ran.status.code(), Some(1), "{ran:?}");
            assert!(
                ran.stderr.starts_with("xmem: web (7): cannot replace the intent record DIR/lib/"),
                "{ran:?}"
            );
        } else {
            assert_eq!(ran.status.code(), Some(0), "{what}: {ran:?}");
            assert_eq!(fs::read_to_string(&aside).unwrap(), "none");
        }
    }
}

/// Links are removed, but not what they point to.
#[test]
fn obstacles_of_a_gone_domain_are_removed_or_reported() {
    for what in OBSTACLES {
        let host = Host::new();
        host.put(what, &host.place('d', 12, "xmem-intent"));
        assert_eq!(host.run("check", 1).status.code(), Some(0));
        let stays = what == "directory";
        let ran = host.run("check --repair", usize::from(stays));
        assert_eq!(ran.status.code(), Some(i32::from(stays)), "{what}: {ran:?}");

        let host = Host::new();
        let lock = host.place('l', 12, "domain-userdata-lock");
        host.put(what, &lock);
        assert_eq!(host.run("check", 1).status.code(), Some(0));
        let ran = host.run("check --repair", 1);
        assert_eq!(ran.status.code(), Some(0), "{what}: {ran:?}");
        assert!(
            ran.stdout.contains("), but its lock path is not a regular file: DIR/lib/"),
            "{what}: {ran:?}"
        );
    }
}

/// A state directory in which anybody may create files, like /tmp, changes nothing.
#[test]
fn a_world_writable_directory_is_used_as_any_other() {
    for mode in [0o777, 0o1777] {
        let host = Host::new();
        fs::set_permissions(host.sim.path().join("lib"), Permissions::from_mode(mode)).unwrap();
        assert_eq!(host.run("set web 512M", 0).status.code(), Some(0));
        // An empty file that no process has locked is a stale lock.
        fs::write(host.sim.lock(), "").unwrap();
        fs::set_permissions(host.sim.lock(), Permissions::from_mode(0o444)).unwrap();
        assert_eq!(host.run("check", 1).status.code(), Some(0));
    }
}

/// Runs xmem as a user who owns the sim but not the files that `prepare` creates. Root could open them
/// anyway, so as root the run becomes `nobody`, with a copy of the program that `nobody` can read.
fn as_somebody(words: &str, prepare: impl FnOnce(&Sim)) -> (Sim, Output) {
    const NOBODY: u32 = 65_534;
    let sim = Sim::new();
    let is_root = rustix::process::geteuid().is_root();
    let mut program = PathBuf::from(env!("CARGO_BIN_EXE_xmem"));
    let bin = tempfile::tempdir().unwrap();
    if is_root {
        let copy = bin.path().join("xmem");
        // A child that another test forks meanwhile would hold a copy made here open for writing, and such
        // a file cannot be executed.
        assert!(Command::new("cp").arg(&program).arg(&copy).status().unwrap().success());
        fs::set_permissions(bin.path(), Permissions::from_mode(0o755)).unwrap();
        program = copy;
        for path in ["", "lib", "world.json", "world.lock"] {
            chown(sim.path().join(path), Some(NOBODY), None).unwrap();
        }
    }
    prepare(&sim);
    let mut command = Command::new(program);
    if is_root {
        command.uid(NOBODY);
    }
    command.env_clear().arg("--host").arg(sim.host()).args(words.split_whitespace());
    let output = command.env("XMEM_SIM_FAULT", "guest-ignores").output().unwrap();
    (sim, output)
}

/// Makes a file that cannot be opened, whoever owns it.
fn closed(path: &Path) {
    fs::write(path, "{}").unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o000)).unwrap();
}

#[test]
fn a_file_that_cannot_be_opened_is_an_error() {
    let (sim, output) = as_somebody("set web 512M", |sim| closed(&sim.lock()));
    let ran = Ran::new(output, Some(sim.path()));
    ran.fails(7, str![[r#"
xmem: web (7): cannot open the lock DIR/lib/userdata-l.7.00000000-0000-4000-8000-000000000007.domain-userdata-lock: Permission denied; nothing changed (simulated)
hint: run xmem as root; if you are, check the ownership of the file and its directory (ls -la)

"#]]);
    assert_eq!(sim.numbers(7), (1_048_576, 2_097_152, 1_049_600));
    let (sim, output) = as_somebody("set web 512M", |sim| closed(&sim.intent()));
    let ran = Ran::new(output, Some(sim.path()));
    ran.fails(7, str![[r#"
xmem: web (7): cannot read the intent record DIR/lib/userdata-d.7.00000000-0000-4000-8000-000000000007.xmem-intent: Permission denied; nothing changed (simulated)
hint: run xmem as root; if you are, check the ownership of the file and its directory (ls -la)

"#]]);
    assert_eq!(sim.numbers(7), (1_048_576, 2_097_152, 1_049_600));
    assert_eq!(sim.state().len(), 1, "the lock is gone");
    // A record that cannot be read is an error, not a domain in step.
    let (sim, output) = as_somebody("check", |sim| closed(&sim.intent()));
    let ran = Ran::new(output, Some(sim.path()));
    assert_eq!(ran.status.code(), Some(9), "{ran:?}");
    let (sim, output) = as_somebody("check --repair", |sim| closed(&sim.intent()));
    let ran = Ran::new(output, Some(sim.path()));
    assert_eq!(ran.status.code(), Some(9), "{ran:?}");
    assert!(
        ran.stderr.starts_with("xmem: web (7): cannot read the intent record DIR/lib/"),
        "{ran:?}"
    );
}

#[test]
fn a_directory_that_cannot_be_written_to_is_an_error() {
    let read_only = |sim: &Sim| {
        fs::set_permissions(sim.path().join("lib"), Permissions::from_mode(0o555)).unwrap();
    };
    for (words, code) in [("set web 512M", 7), ("max web 3G", 7), ("list", 0), ("check", 0)] {
        let (sim, output) = as_somebody(words, read_only);
        let ran = Ran::new(output, Some(sim.path()));
        assert_eq!(ran.status.code(), Some(code), "{ran:?}");
        let reported =
            ran.stderr.starts_with("xmem: web (7): cannot open the lock DIR/lib/userdata-l.7.");
        assert_eq!(reported, code == 7, "{ran:?}");
        assert_eq!(sim.numbers(7), (1_048_576, 2_097_152, 1_049_600));
    }
}

/// `list` then knows of no interrupted change, and `check` fails.
#[test]
fn a_directory_that_cannot_be_searched_fails_check_alone() {
    let closed = |sim: &Sim| {
        fs::set_permissions(sim.path().join("lib"), Permissions::from_mode(0o600)).unwrap();
    };
    for (words, code) in [("set web 512M", 7), ("list", 0), ("check web", 7), ("check", 7)] {
        let (sim, output) = as_somebody(words, closed);
        let ran = Ran::new(output, Some(sim.path()));
        assert_eq!(ran.status.code(), Some(code), "{ran:?}");
        assert!(!ran.stdout.contains("out of step"), "{ran:?}");
        assert!(!ran.stdout.contains("cut off"), "{ran:?}");
        let reported =
            ran.stderr.starts_with("xmem: cannot read the directory DIR/lib: Permission denied");
        assert_eq!(reported, words.starts_with("check"), "{ran:?}");
        assert_eq!(sim.numbers(7), (1_048_576, 2_097_152, 1_049_600));
    }
}
