//! Domains for people: aligned, in MiB.

use anstyle::{AnsiColor, Style};
use unicode_width::UnicodeWidthStr as _;
use xmem::hypervisor::UNLIMITED;
use xmem::overview::{Overview, Row};
use xmem::remark::Remark;
use xmem::size::{Kib, Mib};

/// A column: what stands above it, and whether its cells begin at the left.
type Column = (&'static str, bool);

const COLUMNS: [Column; 7] = [
    ("NAME", true),
    ("ID", false),
    ("TYPE", true),
    ("CURRENT", false),
    ("TARGET", false),
    ("LIMIT", false),
    ("MAXIMUM", false),
];
/// What `watch` shows beside them.
const EXTRA: [Column; 2] = [("HELD/TARGET/LIMIT", true), ("LATELY", true)];
const NOTE: Column = ("NOTE", true);

/// The cells that `watch` adds to a row.
pub(super) type Extra<'a> = &'a dyn Fn(&Row) -> [String; 2];

/// The whole table, without a line's end.
pub(super) fn table(seen: &Overview, coloured: bool) -> String {
    let mut lines = lines(seen, None);
    if coloured {
        let styles = std::iter::once(Style::new().bold()).chain(seen.rows.iter().map(style));
        for (line, style) in lines.iter_mut().zip(styles) {
            *line = format!("{style}{line}{style:#}");
        }
    }
    lines.join("\n")
}

/// The head, a line for each domain, and one for the host.
pub(super) fn lines(seen: &Overview, extra: Option<Extra<'_>>) -> Vec<String> {
    let mut columns = COLUMNS.to_vec();
    if extra.is_some() {
        columns.extend(EXTRA);
    }
    columns.push(NOTE);
    let head = columns.iter().map(|(head, _)| (*head).to_owned()).collect();
    let rows: Vec<Vec<String>> =
        std::iter::once(head).chain(seen.rows.iter().map(|row| cells(row, extra))).collect();
    let widths: Vec<usize> = (0..columns.len())
        .map(|at| rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.width()).max())
        .map(Option::unwrap_or_default)
        .collect();
    let mut lines: Vec<String> = rows.iter().map(|row| line(row, &widths, &columns)).collect();
    lines.push(host(seen));
    lines
}

fn line(cells: &[String], widths: &[usize], columns: &[Column]) -> String {
    let mut line = String::new();
    for ((cell, width), (_, left)) in cells.iter().zip(widths).zip(columns) {
        if !line.is_empty() {
            line.push_str("  ");
        }
        let padding = " ".repeat(width.saturating_sub(cell.width()));
        let (before, after) = if *left { ("", padding.as_str()) } else { (padding.as_str(), "") };
        line.extend([before, cell, after]);
    }
    line.truncate(line.trim_end().len());
    line
}

fn cells(row: &Row, extra: Option<Extra<'_>>) -> Vec<String> {
    let mut cells = vec![
        row.domain.name.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
        row.domain.identity.domid.to_string(),
        row.kind.name().to_owned(),
        mib(Some(row.info.current)),
        mib(row.target),
        mib(Some(row.info.limit)),
        mib(row.static_max),
    ];
    cells.extend(extra.map(|extra| extra(row)).into_iter().flatten());
    cells.push(row.remarks.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "));
    cells
}

/// The host's own line.
fn host(seen: &Overview) -> String {
    let host = if seen.simulated { "host (simulated)" } else { "host" };
    match &seen.memory {
        Ok(memory) => format!(
            "{host}: total {} MiB, free {} MiB, claimed {} MiB",
            mib(Some(memory.total)),
            mib(Some(memory.free)),
            mib(Some(memory.claimed))
        ),
        Err(error) => format!("{host}: {}", xmem::error::chain(error)),
    }
}

fn mib(kib: Option<Kib>) -> String {
    match kib {
        None => "-".to_owned(),
        Some(UNLIMITED) => "none".to_owned(),
        Some(kib) => Mib(kib).to_string(),
    }
}

/// Red for what deserves attention now.
fn style(row: &Row) -> Style {
    let over = row.remarks.iter().any(|remark| matches!(remark, Remark::OverLimit { .. }));
    let grave = over || row.out_of_step().next().is_some();
    if grave { AnsiColor::Red.on_default() } else { Style::new() }
}
