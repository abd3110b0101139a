//! Plain text, as in the last part of the help and in `sections.rs`, split into the parts of a page.

/// A section of a page.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    /// Its title; empty for the text before the first title.
    pub(crate) title: String,
    pub(crate) parts: Vec<Part>,
}

#[derive(Clone, Debug)]
pub(crate) enum Part {
    Text(String),
    /// A word and its meaning.
    Item(String, String),
    /// A command and its output.
    Command(String, Vec<String>),
}

/// Parses the format that `sections.rs` describes.
pub(crate) fn plain(text: &str) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    let mut part = None;
    for line in text.lines().chain([""]) {
        let depth = line.chars().take_while(|c| *c == ' ').count();
        let words = line.trim();
        match (&mut part, depth) {
            // It continues.
            (Some(Part::Text(text)), 0) | (Some(Part::Item(_, text)), 3..) if !words.is_empty() => {
                text.push(' ');
                text.push_str(words);
                continue;
            }
            (Some(Part::Command(_, output)), 3..) => {
                output.push(words.to_owned());
                continue;
            }
            _ => {}
        }
        if let Some(done) = part.take() {
            if sections.is_empty() {
                sections.push(Section { title: String::new(), parts: Vec::new() });
            }
            sections.last_mut().unwrap().parts.push(done);
        }
        match title(line) {
            Some(title) => sections.push(Section { title, parts: Vec::new() }),
            None => part = begun(depth, words),
        }
    }
    sections
}

/// The part that begins with this line.
fn begun(depth: usize, words: &str) -> Option<Part> {
    if words.is_empty() {
        None
    } else if depth == 0 {
        Some(Part::Text(words.to_owned()))
    } else if words.starts_with("$ ") || words.starts_with("# ") {
        Some(Part::Command(words.to_owned(), Vec::new()))
    } else {
        let (item, text) = words.split_once("  ").unwrap_or((words, ""));
        Some(Part::Item(item.to_owned(), text.trim().to_owned()))
    }
}

/// The title in `line`, in capitals as in man pages. A title is short: `These things are different:` is not
/// one.
fn title(line: &str) -> Option<String> {
    let words = line.strip_suffix(':')?;
    if line.starts_with(' ') || words.split(' ').count() > 3 {
        return None;
    }
    Some(match words.to_uppercase() {
        title if title == "EXIT CODES" => "EXIT STATUS".to_owned(),
        title => title,
    })
}
