//! Many changes in one file: how they are written.
//!
//! Owns the format of `xmem apply`: lines of `DOMAIN SIZE`, or the lines of `xmem list --json` with
//! their targets edited. Pure: never looks a domain up.

use serde::Deserialize;

use crate::domain::{DomainRef, DomainRefError, Name};
use crate::harmless::beginning;
use crate::size::{Amount, Kib, Size, SizeError};

/// So many lines that make no sense are told. A file of another kind has millions of them.
const MOST_ERRORS: usize = 100;

/// How many characters of a word are repeated.
const LONGEST_WORD: usize = 100;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Where it stands: 1 is the first line.
    pub number: usize,
    /// Of which domain.
    pub domain: DomainRef,
    /// Its new size, video memory included.
    pub size: Size,
    /// It comes from `xmem list --json`: if its target has not been edited, the domain is left alone,
    /// whatever its limit is.
    pub listed: bool,
}

/// Why a line is none.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// Not two words.
    #[error("it is not `DOMAIN SIZE`")]
    Words,
    /// The domain makes no sense.
    #[error("domain `{text}`: {why}")]
    Domain {
        /// What stands there.
        text: String,
        /// Why.
        why: DomainRefError,
    },
    /// The size makes no sense.
    #[error("size `{text}`: {why}")]
    Size {
        /// What stands there.
        text: String,
        /// Why.
        why: SizeError,
    },
    /// The JSON is none, or lacks what it needs.
    #[error("it is not a line of `xmem list --json`: {0}")]
    Json(#[from] serde_json::Error),
    /// A JSON line without a domain.
    #[error("it has neither uuid, domid nor name")]
    NoDomain,
    /// A target of 0, or one that does not fit.
    #[error("its target_kib of {0} is no size")]
    Target(u64),
    /// It comes after too many of these.
    #[error(
        "it is not looked at, nor what follows, since {MOST_ERRORS} lines before it make no sense"
    )]
    TooMany,
}

impl LineError {
    /// What to write instead.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Domain { why, .. } => why.hint(),
            Self::Size { why, .. } => why.hint(),
            Self::Words | Self::Json(_) | Self::NoDomain | Self::Target(_) | Self::TooMany => {
                "a line is `DOMAIN SIZE`, such as `web 512M`, or one of `xmem list --json`"
            }
        }
    }
}

/// What counts in a line of `xmem list --json`. Everything else in it is left aside.
#[derive(Deserialize)]
struct Listed {
    uuid: Option<String>,
    domid: Option<u32>,
    name: Option<String>,
    target_kib: Option<u64>,
    #[serde(default)]
    videoram_kib: i32,
    /// The line about the host.
    host: Option<serde::de::IgnoredAny>,
}

/// Reads all lines of `text`. Empty ones and those that begin with `#` are nothing; so are JSON lines
/// about the host and those whose target is null.
///
/// # Errors
/// Every line that makes no sense, with its number.
pub fn parse(text: &str) -> Result<Vec<Line>, Vec<(usize, LineError)>> {
    let (mut lines, mut errors) = (Vec::new(), Vec::new());
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if errors.len() >= MOST_ERRORS {
            errors.push((number, LineError::TooMany));
            break;
        }
        let read = if line.starts_with('{') { json(line) } else { words(line).map(Some) };
        match read {
            Ok(Some((domain, size))) => {
                lines.push(Line { number, domain, size, listed: line.starts_with('{') });
            }
            Ok(None) => {}
            Err(error) => errors.push((number, error)),
        }
    }
    if errors.is_empty() { Ok(lines) } else { Err(errors) }
}

/// `DOMAIN SIZE`. A name may have blanks in it: the size is the last word.
fn words(line: &str) -> Result<(DomainRef, Size), LineError> {
    let (domain, size) = line.rsplit_once(char::is_whitespace).ok_or(LineError::Words)?;
    let domain = domain.trim_end();
    Ok((
        domain.parse().map_err(|why| LineError::Domain { text: cut(domain), why })?,
        size.parse().map_err(|why| LineError::Size { text: cut(size), why })?,
    ))
}

/// What is repeated of a word to who wrote it.
fn cut(word: &str) -> String {
    let (word, dots) = beginning(word, LONGEST_WORD);
    format!("{word}{dots}")
}

