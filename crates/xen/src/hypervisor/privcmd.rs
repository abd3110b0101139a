//! Linux's privcmd device: the ioctl that makes a hypercall, and the memory that Xen reads and writes.
//!
//! All of the crate's unsafe code is here. The file knows no layout: `abi` has them.

#![expect(unsafe_code, reason = "an ioctl and a mapping that no crate wraps")]

use std::ffi::c_void;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::ptr::{self, NonNull};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::ioctl::{self, Ioctl, IoctlOutput, Opcode};
use rustix::mm::{self, Advice, MapFlags, ProtFlags};

use super::HypervisorError;
use super::abi::{Call, PAGE_BYTES, Page};
use super::calls::{Port, Reply};

/// The device; the second path is xenfs's, for old kernels.
const PRIVCMD: [&str; 2] = ["/dev/xen/privcmd", "/proc/xen/privcmd"];

/// The device whose pages Xen can always reach (Linux 4.18 and later).
const HYPERCALL: &str = "/dev/xen/hypercall";

/// The number of times that a call is repeated because Xen could not reach the page.
const EFAULT_RETRIES: u32 = 2;

/// An open privcmd device with its page.
#[derive(Debug)]
pub(super) struct Device {
    fd: OwnedFd,
    /// Mapped at the first call.
    buffer: Mutex<Option<Buffer>>,
}

impl Device {
    /// Opens the device of this host.
    ///
    /// # Errors
    /// [`HypervisorError::NoXen`] and [`HypervisorError::Device`].
    pub(super) fn open() -> Result<Self, HypervisorError> {
        Self::open_first(&PRIVCMD.map(Path::new))
    }

    pub(super) fn open_first(paths: &[&Path]) -> Result<Self, HypervisorError> {
        for path in paths {
            match open(path) {
                Ok(fd) => return Ok(Self { fd, buffer: Mutex::new(None) }),
                Err(Errno::NOENT | Errno::NXIO | Errno::NODEV) => {}
                Err(errno) => return Err(cannot_use(path)(errno)),
            }
        }
        Err(HypervisorError::NoXen {
            path: paths.first().map(|path| path.to_path_buf()).unwrap_or_default(),
        })
    }
}

impl Port for Device {
    fn call(&self, call: &Call, fill: &dyn Fn(&mut Page)) -> Result<Reply, HypervisorError> {
        let mut slot = self.buffer.lock().unwrap_or_else(PoisonError::into_inner);
        let buffer = match &mut *slot {
            Some(buffer) => buffer,
            empty => empty.insert(Buffer::map(Path::new(HYPERCALL), rustix::param::page_size())?),
        };
        let retries = if buffer.can_fault { EFAULT_RETRIES } else { 0 };
        let outcome = retry(retries, || {
            // Again for each attempt: one that failed halfway may have overwritten its request.
            fill(buffer.page());
            hypercall(self.fd.as_fd(), call, buffer.page())
        });
        match outcome {
            Ok(result) => Ok(Reply { result, page: Box::new(*buffer.page()) }),
            Err(errno) => {
                Err(HypervisorError::Refused { call: call.name, source: io::Error::from(errno) })
            }
        }
    }
}

fn open(path: &Path) -> rustix::io::Result<OwnedFd> {
    rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
}

fn cannot_use(path: &Path) -> impl Fn(Errno) -> HypervisorError {
    move |errno| HypervisorError::Device { path: path.to_owned(), source: io::Error::from(errno) }
}

/// Repeats `attempt` after EINTR, and up to `faults` times after EFAULT.
fn retry<T>(mut faults: u32, mut attempt: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match attempt() {
            Err(Errno::INTR) => {}
            Err(Errno::FAULT) if faults > 0 => faults = faults.saturating_sub(1),
            outcome => return outcome,
        }
    }
}

/// The page that Xen reads and writes, by its address in this process.
///
/// Xen cannot wait for a page fault, so the page must be present: one of the kernel's own where `/dev/xen/hypercall`
/// exists, else a locked one. Even a locked page can be absent for a moment, while the kernel migrates it.
#[derive(Debug)]
struct Buffer {
    page: NonNull<Page>,
    /// The bytes mapped: whole pages of the kernel's size, which is 64 KiB in some arm64 kernels.
    length: usize,
    /// Whether a call can fail with EFAULT and succeed when repeated.
    can_fault: bool,
}

/// [`PAGE_BYTES`], rounded up to whole pages of `kernel_page` bytes.
fn mapped_length(kernel_page: usize) -> usize {
    PAGE_BYTES.checked_next_multiple_of(kernel_page).unwrap_or(PAGE_BYTES)
}

