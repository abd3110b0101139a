//! What can be typed: clap's types, and how clap is asked for them. What they mean is worked out in
//! `commands`.

use std::env;
use std::mem::ManuallyDrop;
use std::path::PathBuf;

use clap::{ArgMatches, Args, CommandFactory as _, FromArgMatches, Parser, Subcommand, ValueEnum};

/// Change a running Xen domain's memory: its target and the hypervisor's limit, kept in step
#[derive(Debug, Parser)]
#[command(name = "xmem", version, max_term_width = 100, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Cli {
    /// What was typed. All that clap was told and has found stays until the process ends: to free it bit by bit would
    /// take a third of the time that it took to make.
    ///
    /// # Errors
    /// What clap does not take, and the help that was asked for.
    pub(crate) fn typed() -> Result<Self, clap::Error> {
        let mut command = ManuallyDrop::new(Self::command());
        let mut matches = ManuallyDrop::new(command.try_get_matches_from_mut(env::args_os())?);
        Self::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command))
    }
}

/// What every subcommand takes.
#[derive(Args, Debug)]
pub(crate) struct Global {
    /// What to work on: `xen`, `sim` or `sim:DIR` (a simulated host, to try things out)
    #[arg(long, global = true, env = "XMEM_HOST", default_value = "xen", value_name = "HOST")]
    pub(crate) host: String,
    /// Print one JSON object for each domain, sizes in KiB
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Tell each step with old and new values; twice for every request
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Print nothing but errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// How -v's lines look, on standard error
    #[arg(long, global = true, value_name = "FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,
}

/// The two looks of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people
    Text,
    /// For programs
    Json,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Set a domain's target, and its limit with it
    #[command(visible_alias = "mem-set", after_help = SIZES)]
    Set(Deferred<Set>),
    /// Set a domain's maximum (static-max), and its limit with it
    #[command(visible_alias = "mem-max", after_help = SIZES)]
    Max(Deferred<Max>),
    /// Change many domains in one run, those that shrink first
    #[command(after_help = BATCH)]
    Apply(Deferred<Apply>),
    /// Show the domains with all their numbers, in MiB, and what is off about them
    #[command(visible_alias = "ls")]
    List(Deferred<List>),
    /// Show the domains live, with a bar and the recent past of each
    Watch(Deferred<Watch>),
    /// Find what is out of step, say what it means and what mends it; exits 9 if there is anything
    Check(Deferred<Check>),
    /// Print what can be typed as a domain, for the shells' completions
    #[command(name = "__words", hide = true)]
    Words,
}

impl Command {
    /// Its name, whichever alias was typed.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Set(_) => "set",
            Self::Max(_) => "max",
            Self::Apply(_) => "apply",
            Self::List(_) => "list",
            Self::Watch(_) => "watch",
            Self::Check(_) => "check",
            Self::Words => "__words",
        }
    }
}

/// A subcommand's arguments, which clap makes when that subcommand is typed, and no sooner: those of all six
/// together are most of what parsing takes.
#[derive(Debug)]
pub(crate) struct Deferred<T>(pub(crate) T);

impl<T: Args> Args for Deferred<T> {
    fn augment_args(command: clap::Command) -> clap::Command {
        // What a subcommand is about is said where they are listed, not by the type of its arguments.
        command.defer(|command| {
            let about = command.get_about().cloned().unwrap_or_default();
            T::augment_args(command).about(about)
        })
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl<T: FromArgMatches> FromArgMatches for Deferred<T> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        T::from_arg_matches(matches).map(Self)
    }

    fn from_arg_matches_mut(matches: &mut ArgMatches) -> Result<Self, clap::Error> {
        T::from_arg_matches_mut(matches).map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0.update_from_arg_matches(matches)
    }
}

/// `xmem set`.
#[derive(Args, Debug)]
pub(crate) struct Set {
    #[command(flatten)]
    pub(crate) change: Change,
    /// Raise the maximum as well if the size is above it
    #[arg(long)]
    pub(crate) raise_max: bool,
    /// Shrink a guest below 32 MiB
    #[arg(long)]
    pub(crate) force: bool,
}

/// `xmem max`.
#[derive(Args, Debug)]
pub(crate) struct Max {
    #[command(flatten)]
    pub(crate) change: Change,
}

/// `xmem apply`.
#[derive(Args, Debug)]
pub(crate) struct Apply {
    /// Lines of `DOMAIN SIZE`, or of `xmem list --json` with their targets edited; - is standard input
    pub(crate) file: PathBuf,
    /// Say what would be done, in its order, and change nothing
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    /// Raise a domain's maximum as well if its size is above it
    #[arg(long)]
    pub(crate) raise_max: bool,
    /// Shrink guests below 32 MiB
    #[arg(long)]
    pub(crate) force: bool,
    /// How long to wait for each domain's lock: 10s, 2m, 500ms
    #[arg(long, env = "XMEM_LOCK_TIMEOUT", value_name = "TIME", default_value = "60s")]
    pub(crate) lock_timeout: String,
    #[command(flatten)]
    pub(crate) wait: Wait,
    /// How long to wait for memory that others give back while none comes, and for a guest that does
    /// not move
    #[arg(long, value_name = "TIME", default_value = "30s")]
    pub(crate) patience: String,
}

