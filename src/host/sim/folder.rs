//! The folder that a sim lives in: `world.json`, `world.journal`, `world.lock` and `lib`.
//!
//! Owns the choice of the folder, and that the world in it is only read and changed under `world.lock`. Never
//! looks into the world, never writes through a link and never waits at a FIFO: the folder may be where others
//! can put things. How the world is kept is told in [`kept`](super::kept).

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fs2::FileExt as _;
use rustix::fs::OFlags;
use tracing::debug;

use super::error::SimError;
use super::kept::Kept;
use super::world::World;
use super::{journal, regular, snapshot};
use crate::error::chain;

/// The world itself.
pub(super) const WORLD: &str = snapshot::NAME;
/// Held (flock) by whoever reads or replaces the world.
const LOCK: &str = "world.lock";
/// Stands for `/var/lib/xen`.
const STATE: &str = "lib";

/// A folder with a world in it.
#[derive(Clone, Debug)]
pub(super) struct Folder(Arc<Used>);

/// A folder that is used, until the last who uses it goes.
#[derive(Debug)]
struct Used {
    dir: PathBuf,
    /// What is known of the world from the last look: most looks find the same again.
    known: Mutex<Option<Kept>>,
}

impl Folder {
    /// Opens `dir`, made and filled with the start world if there is nothing.
    pub(super) fn open(dir: &Path) -> Result<Self, SimError> {
        Self::open_as(dir, rustix::process::geteuid().as_raw())
    }

    /// The same as user `euid`. Root works in no folder of somebody else's, who could have it write anywhere
    /// by links (`sudo xmem --host sim:DIR`), as git does not since CVE-2022-24765.
    fn open_as(dir: &Path, euid: u32) -> Result<Self, SimError> {
        fs::create_dir_all(dir).map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
                SimError::NotAFolder { path: dir.to_owned() }
            }
            _ => SimError::io("make", dir, source),
        })?;
        let owner = fs::metadata(dir).map_err(|source| SimError::io("look at", dir, source))?.uid();
        if euid == 0 && owner != 0 {
            let path = dir.to_owned();
            return Err(SimError::NotRoots { path, owner });
        }
        Self::at(dir).filled()
    }

    /// Opens the calling user's own folder.
    pub(super) fn open_own() -> Result<Self, SimError> {
        let euid = rustix::process::geteuid().as_raw();
        let runtime = std::env::var_os("XDG_RUNTIME_DIR");
        Self::open_private(&own(runtime.as_deref(), &std::env::temp_dir(), euid), euid)
    }

    /// Opens `dir`, which is in a place where others could have put it: only if it is `euid`'s.
    fn open_private(dir: &Path, euid: u32) -> Result<Self, SimError> {
        match DirBuilder::new().mode(0o700).create(dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(SimError::io("make", dir, error));
            }
            Ok(()) | Err(_) => {}
        }
        let found =
            fs::symlink_metadata(dir).map_err(|source| SimError::io("look at", dir, source))?;
        let path = dir.to_owned();
        if found.is_symlink() {
            Err(SimError::Link { path })
        } else if !found.is_dir() {
            Err(SimError::NotAFolder { path })
        } else if found.uid() != euid {
            Err(SimError::NotYours { path, owner: found.uid() })
        } else {
            Self::at(dir).filled()
        }
    }

    fn at(dir: &Path) -> Self {
        Self(Arc::new(Used { dir: dir.to_owned(), known: Mutex::default() }))
    }

    /// The folder that stands for `/var/lib/xen`.
    pub(super) fn state(&self) -> PathBuf {
        self.0.dir.join(STATE)
    }

    /// The world file.
    pub(super) fn world(&self) -> PathBuf {
        self.0.dir.join(WORLD)
    }

    /// Looks at the world, and keeps what `act` changes of it.
    pub(super) fn with<R>(&self, act: impl FnOnce(&mut World) -> R) -> Result<R, SimError> {
        let Used { dir, .. } = &*self.0;
        let mut known = self.0.known();
        let held = self.0.lock()?;
        // Whatever fails from here on leaves nothing known: what was done is read anew.
        let mut kept = Kept::load(dir, known.take())?.unwrap_or_else(Kept::nowhere);
        let result = act(&mut kept.world);
        if let Some(change) = kept.world.take_record() {
            kept.keep(dir, &change)?;
        }
        *known = Some(kept);
        drop(held);
        Ok(result)
    }

    /// This folder with everything in it that a sim needs. A folder of something else stays as it is.
    fn filled(self) -> Result<Self, SimError> {
        let Used { dir, .. } = &*self.0;
        // Before it is our turn: a folder of something else is not given so much as a lock.
        let known = Kept::load(dir, None)?;
        if known.is_none() && !self.is_free()? {
            return Err(SimError::NotAWorld { path: dir.clone() });
        }
        let state = self.state();
        fs::create_dir_all(&state).map_err(|source| SimError::io("make", state, source))?;
        let held = self.0.lock()?;
        *self.0.known() = match Kept::load(dir, known)? {
            None => {
                let mut kept = Kept::nowhere();
                kept.write(dir)?;
                Some(kept)
            }
            found => found,
        };
        drop(held);
        Ok(self)
    }

    /// Whether nothing is in the folder but what a process that was killed here can have left.
    fn is_free(&self) -> Result<bool, SimError> {
        let Used { dir, .. } = &*self.0;
        let failed = |source| SimError::io("read", dir, source);
        for entry in fs::read_dir(dir).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            if ![WORLD, snapshot::NEXT, journal::NAME, LOCK, STATE].iter().any(|own| name == *own) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Used {
    fn known(&self) -> MutexGuard<'_, Option<Kept>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the right to read and change the world, which ends when the file is dropped.
    fn lock(&self) -> Result<File, SimError> {
        let path = self.dir.join(LOCK);
        let failed = |source| SimError::io("lock", &path, source);
        let how = OpenOptions::new().read(true).write(true).create(true).truncate(false).clone();
        let file = regular::open(&path, how, OFlags::NOFOLLOW).map_err(failed)?;
        let file = file.ok_or_else(|| SimError::NotAFile { path: path.clone() })?;
        loop {
            match file.lock_exclusive() {
                Ok(()) => return Ok(file),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(error)),
            }
        }
    }

    /// Leaves the world whole in its file, unless somebody else goes on with it.
    fn leave(&self) -> Result<(), SimError> {
        let known = self.known().take();
        if !known.as_ref().is_some_and(Kept::has_journal) {
            return Ok(());
        }
        let held = self.lock()?;
        if let Some(mut kept) = Kept::load(&self.dir, known)?
            && kept.is_to_be_left()
        {
            kept.write(&self.dir)?;
        }
        drop(held);
        Ok(())
    }
}

