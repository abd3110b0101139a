//! The text of the help below the options. The man pages repeat it.

/// The spellings of SIZE.
macro_rules! sizes {
    ($present:literal) => {
        concat!(
            "\
SIZE is a whole number with b, k, m, g, t, KiB, MiB, GiB or TiB (any case, powers \
of 1024). A bare number is MiB, as in xl. +SIZE and -SIZE are relative to the present ",
            $present,
            "; `max` is the maximum, and 50% half of it. Sizes are rounded down to \
whole pages of 4 KiB."
        )
    };
}

pub(super) const SET: &str = concat!(
    sizes!("size"),
    " They include the domain's video memory.

A guest is not shrunk below 32 MiB without --force, and dom0 never below 128 MiB. \
With --keep-free, memory that other guests are still taking does not count as free."
);

pub(super) const MAX: &str = concat!(
    sizes!("maximum"),
    "

The limit becomes the maximum plus 1 MiB, as with `xl mem-max`, or more if target and video memory need it."
);

pub(super) const APPLY: &str = "\
The whole file is checked before anything is changed, and all errors are reported \
together. Each change has its own lock and transaction. A domain that grows waits \
until the host has the memory for it. Empty lines are ignored, and so is everything \
after a # at the beginning of a line or after a blank. A name with spaces may be quoted. With --keep-free, memory that other \
guests are still taking does not count as free.";

pub(super) const RECLAIM: &str = "\
No domain is shrunk below its floor, below what its guest reports as used and a \
margin, or below 32 MiB. `xmem reclaim 4G --from web db` shrinks web and db until the host has \
4 GiB free; with --floor 1G neither goes below 1 GiB. A floor for \
one domain replaces the floor for all. Of several, the largest counts.";

pub(super) const LIST: &str = "\
COLUMN is name, domid, uuid, type, state, size, target, current, limit, maximum,
video, outstanding, used or note. With -H or -p, the default is name,domid,type,state,\
current,target,limit,maximum,note. `xmem set` accepts what `size` shows; append a `k` \
to what -p prints. The table names a memory manager (xapi, Qubes OS) only if -o has `note`.";

pub(super) const WATCH: &str = "\
A domain that is out of step, or runs and is over its limit, is marked with !. A \
domain whose lock is held is not checked. Press Ctrl-C to exit. It also exits when \
its output is closed or xenstored stops. COLUMN is as for `xmem list`.";

pub(super) const CHECK: &str = "\
The exit code is 9 if anything is out of step. The numbers of a domain whose lock is held \
are not checked; --repair waits for the lock.";

pub(super) const EXIT_CODES_AND_ENVIRONMENT: &str = "\
Exit codes:
  0   success, or nothing to do
  1   failed; nothing changed, or rolled back
  2   wrong usage
  3   no such domain, several of that name, or it went away
  4   refused: a limit or a safety rule
  5   timed out waiting for the domain's lock
  6   gave up after repeated xenstore conflicts; rolled back
  7   permission denied, not a control domain, no Xen, or xenstored unreachable
  8   --wait: the change was made, but the guest did not reach the target
  9   out of step: found by check, or a change that could not be rolled back
  10  several domains with different outcomes: some failed, none is out of step

Environment:
  XMEM_HOST          default of --host
  XMEM_LOCK_TIMEOUT  default of --lock-timeout
  XMEM_KEEP_FREE     default of --keep-free
  XMEM_LOG           log filter such as `xmem_core=debug`, instead of -v
  XMEM_SIM_FAULT     faults of the simulated host, such as `lock-busy,conflict`
  XMEM_SIM_WORLD     `states` gives a new simulated host a domain in each state
  NO_COLOR           turns colours off if set
  XENSTORED_PATH     xenstored's socket or device, as for libxenstore
  XENSTORED_RUNDIR   directory of xenstored's socket, as for libxenstore";
