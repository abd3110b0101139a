//! Text that others wrote, shown so that it does no harm: it steers no terminal, forges no line, and is not
//! too long.
//!
//! Owns what is escaped and where is cut. Never judges what the text says.

use std::fmt;
use std::path::Path;

/// Any text from outside, shown so that it cannot steer a terminal or forge a line: control and
/// direction-changing characters come out as `\u{1b}`.
#[derive(Clone, Copy, Debug)]
pub struct Harmless<'a>(pub &'a str);

impl Harmless<'_> {
    /// Whether `c` has to be escaped.
    pub fn is_harmful(c: char) -> bool {
        c.is_control() || is_format(c)
    }
}

impl fmt::Display for Harmless<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        self.0.chars().try_for_each(|c| {
            if Self::is_harmful(c) { write!(f, "{}", c.escape_default()) } else { f.write_char(c) }
        })
    }
}

/// A path, shown likewise: of a folder that was named by whoever started the run.
pub fn harmless_path(path: &Path) -> String {
    Harmless(&path.to_string_lossy()).to_string()
}

/// Invisible characters that move or turn the text around them (Unicode's bidirectional controls,
/// line and paragraph separators, zero-width and tag characters).
const fn is_format(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// The beginning of `text`, at most `most` characters, and dots if that is not all.
pub fn beginning(text: &str, most: usize) -> (&str, &'static str) {
    match text.char_indices().nth(most) {
        Some((end, _)) => (text.get(..end).unwrap_or_default(), "..."),
        None => (text, ""),
    }
}
