//! Wrong usage: invalid arguments, environment variables and files.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStrExt as _;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command, CommandFactory as _};
use xen::escape::{Escaped, beginning};
use xmem_core::resolve::is_one_letter_off;

use crate::cli::Cli;
use crate::values;

/// The most characters of an argument, and of a reason, that are repeated.
const LONGEST_TEXT: usize = 100;
const LONGEST_REASON: usize = 1000;

/// A mistake in how xmem was called. Displayed as a sentence without the program's name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// The argument, option or variable; empty for the whole command line.
    pub(crate) what: String,
    /// Its value.
    pub(crate) text: String,
    /// The mistake.
    pub(crate) why: String,
    /// What to type instead.
    pub(crate) hint: Option<String>,
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (why, cut_why) = beginning(&self.why, LONGEST_REASON);
        if self.what.is_empty() {
            return write!(f, "{why}{cut_why}");
        }
        let (text, cut) = beginning(&self.text, LONGEST_TEXT);
        write!(f, "{} `{}{cut}`: {why}{cut_why}", self.what, Escaped(text))
    }
}

impl Usage {
    /// Two options that exclude each other.
    pub(crate) fn conflict(option: &str, other: &str, hint: String) -> Self {
        Self::of_all(format!("{option} cannot be used with {other}"), hint)
    }

    /// A mistake about the whole command line.
    fn of_all(why: String, hint: String) -> Self {
        Self { what: String::new(), text: String::new(), why, hint: Some(hint) }
    }

    /// clap's error about `args`, in xmem's words.
    pub(crate) fn from_clap(error: &clap::Error, args: &[OsString], command: &str) -> Self {
        let strings = |kind| match error.get(kind) {
            Some(ContextValue::String(text)) => vec![values::unmark(text)],
            Some(ContextValue::Strings(texts)) => {
                texts.iter().map(|it| values::unmark(it)).collect()
            }
            _ => Vec::new(),
        };
        let first = |kind| strings(kind).into_iter().next().unwrap_or_default();
        let program =
            if command == "xmem" { command.to_owned() } else { format!("xmem {command}") };
        let see = format!("see `{program} --help`");
        let quoted = |text: &str| {
            let (text, cut) = beginning(text, LONGEST_TEXT);
            format!("`{text}{cut}`")
        };
        let arg = first(ContextKind::InvalidArg);
        match error.kind() {
            ErrorKind::UnknownArgument if arg.starts_with('-') && arg != "-" => {
                let typed = typed(args, &arg);
                let suggested = strings(ContextKind::SuggestedArg).into_iter().next();
                let hint = misplaced_option_hint(args, &arg, command)
                    .or_else(|| unknown_option_hint(&typed, suggested))
                    .unwrap_or(see);
                Self::of_all(format!("unknown option {}", quoted(&typed)), hint)
            }
            ErrorKind::UnknownArgument => {
                let hint = match command {
                    "reclaim" => "name the domains after --from".to_owned(),
                    "set" | "max" if values::size("SIZE", &arg).is_ok() => QUOTE_NAME.to_owned(),
                    _ => see,
                };
                let hint = time_after_wait(args).map_or(hint, wait_hint);
                Self::of_all(format!("unexpected argument {}", quoted(&arg)), hint)
            }
            ErrorKind::InvalidSubcommand => {
                let word = first(ContextKind::InvalidSubcommand);
                let similar = strings(ContextKind::SuggestedSubcommand);
                let similar = similar.into_iter().find(|near| !near.starts_with("__"));
                let hint = command_one_letter_off(&word)
                    .or(similar)
                    .map_or(see, |near| format!("did you mean `{near}`?"));
                Self::of_all(format!("unknown command {}", quoted(&word)), hint)
            }
            ErrorKind::MissingSubcommand
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => Self::of_all(
                "a command is missing".to_owned(),
                "the commands are set, max, apply, reclaim, list, watch and check; see `xmem --help`"
                    .to_owned(),
            ),
            ErrorKind::MissingRequiredArgument => {
                let missing = strings(ContextKind::InvalidArg);
                let name = |it: &String| it.split("[=").next().unwrap_or(it).replace(['<', '>'], "");
                let names: Vec<_> = missing.iter().map(name).collect();
                let takes_all = names.iter().any(|name| name == "SIZE") && is_typed(args, "--from");
                let hint = if takes_all { SIZE_BEFORE_FROM.to_owned() } else { see };
                Self::of_all(missing_words(args, &names), hint)
            }
            ErrorKind::ArgumentConflict => {
                let other = first(ContextKind::PriorArg);
                let option = |text: &str| text.split(['.', ' ']).next().unwrap_or_default().to_owned();
                let (arg, other) = (option(&arg), option(&other));
                Self::conflict(&arg, &other, see)
            }
            ErrorKind::InvalidValue if first(ContextKind::InvalidValue).is_empty() => {
                if arg.starts_with("--columns") && has_empty_item(args) {
                    let hint = "separate the names by single commas".to_owned();
                    return Self::of_all("--columns: a name is empty".to_owned(), hint);
                }
                if args.iter().any(|word| word.is_empty() || word.as_bytes().ends_with(b"=")) {
                    let name = arg.split(' ').next().unwrap_or(&arg).replace(['<', '>'], "");
                    let hint = "is a variable unset in your script?".to_owned();
                    return Self::of_all(format!("{name}: the value is empty"), hint);
                }
                Self::of_all(format!("{arg} needs a value"), see)
            }
            ErrorKind::InvalidValue | ErrorKind::ValueValidation => {
                let valid = strings(ContextKind::ValidValue);
                let (why, hint) = if valid.is_empty() {
                    ("not a positive whole number".to_owned(), see)
                } else {
                    (format!("not one of {}", valid.join(", ")), see)
                };
                let what = arg.split([' ', '=']).next().unwrap_or_default().to_owned();
                Self { what, text: first(ContextKind::InvalidValue), why, hint: Some(hint) }
            }
            ErrorKind::InvalidUtf8 => Self::of_all("an argument is not valid UTF-8".to_owned(), see),
            ErrorKind::TooManyValues if !arg.is_empty() => {
                Self::of_all(format!("{} takes no value", arg.split('=').next().unwrap_or(&arg)), see)
            }
            _ => {
                let text = error.render().to_string();
                let line = text.lines().next().unwrap_or_default();
                Self::of_all(line.strip_prefix("error: ").unwrap_or(line).to_owned(), see)
            }
        }
    }
}

