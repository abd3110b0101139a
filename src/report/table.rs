//! Domains as a table: aligned, or separated by tabs for scripts.

use std::cmp::Ordering;

use anstyle::{AnsiColor, Style};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};
use xen::hypervisor::UNLIMITED;
use xen::{Kib, Mib};
use xmem_core::diagnosis::DiagnosisKind;
use xmem_core::failure::chain;
use xmem_core::size::Written;
use xmem_core::state::State;
use xmem_core::survey::{GuestType, Row, Survey};

use super::{output, text};
use crate::cli::Column;

/// The longest name that is shown in full on a terminal. libxl accepts names of any length.
pub(super) const LONGEST_NAME: usize = 48;

/// The contents and the form of a table.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layout {
    /// The columns; empty for the default ones.
    pub(crate) columns: Vec<Column>,
    /// Without header and host line, separated by tabs.
    pub(crate) bare: bool,
    /// Sizes in KiB.
    pub(crate) exact: bool,
}

/// The default columns. A table for people has the state only if a domain is not running.
fn usual_columns(survey: &Survey, layout: &Layout) -> Vec<Column> {
    let mut columns = vec![Column::Name, Column::Domid, Column::Type];
    let is_for_scripts = layout.bare || layout.exact;
    if is_for_scripts || survey.rows.iter().any(|row| row.state != State::Running) {
        columns.push(Column::State);
    }
    columns.extend([Column::Current, Column::Target, Column::Limit, Column::Maximum, Column::Note]);
    columns
}

/// Sorts the rows: sizes largest first, everything else in ascending order. Equal rows stay in the order of their
/// domids.
pub(crate) fn sort(rows: &mut [Row], by: Column) {
    rows.sort_by(|one, other| match by {
        Column::Name => one.domain.name.cmp(&other.domain.name),
        Column::Domid => Ordering::Equal,
        Column::Uuid => one.domain.identity.uuid.cmp(&other.domain.identity.uuid),
        Column::Type | Column::State | Column::Note => {
            cell(one, by, false).cmp(&cell(other, by, false))
        }
        size => number(other, size).cmp(&number(one, size)),
    });
}

/// The lines of the table.
pub(super) fn lines(
    survey: &Survey,
    layout: &Layout,
    simulated: bool,
    coloured: bool,
) -> Vec<String> {
    let columns = if layout.columns.is_empty() {
        usual_columns(survey, layout)
    } else {
        layout.columns.clone()
    };
    // Scripts need the full names.
    let longest = (!layout.bare && output::is_terminal()).then_some(LONGEST_NAME);
    let cells = |row: &Row| -> Vec<String> {
        let cell = |column: &Column| match (cell(row, *column, layout.exact), longest) {
            (name, Some(longest)) if *column == Column::Name => {
                cut(&name, longest, output::cut_mark())
            }
            (cell, _) => cell,
        };
        columns.iter().map(cell).collect()
    };
    let rows: Vec<Vec<String>> = survey.rows.iter().map(cells).collect();
    if layout.bare {
        return rows.iter().map(|row| row.join("\t")).collect();
    }
    let head: Vec<String> = columns.iter().map(|column| heading(*column).to_owned()).collect();
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
    let alignments: Vec<bool> = columns.iter().map(|column| is_left(*column)).collect();
    let mut lines = aligned(&rows, &alignments);
    if coloured {
        let styles = std::iter::once(Style::new().bold()).chain(survey.rows.iter().map(style));
        for (line, style) in lines.iter_mut().zip(styles) {
            *line = format!("{style}{line}{style:#}");
        }
    }
    lines.push(host(survey, layout.exact, simulated));
    lines
}

/// The rows as lines, their cells padded to the widest of each column.
pub(super) fn aligned(rows: &[Vec<String>], left: &[bool]) -> Vec<String> {
    let width =
        |at: usize| rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.width()).max();
    let widths: Vec<usize> = (0..left.len()).map(|at| width(at).unwrap_or_default()).collect();
    let line = |row: &Vec<String>| {
        let mut line = String::new();
        for ((cell, width), left) in row.iter().zip(&widths).zip(left) {
            if !line.is_empty() {
                line.push_str("  ");
            }
            let padding = " ".repeat(width.saturating_sub(cell.width()));
            let (before, after) = if *left { ("", &*padding) } else { (&*padding, "") };
            line.extend([before, cell, after]);
        }
        line.truncate(line.trim_end().len());
        line
    };
    rows.iter().map(line).collect()
}

