//! The command line: clap's types and the texts of the help. `commands` gives the arguments their meaning.
//!
//! The completions and the man pages are generated from this file alone, so it uses no other module of the program.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

#[path = "cli/help.rs"]
mod help;

/// Change a running Xen domain's memory: its target and the hypervisor's limit, kept in step
#[derive(Debug, Parser)]
#[command(
    name = "xmem",
    version,
    max_term_width = 80,
    args_override_self = true,
    subcommand_required = true,
    after_help = help::EXIT_CODES_AND_ENVIRONMENT
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The options of every subcommand. Each works before and after it.
#[derive(Args, Debug)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Global {
    /// Operate on `xen`, or on `sim` or `sim:DIR`, a simulated host [default: xen]
    #[arg(long, global = true, value_name = "HOST")]
    pub(crate) host: Option<String>,
    /// Print one JSON object per domain, sizes in KiB
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Log each step with old and new values; -vv also logs every request
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Print only errors, tables, metrics and JSON
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Format log lines on standard error as `text` or `json` [default: text]
    #[arg(long, global = true, value_name = "FORMAT", hide_possible_values = true)]
    pub(crate) log_format: Option<LogFormat>,
    /// Wait at most this long for a domain's lock: 10s, 2m, 500ms [default: 60s]
    #[arg(long, global = true, value_name = "TIME")]
    pub(crate) lock_timeout: Option<String>,
}

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Human-readable
    Text,
    /// JSON, one object per line
    Json,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Set a domain's target, and its limit with it
    #[command(visible_alias = "mem-set", after_help = help::SET)]
    Set(Set),
    /// Set a domain's maximum (static-max), and its limit with it
    #[command(visible_alias = "mem-max", after_help = help::MAX)]
    Max(Max),
    /// Change many domains at once, shrinking before growing
    #[command(after_help = help::APPLY)]
    Apply(Apply),
    /// Shrink the named domains until the host has enough memory free
    #[command(after_help = help::RECLAIM)]
    #[command(override_usage = "xmem reclaim [OPTIONS] <SIZE> --from <DOMAIN>...")]
    Reclaim(Reclaim),
    /// List domains with their memory figures and any problems
    #[command(visible_alias = "ls", after_help = help::LIST)]
    List(List),
    /// Show a live view of the domains, with a bar and recent history for each
    #[command(after_help = help::WATCH)]
    Watch(Watch),
    /// Find inconsistencies, explain them and suggest fixes
    #[command(after_help = help::CHECK)]
    Check(Check),
    /// Print the candidates for DOMAIN, for the shells' completions
    #[command(name = "__complete-domains", hide = true)]
    CompleteDomains,
}

impl Command {
    /// The command's name, also if an alias was typed.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Set(_) => "set",
            Self::Max(_) => "max",
            Self::Apply(_) => "apply",
            Self::Reclaim(_) => "reclaim",
            Self::List(_) => "list",
            Self::Watch(_) => "watch",
            Self::Check(_) => "check",
            Self::CompleteDomains => "__complete-domains",
        }
    }
}

/// `xmem set`.
#[derive(Args, Debug)]
pub(crate) struct Set {
    #[command(flatten)]
    pub(crate) change: Change,
    /// Raise the maximum too if the size is above it
    #[arg(long)]
    pub(crate) raise_max: bool,
    #[command(flatten)]
    pub(crate) wait: Wait,
    /// Give up --wait after this long without progress [default: 30s]
    #[arg(long, value_name = "TIME", requires = "wait")]
    pub(crate) patience: Option<String>,
    /// Keep this much of the host's memory free when growing [default: 0]
    #[arg(long, value_name = "SIZE")]
    pub(crate) keep_free: Option<String>,
}

/// `xmem max`.
#[derive(Args, Debug)]
pub(crate) struct Max {
    #[command(flatten)]
    pub(crate) change: Change,
}

/// The arguments that `set` and `max` share.
#[derive(Args, Debug)]
pub(crate) struct Change {
    /// Domid, UUID or name; prefix with `id:`, `uuid:` or `name:` to be explicit
    pub(crate) domain: String,
    /// 512M, 2G, max, 50%, +256M or -256M; a bare number is MiB
    pub(crate) size: String,
    /// Override a safety rule that refuses the size
    #[arg(long)]
    pub(crate) force: bool,
    /// Show what would be done without doing it
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
}

/// How to wait for a guest after its change.
#[derive(Args, Debug)]
pub(crate) struct Wait {
    /// Wait for the guest to reach the target while it makes progress; =TIME sets an upper bound
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true)]
    #[expect(
        clippy::option_option,
        reason = "no wait, a wait without a bound, or one with a bound"
    )]
    pub(crate) wait: Option<Option<String>>,
    /// End --wait within this distance of the target, 1M or more [default: 1M]
    #[arg(long, value_name = "SIZE", requires = "wait")]
    pub(crate) within: Option<String>,
}

