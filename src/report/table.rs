//! `xmem list` for people: aligned, in MiB.

use anstyle::{AnsiColor, Style};
use xmem::hypervisor::UNLIMITED;
use xmem::overview::{Overview, Remark, Row};
use xmem::size::{Kib, Mib};

const HEAD: [&str; 8] = ["NAME", "ID", "TYPE", "CURRENT", "TARGET", "LIMIT", "MAXIMUM", "NOTE"];
/// Names and notes begin at the left; numbers end at the right.
const LEFT: [bool; 8] = [true, false, true, false, false, false, false, true];

/// The whole table, without a line's end.
pub(super) fn table(seen: &Overview, coloured: bool) -> String {
    let rows: Vec<[String; 8]> =
        std::iter::once(HEAD.map(str::to_owned)).chain(seen.rows.iter().map(cells)).collect();
    let mut widths = [0_usize; 8];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut lines: Vec<String> = Vec::new();
    for (at, row) in rows.iter().enumerate() {
        let line = line(row, &widths);
        let grave = at.checked_sub(1).and_then(|at| seen.rows.get(at)).map(grave);
        let style = match grave {
            None => Style::new().bold(),
            Some(true) => AnsiColor::Red.on_default(),
            Some(false) => Style::new(),
        };
        lines.push(if coloured { format!("{style}{line}{style:#}") } else { line });
    }
    lines.push(host(seen));
    lines.join("\n")
}

fn line(cells: &[String; 8], widths: &[usize; 8]) -> String {
    let mut line = String::new();
    for ((cell, &width), left) in cells.iter().zip(widths).zip(LEFT) {
        if !line.is_empty() {
            line.push_str("  ");
        }
        let padding = " ".repeat(width.saturating_sub(cell.chars().count()));
        let (before, after) = if left { ("", padding.as_str()) } else { (padding.as_str(), "") };
        line.extend([before, cell, after]);
    }
    line.truncate(line.trim_end().len());
    line
}

fn cells(row: &Row) -> [String; 8] {
    [
        row.domain.name.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
        row.domain.identity.domid.to_string(),
        row.kind.name().to_owned(),
        mib(Some(row.info.current)),
        mib(row.target),
        mib(Some(row.info.limit)),
        mib(row.static_max),
        row.remarks.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
    ]
}

/// The host's own line.
fn host(seen: &Overview) -> String {
    match &seen.memory {
        Ok(memory) => format!(
            "host: total {} MiB, free {} MiB, claimed {} MiB",
            mib(Some(memory.total)),
            mib(Some(memory.free)),
            mib(Some(memory.claimed))
        ),
        Err(error) => format!("host: {}", xmem::error::chain(error)),
    }
}

fn mib(kib: Option<Kib>) -> String {
    match kib {
        None => "-".to_owned(),
        Some(UNLIMITED) => "none".to_owned(),
        Some(kib) => Mib(kib).to_string(),
    }
}

/// Whether a row deserves attention now.
fn grave(row: &Row) -> bool {
    row.remarks.iter().any(|remark| {
        matches!(
            remark,
            Remark::LimitTooLow { .. }
                | Remark::TargetAboveMax { .. }
                | Remark::LimitOdd { .. }
                | Remark::OverLimit { .. }
                | Remark::BadNode(_)
                | Remark::Unsettled(_)
        )
    })
}