/// Whether a list with commas has an empty item.
fn has_empty_item(args: &[OsString]) -> bool {
    let lists = args.iter().filter_map(|word| word.to_str()).filter(|word| word.contains(','));
    lists
        .map(|word| word.split_once('=').map_or(word, |(_, list)| list))
        .any(|list| list.split(',').any(str::is_empty))
}

/// The word on the command line that has the unknown option `arg`: clap names only the first letter of a cluster.
fn typed(args: &[OsString], arg: &str) -> String {
    let is_letter = !arg.starts_with("--") && arg.chars().count() == 2;
    let texts = args.iter().filter_map(|word| word.to_str());
    let mut words = texts.take_while(|word| *word != "--");
    words
        .find(|word| {
            is_letter
                && word.starts_with('-')
                && !word.starts_with("--")
                && word.contains(&arg[1..])
        })
        .unwrap_or(arg)
        .to_owned()
}

fn unknown_option_hint(typed: &str, suggested: Option<String>) -> Option<String> {
    let word = typed.trim_start_matches('-');
    let long = format!("--{word}");
    let is_cluster = !typed.starts_with("--") && word.len() > 1;
    if is_cluster && is_option(word) {
        return Some(format!("did you mean `{long}`?"));
    }
    if is_cluster {
        return Some(format!(
            "if the domain's name begins with a dash, write name:{typed}; see also `--help`"
        ));
    }
    suggested.map(|near| format!("did you mean `{near}`?"))
}

