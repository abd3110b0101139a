//! The man pages: what clap knows, by `clap_mangen`, and what `sections.rs` adds.

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, roman};

use crate::plain::{Part, Section, plain};
use crate::sections;

/// The date of the release, for the foot of each page.
const DATE: &str = "2026-11-23";

/// Each file's name and text.
pub(crate) fn all(xmem: &Command) -> Vec<(String, String)> {
    let mut xmem = xmem.clone().disable_help_subcommand(true);
    xmem.build();
    let pages: Vec<&Command> = [&xmem].into_iter().chain(xmem.get_subcommands()).collect();
    let names: Vec<String> = pages.iter().map(|page| name(page)).collect();
    let common = plain(&xmem.get_after_help().map(ToString::to_string).unwrap_or_default());
    pages.iter().map(|page| (format!("{}.1", name(page)), text(page, &common, &names))).collect()
}

fn name(page: &Command) -> String {
    page.get_display_name().unwrap_or_else(|| page.get_name()).to_owned()
}

/// One page. `common` is what follows xmem's own help, and `names` are all pages'.
fn text(page: &Command, common: &[Section], names: &[String]) -> String {
    let name = name(page);
    let source = format!("xmem {}", env!("CARGO_PKG_VERSION"));
    let headed = page.clone().mut_args(|arg| {
        let heading = if arg.is_positional() {
            "Arguments"
        } else if arg.is_global_set() && !page.has_subcommands() {
            "Options of every subcommand"
        } else {
            "Options"
        };
        arg.help_heading(heading)
    });
    let man = Man::new(headed).date(DATE).source(source).manual("xmem");
    let mut out = Vec::new();
    man.render_title(&mut out).unwrap();
    man.render_name_section(&mut out).unwrap();
    man.render_synopsis_section(&mut out).unwrap();
    man.render_description_section(&mut out).unwrap();

    let own = page.get_after_help().map(ToString::to_string).unwrap_or_default();
    let mut sections = plain(&own);
    for added in plain(sections::of(&name)) {
        match sections.iter_mut().find(|section| section.title == added.title) {
            Some(section) => section.parts.extend(added.parts),
            None => sections.push(added),
        }
    }
    // Every page tells its exit codes.
    for section in common.iter().filter(|section| section.title == "EXIT STATUS") {
        if !sections.iter().any(|own| own.title == section.title) {
            sections.push(section.clone());
        }
    }
    let others: Vec<String> =
        names.iter().filter(|other| **other != name).map(|other| format!("{other}(1)")).collect();
    let see = Part::Text(others.join(", "));
    match sections.iter_mut().find(|section| section.title == "SEE ALSO") {
        Some(section) => section.parts.insert(0, see),
        None => sections.push(Section { title: "SEE ALSO".to_owned(), parts: vec![see] }),
    }
    sections.sort_by_key(|section| ORDER.iter().position(|title| section.title == *title));

    let mut roff = Roff::new();
    let (description, rest): (Vec<_>, Vec<_>) =
        sections.iter().partition(|section| section.title.is_empty());
    for section in description {
        render(&mut roff, section);
    }
    let aliases: Vec<&str> = page.get_visible_aliases().collect();
    if !aliases.is_empty() {
        roff.control("PP", []);
        roff.text([roman("It can also be typed as "), bold(aliases.join(", ")), roman(".")]);
    }
    out.extend(roff.to_roff().into_bytes());
    man.render_options_section(&mut out).unwrap();
    if page.has_subcommands() {
        man.render_subcommands_section(&mut out).unwrap();
    }
    let mut roff = Roff::new();
    for section in rest {
        render(&mut roff, section);
    }
    out.extend(roff.to_roff().into_bytes());
    tidy(&String::from_utf8(out).unwrap())
}

/// Sections that are not here come first, in the order of their texts.
const ORDER: [&str; 6] =
    ["EXIT STATUS", "ENVIRONMENT", "FILES", "EXAMPLES", "COMING FROM XL", "SEE ALSO"];

fn render(roff: &mut Roff, section: &Section) {
    if !section.title.is_empty() {
        roff.control("SH", [&*section.title]);
    }
    let mut first = !section.title.is_empty();
    for part in &section.parts {
        match part {
            Part::Text(text) => {
                // What stands right under a title has its distance already.
                if !first {
                    roff.control("PP", []);
                }
                roff.text(inline(text));
            }
            Part::Item(item, text) => {
                roff.control("TP", []);
                roff.text([bold(item)]);
                roff.text(inline(text));
            }
            Part::Command(command, output) => {
                if !first {
                    roff.control("PP", []);
                }
                roff.control("nf", []);
                roff.text([bold(command)]);
                for line in output {
                    roff.text([roman(line)]);
                }
                roff.control("fi", []);
            }
        }
        first = false;
    }
}

/// What stands between backticks is bold.
fn inline(text: &str) -> Vec<Inline> {
    let pieces = text.split('`').enumerate();
    pieces.map(|(at, text)| if at % 2 == 1 { bold(text) } else { roman(text) }).collect()
}

/// `clap_mangen`'s parts put together: the preamble that each of them has only once, no two breaks where
/// there is a distance, and bold where clap's texts have backticks.
fn tidy(text: &str) -> String {
    const PREAMBLE: [&str; 2] = [".ie \\n(.g .ds Aq \\(aq", ".el .ds Aq '"];
    let mut tidy = String::from(".\\\" Generated by tests/pages; see CONTRIBUTING.md.\n");
    for line in PREAMBLE.into_iter().chain(text.lines().filter(|line| !PREAMBLE.contains(line))) {
        let pieces: Vec<&str> = line.trim_end().split('`').collect();
        for (at, piece) in pieces.iter().enumerate() {
            match at {
                0 => {}
                _ if pieces.len().is_multiple_of(2) => tidy.push('`'),
                _ if at % 2 == 1 => tidy.push_str("\\fB"),
                _ => tidy.push_str("\\fR"),
            }
            tidy.push_str(piece);
        }
        tidy.push('\n');
    }
    tidy.replace(".br\n\n.br\n", ".sp\n")
}
