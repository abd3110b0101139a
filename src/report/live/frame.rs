//! One frame of `xmem watch` on a terminal. Pure.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};
use xen::Kib;
use xen::hypervisor::UNLIMITED;
use xmem_core::state::State;
use xmem_core::survey::{Row, Survey};

use super::super::table::{aligned, cell, heading, host, is_left};
use super::{HISTORY, History};
use crate::cli::Column;

/// The minimum and maximum widths of a bar, of a history and of a note.
const BAR: (usize, usize) = (10, 24);
const PAST: (usize, usize) = (8, HISTORY);
const NOTE: (usize, usize) = (12, 200);
/// The gap between two columns.
const GAP: usize = 2;
/// Below this width, the bar replaces limit and maximum.
const WIDE: usize = 100;

const LEAVE: &str = "; Ctrl-C exits";

/// The characters that a terminal can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Glyphs {
    used: char,
    target: char,
    limit: char,
    levels: [char; 8],
    /// The mark of a shortened text.
    cut: char,
}

impl Glyphs {
    /// Blocks, for a terminal that reads UTF-8.
    pub(super) const UNICODE: Self = Self {
        used: '█',
        target: '▒',
        limit: '·',
        levels: ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'],
        cut: '…',
    };
    /// For any other terminal.
    pub(super) const ASCII: Self = Self {
        used: '#',
        target: '-',
        limit: '.',
        levels: ['_', '_', '.', '.', '-', '-', '=', '='],
        cut: '>',
    };
}

/// A frame to draw.
pub(super) struct Frame<'a> {
    pub(super) survey: &'a Survey,
    pub(super) history: &'a History,
    pub(super) glyphs: Glyphs,
    pub(super) width: usize,
    pub(super) height: usize,
}

/// The widths of the parts that are not numbers; 0 leaves a part out.
#[derive(Debug, PartialEq, Eq)]
struct Widths {
    bar: usize,
    past: usize,
    note: usize,
}

impl Widths {
    /// What fits into `room` beside the numbers, with notes of `note` columns.
    fn fit(room: usize, note: usize) -> Self {
        let mut rest = room;
        let mut take = |least: usize, wanted: usize| {
            let most = rest.saturating_sub(GAP);
            if wanted == 0 || most < least.min(wanted) {
                return 0;
            }
            let taken = most.min(wanted);
            rest = rest.saturating_sub(taken.saturating_add(GAP));
            taken
        };
        let mut bar = take(BAR.0, BAR.0);
        let mut past = take(PAST.0, PAST.0);
        let note = take(NOTE.0, note.min(NOTE.1));
        for (width, most) in [(&mut past, PAST.1), (&mut bar, BAR.1)] {
            if *width > 0 {
                let more = rest.min(most.saturating_sub(*width));
                *width = width.saturating_add(more);
                rest = rest.saturating_sub(more);
            }
        }
        Self { bar, past, note }
    }
}

