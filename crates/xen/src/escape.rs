//! Escapes text from outside, so that it can neither control a terminal nor forge a line.
//!
//! ```
//! use xen::escape::Escaped;
//!
//! assert_eq!(Escaped("web\u{1b}[2J\n").to_string(), r"web\u{1b}[2J\n");
//! ```

use std::fmt;
use std::path::Path;

/// Displays text with control characters and invisible formatting characters escaped, as `\u{1b}`.
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a>(pub &'a str);

impl Escaped<'_> {
    /// Whether `c` is escaped.
    pub fn must_escape(c: char) -> bool {
        c.is_control() || is_format(c)
    }
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        self.0.chars().try_for_each(|c| {
            if Self::must_escape(c) { write!(f, "{}", c.escape_default()) } else { f.write_char(c) }
        })
    }
}

/// A path, escaped like [`Escaped`].
pub fn escaped_path(path: &Path) -> String {
    Escaped(&path.to_string_lossy()).to_string()
}

/// Whether `c` is invisible and affects the text around it: Unicode's bidirectional controls, line and paragraph
/// separators, zero-width and tag characters.
const fn is_format(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// The first `most` characters of `text`, and dots if there are more.
pub fn beginning(text: &str, most: usize) -> (&str, &'static str) {
    match text.char_indices().nth(most) {
        Some((end, _)) => (text.get(..end).unwrap_or_default(), "..."),
        None => (text, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_text_cannot_control_a_terminal_or_forge_a_line() {
        let text = "a\u{1b}[2J\nb\u{202e}\u{fc}\u{9b}";
        assert_eq!(Escaped(text).to_string(), "a\\u{1b}[2J\\nb\\u{202e}\u{fc}\\u{9b}");
        assert_eq!(escaped_path(Path::new("/a\n")), "/a\\n");
    }

    #[test]
    fn text_is_shortened_between_characters() {
        assert_eq!(beginning("\u{fc}\u{fc}\u{fc}", 2), ("\u{fc}\u{fc}", "..."));
        assert_eq!(beginning("\u{fc}\u{fc}", 2), ("\u{fc}\u{fc}", ""));
    }
}