/// `text` in at most `width` columns, with `mark` if it was shortened.
pub(super) fn cut(text: &str, width: usize, mark: char) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let room = width.saturating_sub(1);
    let mut used = 0_usize;
    let kept = text.chars().take_while(|c| {
        used = used.saturating_add(c.width().unwrap_or(0));
        used <= room
    });
    let mut text: String = kept.collect();
    if width > 0 {
        text.push(mark);
    }
    text
}

pub(super) const fn heading(column: Column) -> &'static str {
    match column {
        Column::Name => "NAME",
        Column::Domid => "ID",
        Column::Uuid => "UUID",
        Column::Type => "TYPE",
        Column::State => "STATE",
        Column::Size => "SIZE",
        Column::Target => "TARGET",
        Column::Current => "CURRENT",
        Column::Limit => "LIMIT",
        Column::Maximum => "MAXIMUM",
        Column::Video => "VIDEO",
        Column::Outstanding => "OUTSTANDING",
        Column::Used => "USED",
        Column::Note => "NOTE",
    }
}

/// Whether the cells of `column` are aligned to the left.
pub(super) const fn is_left(column: Column) -> bool {
    matches!(column, Column::Name | Column::Uuid | Column::Type | Column::State | Column::Note)
}

/// The cell of `row` in `column`.
pub(super) fn cell(row: &Row, column: Column, exact: bool) -> String {
    match column {
        Column::Name => {
            row.domain.name.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string)
        }
        Column::Domid => row.domain.identity.domid.to_string(),
        Column::Uuid => row.domain.identity.uuid.to_string(),
        Column::Type => guest_type(row).to_owned(),
        Column::State => row.state.word().to_owned(),
        Column::Note => row.findings.iter().map(text::finding).collect::<Vec<_>>().join("; "),
        // In a form that `set` takes: MiB without a unit, KiB with one.
        Column::Size if !exact => number(row, column).map_or_else(
            || "-".to_owned(),
            |kib| {
                if kib.0.is_multiple_of(1024) {
                    kib.mib().to_string()
                } else {
                    Written(kib).to_string()
                }
            },
        ),
        size => match number(row, size) {
            None => "-".to_owned(),
            Some(UNLIMITED) => "none".to_owned(),
            Some(kib) if exact => kib.0.to_string(),
            Some(kib) => Mib(kib).to_string(),
        },
    }
}

/// The amount of memory in `column`.
fn number(row: &Row, column: Column) -> Option<Kib> {
    let memory = &row.memory;
    match column {
        Column::Size => memory.size(),
        Column::Target => memory.target.clone().ok().flatten(),
        Column::Current => Some(memory.info.current),
        Column::Limit => Some(memory.info.limit),
        Column::Maximum => memory.static_max.clone().ok().flatten(),
        Column::Video => {
            memory.video.clone().ok().flatten().and_then(|video| u64::try_from(video).ok()).map(Kib)
        }
        Column::Outstanding => Some(memory.info.outstanding),
        Column::Used => row.memory.used(),
        _ => None,
    }
}

pub(super) const fn guest_type(row: &Row) -> &'static str {
    match row.memory.info.guest_type {
        GuestType::Pv => "PV",
        GuestType::Pvh => "PVH",
        GuestType::Hvm => "HVM",
    }
}

/// The host's line.
pub(super) fn host(survey: &Survey, exact: bool, simulated: bool) -> String {
    let host = if simulated { "host (simulated)" } else { "host" };
    let unit = if exact { "KiB" } else { "MiB" };
    let shown = |kib: Kib| if exact { kib.0.to_string() } else { Mib(kib).to_string() };
    match &survey.host {
        Ok(memory) => format!(
            "{host}: total {} {unit}, free {} {unit}, claimed {} {unit}; all sizes in {unit}",
            shown(memory.total),
            shown(memory.available()),
            shown(memory.claimed)
        ),
        Err(error) => {
            format!("{host}: {}; all sizes in {unit}", text::shortened(&chain(error)))
        }
    }
}

/// Red if attention is needed now.
fn style(row: &Row) -> Style {
    if is_urgent(row) { AnsiColor::Red.on_default() } else { Style::new() }
}

/// Whether a problem of the domain needs attention now.
pub(super) fn is_urgent(row: &Row) -> bool {
    row.findings
        .iter()
        .any(|finding| finding.is_out_of_step() || finding.kind == DiagnosisKind::OverLimit)
}