/// Whether `word` is the name of an option of any command.
fn is_option(word: &str) -> bool {
    let xmem = Cli::command();
    let all = xmem.get_subcommands().chain([&xmem]).flat_map(Command::get_arguments);
    all.filter_map(Arg::get_long).any(|long| long == word)
}

/// The right place for the option `arg` of `command`, if it stands before the command or after `--`.
fn misplaced_option_hint(args: &[OsString], arg: &str, command: &str) -> Option<String> {
    let xmem = Cli::command();
    let sub = xmem.find_subcommand(command)?;
    let is_its_own = sub.get_arguments().chain(xmem.get_arguments()).any(|known| {
        let long = known.get_long().map(|long| format!("--{long}"));
        let short = known.get_short().map(|short| format!("-{short}"));
        [long, short].into_iter().flatten().any(|known| known == arg)
    });
    if !is_its_own {
        return None;
    }
    let words: Vec<&str> = args.iter().filter_map(|word| word.to_str()).collect();
    let place = |word: &str| words.iter().position(|other| *other == word);
    if let (Some(end), Some(place)) = (place("--"), words.iter().rposition(|word| *word == arg))
        && end < place
    {
        return Some(format!("write {arg} before --"));
    }
    let name = sub.get_name_and_visible_aliases().into_iter().find(|name| place(name).is_some())?;
    Some(format!("write {arg} after {name}"))
}

/// The command that differs from `word` in one letter. Names go before aliases.
fn command_one_letter_off(word: &str) -> Option<String> {
    let xmem = Cli::command();
    let commands = || xmem.get_subcommands().filter(|command| !command.is_hide_set());
    let names = commands().map(Command::get_name);
    let aliases = commands().flat_map(Command::get_visible_aliases);
    names.chain(aliases).find(|name| is_one_letter_off(word, name)).map(str::to_owned)
}

/// Each option that others need, and those others.
const NEEDED: [(&str, &[&str]); 2] =
    [("--wait", &["--patience", "--within"]), ("--repair", &["--dry-run", "-n"])];

const QUOTE_NAME: &str = "if the domain's name has blanks, quote it: 'my guest'";

const SIZE_BEFORE_FROM: &str =
    "--from takes every word after it, so write SIZE first: xmem reclaim SIZE --from DOMAIN...";

/// The message for the missing arguments `names`. One that another option needs is named with that option.
fn missing_words(args: &[OsString], names: &[String]) -> String {
    let needing = |name: &String| {
        let (_, options) = NEEDED.into_iter().find(|(needed, _)| needed == name)?;
        let option =
            options.iter().find(|option| is_typed(args, option)).or_else(|| options.first())?;
        Some(format!("{option} needs {name}"))
    };
    let (needed, missing): (Vec<_>, Vec<_>) =
        names.iter().cloned().partition(|name| needing(name).is_some());
    let missing = (!missing.is_empty()).then(|| format!("{} missing", and(&missing)));
    let sentences: Vec<String> =
        missing.into_iter().chain(needed.iter().filter_map(needing)).collect();
    sentences.join("; ")
}

/// Whether `option` was typed, with or without `=VALUE`.
fn is_typed(args: &[OsString], option: &str) -> bool {
    let texts = args.iter().filter_map(|word| word.to_str()).take_while(|word| *word != "--");
    texts.map(|word| word.split('=').next().unwrap_or(word)).any(|word| word == option)
}

/// The time right after `--wait`, if it is an argument of its own.
fn time_after_wait(args: &[OsString]) -> Option<&str> {
    let place = args.iter().position(|word| word == "--wait")?;
    args.get(place.saturating_add(1))?.to_str().filter(|time| values::time(time).is_ok())
}

/// The hint for `--wait TIME`.
pub(crate) fn wait_hint(time: &str) -> String {
    format!("--wait takes its time as --wait={time}")
}

/// `A`, `A and B`, `A, B and C`, with the matching verb.
fn and(names: &[String]) -> String {
    match names {
        [] => "an argument is".to_owned(),
        [one] => format!("{one} is"),
        [first @ .., last] => format!("{} and {last} are", first.join(", ")),
    }
}
