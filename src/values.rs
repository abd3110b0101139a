//! Values of the command line and of the environment: hosts, domains, sizes, times.

use std::env;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use xen::Kib;
use xmem_core::domain::DomainRef;
use xmem_core::size::{Amount, Size, SizeError};

use crate::usage::Usage;

/// Longer than any wait; keeps clocks from overflowing.
const LONGEST_TIME: Duration = Duration::from_hours(365 * 24);

/// A host as typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HostRef {
    /// The local Xen.
    Xen,
    /// The simulated host, in a directory or in the user's default one.
    Sim(Option<PathBuf>),
}

/// Marks a value that begins with a dash. An argument of a process cannot contain NUL.
const MARK: u8 = 0;

/// Marks each of `args` that begins with a dash and a digit: it is a size and not an option. To clap, everything else
/// that begins with a dash is an option, so that a mistyped option is not taken for a size.
pub(crate) fn mark(args: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut bare = false;
    let mark = |arg: OsString| {
        bare |= arg == "--";
        match arg.as_bytes() {
            [b'-', b'0'..=b'9', ..] if !bare => {
                OsString::from_vec([&[MARK], arg.as_bytes()].concat())
            }
            _ => arg,
        }
    };
    args.map(mark).collect()
}

/// `text` without marks.
pub(crate) fn unmark(text: &str) -> String {
    text.replace(char::from(MARK), "")
}

/// A file's path without a mark.
pub(crate) fn path(typed: &Path) -> &Path {
    let bytes = typed.as_os_str().as_bytes();
    Path::new(OsStr::from_bytes(bytes.strip_prefix(&[MARK]).unwrap_or(bytes)))
}

/// The value of an environment variable; an empty one counts as unset.
pub(crate) fn variable(name: &str) -> Option<String> {
    env::var_os(name).as_deref().filter(|value| !value.is_empty()).map(lossy)
}

fn lossy(text: &OsStr) -> String {
    text.to_string_lossy().into_owned()
}

/// The value of `option`, else of `variable`, with the name of the one that has it.
fn given(option: &str, typed: Option<&str>, name: &str) -> Option<(String, String)> {
    match typed {
        Some(text) => Some((option.to_owned(), unmark(text))),
        None => variable(name).map(|text| (name.to_owned(), text)),
    }
}

/// The host to operate on.
pub(crate) fn host(typed: Option<&str>) -> Result<HostRef, Usage> {
    let Some((what, text)) = given("--host", typed, "XMEM_HOST") else { return Ok(HostRef::Xen) };
    match text.split_once(':') {
        None if text == "xen" => Ok(HostRef::Xen),
        None if text == "sim" => Ok(HostRef::Sim(None)),
        Some(("sim", dir)) if !dir.is_empty() => Ok(HostRef::Sim(Some(PathBuf::from(dir)))),
        _ => Err(Usage {
            what,
            text,
            why: "not `xen`, `sim` or `sim:DIR`".to_owned(),
            hint: Some("leave out --host (and XMEM_HOST) to use the local Xen".to_owned()),
        }),
    }
}

/// How long to wait for a domain's lock.
pub(crate) fn lock_timeout(typed: Option<&str>) -> Result<Duration, Usage> {
    match given("--lock-timeout", typed, "XMEM_LOCK_TIMEOUT") {
        None => Ok(Duration::from_mins(1)),
        Some((what, text)) => time(&text).map_err(|why| not_a_time(&what, &text, why)),
    }
}

/// The host's memory that must stay free.
pub(crate) fn keep_free(typed: Option<&str>) -> Result<Option<Kib>, Usage> {
    match given("--keep-free", typed, "XMEM_KEEP_FREE") {
        None => Ok(None),
        Some((_, text)) if text == "0" => Ok(None),
        Some((what, text)) => amount(&what, &text).map(Some),
    }
}

/// The time in `option`, or `usual`.
pub(crate) fn time_or(
    option: &str,
    typed: Option<&str>,
    usual: Duration,
) -> Result<Duration, Usage> {
    let Some(text) = typed.map(unmark) else { return Ok(usual) };
    time(&text).map_err(|why| not_a_time(option, &text, why))
}

fn not_a_time(what: &str, text: &str, why: &str) -> Usage {
    let hint = "a time looks like 10s, 2m, 500ms or 1h30m; a bare number is seconds";
    Usage {
        what: what.to_owned(),
        text: text.to_owned(),
        why: why.to_owned(),
        hint: Some(hint.to_owned()),
    }
}