fn json(line: &str) -> Result<Option<(DomainRef, Size)>, LineError> {
    let listed: Listed = serde_json::from_str(line)?;
    let (Some(target), None) = (listed.target_kib, &listed.host) else { return Ok(None) };
    let read =
        |text: String| text.parse().map_err(|why| LineError::Domain { text: cut(&text), why });
    // The UUID says which domain it was when the list was made; its number may be another's by now.
    let domain = match (listed.uuid, listed.domid, listed.name) {
        (Some(uuid), Some(0), _) if uuid.bytes().all(|byte| matches!(byte, b'0' | b'-')) => {
            read("id:0".to_owned())?
        }
        (Some(uuid), ..) => read(format!("uuid:{uuid}"))?,
        (None, Some(domid), _) => read(format!("id:{domid}"))?,
        (None, None, Some(name)) => DomainRef::Name(Name(name)),
        (None, None, None) => return Err(LineError::NoDomain),
    };
    let whole = Kib(target).offset(listed.videoram_kib.into()).ok_or(LineError::Target(target))?;
    let size = Kib::from_pages(whole.pages());
    if size == Kib(0) {
        return Err(LineError::Target(target));
    }
    let cut = whole.0.saturating_sub(size.0).saturating_mul(1024);
    Ok(Some((domain, Size { amount: Amount::To(size), cut })))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(usize, String, u64)> {
        parse(text)
            .unwrap()
            .into_iter()
            .map(|line| match line.size.amount {
                Amount::To(kib) => (line.number, line.domain.to_string(), kib.0),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn words_and_json() {
        let text = "# a plan\n\nweb 512M\n  my guest\t1G \nid:7 4k\n\
            {\"uuid\":\"00000000-0000-4000-8000-000000000009\",\"domid\":9,\"name\":\"win\",\"target_kib\":507904,\"videoram_kib\":16384,\"notes\":[]}\n\
            {\"domid\":0,\"uuid\":\"00000000-0000-0000-0000-000000000000\",\"target_kib\":524289,\"videoram_kib\":-1}\n\
            {\"name\":\"a b\",\"target_kib\":4}\n\
            {\"domid\":3,\"target_kib\":null}\n\
            {\"schema\":1,\"host\":{\"total_kib\":1}}\n";
        assert_eq!(
            read(text),
            [
                (3, "`web`".to_owned(), 524_288),
                (4, "`my guest`".to_owned(), 1_048_576),
                (5, "domain 7".to_owned(), 4),
                (6, "UUID 00000000-0000-4000-8000-000000000009".to_owned(), 524_288),
                (7, "domain 0".to_owned(), 524_288),
                (8, "`a b`".to_owned(), 4),
            ]
        );
    }

    #[test]
    fn all_errors_at_once_with_their_lines() {
        let text = "web\nweb 1.5G\n\nid:x 1G\n{\"domid\":1\n{\"target_kib\":4}\n{\"domid\":7,\"target_kib\":3}\nweb 1G\n";
        let errors = parse(text).unwrap_err();
        let told: Vec<String> =
            errors.iter().map(|(line, error)| format!("{line}: {error:.45}")).collect();
        assert_eq!(told.len(), 6, "{told:?}");
        assert_eq!(errors.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [1, 2, 4, 5, 6, 7]);
        assert_eq!(told[0], "1: it is not `DOMAIN SIZE`");
        assert!(told[1].starts_with("2: size `1.5G`: fractions"), "{told:?}");
        assert!(told[2].starts_with("4: domain `id:x`:"), "{told:?}");
        assert!(told[4].starts_with("6: it has neither"), "{told:?}");
        assert!(told[5].starts_with("7: its target_kib of 3"), "{told:?}");
    }

    /// A file of another kind must neither fill the memory nor the screen.
    #[test]
    fn of_too_many_errors_the_first_are_told() {
        let errors = parse(&"x\n".repeat(1000)).unwrap_err();
        assert_eq!(errors.len(), MOST_ERRORS + 1);
        let (line, last) = errors.last().unwrap();
        assert!(*line == MOST_ERRORS + 1 && matches!(last, LineError::TooMany), "{last}");
        assert_eq!(parse(&"x\n".repeat(MOST_ERRORS)).unwrap_err().len(), MOST_ERRORS);
    }

    /// A size of 16 MiB is not repeated in whole.
    #[test]
    fn a_long_word_is_cut_short() {
        for line in [format!("web {}", "ü".repeat(5000)), format!("id:{} 1G", "ü".repeat(5000))] {
            let errors = parse(&line).unwrap_err();
            assert!(errors[0].1.to_string().chars().count() < 250, "{}", errors[0].1);
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in ".{0,200}") {
            let (Ok(_) | Err(_)) = parse(&text);
        }
    }
}
