//! A line of `DOMAIN SIZE`.

use super::error::{LineProblem, shortened};
use crate::domain::DomainRef;
use crate::size::Size;

/// Reads `line`. The domain may be quoted, or contain blanks: then the size is the last word.
pub(super) fn read(line: &str) -> Result<(DomainRef, Size), LineProblem> {
    let (domain, size) = match line.chars().next() {
        Some(quote @ ('"' | '\'')) => quoted(line, quote)?,
        _ => bare(line)?,
    };
    Ok((
        domain.parse().map_err(|why| LineProblem::Domain { text: shortened(&domain), why })?,
        size.parse().map_err(|why| LineProblem::Size { text: shortened(&size), why })?,
    ))
}

/// `"SQL 227" 1G`. A backslash escapes a quote or a backslash.
fn quoted(line: &str, quote: char) -> Result<(String, String), LineProblem> {
    let mut domain = String::new();
    let mut chars = line.chars();
    chars.next();
    loop {
        match chars.next().ok_or(LineProblem::Unclosed { quote })? {
            c if c == quote => break,
            '\\' if chars.as_str().starts_with([quote, '\\']) => domain.extend(chars.next()),
            c => domain.push(c),
        }
    }
    let rest = chars.as_str();
    if !rest.starts_with(char::is_whitespace) {
        return Err(LineProblem::Words);
    }
    let mut words = rest.split_whitespace().take_while(|word| !word.starts_with('#'));
    match (words.next(), words.next()) {
        (Some(size), None) => Ok((domain, size.to_owned())),
        _ => Err(LineProblem::Words),
    }
}

/// `SQL 227 1G` and `SQL\ 227 1G`.
fn bare(line: &str) -> Result<(String, String), LineProblem> {
    let mut text = String::new();
    // The start and the end of the blanks before the last word, and the start of those at the end.
    let (mut gap, mut blanks) = (None, None);
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        if c.is_whitespace() {
            blanks.get_or_insert(text.len());
            text.push(c);
            continue;
        }
        if c == '#' && blanks.is_some() {
            break;
        }
        if let Some(start) = blanks.take() {
            gap = Some((start, text.len()));
        }
        let escapes = |c: char| c.is_whitespace() || matches!(c, '\\' | '#' | '"' | '\'');
        if c == '\\' && chars.as_str().starts_with(escapes) {
            text.extend(chars.next());
        } else {
            text.push(c);
        }
    }
    text.truncate(blanks.unwrap_or(text.len()));
    let split = |(start, end): (usize, usize)| {
        Some((text.get(..start)?.to_owned(), text.get(end..)?.to_owned()))
    };
    gap.and_then(split).ok_or(LineProblem::Words)
}