impl Buffer {
    /// Maps memory of `device`, or locked memory if there is no such device. `kernel_page` is the kernel's page size.
    fn map(device: &Path, kernel_page: usize) -> Result<Self, HypervisorError> {
        let address = ptr::null_mut();
        let length = mapped_length(kernel_page);
        let access = ProtFlags::READ | ProtFlags::WRITE;
        let (mapped, can_fault) = match open(device) {
            Ok(fd) => {
                // SAFETY: the kernel chooses the address, so no memory in use is touched.
                let mapped = unsafe { mm::mmap(address, length, access, MapFlags::SHARED, &fd, 0) };
                (mapped.map_err(cannot_use(device))?, false)
            }
            Err(Errno::NOENT) => {
                let flags = MapFlags::PRIVATE | MapFlags::LOCKED;
                // SAFETY: the kernel chooses the address, so no memory in use is touched.
                let mapped = unsafe { mm::mmap_anonymous(address, length, access, flags) };
                let path = device.to_owned();
                let no_page =
                    |errno| HypervisorError::NoPage { path, source: io::Error::from(errno) };
                (mapped.map_err(no_page)?, true)
            }
            Err(errno) => return Err(cannot_use(device)(errno)),
        };
        let page = NonNull::new(mapped.cast()).ok_or(Errno::NOMEM).map_err(cannot_use(device))?;
        let mut buffer = Self { page, length, can_fault };
        if can_fault {
            // A fork would make the page copy-on-write, and the parent's copy could move.
            // SAFETY: the range is exactly the mapping just made; only a child process loses it.
            unsafe { mm::madvise(mapped, length, Advice::LinuxDontFork) }
                .map_err(cannot_use(device))?;
            buffer.page().fill(0);
        }
        Ok(buffer)
    }

    /// The page. Xen accesses it only during a call.
    fn page(&mut self) -> &mut Page {
        // SAFETY: `page` points to at least PAGE_BYTES mapped, readable, writable bytes, aligned to a page, from `map`
        // until `drop`; any byte is a valid u8; and `&mut self` makes this the only reference.
        unsafe { self.page.as_mut() }
    }
}

// SAFETY: the mapping belongs to the process, not to a thread, and `page` is reached through `&mut self` alone.
unsafe impl Send for Buffer {}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: the range is exactly what `map` mapped; nothing else unmaps it, and no reference outlives `self`.
        // Xen keeps no address after a call.
        let unmapped = unsafe { mm::munmap(self.page.as_ptr().cast(), self.length) };
        if let Err(errno) = unmapped {
            tracing::warn!(%errno, "cannot unmap the hypercall page");
        }
    }
}

/// `struct privcmd_hypercall` (Linux, `include/uapi/xen/privcmd.h`). Its arguments are u64 there: usize in a 64-bit
/// process.
#[repr(C)]
#[derive(Debug)]
struct PrivcmdHypercall {
    op: u64,
    arguments: [usize; 5],
}

const _: () = assert!(size_of::<PrivcmdHypercall>() == 48, "only 64-bit processes are supported");

/// Makes the call with `page` and returns its result.
fn hypercall(device: BorrowedFd<'_>, call: &Call, page: &mut Page) -> rustix::io::Result<i32> {
    let address = ptr::from_mut(page).expose_provenance();
    let request = PrivcmdHypercall { op: call.number, arguments: call.arguments(address) };
    // SAFETY: the opcode and the operand are privcmd's. A `Call` makes Xen read and write `page` alone and at most
    // PAGE_BYTES of it. This function borrows it exclusively until Xen is done. Any bytes that Xen leaves there are valid
    // u8s. A device other than privcmd does not know the opcode.
    unsafe { ioctl::ioctl(device, request) }
}

// SAFETY: `IOCTL_PRIVCMD_HYPERCALL` takes a pointer to a `struct privcmd_hypercall`, which `Self` is, and only reads
// it. The output is the ioctl's return value; no memory is read for it. `hypercall`, the only caller, answers for what
// the hypercall itself reads and writes.
unsafe impl Ioctl for PrivcmdHypercall {
    type Output = i32;

    /// Xen writes to the page whose address is among the arguments.
    const IS_MUTATING: bool = true;

    /// `IOCTL_PRIVCMD_HYPERCALL`, that is `_IOC(_IOC_NONE, 'P', 0, 48)`.
    fn opcode(&self) -> Opcode {
        ioctl::opcode::from_components(ioctl::Direction::None, b'P', 0, size_of::<Self>())
    }

    fn as_ptr(&mut self) -> *mut c_void {
        ptr::from_mut(self).cast()
    }