/// `xmem apply`.
#[derive(Args, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct Apply {
    /// File with a `DOMAIN SIZE` per line, or JSON from `xmem list`; - is standard input
    pub(crate) file: PathBuf,
    /// Raise a domain's maximum too if its size is above it
    #[arg(long)]
    pub(crate) raise_max: bool,
    /// Override safety rules that refuse a size
    #[arg(long)]
    pub(crate) force: bool,
    /// Show what would be done, in order, without doing it
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) wait: Wait,
    /// Give up waiting for memory, or for a guest, after this long without progress [default: 30s]
    #[arg(long, value_name = "TIME")]
    pub(crate) patience: Option<String>,
    /// Keep this much of the host's memory free when growing [default: 0]
    #[arg(long, value_name = "SIZE")]
    pub(crate) keep_free: Option<String>,
    /// Serve the first lines when the host does not have enough for all
    #[arg(long)]
    pub(crate) partial: bool,
}

/// `xmem reclaim`.
#[derive(Args, Debug)]
pub(crate) struct Reclaim {
    /// Memory to make available on the host: 4G; a bare number is MiB
    pub(crate) size: String,
    /// Take memory from these domains; `all` is every running domU that no other daemon manages
    #[arg(long, value_name = "DOMAIN", required = true, num_args = 1..)]
    pub(crate) from: Vec<String>,
    /// Leave each domain, or the domain NAME, at least this much; repeatable [default: what its
    /// guest uses and a margin, or half of its size]
    #[arg(long, value_name = "[NAME=]SIZE", action = clap::ArgAction::Append)]
    pub(crate) floor: Vec<String>,
    /// Take from the domains in the order given (`order`), or evenly from all (`even`) [default: even]
    #[arg(long, value_name = "HOW", hide_possible_values = true)]
    pub(crate) priority: Option<Priority>,
    /// Give up on a guest after this long without progress [default: 30s]
    #[arg(long, value_name = "TIME")]
    pub(crate) patience: Option<String>,
    /// Keep this much of the host's memory free in addition to SIZE [default: 0]
    #[arg(long, value_name = "SIZE")]
    pub(crate) keep_free: Option<String>,
    /// Show which domain would give how much without changing anything
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    /// Restore the old targets and limits if SIZE is not reached
    #[arg(long)]
    pub(crate) or_restore: bool,
}

/// The order in which `reclaim` takes memory from domains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Priority {
    /// As much as possible from the first, then from the next
    Order,
    /// In proportion to what each can spare
    Even,
}

/// `xmem list`.
#[derive(Args, Debug)]
pub(crate) struct List {
    /// Domids, UUIDs or names [default: all domains]
    #[arg(value_name = "DOMAIN")]
    pub(crate) domains: Vec<String>,
    /// Omit the header and the host's line; separate columns by tabs
    #[arg(short = 'H', long)]
    pub(crate) no_header: bool,
    /// Print exact sizes in KiB instead of MiB
    #[arg(short = 'p', long)]
    pub(crate) exact: bool,
    /// Show these columns, separated by commas
    #[arg(short = 'o', long, value_name = "COLUMN,...", value_delimiter = ',')]
    #[arg(hide_possible_values = true)]
    pub(crate) columns: Vec<Column>,
    /// Sort by this column; sizes sort largest first [default: domid]
    #[arg(long, value_name = "COLUMN", hide_possible_values = true)]
    pub(crate) sort: Option<Column>,
    /// Print a table, or `openmetrics` for a collector [default: table]
    #[arg(long, value_name = "FORMAT", hide_possible_values = true)]
    pub(crate) format: Option<Format>,
}

/// How a list is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Aligned columns
    Table,
    /// `OpenMetrics` text
    Openmetrics,
}

/// The columns of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Column {
    /// The name
    Name,
    /// The domid
    #[value(alias = "id")]
    Domid,
    /// The UUID
    Uuid,
    /// PV, PVH or HVM
    Type,
    /// The domain's state
    State,
    /// The size that `set` takes: target and video memory
    Size,
    /// The balloon target
    Target,
    /// Memory allocated to the domain
    Current,
    /// The hypervisor's limit
    Limit,
    /// The maximum: static-max
    #[value(alias = "max", alias = "static-max")]
    Maximum,
    /// Video memory
    Video,
    /// Claimed and not yet allocated
    Outstanding,
    /// What the guest reports as used
    Used,
    /// Notes
    Note,
}

/// `xmem watch`.
#[derive(Args, Debug)]
pub(crate) struct Watch {
    /// Domids, UUIDs or names [default: all domains]
    #[arg(value_name = "DOMAIN")]
    pub(crate) domains: Vec<String>,
    /// Refresh at least this often; target changes show at once [default: 1s]
    #[arg(long, value_name = "TIME")]
    pub(crate) interval: Option<String>,
    /// Exit after N refreshes
    #[arg(short = 'c', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// Sort by this column; sizes sort largest first [default: domid]
    #[arg(long, value_name = "COLUMN", hide_possible_values = true)]
    pub(crate) sort: Option<Column>,
}

/// `xmem check`.
#[derive(Args, Debug)]
pub(crate) struct Check {
    /// Domids, UUIDs or names [default: all domains, stale files and nodes]
    #[arg(value_name = "DOMAIN")]
    pub(crate) domains: Vec<String>,
    /// Fix whatever has only one possible fix, taking each domain's lock
    #[arg(long)]
    pub(crate) repair: bool,
    /// With --repair: show what would be done without doing it
    #[arg(short = 'n', long, requires = "repair")]
    pub(crate) dry_run: bool,
}