/// `xmem list`.
#[derive(Args, Debug)]
pub(crate) struct List {
    /// Domids, UUIDs or names; all domains if there is none
    pub(crate) domains: Vec<String>,
    /// What to sort by; sizes the largest first
    #[arg(long, value_name = "KEY", default_value = "id")]
    pub(crate) sort: SortBy,
    /// A table, or metrics for `node_exporter`'s textfile collector
    #[arg(long, value_name = "FORMAT", default_value = "table", conflicts_with = "json")]
    pub(crate) format: Format,
}

/// `xmem watch`.
#[derive(Args, Debug)]
pub(crate) struct Watch {
    /// Domids, UUIDs or names; all domains if there is none
    pub(crate) domains: Vec<String>,
    /// How long to wait between two looks at most: a change of a target is seen at once
    #[arg(long, value_name = "TIME", default_value = "1s")]
    pub(crate) interval: String,
    /// How many times to look
    #[arg(short = 'c', long, value_name = "N")]
    pub(crate) count: Option<u64>,
}

/// `xmem check`.
#[derive(Args, Debug)]
pub(crate) struct Check {
    /// Domids, UUIDs or names; without any, the whole host: all domains, and what gone ones left
    pub(crate) domains: Vec<String>,
    /// Mend what can be meant in one way only, each domain under its lock
    #[arg(long)]
    pub(crate) repair: bool,
    /// With --repair: say what would be done, and change nothing
    #[arg(short = 'n', long, requires = "repair")]
    pub(crate) dry_run: bool,
    /// With --repair: how long to wait for a domain's lock: 10s, 2m, 500ms
    #[arg(long, env = "XMEM_LOCK_TIMEOUT", value_name = "TIME", default_value = "60s")]
    pub(crate) lock_timeout: String,
}

/// What a list is sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SortBy {
    /// The domid
    Id,
    /// The name
    Name,
    /// What it holds
    Current,
    /// Its target
    Target,
    /// Its limit
    Limit,
    /// Its maximum
    Max,
}

/// The looks of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Table,
    /// For collectors of metrics
    Openmetrics,
}

/// What every change takes.
#[derive(Args, Debug)]
pub(crate) struct Change {
    /// A domid, UUID or name; `id:7`, `uuid:...` or `name:7` force one reading
    pub(crate) domain: String,
    /// 512M, 2G, +256M, -256M; a bare number is MiB
    #[arg(allow_hyphen_values = true)]
    pub(crate) size: String,
    /// Say what would be done, and change nothing
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    /// How long to wait for the domain's lock: 10s, 2m, 500ms
    #[arg(long, env = "XMEM_LOCK_TIMEOUT", value_name = "TIME", default_value = "60s")]
    pub(crate) lock_timeout: String,
    #[command(flatten)]
    pub(crate) wait: Wait,
    /// How long --wait waits for a guest that does not move
    #[arg(long, value_name = "TIME", default_value = "30s", requires = "wait")]
    pub(crate) patience: String,
}

/// What is waited for after a change.
#[derive(Args, Debug)]
pub(crate) struct Wait {
    /// Wait until the guest has followed, as long as it moves; with =TIME no longer than that
    #[arg(
        long,
        value_name = "TIME",
        num_args = 0..=1,
        require_equals = true,
        conflicts_with = "dry_run"
    )]
    #[expect(clippy::option_option, reason = "not at all, for any time, or for this time")]
    pub(crate) wait: Option<Option<String>>,
}

/// A host as it was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HostRef {
    /// The one xmem runs on.
    Xen,
    /// The simulated one, in a folder or in the user's own.
    Sim(Option<PathBuf>),
}

const SIZES: &str = "\
SIZE is a whole number with b, k, m, g, t or KiB, MiB, GiB, TiB (any case, powers of 1024).
A bare number is MiB, as in xl. +SIZE and -SIZE are steps from what is set now.";

const BATCH: &str = "\
All lines are looked at before the first change, and all that is wrong is told at once. Each change has
its own lock and transaction. A domain that grows waits until the host has the memory for it.";

const AFTER_HELP: &str = "\
Exit codes:
  0  done, or already so
  1  failed; nothing is changed, or it was put back
  2  wrong usage
  3  no such domain, or it went away
  4  refused: a limit or a safety rule
  5  the domain's lock was not to be had in time
  6  xenstore conflicts would not end; put back
  7  not permitted, not a control domain, or xenstored out of reach
  8  --wait: the change stands, but the guest has not got there
  9  out of step: found by check, or a change that could not be put back
  10 several domains, some of which failed or are not there

Environment:
  XMEM_HOST          what --host defaults to
  XMEM_LOCK_TIMEOUT  what --lock-timeout defaults to
  XMEM_LOG           log filters such as `xmem=debug`, in place of -v
  XENSTORED_PATH     xenstored's socket or device, as libxenstore has it
  XMEM_SIM_FAULT     how the simulated host misbehaves, such as `lock-busy` or `conflict`";
