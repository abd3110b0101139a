//! One frame of `xmem watch` on a terminal. Pure.

use unicode_width::UnicodeWidthStr as _;
use xen::Kib;
use xen::hypervisor::UNLIMITED;
use xmem_core::state::State;
use xmem_core::survey::{Row, Survey};

use super::super::table::{LONGEST_NAME, aligned, cell, cut, heading, host, is_left, is_urgent};
use super::{HISTORY, History, note_none_left};
use crate::cli::Column;

/// The minimum and maximum widths of a bar, of a history and of a note.
const BAR: (usize, usize) = (10, 24);
const PAST: (usize, usize) = (8, HISTORY);
const NOTE: (usize, usize) = (12, 200);
/// The gap between two columns.
const GAP: usize = 2;
/// Below this width, the bar replaces limit and maximum.
const WIDE: usize = 100;

/// The mark of a domain with an urgent problem.
const URGENT: &str = "!";

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
    /// What fits into `room` beside the numbers, with notes of `longest` columns. Notes go first if one is `urgent`.
    fn fit(room: usize, longest: usize, urgent: bool) -> Self {
        let mut rest = room;
        let mut take = |width: usize| {
            let with_gap = width.saturating_add(GAP);
            if width == 0 || rest < with_gap {
                return 0;
            }
            rest = rest.saturating_sub(with_gap);
            width
        };
        let least = NOTE.0.min(longest);
        let mut note = if urgent { take(least) } else { 0 };
        if urgent && note == 0 {
            return Self { bar: 0, past: 0, note };
        }
        let mut bar = take(BAR.0);
        let mut past = take(PAST.0);
        if !urgent {
            note = take(least);
        }
        let most_note = longest.min(NOTE.1);
        for (width, most) in [(&mut note, most_note), (&mut past, PAST.1), (&mut bar, BAR.1)] {
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
        let urgent = rows.iter().any(is_urgent);
        let notes: Vec<String> = rows.iter().map(|row| cell(row, Column::Note, false)).collect();
        let note = notes.iter().map(|note| note.width()).max().unwrap_or_default();
        let layout = |wide: bool| {
            let numbers = self.numbers(wide, urgent);
            let widest = numbers.iter().map(|line| line.width()).max().unwrap_or_default();
            // In some terminals, a line that fills the last column would begin a new one.
            let room = self.width.saturating_sub(1).saturating_sub(widest);
            (numbers, widest, Widths::fit(room, note, urgent))
        };
        let wide = (self.width >= WIDE).then(|| layout(true));
        let (numbers, widest, widths) = wide
            .filter(|(_, _, widths)| !urgent || widths.note > 0)
            .unwrap_or_else(|| layout(false));

        let heads = ["HELD/TARGET/LIMIT", "HELD"].into_iter().find(|head| head.len() <= widths.bar);
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
        note_none_left(self.survey, &mut lines);
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

    /// The headings and the rows with names and numbers. If `wide`, they have limit and maximum; if a row is `urgent`, a
    /// column of marks.
    fn numbers(&self, wide: bool, urgent: bool) -> Vec<String> {
        let rows = &self.survey.rows;
        let mut columns = vec![Column::Name, Column::Domid, Column::Type];
        if rows.iter().any(|row| row.state != State::Running) {
            columns.push(Column::State);
        }
        columns.extend([Column::Current, Column::Target]);
        if wide {
            columns.extend([Column::Limit, Column::Maximum]);
        }
        let line = |mark: &str, cells: Vec<String>| -> Vec<String> {
            urgent.then(|| mark.to_owned()).into_iter().chain(cells).collect()
        };
        let head = columns.iter().map(|column| heading(*column).to_owned()).collect();
        let cells = |row: &Row| {
            let cell = |column: &Column| match cell(row, *column, false) {
                name if *column == Column::Name => {
                    self.cut(&name, LONGEST_NAME.min(self.width / 3))
                }
                cell => cell,
            };
            let mark = if is_urgent(row) { URGENT } else { "" };
            line(mark, columns.iter().map(cell).collect())
        };
        let table: Vec<Vec<String>> =
            std::iter::once(line("", head)).chain(rows.iter().map(cells)).collect();
        let left: Vec<bool> = urgent
            .then_some(true)
            .into_iter()
            .chain(columns.iter().map(|column| is_left(*column)))
            .collect();
        aligned(&table, &left)
    }

    fn cut(&self, text: &str, width: usize) -> String {
        cut(text, width, self.glyphs.cut)
    }

    /// Removes domains to make room for the host's line.
    fn shorten(&self, lines: &mut Vec<String>) {
        let most = self.height.saturating_sub(1);
        if lines.len() > most {
            let kept = most.saturating_sub(1);
            lines.truncate(kept);
            // The first line is the heading.
            let hidden = self.survey.rows.iter().skip(kept.saturating_sub(1));
            let left_out = hidden.len();
            let urgent = match hidden.filter(|row| is_urgent(row)).count() {
                0 => String::new(),
                urgent => format!(", {urgent} of them with a problem"),
            };
            if most > 0 {
                lines.push(format!("({left_out} more{urgent}; enlarge the terminal to see them)"));
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
}

fn padded(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(text.width())))
}

/// `cells` times `part` / `whole`, rounded to the nearest; 0 if `whole` is 0.
fn scaled(part: Kib, whole: Kib, cells: usize) -> usize {
    let cells = u128::try_from(cells).unwrap_or(0);
    let (part, whole) = (u128::from(part.0), u128::from(whole.0));
    let doubled = part.saturating_mul(cells).saturating_mul(2).saturating_add(whole);
    let nearest = doubled.checked_div(whole.saturating_mul(2)).unwrap_or(0);
    usize::try_from(nearest.min(cells)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use xen::Host as _;
    use xmem_core::survey::Detail;
    use xmem_sim::{Faults, GuestType, SimHost, World};

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
            let Widths { bar, past, note } = Widths::fit(room, note, false);
            assert_eq!((bar, past, note), expected, "{room}");
        }
        for (room, note, expected) in
            [(13, 20, (0, 0, 0)), (14, 20, (0, 0, 12)), (22, 20, (0, 0, 20)), (26, 20, (10, 0, 12))]
        {
            let Widths { bar, past, note } = Widths::fit(room, note, true);
            assert_eq!((bar, past, note), expected, "{room}");
        }
    }

    /// The domains of `world`, as `watch` reads them.
    fn survey(world: World) -> Survey {
        let dir = tempfile::tempdir().unwrap();
        let world = Arc::new(Mutex::new(world));
        let host = SimHost::in_memory(&world, dir.path(), Faults::default());
        let store = host.connect().unwrap();
        xmem_core::survey::survey(&host, &*store, &[], Detail::Findings).unwrap()
    }

    fn lines(survey: &Survey, width: usize, height: usize) -> Vec<String> {
        let history = History::default();
        Frame { survey, history: &history, glyphs: Glyphs::ASCII, width, height }.lines(false)
    }

    #[test]
    fn a_domain_that_is_out_of_step_is_marked_at_every_width() {
        let long = "n".repeat(300);
        for mut world in [World::start(), World::states()] {
            world.create(30, &long, GuestType::Pvh, Kib(524_288), Kib(1_048_576), 0).limit_kib =
                Kib(262_144);
            world.domains.get_mut(&7).unwrap().limit_kib = Kib(524_288);
            let survey = survey(world);
            for width in 40..=250 {
                let lines = lines(&survey, width, 100);
                assert!(lines.iter().all(|line| line.width() < width), "{width}: {lines:#?}");
                let marked: Vec<&String> =
                    lines.iter().filter(|line| line.starts_with('!')).collect();
                let [web, other] = marked[..] else { panic!("{width}: {lines:#?}") };
                assert!(web.starts_with("!  web ") && other.starts_with("!  nnn"), "{lines:#?}");
                // The problem is shown in preference to bars, limit and maximum.
                if ["HISTORY", "HELD", "LIMIT"].iter().any(|head| lines[0].contains(head)) {
                    assert!(web.contains("  out of step"), "{width}: {lines:#?}");
                }
            }
        }
    }

    #[test]
    fn domains_that_are_all_in_step_have_no_column_of_marks() {
        let lines = lines(&survey(World::states()), 120, 100);
        assert!(lines[0].starts_with("NAME ") && lines[0].contains("LIMIT"), "{lines:#?}");
    }

    #[test]
    fn a_frame_without_domains_says_so() {
        let mut survey = survey(World::start());
        survey.rows.clear();
        let lines = lines(&survey, 80, 24);
        assert_eq!(lines[0], "no such domain any more");
        assert!(lines.len() == 2 && lines[1].starts_with("host"), "{lines:#?}");
    }

    #[test]
    fn a_problem_that_a_short_terminal_hides_is_counted() {
        let mut world = World::start();
        let hidden = |world: World| lines(&survey(world), 80, 4).remove(2);
        assert_eq!(hidden(world.clone()), "(3 more; enlarge the terminal to see them)");
        // Where not even the heading has room, it is not counted.
        for (height, line) in [(3, 1), (2, 0)] {
            let lines = lines(&survey(world.clone()), 80, height);
            assert_eq!(lines[line], "(4 more; enlarge the terminal to see them)", "{height}");
        }
        world.domains.get_mut(&9).unwrap().limit_kib = Kib(524_288);
        let with_problem = "(3 more, 1 of them with a problem; enlarge the terminal to see them)";
        assert_eq!(hidden(world), with_problem);
    }
}
