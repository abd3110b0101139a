//! `xmem watch` on a terminal: the table, with a bar and the recent past of each domain. Pure.
//!
//! Owns the look of one frame. A frame is drawn over the one before by going up as many lines as that
//! had: nothing of the terminal is changed, so there is nothing to put back, whatever ends the run.

use std::collections::{HashMap, HashSet, VecDeque};

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};
use xmem::domain::Identity;
use xmem::overview::{Overview, Row};
use xmem::size::Kib;

use super::table;

/// How many looks of the past are kept.
const PAST: usize = 24;
/// How wide a bar is.
const BAR: usize = 24;

/// The characters that a terminal can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Glyphs {
    held: char,
    wanted: char,
    allowed: char,
    levels: [char; 8],
}

impl Glyphs {
    /// Blocks, for a terminal that reads UTF-8.
    pub(crate) const UNICODE: Self = Self {
        held: '█',
        wanted: '▒',
        allowed: '·',
        levels: ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'],
    };
    /// For any other.
    pub(crate) const ASCII: Self = Self {
        held: '#',
        wanted: '-',
        allowed: '.',
        levels: ['_', '_', '.', '.', '-', '-', '=', '='],
    };
}

/// What each domain held lately.
#[derive(Debug, Default)]
pub(crate) struct Past(HashMap<Identity, VecDeque<Kib>>);

impl Past {
    /// Adds a look, and forgets the domains that are gone.
    pub(crate) fn add(&mut self, seen: &Overview) {
        let alive: HashSet<Identity> = seen.rows.iter().map(|row| row.domain.identity).collect();
        self.0.retain(|identity, _| alive.contains(identity));
        for row in &seen.rows {
            let past = self.0.entry(row.domain.identity).or_default();
            if past.len() >= PAST {
                past.pop_front();
            }
            past.push_back(row.info.current);
        }
    }

    fn of(&self, row: &Row) -> impl Iterator<Item = Kib> + '_ {
        self.0.get(&row.domain.identity).into_iter().flatten().copied()
    }
}

/// The lines of a frame, none wider than `width` columns and no more than `height`.
pub(crate) fn frame(
    seen: &Overview,
    past: &Past,
    glyphs: Glyphs,
    (width, height): (usize, usize),
) -> Vec<String> {
    let extra = |row: &Row| [bar(row, glyphs), history(row, past, glyphs)];
    let mut lines = table::lines(seen, Some(&extra));
    if lines.len() > height {
        let left_out = lines.len().saturating_sub(height).saturating_add(1);
        lines.truncate(height.saturating_sub(1));
        lines.push(format!("({left_out} more lines; a taller terminal shows them)"));
    }
    lines.iter().map(|line| cut(line, width)).collect()
}

/// What is written to draw `lines` over a frame of `before` lines.
pub(crate) fn drawn(lines: &[String], before: usize) -> String {
    let mut text = String::new();
    if before > 0 {
        text.extend(["\x1b[", &before.to_string(), "A\r"]);
    }
    for line in lines {
        text.push_str(line);
        text.push_str("\x1b[K\n");
    }
    text.push_str("\x1b[J");
    text
}

/// What it holds within what it shall hold within what it may hold. The whole bar is the largest.
fn bar(row: &Row, glyphs: Glyphs) -> String {
    let target = row.target.unwrap_or(row.info.current);
    let most = [row.static_max, Some(target), Some(row.info.current)]
        .into_iter()
        .flatten()
        .filter(|kib| *kib < xmem::hypervisor::UNLIMITED)
        .max()
        .unwrap_or_default();
    let cells = |kib: Kib| scaled(kib.min(most), most, BAR);
    let (held, wanted) = (cells(row.info.current), cells(target));
    let allowed = cells(row.info.limit);
    (0..BAR)
        .map(|cell| match cell {
            cell if cell < held => glyphs.held,
            cell if cell < wanted => glyphs.wanted,
            cell if cell < allowed => glyphs.allowed,
            _ => ' ',
        })
        .collect()
}

/// What it held at the last looks, from the least to the most of them.
fn history(row: &Row, past: &Past, glyphs: Glyphs) -> String {
    let least = past.of(row).min().unwrap_or_default();
    let most = past.of(row).max().unwrap_or_default();
    let span = most.minus(least).unwrap_or_default();
    let empty = PAST.saturating_sub(past.of(row).count());
    std::iter::repeat_n(' ', empty)
        .chain(past.of(row).map(|kib| {
            let level = scaled(kib.minus(least).unwrap_or_default(), span, 7);
            glyphs.levels.get(level).copied().unwrap_or(glyphs.held)
        }))
        .collect()
}

/// `part` of `whole`, in `cells`, rounded to the nearest; 0 of nothing.
fn scaled(part: Kib, whole: Kib, cells: usize) -> usize {
    let cells = u128::try_from(cells).unwrap_or(0);
    let (part, whole) = (u128::from(part.0), u128::from(whole.0));
    let doubled = part.saturating_mul(cells).saturating_mul(2).saturating_add(whole);
    let nearest = doubled.checked_div(whole.saturating_mul(2)).unwrap_or(0);
    usize::try_from(nearest.min(cells)).unwrap_or(0)
}

/// The beginning of `line` that fits into `width` columns. A line that fills the last column would
/// make some terminals begin a new one, so that one stays free.
fn cut(line: &str, width: usize) -> String {
    let room = width.saturating_sub(1);
    if line.width() <= room {
        return line.to_owned();
    }
    let mut used = 0_usize;
    line.chars()
        .take_while(|c| {
            used = used.saturating_add(c.width().unwrap_or(0));
            used <= room
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_rounded_to_cells() {
        for (part, whole, cells) in
            [(0, 10, 0), (10, 10, 24), (5, 10, 12), (1, 100, 0), (3, 100, 1)]
        {
            assert_eq!(scaled(Kib(part), Kib(whole), 24), cells, "{part} of {whole}");
        }
        assert_eq!(scaled(Kib(1), Kib(0), 24), 0);
        assert_eq!(scaled(Kib(u64::MAX), Kib(1), 24), 24);
    }

    #[test]
    fn lines_are_cut_to_the_columns_they_take() {
        assert_eq!(cut("abc", 4), "abc");
        assert_eq!(cut("abcd", 4), "abc");
        assert_eq!(cut("漢字漢字", 6), "漢字");
        assert_eq!(cut("abc", 0), "");
    }

    #[test]
    fn a_frame_is_drawn_over_the_one_before() {
        let lines = ["a".to_owned(), "b".to_owned()];
        assert_eq!(drawn(&lines, 0), "a\x1b[K\nb\x1b[K\n\x1b[J");
        assert_eq!(drawn(&lines, 3), "\x1b[3A\ra\x1b[K\nb\x1b[K\n\x1b[J");
    }
}
