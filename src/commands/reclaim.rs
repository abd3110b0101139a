//! `xmem reclaim`.

use xen::Host;
use xmem_core::reclaim::{DonorSelection, Priority, ReclaimRequest};

use super::wait::PATIENCE;
use crate::cli::{self, Global, Reclaim};
use crate::exit::Exit;
use crate::report::Report;
use crate::usage::Usage;
use crate::values;

/// Making room on the host.
pub(super) struct Task {
    request: ReclaimRequest,
    dry_run: bool,
}

impl Task {
    pub(super) fn of(args: &Reclaim, global: &Global) -> Result<Self, Usage> {
        let from = if args.from == ["all"] {
            DonorSelection::All
        } else {
            DonorSelection::Named(values::domains(&args.from)?)
        };
        let (mut floor, mut floors) = (None, Vec::new());
        for text in &args.floor {
            // A name may contain `=`, a size does not.
            match text.rsplit_once('=') {
                Some((domain, size)) => {
                    floors.push((values::domain(domain)?, values::size("--floor", size)?));
                }
                None => floor = Some(values::size("--floor", text)?),
            }
        }
        let request = ReclaimRequest {
            size: values::amount("SIZE", &args.size)?,
            keep_free: values::keep_free(args.keep_free.as_deref())?,
            from,
            floor,
            floors,
            priority: match args.priority {
                Some(cli::Priority::Order) => Priority::Order,
                Some(cli::Priority::Even) | None => Priority::Even,
            },
            patience: values::time_or("--patience", args.patience.as_deref(), PATIENCE)?,
            lock_timeout: values::lock_timeout(global.lock_timeout.as_deref())?,
            or_restore: args.or_restore,
        };
        Ok(Self { request, dry_run: args.dry_run })
    }

    pub(super) const fn changes(&self) -> bool {
        !self.dry_run
    }

    pub(super) fn run(&self, host: &dyn Host, report: &Report) -> anyhow::Result<Exit> {
        let _ = (host, report, &self.request);
        anyhow::bail!("reclaim is not there yet")
    }
}