/// Reads a time: numbers with `ms`, `s`, `m`, `h` or `d`, or a bare number of seconds.
pub(crate) fn time(text: &str) -> Result<Duration, &'static str> {
    if text.is_empty() {
        return Err("the time is empty");
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        rest = if total.is_zero() { rest } else { rest.trim_start_matches(' ') };
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let unit = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        if number.is_empty() {
            return Err("not a time");
        }
        let number: u64 = number.parse().map_err(|_| "the time is too long")?;
        let millis = match unit {
            "ms" => 1,
            "s" | "sec" => 1000,
            "m" | "min" => 60 * 1000,
            "h" => 60 * 60 * 1000,
            "d" => 24 * 60 * 60 * 1000,
            "" if digits == text.len() => 1000,
            "" if after.starts_with(['.', ',']) => return Err("fractions are not accepted"),
            "" => return Err("not a time"),
            "M" => return Err("M is no unit of time; minutes are m"),
            _ => return Err("the unit is not ms, s, m, h or d"),
        };
        total = total.saturating_add(Duration::from_millis(number.saturating_mul(millis)));
        rest = after;
    }
    Ok(total.min(LONGEST_TIME))
}

/// A domain.
pub(crate) fn domain(text: &str) -> Result<DomainRef, Usage> {
    let text = unmark(text);
    text.parse().map_err(|why: xmem_core::domain::DomainRefError| Usage {
        what: "DOMAIN".to_owned(),
        text: text.clone(),
        why: why.to_string(),
        hint: Some(why.hint().to_owned()),
    })
}

/// Domains.
pub(crate) fn domains(texts: &[String]) -> Result<Vec<DomainRef>, Usage> {
    texts.iter().map(|text| domain(text)).collect()
}

/// A size.
pub(crate) fn size(what: &str, text: &str) -> Result<Size, Usage> {
    hinted_size(what, text, SizeError::hint)
}

fn hinted_size(
    what: &str,
    text: &str,
    hint: impl FnOnce(SizeError) -> String,
) -> Result<Size, Usage> {
    let text = unmark(text);
    text.parse().map_err(|why: SizeError| Usage {
        what: what.to_owned(),
        text: text.clone(),
        why: why.to_string(),
        hint: Some(hint(why)),
    })
}

/// A floor: a size that is not relative.
pub(crate) fn floor(text: &str) -> Result<Size, Usage> {
    hinted_size("--floor", text, |why| why.hint_without_step("512M, 2GiB, max or 50%"))
}

/// The SIZE of a change, whose domain was typed as `domain`.
pub(crate) fn size_of(domain: &str, text: &str) -> Result<Size, Usage> {
    let (domain, text) = (unmark(domain), unmark(text));
    size("SIZE", &text).map_err(|usage| {
        let swapped = domain.parse::<Size>().is_ok() && !domain.bytes().all(|c| c.is_ascii_digit());
        let hint = format!("DOMAIN comes before SIZE: {text} {domain}");
        if swapped { Usage { hint: Some(hint), ..usage } } else { usage }
    })
}

/// An absolute size.
pub(crate) fn amount(what: &str, text: &str) -> Result<Kib, Usage> {
    match hinted_size(what, text, |why| why.hint_without_step("512M or 2G"))? {
        Size { amount: Amount::To(kib), .. } => Ok(kib),
        _ => Err(Usage {
            what: what.to_owned(),
            text: unmark(text),
            why: "not an absolute size".to_owned(),
            hint: Some("an absolute size looks like 512M or 2G".to_owned()),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units_of_time_only() {
        for (text, millis) in [
            ("0", 0),
            ("10", 10_000),
            ("10s", 10_000),
            ("500ms", 500),
            ("2m", 120_000),
            ("1h30m", 5_400_000),
            ("1d", 86_400_000),
        ] {
            assert_eq!(time(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "10M", "1y", "3months", "1w", "-5", "1.5s", "abc", "s", "5 s", "1h30"] {
            assert!(time(text).is_err(), "{text}");
        }
        assert_eq!(time("99999999999999999d"), Ok(LONGEST_TIME));
    }

    #[test]
    fn only_a_dash_and_a_digit_is_marked() {
        let words = ["set", "-5", "-n", "--json", "-512M", "--", "-7"];
        let marked = mark(words.into_iter().map(OsString::from));
        let expected = ["set", "\0-5", "-n", "--json", "\0-512M", "--", "-7"];
        assert_eq!(marked, expected.map(OsString::from));
    }
}