impl Frame<'_> {
    /// The lines, none wider than the terminal and no more than it has.
    pub(super) fn lines(&self, simulated: bool) -> Vec<String> {
        let rows = &self.survey.rows;
        let mut columns = vec![Column::Name, Column::Domid, Column::Type];
        if rows.iter().any(|row| row.state != State::Running) {
            columns.push(Column::State);
        }
        columns.extend([Column::Current, Column::Target]);
        if self.width >= WIDE {
            columns.extend([Column::Limit, Column::Maximum]);
        }
        let head = columns.iter().map(|column| heading(*column).to_owned()).collect();
        let cells = |row: &Row| columns.iter().map(|column| cell(row, *column, false)).collect();
        let table: Vec<Vec<String>> = std::iter::once(head).chain(rows.iter().map(cells)).collect();
        let left: Vec<bool> = columns.iter().map(|column| is_left(*column)).collect();
        let numbers = aligned(&table, &left);
        let widest = numbers.iter().map(|line| line.width()).max().unwrap_or_default();
        let notes: Vec<String> = rows.iter().map(|row| cell(row, Column::Note, false)).collect();
        let note = notes.iter().map(|note| note.width()).max().unwrap_or_default();
        // In some terminals, a line that fills the last column would begin a new one.
        let room = self.width.saturating_sub(1).saturating_sub(widest);
        let widths = Widths::fit(room, note);

        let heads = ["USED/TARGET/LIMIT", "USED"].into_iter().find(|head| head.len() <= widths.bar);
        let heads = [heads.unwrap_or_default(), "HISTORY", "NOTE"].map(str::to_owned);
        let parts = rows
            .iter()
            .zip(notes)
            .map(|(row, note)| [self.bar(row, widths.bar), self.past(row, widths.past), note]);
        let parts: Vec<[String; 3]> = std::iter::once(heads).chain(parts).collect();
        let mut lines: Vec<String> = numbers
            .iter()
            .zip(parts)
            .map(|(line, parts)| {
                let mut line = padded(line, widest);
                for (part, width) in parts.iter().zip([widths.bar, widths.past, widths.note]) {
                    if width > 0 {
                        line.push_str("  ");
                        line.push_str(&padded(&self.cut(part, width), width));
                    }
                }
                line.trim_end().to_owned()
            })
            .collect();
        self.shorten(&mut lines);
        let last = host(self.survey, false, simulated);
        // The way out matters more than the unit, which the line's own numbers have.
        let without_unit = last.split("; ").next().unwrap_or_default().to_owned();
        let fits = |line: &String| line.width() < self.width;
        let last =
            [last.clone() + LEAVE, without_unit + LEAVE].into_iter().find(fits).unwrap_or(last);
        lines.push(last);
        lines.iter().map(|line| self.cut(line, self.width.saturating_sub(1))).collect()
    }

    /// Removes domains to make room for the host's line.
    fn shorten(&self, lines: &mut Vec<String>) {
        let most = self.height.saturating_sub(1);
        if lines.len() > most {
            let kept = most.saturating_sub(1);
            let left_out = lines.len().saturating_sub(kept);
            lines.truncate(kept);
            if most > 0 {
                lines.push(format!("({left_out} more; enlarge the terminal to see them)"));
            }
        }
    }

    /// Memory in use, target and limit as a bar. The whole bar is the largest of them.
    fn bar(&self, row: &Row, width: usize) -> String {
        let info = &row.memory.info;
        let node = |node: &xmem_core::memory::Node<Kib>| node.clone().ok().flatten();
        let target = node(&row.memory.target).unwrap_or(info.current);
        let most = [node(&row.memory.static_max), Some(target), Some(info.current)]
            .into_iter()
            .flatten()
            .filter(|kib| *kib < UNLIMITED)
            .max()
            .unwrap_or_default();
        let cells = |kib: Kib| scaled(kib.min(most), most, width);
        let (used, target, limit) = (cells(info.current), cells(target), cells(info.limit));
        (0..width)
            .map(|cell| match cell {
                cell if cell < used => self.glyphs.used,
                cell if cell < target => self.glyphs.target,
                cell if cell < limit => self.glyphs.limit,
                _ => ' ',
            })
            .collect()
    }

    /// The latest samples, scaled from the smallest to the largest. The newest is at the right end.
    fn past(&self, row: &Row, width: usize) -> String {
        let past = self.history.latest(row, width);
        let least = past.iter().min().copied().unwrap_or_default();
        let most = past.iter().max().copied().unwrap_or_default();
        let span = most.minus(least).unwrap_or_default();
        let level = |kib: &Kib| {
            let level = scaled(kib.minus(least).unwrap_or_default(), span, 7);
            self.glyphs.levels.get(level).copied().unwrap_or(self.glyphs.used)
        };
        let empty = width.saturating_sub(past.len());
        std::iter::repeat_n(' ', empty).chain(past.iter().map(level)).collect()
    }

    /// `text` in at most `width` columns, with a mark if it was shortened.
    fn cut(&self, text: &str, width: usize) -> String {
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
            text.push(self.glyphs.cut);
        }
        text
    }
}

fn padded(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(text.width())))
}

/// `part` of `whole` in `cells`, rounded to the nearest; 0 if `whole` is 0.
fn scaled(part: Kib, whole: Kib, cells: usize) -> usize {
    let cells = u128::try_from(cells).unwrap_or(0);
    let (part, whole) = (u128::from(part.0), u128::from(whole.0));
    let doubled = part.saturating_mul(cells).saturating_mul(2).saturating_add(whole);
    let nearest = doubled.checked_div(whole.saturating_mul(2)).unwrap_or(0);
    usize::try_from(nearest.min(cells)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_rounded_to_cells() {
        for (part, whole, cells) in
            [(0, 10, 0), (10, 10, 24), (5, 10, 12), (1, 100, 0), (3, 100, 1)]
        {
            assert_eq!(scaled(Kib(part), Kib(whole), 24), cells, "{part} of {whole}");
        }
        assert_eq!(scaled(Kib(1), Kib(0), 24), 0);
        assert_eq!(scaled(Kib(u64::MAX), Kib(1), 24), 24);
    }

    #[test]
    fn the_most_important_parts_get_room_first() {
        for (room, note, expected) in [
            (5, 20, (0, 0, 0)),
            (12, 20, (10, 0, 0)),
            (22, 20, (10, 8, 0)),
            (44, 60, (10, 8, 20)),
            (44, 0, (16, 24, 0)),
            (200, 40, (24, 24, 40)),
        ] {
            let Widths { bar, past, note } = Widths::fit(room, note);
            assert_eq!((bar, past, note), expected, "{room}");
        }
    }
}
