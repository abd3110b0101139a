//! The text of the man pages beyond the options.
//!
//! A line with a colon at its end begins a section. What comes before the first section is the description. An indented
//! line begins an item, with two blanks between the item and its text; deeper lines continue it. `$` or `#` begins a
//! command.

/// The text for a page.
pub(crate) fn of(page: &str) -> &'static str {
    match page {
        "xmem" => XMEM,
        "xmem-set" => SET,
        "xmem-max" => MAX,
        "xmem-apply" => APPLY,
        "xmem-reclaim" => RECLAIM,
        "xmem-check" => CHECK,
        "xmem-list" => LIST,
        "xmem-watch" => WATCH,
        _ => panic!("{page} has no text"),
    }
}

/// The meaning of an exit code on a page, where it differs from the meaning in the help of all commands.
pub(crate) fn exit_code(page: &str, code: &str) -> Option<&'static str> {
    match (page, code) {
        ("xmem-reclaim", "8") => {
            Some("the guests gave less than planned: the host does not have SIZE available")
        }
        _ => None,
    }
}

/// The exit codes that a page's command can give.
pub(crate) fn exit_codes(page: &str) -> &'static [u8] {
    match page {
        "xmem-max" => &[0, 1, 2, 3, 4, 5, 6, 7, 9],
        "xmem-set" => &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        "xmem-list" | "xmem-watch" => &[0, 1, 2, 3, 7, 10],
        "xmem-check" => &[0, 1, 2, 3, 4, 5, 6, 7, 9, 10],
        _ => &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
    }
}

const XMEM: &str = "\
xmem replaces `xl mem-set` and `xl mem-max` and works alongside xl on the same host. It keeps two related numbers consistent,
whatever fails. The target, in xenstore, is what the guest's balloon driver aims at. The limit is what the
hypervisor enforces. xmem changes both under libxl's own lock of the domain and rolls the limit back if anything fails.
Run it as root in the control domain.

Target and limit are in step if the limit is at least the sum of target, video memory and 1 MiB, which is what libxl sets. After
`xmem max` the limit is the maximum plus 1 MiB.

With `--host sim` nothing real is touched: a simulated host has the domains Domain-0, web, db and win. `sim:DIR` keeps it
in a directory of your choice; `sim` keeps it in `$XDG_RUNTIME_DIR/xmem-sim`, or else below /tmp. Remove that directory to
start anew.

A domain is a domid, a UUID or a name. Write `name:7` if a domain's name is a number, `name:-web` if it begins with a dash.

On SIGINT, SIGTERM or SIGHUP, xmem stops before the change if it has not begun; otherwise it first completes or rolls back
the change. It then dies from the signal. SIGPIPE is ignored: a reader that goes away affects neither the change nor the
exit status.

Promise:
Target and limit are in step before and after a change, whatever fails, is killed, or changes the domain under libxl's lock.
If not, the exit status is 9, and a record is left from which the next xmem run recovers. Programs that change
a domain's memory without that lock (Qubes' qmemman, xapi's squeezed, scripts with `xenstore-write`) and a crash of the
host are not covered.

Privileges:
xmem needs no capability, only the files named below, which belong to root. If one cannot be opened, xmem names it and
exits with status 7 without changing anything. A minimal invocation:

  # setpriv --bounding-set=-all --inh-caps=-all --no-new-privs xmem set web 512M

A group that may open these files is as good as root: a process that has /dev/xen/privcmd open can make any hypercall, as dom0.
To let operators use `set` and nothing else, use sudo with a rule such as those in
/usr/share/doc/xmem/examples/sudoers. A rule with `xmem set *` would allow far more: sudo's * matches any further words.

System log:
Each change of a real host is a line in the system log, with the priority daemon.notice: who made it, the domain, and its
numbers before and after.

  $ journalctl -t xmem
      xmem[4711]: uid=0 loginuid=1000 sudo_user=alice domid=7
      uuid=0ad7a4f2-0d3c-4ac4-9c7b-9a6f0b0a3f11 name=web target_kib=1048576->524288
      static_max_kib=2097152->2097152 limit_kib=1049600->525312

`loginuid` is missing if nobody logged in, `sudo_user` without sudo, and `name` if the domain has none. A failure that leaves
something changed, or target and limit out of step, has the priority daemon.err and the error message in place of the domain
and its numbers. A nudge is two lines. A limit that a recovery sets is logged too.

Nothing is logged about the simulated host, a dry run, a size that is set already, or a failure that changed nothing or was
rolled back.

Json:
With `--json` every line on standard output is an object with `schema` (2), `command` and `simulated`, and, if it is about
a domain, `domid`, `name` and `uuid`. Sizes are KiB. An amount that does not exist, such as no limit, is null. Keys are only
ever added. A failure has an `error`:

  kind  one word for programs
  exit_code  the exit status that this failure alone leads to; after a signal, xmem dies from that signal instead
  message, hint  as on standard error; `hint` may be null
  state  where a change was asked for: unchanged, rolled-back, recovered, restored, changed, one-page-off or
      out-of-step