impl Drop for Used {
    fn drop(&mut self) {
        // Nothing is lost: the next one will.
        if let Err(error) = self.leave() {
            debug!(error = %chain(&error), "the world's journal stays");
        }
    }
}

/// The folder of user `euid`'s own: in the runtime folder if there is one, else among temporary files.
fn own(runtime: Option<&OsStr>, temporary: &Path, euid: u32) -> PathBuf {
    match runtime.map(Path::new).filter(|dir| dir.is_absolute() && dir.is_dir()) {
        Some(runtime) => runtime.join("xmem-sim"),
        None => temporary.join(format!("xmem-sim-{euid}")),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::os::unix::net::UnixListener;
    use std::process::Command;
    use std::thread;

    use super::super::start;
    use super::super::tests::names;
    use super::*;
    use crate::size::Kib;

    #[test]
    fn a_new_folder_is_filled_and_an_old_one_kept() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("deep/er");
        let folder = Folder::open(&dir).unwrap();
        assert_eq!(names(&dir), [STATE, WORLD, LOCK]);
        folder.with(|world| world.memory = Kib(4)).unwrap();
        let memory = Folder::open(&dir).unwrap().with(|world| world.memory).unwrap();
        assert_eq!(memory, Kib(4));
    }

    #[test]
    fn a_look_does_not_touch_the_file() {
        let temp = tempfile::tempdir().unwrap();
        let folder = Folder::open(temp.path()).unwrap();
        let inode = || fs::metadata(folder.world()).unwrap().ino();
        let before = inode();
        folder.with(|world| world.memory).unwrap();
        assert_eq!(inode(), before);
        folder.with(|world| world.memory = Kib(4)).unwrap();
        assert_ne!(inode(), before);
    }

    /// Two edits within a tick of the kernel's clock differ in nothing but what is in the file.
    #[test]
    fn each_edit_of_a_small_world_is_seen() {
        let temp = tempfile::tempdir().unwrap();
        let folder = Folder::open(temp.path()).unwrap();
        for kib in 1000..1100 {
            let mut world = start::world();
            world.memory = Kib(kib);
            fs::write(folder.world(), world.text(None).unwrap()).unwrap();
            assert_eq!(folder.with(|world| world.memory).unwrap(), Kib(kib));
        }
    }

    #[test]
    fn a_folder_of_something_else_is_refused_and_not_littered() {
        let temp = tempfile::tempdir().unwrap();
        fs::write(temp.path().join("letter.txt"), "dear").unwrap();
        let error = Folder::open(temp.path()).unwrap_err();
        assert!(matches!(error, SimError::NotAWorld { .. }), "{error}");
        assert_eq!(names(temp.path()), ["letter.txt"]);
    }

    #[test]
    fn a_broken_world_is_refused_and_not_touched() {
        let temp = tempfile::tempdir().unwrap();
        fs::write(temp.path().join(WORLD), "{").unwrap();
        let error = Folder::open(temp.path()).unwrap_err();
        assert!(matches!(error, SimError::Broken { .. }), "{error}");
        assert_eq!(names(temp.path()), [WORLD]);
        assert_eq!(fs::read(temp.path().join(WORLD)).unwrap(), b"{");
    }

    /// What can stand where a file should; none of it is waited at.
    fn put(what: &str, path: &Path, outside: &Path) {
        match what {
            "fifo" => assert!(Command::new("mkfifo").arg(path).status().unwrap().success()),
            "folder" => fs::create_dir(path).unwrap(),
            "socket" => drop(UnixListener::bind(path).unwrap()),
            "device" => symlink("/dev/zero", path).unwrap(),
            "link" => symlink(outside.join("precious"), path).unwrap(),
            _ => symlink(outside.join("none"), path).unwrap(),
        }
    }

    #[test]
    fn something_else_in_a_files_place_is_named_and_not_waited_at() {
        let is_named = |error: &SimError| error.to_string().ends_with("is not a regular file");
        for what in ["fifo", "folder", "socket", "device"] {
            let temp = tempfile::tempdir().unwrap();
            put(what, &temp.path().join(WORLD), temp.path());
            let error = Folder::open(temp.path()).unwrap_err();
            assert!(is_named(&error), "{what}: {error}");
        }
        for what in ["fifo", "folder", "socket", "device", "link", "dangling link"] {
            let (temp, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            fs::write(outside.path().join("precious"), "precious").unwrap();
            Folder::open(temp.path()).unwrap();
            fs::remove_file(temp.path().join(LOCK)).unwrap();
            put(what, &temp.path().join(LOCK), outside.path());
            let error = Folder::open(temp.path()).unwrap_err();
            assert!(is_named(&error), "{what}: {error}");
            assert_eq!(names(outside.path()), ["precious"], "{what}");
        }
    }

    #[test]
    fn nothing_is_written_through_a_link_or_into_a_fifo() {
        for what in ["fifo", "socket", "device", "link", "dangling link"] {
            let (temp, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            fs::write(outside.path().join("precious"), "precious").unwrap();
            let folder = Folder::open(temp.path()).unwrap();
            put(what, &temp.path().join(snapshot::NEXT), outside.path());
            folder.with(|world| world.memory = Kib(8)).unwrap();
            assert_eq!(names(temp.path()), [STATE, WORLD, LOCK], "{what}");
            assert_eq!(names(outside.path()), ["precious"], "{what}");
            assert_eq!(fs::read(outside.path().join("precious")).unwrap(), b"precious");
        }
    }

    /// A folder with a world that is too large to be written at each change.
    fn large() -> tempfile::TempDir {
        let temp = tempfile::tempdir().unwrap();
        let mut world = start::world();
        for number in 0..20 {
            world.xenstore.write(&format!("/data/{number}"), &"x".repeat(1000));
        }
        fs::write(temp.path().join(WORLD), world.text(None).unwrap()).unwrap();
        temp
    }

    #[test]
    fn a_journal_is_begun_in_place_of_whatever_is_there() {
        for what in ["fifo", "socket", "device", "link", "dangling link", "folder"] {
            let (temp, outside) = (large(), tempfile::tempdir().unwrap());
            fs::write(outside.path().join("precious"), "precious").unwrap();
            let journal = temp.path().join(journal::NAME);
            put(what, &journal, outside.path());
            let folder = Folder::open(temp.path()).unwrap();
            for kib in 1..=5 {
                folder.with(|world| world.memory = Kib(kib)).unwrap();
            }
            // A folder is not removed: who has put it there may need it. Each change is written as a whole then.
            assert_eq!(fs::symlink_metadata(&journal).unwrap().is_file(), what != "folder");
            let memory = Folder::open(temp.path()).unwrap().with(|world| world.memory).unwrap();
            assert_eq!(memory, Kib(5), "{what}");
            drop(folder);
            let left = if what == "folder" { 4 } else { 3 };
            assert_eq!(names(temp.path()).len(), left, "{what}");
            assert_eq!(names(outside.path()), ["precious"], "{what}");
            assert_eq!(fs::read(outside.path().join("precious")).unwrap(), b"precious");
        }
    }

    #[test]
    fn something_else_in_a_journals_place_is_named_and_not_waited_at() {
        for what in ["fifo", "folder", "socket", "device", "link", "dangling link"] {
            let (temp, outside) = (large(), tempfile::tempdir().unwrap());
            fs::write(outside.path().join("precious"), "precious").unwrap();
            let folder = Folder::open(temp.path()).unwrap();
            folder.with(|world| world.memory = Kib(4)).unwrap();
            fs::remove_file(temp.path().join(journal::NAME)).unwrap();
            put(what, &temp.path().join(journal::NAME), outside.path());
            for error in [
                Folder::open(temp.path()).unwrap_err(),
                folder.with(|world| world.memory).unwrap_err(),
            ] {
                let text = error.to_string();
                assert!(text.ends_with("world.journal is not a regular file"), "{what}: {text}");
            }
            drop(folder);
            assert_eq!(names(outside.path()), ["precious"], "{what}");
        }
    }

    /// The link is replaced, and not what it leads to.
    #[test]
    fn a_large_world_may_be_a_link_as_well() {
        let (temp, outside) = (tempfile::tempdir().unwrap(), large());
        let kept = outside.path().join(WORLD);
        let before = fs::read(&kept).unwrap();
        symlink(&kept, temp.path().join(WORLD)).unwrap();
        let folder = Folder::open(temp.path()).unwrap();
        for kib in 1..=5 {
            folder.with(|world| world.memory = Kib(kib)).unwrap();
        }
        drop(folder);
        let memory = Folder::open(temp.path()).unwrap().with(|world| world.memory).unwrap();
        assert_eq!(memory, Kib(5));
        assert_eq!(names(temp.path()), [STATE, WORLD, LOCK]);
        assert_eq!(fs::read(&kept).unwrap(), before);
    }

    /// A change that cannot be kept has not been made, also not in the mind of who tried.
    #[test]
    fn a_change_that_cannot_be_kept_is_forgotten() {
        for temp in [large(), tempfile::tempdir().unwrap()] {
            let folder = Folder::open(temp.path()).unwrap();
            let memory = folder.with(|world| world.memory).unwrap();
            let in_the_way = temp.path().join(snapshot::NEXT);
            fs::create_dir(&in_the_way).unwrap();
            let error = folder.with(|world| world.memory = Kib(12)).unwrap_err();
            assert!(error.to_string().starts_with("cannot write "), "{error}");
            assert_eq!(folder.with(|world| world.memory).unwrap(), memory);
            fs::remove_dir(&in_the_way).unwrap();
            folder.with(|world| world.memory = Kib(12)).unwrap();
            assert_eq!(folder.with(|world| world.memory).unwrap(), Kib(12));
        }
    }

    /// A link to a world is as good as one, and what is changed is changed here.
    #[test]
    fn a_world_may_be_a_link_to_one() {
        let (temp, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let kept = outside.path().join("kept.json");
        fs::write(&kept, start::world().text(None).unwrap()).unwrap();
        symlink(&kept, temp.path().join(WORLD)).unwrap();
        let folder = Folder::open(temp.path()).unwrap();
        folder.with(|world| world.memory = Kib(8)).unwrap();
        assert_eq!(folder.with(|world| world.memory).unwrap(), Kib(8));
        assert_eq!(fs::read_to_string(kept).unwrap(), start::world().text(None).unwrap());
    }

    #[test]
    fn a_world_without_end_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        File::create(temp.path().join(WORLD)).unwrap().set_len(1 << 40).unwrap();
        let error = Folder::open(temp.path()).unwrap_err();
        assert!(matches!(error, SimError::TooLong { .. }), "{error}");
    }

    #[test]
    fn a_world_of_somebodys_own_is_enough_of_a_sim() {
        let temp = tempfile::tempdir().unwrap();
        let own = r#"{"version":1,"memory_kib":4,"domains":{},"xenstore":{}}"#;
        fs::write(temp.path().join(WORLD), own).unwrap();
        fs::write(temp.path().join("README"), "").unwrap();
        let folder = Folder::open(temp.path()).unwrap();
        assert_eq!(folder.with(|world| world.memory).unwrap(), Kib(4));
    }

    #[test]
    fn what_a_killed_process_left_over_means_nothing() {
        let temp = tempfile::tempdir().unwrap();
        // Killed while it made the first world...
        fs::create_dir(temp.path().join(STATE)).unwrap();
        fs::write(temp.path().join(LOCK), "").unwrap();
        fs::write(temp.path().join(snapshot::NEXT), "{ \"vers").unwrap();
        let folder = Folder::open(temp.path()).unwrap();
        assert_eq!(folder.with(|world| world.clone()).unwrap(), start::world());
        // ... and a later one, longer than the next.
        fs::write(temp.path().join(snapshot::NEXT), vec![b'x'; 1 << 20]).unwrap();
        folder.with(|world| world.memory = Kib(8)).unwrap();
        assert_eq!(Folder::open(temp.path()).unwrap().with(|world| world.memory).unwrap(), Kib(8));
    }

    #[test]
    fn many_make_one_world() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("new");
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let folder = Folder::open(&dir).unwrap();
                    for _ in 0..20 {
                        folder.with(|world| world.memory = Kib(world.memory.0 + 4)).unwrap();
                    }
                });
            }
        });
        let memory = Folder::open(&dir).unwrap().with(|world| world.memory).unwrap();
        assert_eq!(memory, Kib(start::world().memory.0 + 8 * 20 * 4), "a change was lost");
    }

    #[test]
    fn something_in_the_way_is_named() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("file");
        fs::write(&file, "").unwrap();
        for path in [file.clone(), file.join("below")] {
            let error = Folder::open(&path).unwrap_err();
            assert!(matches!(error, SimError::NotAFolder { .. }), "{error}");
        }
    }

    #[test]
    fn ones_own_folder_is_private_and_no_trap() {
        let temp = tempfile::tempdir().unwrap();
        let euid = rustix::process::geteuid().as_raw();
        let own = temp.path().join("own");
        Folder::open_private(&own, euid).unwrap();
        assert_eq!(fs::metadata(&own).unwrap().permissions().mode() & 0o777, 0o700);
        Folder::open_private(&own, euid).unwrap();

        let error = Folder::open_private(&own, euid + 1).unwrap_err();
        assert!(matches!(error, SimError::NotYours { owner, .. } if owner == euid), "{error}");

        let link = temp.path().join("link");
        symlink(&own, &link).unwrap();
        let error = Folder::open_private(&link, euid).unwrap_err();
        assert!(matches!(error, SimError::Link { .. }), "{error}");

        let file = temp.path().join("file");
        fs::write(&file, "").unwrap();
        let error = Folder::open_private(&file, euid).unwrap_err();
        assert!(matches!(error, SimError::NotAFolder { .. }), "{error}");
    }

    #[test]
    fn root_works_in_no_folder_of_somebody_elses() {
        let temp = tempfile::tempdir().unwrap();
        let mut owner = fs::metadata(temp.path()).unwrap().uid();
        if owner == 0 {
            owner = 65534;
            std::os::unix::fs::chown(temp.path(), Some(owner), None).unwrap();
        }
        let error = Folder::open_as(temp.path(), 0).unwrap_err();
        assert!(matches!(error, SimError::NotRoots { owner: is, .. } if is == owner), "{error}");
        assert_eq!(names(temp.path()), [""; 0]);
        Folder::open_as(temp.path(), owner).unwrap();
    }

    #[test]
    fn where_ones_own_folder_is() {
        let temp = tempfile::tempdir().unwrap();
        let runtime = temp.path().as_os_str();
        let shared = Path::new("/tmp");
        assert_eq!(own(Some(runtime), shared, 17), temp.path().join("xmem-sim"));
        let missing = temp.path().join("missing");
        for useless in [None, Some(missing.as_os_str()), Some(OsStr::new("relative"))] {
            assert_eq!(own(useless, shared, 17), Path::new("/tmp/xmem-sim-17"));
        }
    }
}
