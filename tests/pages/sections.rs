//! What the man pages say beyond the help. The one place for it: a page that is not here has what
//! clap knows, and its exit codes.
//!
//! Written as the help's last part is: a line with a colon at its end begins a section, an indented
//! one an item, two blanks stand between an item and what it is, deeper lines go on, and `$` or `#`
//! begins a command. What comes before the first section is added to the description.

/// The text for a page.
pub(crate) fn of(page: &str) -> &'static str {
    match page {
        "xmem" => XMEM,
        "xmem-set" => SET,
        "xmem-max" => MAX,
        "xmem-apply" => APPLY,
        "xmem-check" => CHECK,
        "xmem-list" => LIST,
        "xmem-watch" => WATCH,
        _ => "",
    }
}

const XMEM: &str = "\
It does the job of `xl mem-set` and `xl mem-max`, beside xl on the same host. Two numbers belong
together: the target, in xenstore, is what the guest's balloon driver aims at; the limit is what the
hypervisor enforces. xmem changes both under libxl's own lock of the domain, and puts the limit back
when anything fails on the way. It is run as root in the control domain.

With `--host sim` nothing real is touched: it is a simulated host with the domains Domain-0, web, db
and win, to try things out.

A run that is ended by SIGINT, SIGTERM or SIGHUP dies by that signal: before the change begins with
nothing changed, and once it has begun only when it is done or put back. SIGPIPE ends nothing: that nobody
reads changes neither what is done nor the exit code.

Promise:
Whatever fails, whoever is killed and whatever else changes the domain under libxl's lock: target and limit are in
step before and after, or the exit code is 9, and the record that is left has the next xmem settle it. Not
promised is anything about programs that change a domain's memory without that lock (Qubes' qmemman, xapi's
squeezed, scripts with `xenstore-write`), and anything after a crash of the host. In xmem's source,
`tests/xen/run --stride 1 --only 'fault_(fails|kills)'` shows it on a real Xen, at every system call of a change.

Privileges:
No capability is needed, only the files named below, which belong to root. One that is not to be had is
named, with exit code 7 and nothing changed. As little as this will do:

  # setpriv --bounding-set=-all --inh-caps=-all --no-new-privs xmem set web 512M

A group that may open these files is as good as root: whoever has /dev/xen/privcmd open can make any
hypercall, as dom0. Operators who are to use `set` and nothing else get it from sudo, by a rule such as
/usr/share/doc/xmem/examples/sudoers. A rule with `xmem set *` would let them do far more: sudo's * stands for
any further words.

Environment:
  XENSTORED_RUNDIR  the folder of xenstored's socket, as libxenstore has it
  NO_COLOR           if it is set, nothing is coloured

Files:
  /var/lib/xen/userdata-l.DOMID.UUID.domain-userdata-lock  libxl's lock of a domain. xl takes it, too.
  /var/lib/xen/userdata-d.DOMID.UUID.xmem-intent  The record of a change while it is made. One that is
      left over is of a run that was killed; the next xmem that changes this domain settles it, and
      libxl removes it with the domain.
  /var/run/xenstored/socket  xenstored. Where it is not there: /dev/xen/xenbus.
  /dev/xen/privcmd, /dev/xen/hypercall  The way to the hypervisor. Where the latter is not there, a locked page
      of memory stands in.
  /dev/log  Where a line about every change goes.

Examples:
  # xmem set web 512M
      web (7): target 1024 MiB -> 512 MiB, limit 1025 MiB -> 513 MiB
  # xmem set web +256M
  # xmem set web 4G --raise-max
  # xmem list --sort current
  $ xmem --host sim set web 512M

Coming from xl:
The subcommands `mem-set` and `mem-max` can be typed as in xl, with the same arguments:

  xl mem-set DOMAIN SIZE  xmem set DOMAIN SIZE
  xl mem-max DOMAIN SIZE  xmem max DOMAIN SIZE
  xl list  xmem list

These things are different:

  Units  A bare number is MiB in both. xl(1) says that it is KiB, which is not so in any release. xmem
      takes KiB, MiB, GiB and TiB beside b, k, m, g and t, all of them powers of 1024.
  Steps  +256M and -256M are steps from what is set now. A size of 0, or a unit without a number, which
      xl accepts, is refused.
  Domains  An empty word (an unset variable in a script) is domain 0 to xl, and refused here. A UUID
      will do in place of a name.
  The maximum  xl refuses a target above the maximum; `xmem set --raise-max` raises both at once. Before
      Xen 4.17, `xl mem-max` does not change memory/static-max; `xmem max` does.
  The lock  xl waits for it without end. xmem gives up after --lock-timeout, and names the process that
      holds it.
  Waiting  xl does not wait for the guest. Neither does xmem, unless `set --wait` asks for it.
  Output  xl says nothing. xmem says what it has changed, unless -q is given.
  Exit status  xl's is 0, 1 or 2, and 0 also after some failures. Here each outcome has its own.

See also:
xl(1), xenstore-ls(1)";

const SET: &str = "\
A guest is not shrunk below 32 MiB without `--force`, and dom0 never below 128 MiB. Sizes are cut to whole pages of 4 KiB. As in xl, a size includes the
domain's video memory. What is set already is not set again, which counts as success.

Examples:
  # xmem set web 512M
      web (7): target 1024 MiB -> 512 MiB, limit 1025 MiB -> 513 MiB
  # xmem set web -256M --dry-run
  # xmem set web 512M --wait=2m
  # xmem set web 4G --raise-max
  # xmem set id:7 2G --lock-timeout 5s --json

See also:
xl(1)";

const MAX: &str = "\
The maximum is what the target can be set to. A maximum below the target is refused.

Examples:
  # xmem max web 4G
  # xmem max web 4G && xmem set web 3G

See also:
xl(1)";

const APPLY: &str = "\
Examples:
  $ cat plan
      web 2G
      db 1G
  # xmem apply plan --dry-run
  # xmem apply plan
  # xmem list web db --json | jq -c '.target_kib = 1048576' | xmem apply -

See also:
xl(1)";

const CHECK: &str = "\
Examples:
  # xmem check
  # xmem check --repair --dry-run
  # xmem check web --repair

See also:
xl(1)";

const LIST: &str = "\
No lock is taken: what is shown can be half of somebody's change.

Examples:
  # xmem list
  # xmem list web db --json
  # xmem list --format openmetrics >/var/lib/prometheus/node-exporter/xmem.prom

See also:
xl(1)";

const WATCH: &str = "\
The same is what `xmem list` shows. It ends with its reader, with xenstored, or after as many looks as
`--count` says.

Examples:
  # xmem watch
  # xmem watch web --interval 250ms
  # xmem watch --count 10 --json

See also:
xl(1)";