docs/json-schema.json describes every object and lists every word.

Files:
  /var/lib/xen/userdata-l.DOMID.UUID.domain-userdata-lock  libxl's lock of a domain. xl takes it too.
  /var/lib/xen/userdata-d.DOMID.UUID.xmem-intent  The record of a change in progress. After a kill, the next xmem run that
      locks the domain completes or rolls back that change. libxl removes the record with the domain.
  /var/run/xenstored/socket, /dev/xen/xenbus, /proc/xen/xenbus  xenstored; the first that exists is used.
  /dev/xen/privcmd, /dev/xen/hypercall  The hypervisor. If the latter does not exist, a locked page of memory is used.
  /dev/log  The system log. If nobody reads there, the line is lost, and the change is made all the same.

Examples:
  # xmem set web 512M
      web (7): target 1024 MiB -> 512 MiB, limit 1025 MiB -> 513 MiB
  # xmem set web +256M --wait
  # xmem set web 4G --raise-max
  # xmem list --sort current
  $ xmem --host sim set web 512M

Coming from xl:
The subcommands `mem-set` and `mem-max` take the same arguments as xl's:

  xl mem-set DOMAIN SIZE  xmem set DOMAIN SIZE
  xl mem-max DOMAIN SIZE  xmem max DOMAIN SIZE
  xl list  xmem list

xmem differs in these points:

  Units  A bare number is MiB in both. xl(1) says that it is KiB, which is true of no release.
  Relative sizes  +256M and -256M are relative to the present size. xl accepts a size of 0 and a unit without a number; xmem
      does not.
  Domains  xl takes an empty argument (an unset variable in a script) for domain 0; xmem refuses it. xmem also takes a UUID.
  The maximum  xl refuses a target above the maximum; `xmem set --raise-max` raises both. Before Xen 4.17, `xl mem-max` does
      not change memory/static-max; `xmem max` does.
  The lock  xl waits for it indefinitely. xmem gives up after --lock-timeout and names the process that holds it.
  Waiting  xl does not wait for the guest. Neither does xmem, unless `set --wait` asks for it.
  Output  xl prints nothing. xmem reports what it has changed, unless -q is given.
  Exit status  xl's is 0, 1 or 2, and 0 also after some failures. xmem has one for each outcome.";

const SET: &str = "\
Sets the target of a running domain, and the hypervisor's limit with it. The guest's balloon driver then gives memory back
or takes more. Setting a size that is set already succeeds.

Refused without `--force`: a guest below 32 MiB, a size above all of the host's memory, shrinking a domain that runs
another one's device model, shrinking a guest that still gives back its boot memory, shrinking a dom0 that cannot give
memory back, the first target of a PVH dom0 with a kernel before 6.15 or of an unknown version, which could give away far
too much memory. A domain that is being created, restored or received is never changed.

With `--wait`, xmem waits for as long as the guest makes progress. If the size was set already and the guest does not
move, xmem nudges its balloon driver once: it sets a target one page off, and then the right one.

Json:
One object: `changed` (whether this run changed anything), `dry_run` and `would_change`, the domain's `state`, `old` and
`new` with `target_kib`, `size_kib`, `static_max_kib` and `limit_kib`, `current_kib` (before), `notes` with `kind` and `text`,
and with `--wait` a `wait` with `end`, `took_ms`, `current_kib`, `wanted_kib`, `moved`, `nudged` and `reasons`. Objects with
`\"event\":\"progress\"` come before it.

Examples:
  # xmem set web 512M
      web (7): target 1024 MiB -> 512 MiB, limit 1025 MiB -> 513 MiB
  # xmem set web -256M --dry-run
  # xmem set web 512M --wait=2m --within 16M
  # xmem set web 50%
  # xmem set web 4G --raise-max --keep-free 2G
  # xmem set id:7 2G --lock-timeout 5s --json";

const MAX: &str = "\
Sets the maximum of a running domain (memory/static-max), the ceiling for its target, and the hypervisor's limit
with it. A maximum below the target is refused. The device model of an HVM guest keeps the maximum that the guest was
started with.

Json:
One object, as of `xmem-set`(1).

Examples:
  # xmem max web 4G
  # xmem max web 4G && xmem set web 3G";

const APPLY: &str = "\
A line is a domain and a size. The domain may be quoted. The lines that `xmem list --json` prints are accepted too: the
domain is named by `uuid`, `domid` or `name`, which must not contradict each other, and `size_kib` or `target_kib` is the new
value: remove the other one. `static_max_kib` and `videoram_kib` must be those of the domain; `limit_kib` is ignored.

Changes that shrink a domain come first. With `--partial`, lines are served in order if the host does not have enough
memory for all. After Ctrl-C the current change finishes and no other one starts. xmem reports the outcome for every domain.

Json:
One object per line, as of `xmem-set`(1), with the number of the `line`.