    unsafe fn output_from_ptr(out: IoctlOutput, _: *mut c_void) -> rustix::io::Result<i32> {
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::net::UnixListener;

    use super::*;

    const KERNEL_PAGES: [usize; 3] = [4 << 10, 16 << 10, 64 << 10];

    #[test]
    fn the_opcode_matches_the_kernel() {
        let request = PrivcmdHypercall { op: 0, arguments: [0; 5] };
        assert_eq!(request.opcode(), 0x0030_5000);
    }

    #[test]
    fn the_first_device_that_exists_is_opened() {
        let dir = tempfile::tempdir().unwrap();
        let (missing, dead, there) =
            (dir.path().join("missing"), dir.path().join("dead"), dir.path().join("there"));
        let _listener = UnixListener::bind(&dead).unwrap(); // open(2) fails with ENXIO
        File::create(&there).unwrap();

        assert!(Device::open_first(&[&missing, &there]).is_ok());
        assert!(Device::open_first(&[&dead, &there]).is_ok());
        let error = Device::open_first(&[&missing, &dead]).unwrap_err();
        assert!(matches!(&error, HypervisorError::NoXen { path } if *path == missing), "{error:?}");
    }

    #[test]
    fn a_device_that_cannot_be_opened_is_named() {
        let dir = tempfile::tempdir().unwrap(); // opening it for writing fails with EISDIR, also for root
        let missing = dir.path().join("missing");
        let error = Device::open_first(&[dir.path(), &missing]).unwrap_err();
        assert_eq!(error.to_string(), format!("cannot use {}", dir.path().display()));
        assert_eq!(error.errno(), Some(Errno::ISDIR));
        let error = Buffer::map(dir.path(), 4096).unwrap_err();
        assert_eq!(error.errno(), Some(Errno::ISDIR));
    }

    #[test]
    fn a_page_of_the_device_is_shared_and_does_not_fault() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hypercall");
        for kernel_page in KERNEL_PAGES {
            fs::write(&path, vec![0; kernel_page]).unwrap();
            let mut buffer = Buffer::map(&path, kernel_page).unwrap();
            assert!(!buffer.can_fault);
            buffer.page()[PAGE_BYTES - 1] = 7;
            drop(buffer);
            assert_eq!(fs::read(&path).unwrap()[PAGE_BYTES - 1], 7);
        }
    }

    #[test]
    fn without_the_device_the_page_is_locked_zeroed_memory() {
        let dir = tempfile::tempdir().unwrap();
        for kernel_page in KERNEL_PAGES {
            let mut buffer = Buffer::map(&dir.path().join("missing"), kernel_page).unwrap();
            assert!(buffer.can_fault);
            assert_eq!(*buffer.page(), [0; PAGE_BYTES]);
            buffer.page().fill(7);
            assert_eq!(*buffer.page(), [7; PAGE_BYTES]);
        }
    }

    #[test]
    fn a_mapping_is_in_whole_kernel_pages() {
        assert_eq!(KERNEL_PAGES.map(mapped_length), KERNEL_PAGES);
        assert_eq!(mapped_length(1024), 4096);
        assert_eq!(mapped_length(0), 4096); // a page size that no kernel has
    }

    /// A 4 KiB page in a larger one must start at its beginning: Xen's copy must not cross a 4 KiB boundary.
    #[test]
    fn the_page_is_aligned_and_dropping_it_unmaps_everything() {
        let dir = tempfile::tempdir().unwrap();
        // By its name, since another test's mapping may reuse the addresses.
        let path = dir.path().join("hypercall");
        let mapped = || {
            let maps = fs::read_to_string("/proc/self/maps").unwrap();
            let lines = maps.lines().filter(|line| line.ends_with(path.to_str().unwrap()));
            let address = |hex| usize::from_str_radix(hex, 16).unwrap();
            lines
                .map(|line| line.split_whitespace().next().unwrap().split_once('-').unwrap())
                .map(|(start, end)| (address(start), address(end)))
                .collect::<Vec<_>>()
        };
        for kernel_page in KERNEL_PAGES {
            fs::write(&path, vec![0; kernel_page]).unwrap();
            let buffer = Buffer::map(&path, kernel_page).unwrap();
            let start = buffer.page.as_ptr().addr();
            assert!(start.is_multiple_of(PAGE_BYTES));
            assert_eq!(mapped(), [(start, start + kernel_page)]);
            drop(buffer);
            assert_eq!(mapped(), []);
        }
    }

    #[test]
    fn signals_and_some_faults_are_retried() {
        let run = |faults, script: &[Errno]| {
            let mut script = script.iter();
            retry(faults, || script.next().map_or(Ok(()), |errno| Err(*errno)))
        };
        assert_eq!(run(0, &[Errno::INTR; 5]), Ok(()));
        assert_eq!(run(2, &[Errno::FAULT, Errno::INTR, Errno::FAULT]), Ok(()));
        assert_eq!(run(2, &[Errno::FAULT; 3]), Err(Errno::FAULT));
        assert_eq!(run(0, &[Errno::FAULT]), Err(Errno::FAULT));
        assert_eq!(run(2, &[Errno::AGAIN]), Err(Errno::AGAIN));
    }
}