Examples:
  $ cat plan
      web 2G          # the web server
      db 1G
      \"SQL 227\" 50%
  # xmem apply plan --dry-run
  # xmem apply plan --wait
  # xmem list web db --json | jq -c 'select(.uuid) | {uuid, size_kib: 1048576}' | xmem apply -";

const RECLAIM: &str = "\
Frees memory for a new domain: shrinks the named guests until the host has SIZE available, which is free memory less what is
claimed. It plans first, then shrinks the guests, each under its lock, and waits for them. If one gives less than planned,
the others give more, down to their floors. Memory is only taken from the domains named. `--from all` means every running domU
that no other daemon manages. One that cannot give memory now is listed with the reason.

A guest that reports nothing gives at most half of its size unless `--floor` is given.

Exits with 4 if the guests cannot give enough (nothing is changed then), and with 8 if they gave less than planned.

Json:
Objects with `\"event\":\"gives\"` (`would-give` with `-n`) say what each domain is asked for: `size_kib`, `floor_kib`,
`floor_reason`, `gives_kib`, `excluded`. A change is an object as of `xmem-set`(1); `\"event\":\"waited\"` follows when the
wait for its guest ends, `\"event\":\"restored\"` if its old target is restored. The last object has `reclaim` with `end`, `goal_kib`,
`available_kib` and `possible_kib`.

Examples:
  # xmem reclaim 4G --from web db --dry-run
  # xmem reclaim 4G --from web db --floor 1G --floor db=2G
  # xmem reclaim 4G --from all --or-restore && xl create new.cfg";

const CHECK: &str = "\
A problem is reported only if a second reading confirms it. Without a domain, the files and xenstore nodes that domains left behind are
checked too. `--repair` fixes what has only one possible fix, as `xmem set` changes a domain: under its lock, in a
transaction. It waits up to `--lock-timeout` for each lock, one after the other.

Findings:
These are out of step:

  limit-too-low  the limit is below what the target needs
  interrupted-change  an xmem run was killed during a change
  missing-key  memory/target or memory/static-max is missing
  target-above-maximum  neither the target nor the size is within the maximum
  bad-node  a node in xenstore has a value that is not a size
  unusable-lock  the lock's path is not a regular file: nobody can change the domain

These are only notices:

  no-keys  xenstore has no memory nodes for the domain
  limit-high  the limit is above what target and maximum need
  over-limit, above-target, below-target  the guest has not reached its target
  managed  another daemon sets this domain's memory
  paused, suspended, shut-down, crashed, building, dying  the domain's state
  populating, outstanding  populate on demand has not ended; memory is claimed and not yet allocated
  device-model  the domain runs another one's device model
  locked  another process holds the domain's lock; its numbers are not checked
  unusable-lock  the path of a lock is not a regular file, and its domain is gone
  stale-lock, stale-record  a file that a killed process or a domain that is gone left behind
  set-aside  a record that an earlier xmem did not understand
  orphan-nodes  xenstore has nodes of a domain that does not exist
  not-listed  xenstore's domains cannot be listed

Json:
One object per finding: `kind`, `out_of_step`, `message`, `meaning`, `fix`, `repaired`, `repair`. The last object has a
`summary`: `domains`, `checked`, `locked`, `building`, `out_of_step`, `notices`, `repaired`.

Examples:
  # xmem check
  # xmem check --repair --dry-run
  # xmem check web --repair";

const LIST: &str = "\
No lock is taken, so a change in progress may show new numbers beside old ones. A domain that looks out of step is read
twice.

Json:
One object per domain: `type`, `state`, `device_model_of`, `current_kib`, `outstanding_kib`, `target_kib`, `size_kib`,
`limit_kib`, `static_max_kib`, `videoram_kib`, `used_kib` (what the guest reports) and `notes`, whose kinds are those of
`xmem-check`(1). The last object has `host` with `total_kib`, `free_kib` and `claimed_kib`. `xmem apply` takes these lines.

Examples:
  # xmem list
  # xmem list web db --json
  # xmem list -H -o name,size
  # xmem set web \"$(xmem list -H -o size web)\"
  # xmem list --format openmetrics >xmem.prom.$$ && mv xmem.prom.$$ xmem.prom";

const WATCH: &str = "\
Shows the same information as `xmem list`. On a terminal it is drawn in place, with a bar for each domain (memory held,
target and limit) and its recent history, the newest at the right. Otherwise tables follow each other, each with the time.

A terminal with less than 100 columns shows no LIMIT and MAXIMUM. If the rest still does not fit, the notes are left out
first, then the history, then the bar. While a domain is marked with !, the notes are left out last. If the domains do not
fit into the lines, the last line but one says how many more there are.

It exits when its output is closed, when xenstored stops, or after `--count` refreshes. It does not change terminal settings.

Json:
Objects as of `xmem-list`(1) with `time`, whenever a domain changes, and `\"gone\":true` for one that does not exist any more.

Examples:
  # xmem watch
  # xmem watch web --interval 250ms
  # xmem watch --count 10 --json";
